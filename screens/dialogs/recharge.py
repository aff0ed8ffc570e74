"""Pay money into a resource pool, and take a recharge back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.text import one_line, storable
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Field
from screens.dialogs.money_form import MoneyForm, balance, reference

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger
    from billing_console.services.recharges import RechargeView


class RechargeDialog(MoneyForm["RechargeView | ApprovalView"]):
    """Recharge one provider's pool."""

    def __init__(self, provider_id: str, name: str) -> None:
        """Keep whose pool it is."""
        super().__init__()
        self.provider_id, self.provider_name = provider_id, name

    def heading(self) -> str:
        """Return the title line."""
        return _("Recharge %(provider)s") % {"provider": one_line(self.provider_name, 60)}

    def fields(self) -> Sequence[Field]:
        """Declare amount, reference and a note."""
        note = Field("note", N_("Note"), _note, hint=_("optional; reached with ↓"))
        return (*self.money_fields(), note)

    def question(self, values: dict[str, Any]) -> str:
        """Say what will be done to whom."""
        question = _("Recharge the pool of %(provider)s by %(amount)s, reference “%(reference)s”?") % {
            "provider": self.provider_name,
            "amount": money.shown_exact(values["amount"], symbol=self.console.symbol),
            "reference": values["reference"],
        }
        return question + " " + _("Note: %(note)s") % {"note": values["note"]} if values["note"] else question

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Compute the available balance before and after."""
        provider_id, amount = self.provider_id, values["amount"]

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.recharges import preview_recharge

            return (balance(_("Available balance"), preview_recharge(ledger, provider_id, amount), ledger),)

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


class ReversalDialog(ConfirmedForm["RechargeView | ApprovalView"]):
    """Take one recharge back, with the reason."""

    def __init__(self, entry: RechargeView) -> None:
        """Keep the recharge to take back."""
        super().__init__()
        self.entry = entry

    def heading(self) -> str:
        """Return the title line."""
        return _("Reverse recharge %(id)d") % {"id": self.entry.id}

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
