"""Who spent most of what the cost filter lets through: added up in a thread that closing the dialog stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.worker import get_current_worker

from billing_console import clock, money
from billing_console.i18n import N_, _, ngettext
from screens import words
from screens.console import ask
from screens.cost_columns import right
from screens.dialogs.base import Dialog
from screens.dialogs.usage_filter import UsageWish
from screens.widgets.keybar import with_keys
from screens.widgets.line import Line
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.errors import BillingError
    from billing_console.services.costs import CostFilter
    from billing_console.services.costs_users import TopUsers, UserCost
    from billing_console.services.ledger import Ledger
    from screens.dialogs.cost_filter import CostWish

MOST_USERS = 100


@dataclass(frozen=True, slots=True)
class _Answer:
    chosen: CostFilter
    top: TopUsers | None


class TopUsersDialog(Dialog["UsageWish | None"]):
    """The users who spent most; Enter goes to the calls of one."""

    def __init__(self, wish: CostWish) -> None:
        """Keep the filter."""
        super().__init__()
        self.wish = wish
        self._answer: _Answer | None = None

    def heading(self) -> str:
        """Return the title line."""
        return _("Top users")

    def compose_content(self) -> ComposeResult:
        """Yield the filter, the table, and what it was made from."""
        yield Line(_("Filter: %(filter)s") % {"filter": self.wish.text()}, classes="dialog-filter")
        yield UsersTable(self._columns(), key=lambda user: f"{user.user_id}|{user.user_id is None}", id="users-table")

    def _columns(self) -> Sequence[Column[UserCost]]:
        return (
            Column("userId", N_("User"), lambda u: words.cell(_name(u)), lambda u: u.user_id, 0, 8, 40),
            Column(
                "totalCost",
                N_("Total cost"),
                lambda u: words.amount(u.cost, symbol=self.console.symbol),
                lambda u: u.cost,
                right=True,
            ),
            Column("costShare", N_("Share"), lambda u: right(f"{u.share}%"), lambda u: u.share, right=True),
            Column("callCount", N_("Calls"), lambda u: words.number(u.call_count), lambda u: u.call_count, right=True),
            Column(
                "failedCount",
                N_("Failed"),
                lambda u: words.number(u.failed_count),
                lambda u: u.failed_count,
                1,
                right=True,
            ),
            Column(
                "costPerCall",
                N_("Per call"),
                lambda u: words.amount(u.cost / u.call_count, places=4, symbol=self.console.symbol),
                lambda u: money.to_nano(u.cost / u.call_count),
                2,
                right=True,
            ),
        )

    def on_mount(self) -> None:
        """Begin to add up."""
        self.query_one(".dialog").add_class("-full")
        self.query_one(RecordTable).focus()
        self.say(_("Adding up…"))
        ask(self, self._work(), self._show, self._failed, to_show=True)

    def _work(self) -> Callable[[Ledger], _Answer]:
        wish = self.wish

        def work(ledger: Ledger) -> _Answer:
            from billing_console.services.costs_users import top_users

            worker = get_current_worker()

            def go_on(seen: int, whole: int) -> bool:
                if not worker.is_cancelled:
                    self.call_later(self._progress, seen, whole)
                return not worker.is_cancelled

            chosen = wish.resolve(ledger)
            return _Answer(chosen, top_users(ledger, chosen, go_on, limit=MOST_USERS))

        return work

    def _progress(self, seen: int, whole: int) -> None:
        if self._answer is None and whole:
            said = _("Adding up… %(percent)d%%; %(close)s stops.")
            self.say(with_keys(self, said, percent=seen * 100 // whole))

    def _show(self, answer: _Answer) -> None:
        self._answer, top = answer, answer.top
        if top is None:
            return
        self.query_one(RecordTable).show(top.users)
        parts = [
            ngettext("%(count)s user", "%(count)s users", top.user_count) % {"count": f"{top.user_count:,}"},
            ngettext("%(count)s call", "%(count)s calls", top.call_count) % {"count": f"{top.call_count:,}"},
            _("Total %(amount)s") % {"amount": money.shown(top.total_cost, symbol=self.console.symbol)},
        ]
        if top.user_count > len(top.users):
            parts.append(_("the first %(count)d are shown") % {"count": len(top.users)})
        if top.start > answer.chosen.start:
            parts.append(_("▲ only from %(day)s on: there are too many calls before") % {"day": top.start})
        self.say(" · ".join(parts) if top.users else _("Nothing was used in this period."))

    def _failed(self, error: BillingError) -> None:
        self.say(f"✖ {error}")

    @on(RecordTable.Chosen)
    def _show_records(self, event: RecordTable.Chosen) -> None:
        """Go to the calls of a user."""
        user: UserCost = event.item
        ledger, answer = self.console.ledger, self._answer
        if ledger is None or answer is None or user.user_id is None:
            return
        chosen = answer.chosen
        self.dismiss(
            UsageWish(
                user_id=user.user_id,
                provider_id=chosen.provider_id,
                model_id=chosen.model_id,
                usage_type=chosen.usage_type,
                period="custom",
                start=clock.start_of(chosen.start, ledger.timezone),
                end=clock.start_of(chosen.end + timedelta(days=1), ledger.timezone),
            )
        )


class UsersTable(RecordTable["UserCost"]):
    """The table of users; Enter goes to the calls of one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", N_("Their calls"))]


def _name(user: UserCost) -> str:
    return "–" if user.user_id is None else user.user_id
