"""Give a user quota anew every day, week or month, or end that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from billing_console import money
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _
from billing_console.services.quota_periods import EVERY
from db.values import Period
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Field, FieldRow
from screens.dialogs.grant import user_field

if TYPE_CHECKING:
    from decimal import Decimal

    from billing_console.services.ledger import Ledger
    from billing_console.services.periodic_quotas import PeriodicSet, PeriodicView

OFF = "off"


class PeriodicQuotaDialog(ConfirmedForm["PeriodicSet"]):
    """How often, and how much; what is left of a period ends with it."""

    PLACES: ClassVar[int] = 9

    def __init__(self, user_id: str) -> None:
        """Start with this user, or with none."""
        super().__init__()
        self.user_id = user_id

    def heading(self) -> str:
        """Return the title line."""
        return _("Periodic quota")

    def fields(self) -> Sequence[Field]:
        """Declare user, period and amount."""
        choices = (*((period.value, _(words)) for period, words in EVERY.items()), (OFF, _("off")))
        amount = partial(_amount, places=self.PLACES)
        return (
            Field("userId", N_("User"), user_field, self.user_id, _("user id, known or new")),
            Field("period", N_("How often"), initial=Period.MONTH, choices=choices),
            Field("amount", N_("Amount"), amount, hint=_("for each period; empty with off")),
        )

    def on_mount(self) -> None:
        """Begin with the period where the user is known."""
        if self.user_id:
            self.call_later(self.rows[1].focus_field)

    def enter(self, row: FieldRow) -> None:
        """Go on from the period at once where there is no amount to give."""
        if row.field.name == "period" and row.text == OFF:
            self.action_accept()
        else:
            super().enter(row)

    def accept(self, values: dict[str, Any]) -> None:
        """Ask for the page, once amount and period go together."""
        if (values["period"] == OFF) is not (values["amount"] is None):
            self.refused(InvalidInput(_("Give an amount for each period, and none with off."), field="amount"))
        else:
            super().accept(values)

    def question(self, values: dict[str, Any]) -> str:
        """Say what will be given to whom."""
        if values["amount"] is None:
            return _("Give %(user)s no periodic quota any more?") % {"user": values["userId"]}
        amount, period = money.shown_exact(values["amount"], symbol=self.console.symbol), Period(values["period"])
        words = {"user": values["userId"], "amount": amount, "every": _(EVERY[period])}
        return _("Give %(user)s %(amount)s %(every)s from now on?") % words

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Compute the decision and what remains, before and after."""
        user_id, period, amount = values["userId"], _period(values), values["amount"]

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.periodic_quotas import preview_periodic

            change = preview_periodic(ledger, user_id, period, amount)
            before, after = (money.shown_exact(value, symbol=ledger.symbol) for value in (change.before, change.after))
            wanted = _("off") if period is None else spelled_period(period, amount, ledger.symbol)
            return (
                Change(_("Periodic quota"), spelled_periodic(change.was, ledger.symbol), wanted),
                Change(_("Remaining quota"), before, after),
            )

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], PeriodicSet]:
        """Set it."""
        user_id, period, amount = values["userId"], _period(values), values["amount"]

        def work(ledger: Ledger) -> PeriodicSet:
            from billing_console.services.periodic_quotas import set_periodic

            return set_periodic(ledger, user_id, period, amount)

        return work


def spelled_periodic(periodic: PeriodicView | None, symbol: str) -> str:
    """Spell a periodic quota."""
    return _("off") if periodic is None else spelled_period(periodic.period, periodic.amount, symbol)


def spelled_period(period: Period, amount: Decimal, symbol: str) -> str:
    """Spell how much is given how often."""
    return f"{money.shown_exact(amount, symbol=symbol)} {_(EVERY[period])}"


def _period(values: dict[str, Any]) -> Period | None:
    return None if values["period"] == OFF else Period(values["period"])


def _amount(text: str, *, places: int) -> Decimal | None:
    return money.parse_amount(text, places=places) if text.strip() else None
