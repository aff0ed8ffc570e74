"""What waits for a second person: approve, which books it at once, or reject; and what became of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from billing_console import clock, money
from billing_console.i18n import N_, _
from billing_console.services.actions import Action
from billing_console.services.approvals import ApprovalState
from billing_console.services.quotas import GrantView
from screens import words
from screens.console import ask
from screens.dialogs.base import Body, Dialog
from screens.dialogs.details import facts, room_in
from screens.widgets.line import Line
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from datetime import datetime

    from billing_console.errors import BillingError
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.decisions import Approved
    from billing_console.services.ledger import Ledger

MOST = 200
"""Requests shown at most of those that were decided or expired; those that wait are shown all."""

STYLES = {
    ApprovalState.PENDING: words.WARN,
    ApprovalState.APPROVED: words.GOOD,
    ApprovalState.REJECTED: words.BAD,
    ApprovalState.EXPIRED: words.DIM,
}


class ApprovalsDialog(Dialog[None]):
    """Requests that wait, the one that expires next first, then the others, newest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "approve", N_("Approve")),
        Binding("x", "reject", N_("Reject")),
        Binding("r", "reload", N_("Refresh")),
    ]

    def __init__(self, decided: Callable[[], None]) -> None:
        """Keep what to call after a decision, to refresh what lies below."""
        super().__init__()
        self._decided = decided

    def heading(self) -> str:
        """Return the title line."""
        return _("Approvals")

    def compose_content(self) -> ComposeResult:
        """Yield the table."""
        yield RecordTable(self._columns(), key=lambda request: str(request.id), id="approvals-table")

    def _columns(self) -> Sequence[Column[ApprovalView]]:
        return (
            Column("id", N_("No."), lambda r: words.number(r.id), lambda r: r.id, right=True),
            Column("state", N_("State"), lambda r: state_cell(r.state), lambda r: r.state.value, min_width=10),
            Column("kind", N_("Kind"), lambda r: words.cell(_(words.KINDS[r.kind])), lambda r: r.kind.value, 0, 8),
            Column("subject", N_("For"), lambda r: words.cell(r.subject), lambda r: r.subject, 0, 8, 24),
            Column("amount", N_("Amount"), self._amount, lambda r: r.amount, right=True),
            Column("operator", N_("Asked by"), lambda r: words.cell(r.operator), lambda r: r.operator, 0, 8, 20),
            Column("expiresAt", N_("Until"), self._until, lambda r: clock.iso(r.expires_at), 1, 11),
            Column("reference", N_("Reference"), lambda r: words.cell(r.reference), lambda r: r.reference, 2, 9, 40),
        )

    def _amount(self, request: ApprovalView) -> Text:
        return words.amount(request.amount, symbol=self.console.symbol)

    def _until(self, request: ApprovalView) -> Text:
        return words.cell(words.instant(request.expires_at, self.console.now(), seconds=False))

    def on_mount(self) -> None:
        """Load now and then again and again: others decide too."""
        self.query_one(".dialog").add_class("-full")
        self.query_one(RecordTable).focus()
        self._load()
        self.set_interval(self.console.refresh_seconds, self._poll)

    def _poll(self) -> None:
        if self.app.screen is self:
            self._load(keys_wait=False)

    def _load(self, *, keys_wait: bool = True) -> None:
        ask(self, _requests, self._show, self._failed, keys_wait=keys_wait, to_show=True)

    def _show(self, requests: tuple[ApprovalView, ...]) -> None:
        self.query_one(RecordTable).show(requests)
        self.say("" if requests else _("Nothing has needed an approval yet."))
        self.refresh_bindings()

    def _failed(self, error: BillingError) -> None:
        self.say(f"✖ {error}")

    @property
    def current(self) -> ApprovalView | None:
        """The request under the cursor."""
        request: ApprovalView | None = self.query_one(RecordTable).current if self.query(RecordTable) else None
        return request

    @on(RecordTable.Chosen)
    def _show_request(self, event: RecordTable.Chosen) -> None:
        self.app.push_screen(RequestDialog(event.item))

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer a decision only to whom it is due, on what can be decided: never to approve one's own request."""
        if action not in ("approve", "reject"):
            return True
        request, ledger = self.current, self.console.ledger
        if request is None or ledger is None or request.state is not ApprovalState.PENDING:
            return False
        if action == "approve":
            return self.console.may(Action.APPROVE) and request.operator != ledger.operator
        return self.console.may(Action.REJECT)

    def action_reload(self) -> None:
        """Look again now."""
        self._load()

    def action_approve(self) -> None:
        """Approve the request under the cursor."""
        from screens.dialogs.decide import ApproveDialog

        if self.current is not None:
            self.app.push_screen(ApproveDialog(self.current), self._approved)

    def _approved(self, approved: Approved | None) -> None:
        self._load()
        if approved is None:
            return
        self._decided()
        booked, symbol = approved.booked, self.console.symbol
        before, after = (
            (booked.remaining_before, booked.remaining_after)
            if isinstance(booked, GrantView)
            else (booked.available_before, booked.available_after)
        )
        said = _("Request %(id)d approved and booked: %(before)s → %(after)s") % {
            "id": approved.request.id,
            "before": money.shown(before, symbol=symbol),
            "after": money.shown(after, symbol=symbol),
        }
        self.app.notify(said, markup=False)

    def action_reject(self) -> None:
        """Reject the request under the cursor."""
        from screens.dialogs.decide import RejectDialog

        if self.current is not None:
            self.app.push_screen(RejectDialog(self.current), self._rejected)

    def _rejected(self, request: ApprovalView | None) -> None:
        self._load()
        if request is not None:
            self._decided()
            self.app.notify(_("Request %(id)d rejected; nothing was booked") % {"id": request.id}, markup=False)


class RequestDialog(Dialog[None]):
    """One request, whole."""

    def __init__(self, request: ApprovalView) -> None:
        """Keep the request as the list had it."""
        super().__init__()
        self.request = request

    def heading(self) -> str:
        """Return the title line."""
        return _("Request %(id)d") % {"id": self.request.id}

    def compose_content(self) -> ComposeResult:
        """Yield the facts."""
        line = Line(classes="details")
        line.say(facts(self._facts(), room=room_in(self.app)))
        yield line

    def _facts(self) -> Iterator[tuple[str, str]]:
        request = self.request
        yield _("State"), state_cell(request.state).plain
        yield _("Kind"), _(words.KINDS[request.kind])
        yield _("For"), request.subject
        yield _("Amount"), money.shown_exact(request.amount, symbol=self.console.symbol)
        if request.reverses_id is not None:
            yield _("Reverses recharge"), str(request.reverses_id)
        yield _("Reference"), request.reference
        yield _("Note"), request.note or "–"
        yield _("Asked by"), request.operator
        yield _("Asked at"), self._instant(request.created_at)
        yield _("Until"), self._instant(request.expires_at)
        if request.decided_by is not None:
            yield _("Decided by"), request.decided_by
            yield _("Decided at"), self._instant(request.decided_at)
            yield _("Reason"), request.reason or "–"
        yield _("Idempotency key"), request.idempotency_key

    def _instant(self, value: datetime | None) -> str:
        return words.instant(value, self.console.now(), year=True)

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(Body).focus()


def state_cell(state: ApprovalState) -> Text:
    """Make a cell of where a request stands."""
    style = STYLES[state]
    return words.cell(f"{words.MARKS[style]} {state.spelled}", style)


def _requests(ledger: Ledger) -> tuple[ApprovalView, ...]:
    from billing_console.services.approvals import list_approvals

    found = {request.id: request for request in list_approvals(ledger, only_pending=True, limit=None)}
    found |= {request.id: request for request in list_approvals(ledger, limit=MOST)}
    waiting = [request for request in found.values() if request.state is ApprovalState.PENDING]
    others = [request for request in found.values() if request.state is not ApprovalState.PENDING]
    return (*sorted(waiting, key=lambda r: (r.expires_at, r.id)), *sorted(others, key=lambda r: -r.id))
