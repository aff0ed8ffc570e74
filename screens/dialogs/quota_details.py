"""One user's quota, whole: what was granted and by whom, and what it was spent on lately."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from textual.content import Content

from billing_console import money
from billing_console.i18n import _, ngettext
from billing_console.text import one_line
from screens import words
from screens.dialogs.details import DetailsDialog, facts, grid
from screens.dialogs.grant import spelled_until
from screens.dialogs.quota_period import spelled_periodic
from screens.quota_table import spelled_days

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.periodic_quotas import PeriodicView
    from billing_console.services.quotas import GrantView, QuotaDetails, QuotaView

GRANTS = 50
"""How many of the newest grants the details list."""


class QuotaDetailsDialog(DetailsDialog["QuotaDetails"]):
    """Everything the ledger knows about one user's quota."""

    def __init__(self, user_id: str) -> None:
        """Keep whose quota to show."""
        super().__init__()
        self.user_id = user_id

    def heading(self) -> str:
        """Return the title line."""
        return _("Quota of %(user)s") % {"user": one_line(self.user_id, 60)}

    def work(self) -> Callable[[Ledger], QuotaDetails]:
        """Ask for quota, grants and newest calls."""
        user_id = self.user_id

        def work(ledger: Ledger) -> QuotaDetails:
            from billing_console.services.quotas import quota_details

            return quota_details(ledger, user_id)

        return work

    def parts(self, answer: QuotaDetails) -> Iterator[Content]:
        """Show the amounts, then grants, then calls."""
        yield facts(self._facts(answer.quota, answer.periodic), room=self.room)
        yield facts(self._use(answer), room=self.room)
        yield self._grants(answer)
        yield self._calls(answer)

    def _facts(self, quota: QuotaView, periodic: PeriodicView | None) -> Iterator[tuple[str, str]]:
        yield _("User"), quota.user_id
        yield _("Next call"), self._next_call(quota)
        if quota.granted_amount is not None and quota.remaining_amount is not None:
            yield _("Granted"), self._exact(quota.granted_amount)
            yield _("Used"), self._exact(quota.used_amount)
            yield _("Remaining"), self._exact(quota.remaining_amount)
        else:
            yield _("Used"), self._exact(quota.used_amount)
        if periodic is not None:
            yield _("Periodic quota"), spelled_periodic(periodic, self.console.symbol)
        yield _("Last change"), words.instant(quota.updated_at, self.console.now(), year=True)

    def _next_call(self, quota: QuotaView) -> str:
        if quota.is_blocked:
            why = _("refused, the quota is exhausted") if quota.has_quota else _("refused, a quota is required")
            return f"{words.MARKS[words.BAD]} {why}"
        why = _("let through") if quota.has_quota else _("let through, no quota limits this user")
        return f"{words.MARKS[words.GOOD]} {why}"

    def _use(self, answer: QuotaDetails) -> Iterator[tuple[str, str]]:
        """Say how long it lasts, and with which numbers today is called unusual or not."""
        use, left = answer.use, answer.use.days_left(answer.quota.remaining_amount)
        yield _("Use a day"), _("%(amount)s (last 7 days)") % {"amount": self._short(use.per_day)}
        if left is not None:
            yield _("Lasts"), spelled_days(left)
        seen = use.unusual
        mark, word = (
            (words.MARKS[words.WARN], _("unusual")) if seen.is_unusual else (words.MARKS[words.GOOD], _("usual"))
        )
        if not seen.has_history:
            mark, word = words.MARKS[words.DIM], _("not enough history to compare")
        yield _("Today"), f"{self._short(seen.today)}  {mark} {word}"
        days = ngettext("%(count)d day with use of the last 28", "%(count)d days with use of the last 28", seen.days)
        yield _("Compared with"), days % {"count": seen.days}
        if seen.has_history:
            spread = _("%(median)s, half of the days within ×÷ %(factor)s")
            yield _("Usual day"), spread % {"median": self._short(seen.median), "factor": f"{seen.factor:f}"}
            above = _("%(amount)s (modified z-score 3.5 of the logarithm; at least twice the median, and 1)")
            yield _("Unusual above"), above % {"amount": self._short(seen.threshold)}

    def _grants(self, answer: QuotaDetails) -> Content:
        rows = [
            (
                str(grant.id),
                words.instant(grant.created_at, self.console.now(), seconds=False, year=True),
                self._exact(grant.amount),
                self._until(grant, answer.left),
                grant.operator,
                grant.reference,
            )
            for grant in answer.grants[:GRANTS]
        ]
        title = _("Grants")
        if len(answer.grants) > GRANTS:
            title = _("Grants: the newest %(count)d of %(all)d") % {"count": GRANTS, "all": len(answer.grants)}
        return grid(title, rows or [(_("none"),)], room=self.room, numbers=(0, 2))

    def _until(self, grant: GrantView, left: dict[int, Decimal]) -> str:
        """Say when a grant expires, and how much of it is left until then."""
        if grant.expires_at is None:
            return ""
        until = spelled_until(grant.expires_at, self.console.now())
        rest = self._short(left.get(grant.id, Decimal(0)))
        return _("to %(until)s, %(left)s left") % {"until": until, "left": rest}

    def _calls(self, answer: QuotaDetails) -> Content:
        rows = [
            (
                words.instant(call.created_at, self.console.now(), seconds=False),
                words.state(call.status).plain,
                _("unpriced") if call.unpriced else money.shown(call.cost_amount, places=4, symbol=self.console.symbol),
                call.model_id,
            )
            for call in answer.recent
        ]
        return grid(_("Newest calls"), rows or [(_("none"),)], room=self.room, numbers=(2,))

    def _short(self, value: Decimal) -> str:
        return money.shown(value, symbol=self.console.symbol)

    def _exact(self, value: Decimal) -> str:
        return money.shown_exact(value, symbol=self.console.symbol)
