"""The audit log: who did what, and who was refused; newest first, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from billing_console import clock, wire
from billing_console.i18n import N_, _
from screens import words
from screens.console import ask
from screens.dialogs.audit_details import AuditEntryDialog, in_short
from screens.dialogs.audit_filter import AuditFilterDialog, AuditWish
from screens.dialogs.base import Dialog
from screens.dialogs.export import ExportDialog
from screens.widgets.keybar import with_keys
from screens.widgets.line import Line
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.errors import BillingError
    from billing_console.services.audit import AuditView
    from billing_console.services.ledger import Ledger

PAGE = 100
NEAR = 20
"""Rows from the end at which the next page is loaded."""

MOST = 2000
"""Rows drawn at most; the filter finds any other, and the export holds them all."""

EXPORTED = {
    "id": "id",
    "createdAt": "created_at",
    "operator": "operator",
    "uid": "uid",
    "account": "account",
    "loginUid": "login_uid",
    "tty": "tty",
    "sshClient": "ssh_client",
    "host": "host",
    "action": "action",
    "target": "target",
    "outcome": "outcome",
    "reason": "reason",
    "before": "before",
    "after": "after",
    "hash": "hash",
}
"""Columns of an export, and what they hold."""


class AuditDialog(Dialog[None]):
    """Rows are only ever added: what is shown stays true, and `r` shows what came since."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", N_("Filter")),
        Binding("r", "reload", N_("Refresh")),
        Binding("e", "export", N_("Export")),
    ]

    def __init__(self) -> None:
        """Start with every row."""
        super().__init__()
        self.wish = AuditWish()
        self.entries: tuple[AuditView, ...] = ()
        self._more = False
        self._busy = False

    def heading(self) -> str:
        """Return the title line."""
        return _("Audit log")

    def compose_content(self) -> ComposeResult:
        """Yield the filter in force and the table."""
        yield Line(classes="dialog-filter")
        yield RecordTable(self._columns(), key=lambda entry: str(entry.id), sortable=False, id="audit-table")

    def _columns(self) -> Sequence[Column[AuditView]]:
        return (
            Column("createdAt", N_("Time"), self._when, lambda e: clock.iso(e.created_at), min_width=11),
            Column("operator", N_("Operator"), lambda e: words.cell(e.operator), lambda e: e.operator, 0, 8, 20),
            Column("action", N_("Action"), lambda e: words.cell(e.action), lambda e: e.action, 0, 16, 20),
            Column("target", N_("Target"), lambda e: words.cell(e.target), lambda e: e.target, 0, 8, 24),
            Column("outcome", N_("Outcome"), lambda e: words.state(e.outcome), lambda e: e.outcome.value, min_width=9),
            Column("change", N_("What changed"), lambda e: words.cell(in_short(e)), in_short, 1, 16, 120),
        )

    def _when(self, entry: AuditView) -> Text:
        return words.cell(words.instant(entry.created_at, self.console.now(), seconds=False))

    def on_mount(self) -> None:
        """Load the newest."""
        self.query_one(".dialog").add_class("-full")
        self.query_one(RecordTable).focus()
        self._load()

    def _load(self, *, more: bool = False) -> None:
        """Load the next page, or begin again with the first."""
        wish, kept = self.wish, self.entries if more else ()
        before = kept[-1].id if kept else None
        filter_text = wish.text(self.console.zone)
        self.query_one(".dialog-filter", Line).say(_("Filter: %(filter)s") % {"filter": filter_text})
        self.query_one(".dialog-filter").display = bool(filter_text)
        self._busy = True

        def work(ledger: Ledger) -> tuple[AuditView, ...]:
            from billing_console.services.audit import list_audit

            return list_audit(ledger, wish.resolve(ledger), limit=PAGE + 1, before_id=before)

        ask(self, work, partial(self._show, kept), self._failed, keys_wait=not more, to_show=True)

    def _show(self, kept: tuple[AuditView, ...], page: tuple[AuditView, ...]) -> None:
        self._busy = False
        self.entries, self._more = kept + page[:PAGE], len(page) > PAGE
        self.query_one(RecordTable).show(self.entries)
        if not self.entries:
            self.say(with_keys(self, _("Nothing matches the filter. %(close)s clears it.")))
        elif self._more and len(self.entries) >= MOST:
            said = _("The newest %(count)d are shown; %(filter)s finds others.")
            self.say(with_keys(self, said, count=MOST))
        else:
            self.say("")
        self.refresh_bindings()

    def _failed(self, error: BillingError) -> None:
        self._busy = False
        self.say(f"✖ {error}")

    @on(DataTable.RowHighlighted)
    def _cursor_moved(self, event: DataTable.RowHighlighted) -> None:
        rows = len(self.entries)
        if self._more and not self._busy and rows < MOST and event.cursor_row >= rows - NEAR:
            self._load(more=True)

    @on(RecordTable.Chosen)
    def _show_entry(self, event: RecordTable.Chosen) -> None:
        self.app.push_screen(AuditEntryDialog(event.item))

    def action_reload(self) -> None:
        """Begin again with the newest."""
        self._load()

    def action_filter(self) -> None:
        """Choose which rows to look at."""
        self.app.push_screen(AuditFilterDialog(self.wish), self._filter)

    def _filter(self, wish: AuditWish | None) -> None:
        if wish is not None:
            self.wish = wish
            self._load()

    def action_close(self) -> None:
        """Drop the filter, then leave."""
        if self.wish == AuditWish():
            self.dismiss(None)
        else:
            self._filter(AuditWish())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to export only what is there."""
        return bool(self.entries) if action == "export" else True

    def action_export(self) -> None:
        """Write every row of the filter to a CSV file."""
        wish = self.wish

        def rows(ledger: Ledger) -> Iterator[Sequence[object]]:
            from billing_console.services.audit import list_audit

            yield tuple(EXPORTED)
            chosen, before = wish.resolve(ledger), None
            while page := list_audit(ledger, chosen, limit=1000, before_id=before):
                yield from ([wire.csv_value(getattr(entry, name)) for name in EXPORTED.values()] for entry in page)
                before = page[-1].id

        self.app.push_screen(ExportDialog("audit", rows))
