"""User quotas: who may still spend how much, granting and taking back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.worker import get_current_worker

from billing_console import money
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from billing_console.text import one_line
from screens.console import ask
from screens.quota_table import FIELDS, SORTS, QuotaTable
from screens.search import SearchPane
from screens.waiting import said_waiting
from screens.widgets.table import RecordTable

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger
    from billing_console.services.periodic_quotas import PeriodicSet
    from billing_console.services.quota_bulk import BulkGrant
    from billing_console.services.quota_use import UserUse
    from billing_console.services.quotas import GrantView, QuotaOrder, QuotaPage, QuotaView

MOST = 500
"""Users drawn at most, the first of the order: the filter finds any other."""

ORDERS = {
    ("remaining", False): N_("least remaining first"),
    ("remaining", True): N_("most remaining first"),
    ("granted", False): N_("least granted first"),
    ("granted", True): N_("most granted first"),
    ("used", False): N_("least used first"),
    ("used", True): N_("most used first"),
    ("user", False): N_("by user id"),
    ("user", True): N_("by user id, backwards"),
}
FIRST_ORDER = ("remaining", False)


class UserQuotaManagement(SearchPane["QuotaPage"]):
    """Tab 4 (seed, UserQuotaManagement)."""

    NAME = "quotas"
    SHOWS = N_("This tab shows how much each user may still spend, and grants more.")
    EMPTY = N_(
        "No user is known yet.\n\n"
        "Press %(grant)s to grant the first quota, or: billing-console quotas grant USER AMOUNT"
    )
    FILTER_TITLE = N_("Filter user quotas")
    FILTER_LABEL = N_("User id contains")
    EMPTY_NEEDS = Action.GRANT
    NEEDS: ClassVar = {"grant": Action.GRANT, "revoke": Action.REVOKE, "periodic": Action.PERIOD}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "grant", N_("Grant")),
        Binding("v", "revoke", N_("Take back")),
        Binding("p", "periodic", N_("Periodic")),
        Binding("f", "only_exhausted", N_("Exhausted")),
    ]

    def __init__(self) -> None:
        """Start with every user, exhausted ones first."""
        super().__init__()
        self.only_blocked = False
        self.order = FIRST_ORDER
        self._computed: dict[str, tuple[Decimal, date]] = {}
        """Of which users the use is computed, and as of what was used on which day."""

    def compose_body(self) -> ComposeResult:
        """Yield the table."""
        yield QuotaTable()

    def on_mount(self) -> None:
        """Compute the use of the users that come into view."""
        self.watch(self.users, "scroll_y", self._compute_uses, init=False)

    @property
    def users(self) -> QuotaTable:
        """The table."""
        return self.query_one(QuotaTable)

    def question(self) -> Callable[[Ledger], QuotaPage]:
        """Ask for the first users of the filter in this order, and how many there are."""
        search, only_blocked, wanted = self.wanted, self.only_blocked, self.order

        def work(ledger: Ledger) -> QuotaPage:
            from billing_console.services.quotas import quota_page

            return quota_page(ledger, search=search, only_blocked=only_blocked, order=_order(wanted), limit=MOST)

        return work

    def nothing_in(self, data: QuotaPage) -> bool:
        """Whether there is no user."""
        return not data.rows

    def present(self, data: QuotaPage) -> None:
        """Draw the users, say how many there are, and compute the use of those in view."""
        self.users.show(data.rows)
        self._summarise()
        self.call_after_refresh(self._compute_uses)

    def _summarise(self) -> None:
        if self.data is None:
            return
        count, table = self.data.users, self.users
        users = ngettext("%(count)d user", "%(count)d users", count) % {"count": count}
        if count > len(self.data.rows):
            users = _("the first %(shown)d of %(count)d users") % {"shown": len(self.data.rows), "count": count}
        parts = [users, _("%(count)d blocked") % {"count": self.data.blocked}]
        if table.unusual:
            parts.append(_("▲ %(count)d unusual today") % {"count": table.unusual})
        if table.marked:
            parts.append(_("%(count)d marked") % {"count": len(table.marked)})
        self.set_summary(" · ".join([*parts, _(ORDERS[self.order])]))

    # Use: only of the users in view, each anew only when it was used since

    def _compute_uses(self) -> None:
        today = self.console.now().date()
        stale = {quota.user_id: (quota.used_amount, today) for quota in self.users.in_view}
        stale = {user: state for user, state in stale.items() if self._computed.get(user) != state}
        if not stale or self.console.ledger is None:
            return

        def work(ledger: Ledger) -> tuple[UserUse, ...]:
            from billing_console.services.quota_use import user_uses

            worker = get_current_worker()
            return tuple(user_uses(ledger, list(stale), lambda: worker.is_cancelled))

        def done(uses: tuple[UserUse, ...]) -> None:
            self._computed |= stale
            self.users.show_uses(uses)
            self._summarise()

        # What goes wrong here goes wrong in the tab's own question too, which says so.
        ask(self, work, done, lambda _error: None, group="use", to_show=True)

    # Order, marks

    @on(QuotaTable.Ordered)
    def _reorder(self, event: QuotaTable.Ordered) -> None:
        self.order = FIRST_ORDER if event.order is None else (SORTS[event.order[0]], event.order[1])
        self.load(asked=True)

    @on(QuotaTable.Marked)
    def _marks_changed(self) -> None:
        self._summarise()
        self.refresh_bindings()

    # Filter, details, export

    def filter_text(self) -> str:
        """Describe the filter."""
        parts = [_("user id contains %(text)s") % {"text": one_line(self.wanted)}] if self.wanted else []
        return " · ".join([*parts, _("exhausted only")] if self.only_blocked else parts)

    def reset_filter(self) -> None:
        """Show everybody again."""
        super().reset_filter()
        self.only_blocked = False

    def action_only_exhausted(self) -> None:
        """Show only users whose next call is refused, or everybody again."""
        self.only_blocked = not self.only_blocked
        self.load(asked=True)

    def action_clear_filter(self) -> None:
        """Take the marks away; without any, drop the filter."""
        if self.users.marked:
            self.users.unmark()
        else:
            super().action_clear_filter()

    @on(RecordTable.Chosen)
    def _show_details(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.quota_details import QuotaDetailsDialog

        self.app.push_screen(QuotaDetailsDialog(event.item.user_id))

    def exporting(self) -> Callable[[Ledger], Iterator[Sequence[object]]] | None:
        """Yield every user of the filter, not only those drawn."""
        search, only_blocked, wanted, table = self.wanted, self.only_blocked, self.order, self.users
        columns = [column for column in table.all_columns if column.key in FIELDS]

        def rows(ledger: Ledger) -> Iterator[Sequence[object]]:
            from billing_console.services.quotas import list_quotas

            yield FIELDS
            users = list_quotas(ledger, search=search, only_blocked=only_blocked, order=_order(wanted))
            yield from ([column.export(user) for column in columns] for user in users)

        return rows

    # Grant, take back

    @property
    def current(self) -> QuotaView | None:
        """The user under the cursor."""
        return self.users.current

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to take back only from a row; a grant may be for a user never seen."""
        if action == "revoke" and not self.has_class("-filled"):
            return False
        if action == "clear_filter" and self.users.marked:
            return True
        return super().check_action(action, parameters)

    def action_grant(self) -> None:
        """Grant to the marked users, or to the one under the cursor, or to another one typed into the form."""
        if self.users.marked:
            from screens.dialogs.quota_bulk import BulkGrantDialog

            self.app.push_screen(BulkGrantDialog(tuple(self.users.marked)), self._bulk_done)
        else:
            self._open_form(revoke=False)

    def action_revoke(self) -> None:
        """Take unused quota back from the user under the cursor."""
        self._open_form(revoke=True)

    def _open_form(self, *, revoke: bool) -> None:
        from screens.dialogs.grant import GrantDialog

        self.app.push_screen(GrantDialog(self._user_under_cursor, revoke=revoke), self._done)

    @property
    def _user_under_cursor(self) -> str:
        return self.current.user_id if self.current and self.has_class("-filled") else ""

    def action_periodic(self) -> None:
        """Give the user under the cursor quota anew every period, or end that."""
        from screens.dialogs.quota_period import PeriodicQuotaDialog

        self.app.push_screen(PeriodicQuotaDialog(self._user_under_cursor), self._periodic_set)

    def _periodic_set(self, done: PeriodicSet | None) -> None:
        if done is None:
            return
        self.load(asked=True)
        words = {
            "given": money.shown(done.given, symbol=self.console.symbol),
            "remaining": money.shown(done.remaining, symbol=self.console.symbol),
        }
        said = _("Periodic quota set: granted now %(given)s, remaining %(remaining)s") % words
        if done.periodic is None:
            said = _("Periodic quota ended: remaining %(remaining)s") % words
        self.app.notify(said, markup=False)

    def _done(self, grant: GrantView | ApprovalView | None) -> None:
        if grant is None or said_waiting(grant, self.app):
            return
        self.load(asked=True)
        text = N_("%(amount)s granted to %(user)s: %(before)s → %(after)s (grant %(id)d)")
        if grant.amount < 0:
            text = N_("%(amount)s taken back from %(user)s: %(before)s → %(after)s (grant %(id)d)")
        said = _(text) % {
            "user": one_line(grant.user_id, 60),
            "amount": money.shown(abs(grant.amount), symbol=self.console.symbol),
            "before": money.shown(grant.remaining_before, symbol=self.console.symbol),
            "after": money.shown(grant.remaining_after, symbol=self.console.symbol),
            "id": grant.id,
        }
        self.app.notify(said, markup=False)

    def _bulk_done(self, done: BulkGrant | None) -> None:
        if done is None:
            return
        self.users.unmark()
        self.load(asked=True)
        requests, granted = len(done.requests), [grant.amount for grant in done.grants]
        said = ngettext(
            "%(count)d user was granted %(sum)s", "%(count)d users were granted %(sum)s in all", len(granted)
        )
        if requests:
            said = ngettext(
                "%(count)d request waits for another admin to approve it (within 24 hours).",
                "%(count)d requests wait for another admin to approve them (within 24 hours).",
                requests,
            )
        total = money.shown_exact(money.exact_sum(granted), symbol=self.console.symbol)
        self.app.notify(said % {"count": requests or len(granted), "sum": total}, markup=False)


def _order(wanted: tuple[str, bool]) -> QuotaOrder:
    from billing_console.services.quotas import QuotaOrder, QuotaSort

    return QuotaOrder(QuotaSort(wanted[0]), wanted[1])
