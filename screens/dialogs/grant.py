"""Grant quota to a user, and take unused quota back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual.widgets import Input

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.text import storable
from screens.dialogs.catalogue import UserSuggester
from screens.dialogs.confirm import Change
from screens.dialogs.form import Field, required
from screens.dialogs.money_form import MoneyForm, balance

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger
    from billing_console.services.quotas import GrantView, QuotaChange


class GrantDialog(MoneyForm["GrantView | ApprovalView"]):
    """Grant or take back; the user comes from the row and can be another one."""

    PLACES: ClassVar[int] = 9

    def __init__(self, user_id: str, *, revoke: bool) -> None:
        """Start with this user, or with none."""
        super().__init__()
        self.user_id, self.revoke = user_id, revoke

    def heading(self) -> str:
        """Return the title line."""
        return _("Take quota back") if self.revoke else _("Grant quota")

    def fields(self) -> Sequence[Field]:
        """Declare user, amount and reference."""
        user = Field("userId", N_("User"), _user, self.user_id, _("user id, known or new"))
        return (user, *self.money_fields())

    def on_mount(self) -> None:
        """Complete user ids; begin with the amount where the user is known."""
        if self.console.ledger is not None:
            self.query_one("#userId", Input).suggester = UserSuggester(self.console.ledger)
        if self.user_id:
            self.call_later(self.rows[1].focus_field)

    def question(self, values: dict[str, Any]) -> str:
        """Say what will be done to whom."""
        text = N_("Grant %(amount)s to %(user)s, reference “%(reference)s”?")
        if self.revoke:
            text = N_("Take %(amount)s back from %(user)s, reference “%(reference)s”?")
        return _(text) % {
            "amount": money.shown_exact(values["amount"], symbol=self.console.symbol),
            "user": values["userId"],
            "reference": values["reference"],
        }

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Compute what remains before and after."""
        user_id, amount, revoke = values["userId"], values["amount"], self.revoke

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.quotas import preview_grant

            return quota_changes(preview_grant(ledger, user_id, amount, revoke=revoke), ledger)

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], GrantView | ApprovalView]:
        """Book it, with the key of this form."""
        user_id, amount, reference = values["userId"], values["amount"], values["reference"]
        revoke, key = self.revoke, self.key

        def work(ledger: Ledger) -> GrantView | ApprovalView:
            from billing_console.services.quotas import grant_quota, revoke_quota

            change = revoke_quota if revoke else grant_quota
            return change(ledger, user_id, amount, reference=reference, key=key)

        return work


def quota_changes(change: QuotaChange, ledger: Ledger) -> Sequence[Change]:
    """Spell what a grant or revocation changes."""
    remaining = balance(_("Remaining quota"), change, ledger)
    if not change.had_quota:
        remaining = replace(remaining, before=_("no quota"))
    return (remaining, Change(_("Next call"), _passes(change.was_blocked), _passes(change.is_blocked)))


def _passes(is_blocked: bool) -> str:
    return "■ " + _("refused") if is_blocked else _("allowed")


def _user(text: str) -> str:
    return storable(required(text), "userId")
