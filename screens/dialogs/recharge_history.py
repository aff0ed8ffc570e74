"""What was paid into a pool and taken back again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from billing_console import clock, money
from billing_console.i18n import N_, _
from billing_console.services.actions import Action
from billing_console.text import one_line
from screens import words
from screens.console import ask
from screens.dialogs.base import Body, Dialog
from screens.dialogs.details import facts, room_in
from screens.waiting import said_waiting
from screens.widgets.line import Line
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.pools import PoolView
    from billing_console.services.recharges import RechargeView

MOST = 500
"""Entries shown at most; the command line lists the rest."""


class RechargeHistoryDialog(Dialog[None]):
    """One pool's recharges and reversals, newest first; a recharge can be reversed from here."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "reverse", N_("Reverse"))]

    def __init__(self, pool: PoolView, changed: Callable[[], None]) -> None:
        """Keep the pool; `changed` is called after a reversal, to refresh what lies below."""
        super().__init__()
        self.pool = pool
        self._changed = changed

    def heading(self) -> str:
        """Return the title line."""
        return _("Recharge history of %(provider)s") % {"provider": one_line(self.pool.provider_name, 60)}

    def compose_content(self) -> ComposeResult:
        """Yield the table."""
        yield RecordTable(self._columns(), key=lambda entry: str(entry.id), id="history-table")

    def _columns(self) -> Sequence[Column[RechargeView]]:
        return (
            Column("id", N_("No."), lambda entry: words.number(entry.id), lambda entry: entry.id, right=True),
            Column("createdAt", N_("Time"), self._when, lambda entry: clock.iso(entry.created_at), min_width=11),
            Column("amount", N_("Amount"), self._amount, lambda entry: entry.amount, right=True),
            Column("availableAfter", N_("Available after"), self._after, lambda e: e.available_after, 2, right=True),
            Column("reference", N_("Reference"), lambda e: words.cell(e.reference), lambda e: e.reference, 0, 18, 40),
            Column("state", N_("State"), lambda e: words.cell(state_of(e)), state_of, 0, 15, 24),
            Column("operator", N_("By"), lambda e: words.cell(e.operator), lambda e: e.operator, 1, 8, 20),
            Column("note", N_("Note"), lambda e: words.cell(e.note), lambda e: e.note, 3, 8, 40),
        )

    def _when(self, entry: RechargeView) -> Text:
        return words.cell(words.instant(entry.created_at, self.console.now(), seconds=False))

    def _amount(self, entry: RechargeView) -> Text:
        return words.amount(entry.amount, symbol=self.console.symbol)

    def _after(self, entry: RechargeView) -> Text:
        return words.amount(entry.available_after, symbol=self.console.symbol)

    def on_mount(self) -> None:
        """Load."""
        self.query_one(".dialog").add_class("-wide")
        self.query_one(RecordTable).focus()
        self._load()

    def _load(self) -> None:
        work = partial(_history, provider_id=self.pool.provider_id)
        ask(self, work, self._show, lambda error: self.say(f"✖ {error}"), keys_wait=True, to_show=True)

    def _show(self, entries: tuple[RechargeView, ...]) -> None:
        self.query_one(RecordTable).show(entries[:MOST])
        if not entries:
            self.say(_("Nothing has been paid into this pool yet."))
        elif len(entries) > MOST:
            self.say(_("The newest %(count)d are shown; for all: billing-console pools history") % {"count": MOST})
        self.refresh_bindings()

    @property
    def current(self) -> RechargeView | None:
        """The entry under the cursor."""
        entry: RechargeView | None = self.query_one(RecordTable).current
        return entry

    @on(RecordTable.Chosen)
    def _show_entry(self, event: RecordTable.Chosen) -> None:
        self.app.push_screen(EntryDialog(event.item))

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to reverse only what can be reversed."""
        if action != "reverse":
            return True
        entry = self.current if self.query(RecordTable) else None
        reversible = entry is not None and entry.reverses_id is None and entry.reversed_by_id is None
        return reversible and self.console.may(Action.REVERSE)

    def action_reverse(self) -> None:
        """Take the recharge under the cursor back."""
        from screens.dialogs.recharge import ReversalDialog

        if self.current is not None:
            self.app.push_screen(ReversalDialog(self.current), self._reversed)

    def _reversed(self, entry: Any) -> None:
        if entry is None or said_waiting(entry, self.app):
            return
        self._load()
        self._changed()
        said = _("Recharge %(id)s reversed: %(before)s → %(after)s (entry %(entry)d)") % {
            "id": entry.reverses_id,
            "before": money.shown(entry.available_before, symbol=self.console.symbol),
            "after": money.shown(entry.available_after, symbol=self.console.symbol),
            "entry": entry.id,
        }
        self.app.notify(said, markup=False)


class EntryDialog(Dialog[None]):
    """One entry, whole: the table has no room for notes and keys."""

    def __init__(self, entry: RechargeView) -> None:
        """Keep the entry, which never changes."""
        super().__init__()
        self.entry = entry

    def heading(self) -> str:
        """Return the title line."""
        return _("Entry %(id)d of %(provider)s") % {
            "id": self.entry.id,
            "provider": one_line(self.entry.provider_id, 60),
        }

    def compose_content(self) -> ComposeResult:
        """Yield the facts."""
        line = Line(classes="details")
        line.say(facts(self._facts(), room=room_in(self.app)))
        yield line

    def _facts(self) -> Iterator[tuple[str, str]]:
        entry, symbol = self.entry, self.console.symbol
        yield _("Time"), words.instant(entry.created_at, self.console.now(), year=True)
        yield _("Amount"), money.shown_exact(entry.amount, symbol=symbol)
        yield _("Available before"), money.shown_exact(entry.available_before, symbol=symbol)
        yield _("Available after"), money.shown_exact(entry.available_after, symbol=symbol)
        yield _("Total after"), money.shown_exact(entry.total_after, symbol=symbol)
        yield _("Reference"), entry.reference
        yield _("Note"), entry.note or "–"
        yield _("State"), state_of(entry) or "–"
        yield _("By"), entry.operator
        yield _("Idempotency key"), entry.idempotency_key

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(Body).focus()


def state_of(entry: RechargeView) -> str:
    """Say whether an entry is a reversal or was reversed."""
    if entry.reverses_id is not None:
        return _("reversal of %(id)d") % {"id": entry.reverses_id}
    if entry.reversed_by_id is not None:
        return _("reversed by %(id)d") % {"id": entry.reversed_by_id}
    return ""


def _history(ledger: Ledger, *, provider_id: str) -> tuple[RechargeView, ...]:
    from billing_console.services.recharges import recharge_history

    return recharge_history(ledger, provider_id, limit=MOST + 1)
