"""The table of users: marked with Space, sorted in the database, with what each user's own past says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message

from billing_console import money
from billing_console.i18n import N_, _
from screens import words
from screens.console import console_of
from screens.widgets.bar import bar
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.services.quota_use import UserUse
    from billing_console.services.quotas import QuotaView

MARK = "✓"
SORTS = {"userId": "user", "grantedAmount": "granted", "usedAmount": "used", "remainingAmount": "remaining"}
"""Columns by which the database sorts, and what it calls them."""

FIELDS = ("userId", "status", "grantedAmount", "usedAmount", "remainingAmount", "remainingPercentage")
"""Columns of an exported file; the others are known only of the users shown."""


class QuotaTable(RecordTable["QuotaView"]):
    """Users with a mark, and their use as far as it has been computed; `Ordered` asks for another order."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", N_("Mark")),
        Binding("M", "mark_all", N_("Mark all that are shown"), show=False),
    ]

    class Ordered(Message):
        """Another order is wanted: a column's key and whether descending, or None for the first order."""

        def __init__(self, order: tuple[str, bool] | None) -> None:
            """Keep the order."""
            super().__init__()
            self.order = order

    class Marked(Message):
        """Other users are marked."""

    def __init__(self) -> None:
        """Start with nobody marked."""
        super().__init__(self._columns(), key=lambda quota: quota.user_id, id="quotas-table")
        self.marked: dict[str, None] = {}
        """The marked users, in the order in which they were marked; also those that the filter hides now."""
        self.uses: dict[str, UserUse] = {}

    def _columns(self) -> Sequence[Column[QuotaView]]:
        return (
            Column("userId", N_("User"), self._user, lambda q: q.user_id, min_width=16, max_width=40),
            Column("status", N_("Status"), status_cell, lambda q: status_cell(q).plain, min_width=11),
            Column("grantedAmount", N_("Granted"), self._granted, lambda q: q.granted_amount, 3, right=True),
            Column("usedAmount", N_("Used"), self._used, lambda q: q.used_amount, 4, right=True),
            Column("remainingAmount", N_("Remaining"), self._remaining, lambda q: q.remaining_amount, right=True),
            Column("remainingPercentage", N_("Remaining %"), _level, _percentage, min_width=16),
            Column("daysLeft", N_("Lasts"), self._lasts, self._days_left, 2, right=True),
            Column("costToday", N_("Today"), self._today, lambda q: None, 1, right=True),
        )

    def _user(self, quota: QuotaView) -> Text:
        if quota.user_id in self.marked:
            return words.cell(f"{MARK} {quota.user_id}", "bold cyan")
        return words.cell(quota.user_id)

    def _granted(self, quota: QuotaView) -> Text:
        return self._amount(quota.granted_amount)

    def _used(self, quota: QuotaView) -> Text:
        return self._amount(quota.used_amount)

    def _remaining(self, quota: QuotaView) -> Text:
        return self._amount(quota.remaining_amount, words.BAD if quota.is_blocked else "")

    def _today(self, quota: QuotaView) -> Text:
        use = self.uses.get(quota.user_id)
        if use is None:
            return words.amount(None)
        if not use.unusual.is_unusual:
            return self._amount(use.unusual.today)
        cell = self._amount(use.unusual.today, words.WARN)
        return Text.assemble(f"{words.MARKS[words.WARN]} ", cell, style=words.WARN, justify="right", end="")

    def _amount(self, value: Decimal | None, style: str = "") -> Text:
        return words.amount(value, symbol=console_of(self).symbol, style=style)

    def _days_left(self, quota: QuotaView) -> Decimal | None:
        use = self.uses.get(quota.user_id)
        return None if use is None else use.days_left(quota.remaining_amount)

    def _lasts(self, quota: QuotaView) -> Text:
        days = self._days_left(quota)
        return Text("" if days is None else spelled_days(days), justify="right", no_wrap=True, end="")

    # What the tab asks

    @property
    def in_view(self) -> Sequence[QuotaView]:
        """The users whose rows are on the screen."""
        first = int(self.scroll_y)
        return self.items[first : first + self.size.height]

    def show_uses(self, uses: Iterable[UserUse]) -> None:
        """Show what was computed of some users."""
        self.uses |= {use.user_id: use for use in uses}
        self.show(self._given)

    def unmark(self) -> None:
        """Take every mark away."""
        self.marked.clear()
        self._remark()

    @property
    def unusual(self) -> int:
        """How many of the users drawn use unusually much today, as far as is computed."""
        shown = (self.uses.get(quota.user_id) for quota in self.items)
        return sum(use is not None and use.unusual.is_unusual for use in shown)

    # Keys

    def action_mark(self) -> None:
        """Mark the user under the cursor, or take the mark away, and go on to the next one."""
        if self.current is None:
            return
        user = self.current.user_id
        if user in self.marked:
            del self.marked[user]
        else:
            self.marked[user] = None
        self._remark()
        self.action_cursor_down()

    def action_mark_all(self) -> None:
        """Mark every user of the table, or none where all are marked."""
        users = {quota.user_id: None for quota in self.items}
        if users.keys() <= self.marked.keys():
            self.marked = {user: None for user in self.marked if user not in users}
        else:
            self.marked |= users
        self._remark()

    def _remark(self) -> None:
        self.show(self._given)
        self.post_message(self.Marked())

    def action_sort(self) -> None:
        """Have the database sort by the marked column: the table holds only the first users of an order."""
        if self._column_key not in SORTS:
            self.app.notify(_("Users can be sorted by id, granted, used and remaining."), markup=False)
            return
        super().action_sort()
        self.post_message(self.Ordered(self._sorted))

    def _in_order(self) -> Iterable[Any]:
        return self._given


def status_cell(quota: QuotaView) -> Text:
    """Say whether the user's next call is let through, and why not."""
    if quota.has_quota:
        style, word = (words.BAD, _("exhausted")) if quota.is_blocked else (words.GOOD, _("available"))
    else:
        style, word = (words.BAD, _("no quota")) if quota.is_blocked else (words.DIM, _("unlimited"))
    return words.cell(f"{words.MARKS[style]} {word}", style)


def spelled_days(days: Decimal) -> str:
    """Spell for how long a quota lasts: tenths of a day only where they matter."""
    number = f"{days:.1f}" if 0 < days < 10 else f"{int(days):,}" if days < 10_000 else "9,999+"
    return _("%(days)s d") % {"days": number}


def _percentage(quota: QuotaView) -> object:
    if quota.granted_amount is None or quota.remaining_amount is None:
        return None
    return money.percentage(quota.remaining_amount, quota.granted_amount)


def _level(quota: QuotaView) -> Text:
    if quota.granted_amount is None or quota.remaining_amount is None:
        return words.cell("–")
    percent = money.percentage(quota.remaining_amount, quota.granted_amount)
    return bar(percent, words.BAD if quota.is_blocked else words.GOOD)
