"""Grant the same quota to every marked user, with one confirmation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from billing_console import money
from billing_console.i18n import N_, _, ngettext
from billing_console.text import one_line
from screens.dialogs.confirm import Change
from screens.dialogs.form import Field
from screens.dialogs.grant import expiry_field, spelled_expiry
from screens.dialogs.money_form import MoneyForm, balance

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.quota_booking import QuotaChange
    from billing_console.services.quota_bulk import BulkGrant


class BulkGrantDialog(MoneyForm["BulkGrant"]):
    """An amount for each of the marked users; the page names their count, the sum, and what each has then."""

    PLACES: ClassVar[int] = 9

    def __init__(self, user_ids: Sequence[str]) -> None:
        """Keep to whom."""
        super().__init__()
        self.user_ids = tuple(user_ids)

    def heading(self) -> str:
        """Return the title line."""
        count = len(self.user_ids)
        return ngettext("Grant quota to %(count)d user", "Grant quota to %(count)d users", count) % {"count": count}

    def fields(self) -> Sequence[Field]:
        """Declare amount, reference and expiry."""
        return (*self.money_fields(), expiry_field(self))

    def question(self, values: dict[str, Any]) -> str:
        """Say to how many, how much each, and how much in all."""
        count, amount = len(self.user_ids), values["amount"]
        text = N_("Grant %(amount)s to each of %(count)d users, %(sum)s in all, reference “%(reference)s”?")
        if values["expires"]:
            text = N_(
                "Grant %(amount)s to each of %(count)d users, %(sum)s in all, until %(until)s,"
                " reference “%(reference)s”?"
            )
        return _(text) % {
            "amount": money.shown_exact(amount, symbol=self.console.symbol),
            "count": count,
            "sum": money.shown_exact(money.exact_sum([amount] * count), symbol=self.console.symbol),
            "reference": values["reference"],
            "until": spelled_expiry(self, values),
        }

    def waits(self) -> str:
        """Return the sentence below changes that another admin must approve."""
        return _("Each will wait for another admin's approval.")

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Compute what remains for each, before and after."""
        users, amount = self.user_ids, values["amount"]

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.quota_bulk import preview_bulk

            changes = preview_bulk(ledger, users, amount).changes
            return [_line(user, change, ledger) for user, change in changes]

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], BulkGrant]:
        """Book all of it, with keys made from the one of this form."""
        users, key = self.user_ids, self.key
        amount, reference, expires = values["amount"], values["reference"], values["expires"]

        def work(ledger: Ledger) -> BulkGrant:
            from billing_console.services.quota_bulk import grant_each

            return grant_each(ledger, users, amount, reference=reference, key=key, expires_at=expires)

        return work


def _line(user: str, change: QuotaChange, ledger: Ledger) -> Change:
    line = balance(one_line(user, 30), change, ledger)
    return line if change.had_quota else replace(line, before=_("no quota"))
