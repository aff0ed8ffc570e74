"""Grant quota to a user, and take unused quota back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from textual.widgets import Input

from billing_console import money
from billing_console.clock import parse_instant
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _
from billing_console.text import storable
from screens import words
from screens.dialogs.catalogue import UserSuggester
from screens.dialogs.confirm import Change
from screens.dialogs.form import Field, required
from screens.dialogs.money_form import MoneyForm, balance

if TYPE_CHECKING:
    from datetime import datetime

    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger
    from billing_console.services.quotas import GrantView, QuotaChange
    from screens.console import Console
    from screens.dialogs.base import Dialog


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
        """Declare user, amount, reference, and for a grant when it expires."""
        user = Field("userId", N_("User"), user_field, self.user_id, _("user id, known or new"))
        return (user, *self.money_fields(), *([] if self.revoke else [expiry_field(self)]))

    def on_mount(self) -> None:
        """Complete user ids; begin with the amount where the user is known."""
        if self.console.ledger is not None:
            self.query_one("#userId", Input).suggester = UserSuggester(self.console.ledger)
        if self.user_id:
            self.call_later(self.rows[1].focus_field)

    def question(self, values: dict[str, Any]) -> str:
        """Say what will be done to whom."""
        text = N_("Grant %(amount)s to %(user)s, reference “%(reference)s”?")
        if values.get("expires"):
            text = N_("Grant %(amount)s to %(user)s until %(until)s, reference “%(reference)s”?")
        if self.revoke:
            text = N_("Take %(amount)s back from %(user)s, reference “%(reference)s”?")
        return _(text) % {
            "amount": money.shown_exact(values["amount"], symbol=self.console.symbol),
            "user": values["userId"],
            "reference": values["reference"],
            "until": spelled_expiry(self, values),
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
        revoke, key, expires = self.revoke, self.key, values.get("expires")

        def work(ledger: Ledger) -> GrantView | ApprovalView:
            from billing_console.services.quotas import grant_quota, revoke_quota

            if revoke:
                return revoke_quota(ledger, user_id, amount, reference=reference, key=key)
            return grant_quota(ledger, user_id, amount, reference=reference, key=key, expires_at=expires)

        return work


def quota_changes(change: QuotaChange, ledger: Ledger) -> Sequence[Change]:
    """Spell what a grant or revocation changes."""
    remaining = balance(_("Remaining quota"), change, ledger)
    if not change.had_quota:
        remaining = replace(remaining, before=_("no quota"))
    return (remaining, Change(_("Next call"), _passes(change.was_blocked), _passes(change.is_blocked)))


def _passes(is_blocked: bool) -> str:
    return "■ " + _("refused") if is_blocked else _("allowed")


def user_field(text: str) -> str:
    """Read a user id, as the ledger can hold it."""
    return storable(required(text), "userId")


def expiry_field(form: Dialog[Any]) -> Field:
    """Declare when a grant expires: never, at the end of a day, or so many days after today."""
    hint = _("optional: a date, or how many days")
    return Field("expires", N_("Expires"), lambda text: _expiry(text.strip(), form.console), hint=hint)


def spelled_expiry(form: Dialog[Any], values: dict[str, Any]) -> str:
    """Spell the last day of a grant, or the instant at which it expires; a dash for never."""
    expires = values.get("expires")
    return words.day(None) if expires is None else spelled_until(expires, form.console.now())


def spelled_until(instant: datetime, now: datetime) -> str:
    """Spell until when something holds: midnight is the end of the day before, which is what was typed."""
    local = instant.astimezone(now.tzinfo)
    if (local.hour, local.minute, local.second) != (0, 0, 0):
        return words.instant(instant, now, seconds=False, year=True)
    return words.day(local.date() - timedelta(days=1))


def _expiry(text: str, console: Console) -> datetime | None:
    ledger = console.ledger
    if not text or ledger is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 4:
        from billing_console.services.quota_periods import end_of_day

        return end_of_day(ledger.clock(), int(text), ledger.timezone)
    instant = parse_instant(text, ledger.timezone, end=True)
    if instant <= ledger.clock():
        raise InvalidInput(_("This is past."))
    return instant
