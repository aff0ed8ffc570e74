"""What recharging a pool and granting a quota have in common: an amount, a reference, and before → after."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Generic

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.text import storable
from screens.dialogs.base import Result
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Field, FieldRow, required

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.pools import BalanceChange


class MoneyForm(ConfirmedForm[Result], Generic[Result]):
    """Amount, Enter, reference, Enter, page, `y` (DESIGN.md, section 7); ↓ reaches optional fields after these."""

    PLACES: ClassVar[int] = 2
    """Decimals an amount may have."""

    def money_fields(self) -> Iterator[Field]:
        """Declare amount and reference."""
        hint = _("more than 0, at most %(places)d decimals") % {"places": self.PLACES}
        yield Field("amount", N_("Amount"), partial(money.parse_amount, places=self.PLACES), hint=hint)
        yield Field("reference", N_("Reference"), reference, hint=_("invoice, transfer or ticket"))

    def enter(self, row: FieldRow) -> None:
        """Go on from the reference, past the optional fields."""
        if row.field.name == "reference":
            self.action_accept()
        else:
            super().enter(row)


def reference(text: str) -> str:
    """Read a reference or reason, as the ledger can hold it."""
    return storable(required(text), "reference")


def balance(label: str, change: BalanceChange, ledger: Ledger) -> Change:
    """Spell a change of balance, with as many decimals as its amount needs to be seen, and whether it waits."""
    amount = abs(change.after - change.before).normalize()
    places = max(2, -int(amount.as_tuple().exponent))
    before, after = (money.shown(value, places=places, symbol=ledger.symbol) for value in (change.before, change.after))
    return Change(label, before, after, waits=change.needs_approval)
