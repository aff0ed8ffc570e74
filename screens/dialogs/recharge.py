"""Pay money into a resource pool, and take a recharge back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import ComposeResult

from billing_console import money
from billing_console.i18n import N_, _, ngettext
from billing_console.text import one_line, storable
from screens.console import ask
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Choice, Field, FieldInput, FieldRow
from screens.dialogs.money_form import MoneyForm, balance, reference
from screens.outlooks import lasts, lasts_from, needed
from screens.widgets.line import Line

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger
    from billing_console.services.outlook import PoolOutlook, Suggestion
    from billing_console.services.recharges import RechargeView


FOR_DAYS = (7, 14, 30, 60, 90)
"""Days for which an amount can be suggested."""

USUAL = 30
"""Days that are spoken of before any are chosen."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """How long the pool lasts now, and what each number of days would take."""

    pool: PoolOutlook
    wanted: tuple[Suggestion, ...]


class RechargeDialog(MoneyForm["RechargeView | ApprovalView"]):
    """Recharge one provider's pool; the amount can be the one that lasts for some days."""

    def __init__(self, provider_id: str, name: str) -> None:
        """Keep whose pool it is."""
        super().__init__()
        self.provider_id, self.provider_name = provider_id, name
        self._outlook: Outlook | None = None
        self._suggested = ""

    def heading(self) -> str:
        """Return the title line."""
        return _("Recharge %(provider)s") % {"provider": one_line(self.provider_name, 60)}

    def compose_content(self) -> ComposeResult:
        """Put the outlook above the form."""
        yield Line(id="outlook")
        yield from super().compose_content()

    def fields(self) -> Sequence[Field]:
        """Declare amount, reference, a note, and for how many days the amount should last."""
        note = Field("note", N_("Note"), _note, hint=_("optional; reached with ↓"))
        days = [(str(days), ngettext("%(count)d day", "%(count)d days", days) % {"count": days}) for days in FOR_DAYS]
        return (*self.money_fields(), note, Field("days", N_("Amount for"), choices=(("", _("as typed")), *days)))

    def enter(self, row: FieldRow) -> None:
        """Go on from the note too: the days behind it only help to find the amount."""
        if row.field.name == "note":
            self.action_accept()
        else:
            super().enter(row)

    def on_mount(self) -> None:
        """Ask for the outlook; the form does not wait for it."""
        ask(self, self._ask_outlook(), self._show_outlook, lambda error: self.say(f"✖ {error}"), group="outlook")

    def _ask_outlook(self) -> Callable[[Ledger], Outlook]:
        provider_id = self.provider_id

        def work(ledger: Ledger) -> Outlook:
            from billing_console.services.outlook import get_outlook, suggest

            return Outlook(get_outlook(ledger, provider_id), suggest(ledger, provider_id, *FOR_DAYS))

        return work

    def _show_outlook(self, answer: Outlook) -> None:
        self._outlook = answer
        self._say_outlook(USUAL)

    def _say_outlook(self, days: int) -> Suggestion | None:
        """Say how long the pool lasts and what so many days take; return that."""
        if self._outlook is None:
            return None
        wanted = next(wanted for wanted in self._outlook.wanted if wanted.days == days)
        symbol = self.console.symbol
        needs = _("for %(days)d days: %(needed)s") % {"days": days, "needed": needed(wanted, symbol)}
        self.query_one("#outlook", Line).say(f"{outlook_line(self._outlook.pool, symbol)}\n{needs}")
        return wanted

    @on(Choice.Changed)
    def _suggest(self) -> None:
        """Write the suggested amount into the field, where it can be seen and changed."""
        days = self.query_one("#days", Choice).value
        wanted = self._say_outlook(int(days or USUAL))
        if days and wanted is not None and wanted.expected:
            self._suggested = f"{wanted.expected:f}"
            self.query_one("#amount", FieldInput).value = self._suggested

    @on(FieldInput.Changed, "#amount")
    def _typed(self, event: FieldInput.Changed) -> None:
        if event.value != self._suggested:
            self.query_one("#days", Choice).choose("")

    def question(self, values: dict[str, Any]) -> str:
        """Say what will be done to whom."""
        question = _("Recharge the pool of %(provider)s by %(amount)s, reference “%(reference)s”?") % {
            "provider": self.provider_name,
            "amount": money.shown_exact(values["amount"], symbol=self.console.symbol),
            "reference": values["reference"],
        }
        return question + " " + _("Note: %(note)s") % {"note": values["note"]} if values["note"] else question

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Compute the available balance before and after, and how long it lasts."""
        provider_id, amount = self.provider_id, values["amount"]

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.outlook import lasting_with
            from billing_console.services.recharges import preview_recharge

            found = preview_recharge(ledger, provider_id, amount)
            changes = [balance(_("Available balance"), found, ledger)]
            lasting = lasting_with(ledger, provider_id, amount)
            if lasting is not None:
                before = lasts_from(lasting.before, lasting.as_of) if found.before > 0 else _("empty")
                after = lasts_from(lasting.after, lasting.as_of) if found.after > 0 else _("empty")
                changes.append(Change(_("Lasts"), before, after))
            return changes

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], RechargeView | ApprovalView]:
        """Book the recharge, with the key of this form."""
        provider_id, key = self.provider_id, self.key

        def work(ledger: Ledger) -> RechargeView | ApprovalView:
            from billing_console.services.recharges import recharge

            return recharge(
                ledger, provider_id, values["amount"], reference=values["reference"], key=key, note=values["note"]
            )

        return work


def outlook_line(outlook: PoolOutlook, symbol: str) -> str:
    """Say in one line what is left, what a day takes, and how long that lasts."""
    parts = [_("available %(amount)s") % {"amount": money.shown(outlook.pool.available_balance, symbol=symbol)}]
    if outlook.burn_per_day is not None:
        parts.append(_("burn %(amount)s a day") % {"amount": money.shown(outlook.burn_per_day, symbol=symbol)})
    return " · ".join([*parts, _("lasts: %(time)s") % {"time": lasts(outlook)}])


class ReversalDialog(ConfirmedForm["RechargeView | ApprovalView"]):
    """Take one recharge back, with the reason."""

    def __init__(self, entry: RechargeView) -> None:
        """Keep the recharge to take back."""
        super().__init__()
        self.entry = entry

    def heading(self) -> str:
        """Return the title line."""
        return _("Reverse recharge %(id)d of %(provider)s: %(amount)s") % {
            "id": self.entry.id,
            "provider": one_line(self.entry.provider_id, 40),
            "amount": money.shown_exact(self.entry.amount, symbol=self.console.symbol),
        }

    def fields(self) -> Sequence[Field]:
        """Declare the reason."""
        return (Field("reason", N_("Reason"), reference, hint=_("why it is taken back")),)

    def question(self, values: dict[str, Any]) -> str:
        """Say which recharge is taken back."""
        return _("Reverse recharge %(id)d of %(provider)s, %(amount)s, reference “%(reference)s”?") % {
            "id": self.entry.id,
            "provider": self.entry.provider_id,
            "amount": money.shown_exact(self.entry.amount, symbol=self.console.symbol),
            "reference": self.entry.reference,
        }

    def waits(self) -> str:
        """Say why it cannot be done at once, and ask."""
        return _("This would overdraw the pool. Ask another admin to approve it?")

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Compute the available balance before and after; where that overdraws the pool, the page offers to ask."""
        recharge_id = self.entry.id

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.recharges import preview_reversal

            change = preview_reversal(ledger, recharge_id, overdraw=True)
            return (balance(_("Available balance"), change, ledger),)

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], RechargeView | ApprovalView]:
        """Book the reversal, or ask for approval only if the page said so; the ledger lets it happen once."""
        recharge_id, overdraw = self.entry.id, self.needs_approval

        def work(ledger: Ledger) -> RechargeView | ApprovalView:
            from billing_console.services.recharges import reverse_recharge

            return reverse_recharge(ledger, recharge_id, reason=values["reason"], overdraw=overdraw)

        return work


def _note(text: str) -> str:
    return storable(text, "note", limit=1000, required=False)
