"""User quotas: who may still spend how much, granting and taking back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import money
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from billing_console.text import one_line
from screens import words
from screens.search import SearchPane
from screens.waiting import said_waiting
from screens.widgets.bar import bar
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger
    from billing_console.services.quotas import GrantView, QuotaView

MOST = 500
"""Users drawn at most, those with the least remaining: the filter finds any other."""


class UserQuotaManagement(SearchPane["tuple[QuotaView, ...]"]):
    """Tab 4 (seed, UserQuotaManagement)."""

    NAME = "quotas"
    SHOWS = N_("This tab shows how much each user may still spend, and grants more.")
    EMPTY = N_(
        "No user is known yet.\n\nPress c to grant the first quota, or: billing-console quotas grant USER AMOUNT"
    )
    FILTER_TITLE = N_("Filter user quotas")
    FILTER_LABEL = N_("User id contains")
    EMPTY_NEEDS = Action.GRANT
    NEEDS: ClassVar = {"grant": Action.GRANT, "revoke": Action.REVOKE}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "grant", N_("Grant")),
        Binding("v", "revoke", N_("Take back")),
    ]

    def compose_body(self) -> ComposeResult:
        """Yield the table."""
        yield RecordTable(self._columns(), key=lambda quota: quota.user_id, id="quotas-table")

    def _columns(self) -> Sequence[Column[QuotaView]]:
        return (
            Column(
                "userId", N_("User"), lambda q: words.cell(q.user_id), lambda q: q.user_id, min_width=16, max_width=40
            ),
            Column("status", N_("Status"), status_cell, lambda q: status_cell(q).plain, min_width=11),
            Column("grantedAmount", N_("Granted"), self._granted, lambda q: q.granted_amount, 1, right=True),
            Column("usedAmount", N_("Used"), self._used, lambda q: q.used_amount, 2, right=True),
            Column("remainingAmount", N_("Remaining"), self._remaining, lambda q: q.remaining_amount, right=True),
            Column("remainingPercentage", N_("Remaining %"), _level, _percentage, min_width=16),
        )

    def _granted(self, quota: QuotaView) -> Text:
        return words.amount(quota.granted_amount, symbol=self.console.symbol)

    def _used(self, quota: QuotaView) -> Text:
        return words.amount(quota.used_amount, symbol=self.console.symbol)

    def _remaining(self, quota: QuotaView) -> Text:
        style = words.BAD if quota.is_blocked else ""
        return words.amount(quota.remaining_amount, symbol=self.console.symbol, style=style)

    def question(self) -> Callable[[Ledger], tuple[QuotaView, ...]]:
        """Ask for the users of the filter, and one more than is drawn to know whether there are others."""
        search = self.wanted

        def work(ledger: Ledger) -> tuple[QuotaView, ...]:
            from billing_console.services.quotas import list_quotas

            return list_quotas(ledger, search=search, limit=MOST + 1)

        return work

    def present(self, data: tuple[QuotaView, ...]) -> None:
        """Draw the users, and say so when they are not all."""
        shown = data[:MOST]
        self.query_one("#quotas-table", RecordTable).show(shown)
        users = ngettext("%(count)d user", "%(count)d users", len(shown)) % {"count": len(shown)}
        if len(data) > MOST:
            users = _("the first %(count)d users, / finds others") % {"count": MOST}
        blocked = _("%(count)d blocked") % {"count": sum(quota.is_blocked for quota in shown)}
        self.set_summary(" · ".join((users, blocked, _("least remaining first"))))

    # Filter, details, export

    def filter_text(self) -> str:
        """Describe the filter."""
        return _("user id contains %(text)s") % {"text": one_line(self.wanted)} if self.wanted else ""

    @on(RecordTable.Chosen)
    def _show_details(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.quota_details import QuotaDetailsDialog

        self.app.push_screen(QuotaDetailsDialog(event.item.user_id))

    def exporting(self) -> Callable[[Ledger], Iterator[Sequence[object]]] | None:
        """Yield every user of the filter, not only those drawn."""
        search, table = self.wanted, self.query_one("#quotas-table", RecordTable)

        def rows(ledger: Ledger) -> Iterator[Sequence[object]]:
            from billing_console.services.quotas import list_quotas

            yield table.export_header()
            yield from map(table.export_row, list_quotas(ledger, search=search))

        return rows

    # Grant, take back

    @property
    def current(self) -> QuotaView | None:
        """The user under the cursor."""
        quota: QuotaView | None = self.query_one("#quotas-table", RecordTable).current
        return quota

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to take back only from a row; a grant may be for a user never seen."""
        if action == "revoke" and not self.has_class("-filled"):
            return False
        return super().check_action(action, parameters)

    def action_grant(self) -> None:
        """Grant to the user under the cursor, or to another one typed into the form."""
        self._open_form(revoke=False)

    def action_revoke(self) -> None:
        """Take unused quota back from the user under the cursor."""
        self._open_form(revoke=True)

    def _open_form(self, *, revoke: bool) -> None:
        from screens.dialogs.grant import GrantDialog

        user = self.current.user_id if self.current and self.has_class("-filled") else ""
        self.app.push_screen(GrantDialog(user, revoke=revoke), self._done)

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


def status_cell(quota: QuotaView) -> Text:
    """Say whether the user's next call is let through, and why not."""
    if quota.has_quota:
        style, word = (words.BAD, _("exhausted")) if quota.is_blocked else (words.GOOD, _("available"))
    else:
        style, word = (words.BAD, _("no quota")) if quota.is_blocked else (words.DIM, _("unlimited"))
    return words.cell(f"{words.MARKS[style]} {word}", style)


def _percentage(quota: QuotaView) -> object:
    if quota.granted_amount is None or quota.remaining_amount is None:
        return None
    return money.percentage(quota.remaining_amount, quota.granted_amount)


def _level(quota: QuotaView) -> Text:
    if quota.granted_amount is None or quota.remaining_amount is None:
        return words.cell("–")
    percent = money.percentage(quota.remaining_amount, quota.granted_amount)
    return bar(percent, words.BAD if quota.is_blocked else words.GOOD)
