"""Decide on what waits for a second person: approve, which books it at once, or reject."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, select

from billing_console.errors import Conflict, Refused
from billing_console.i18n import _
from billing_console.services import quotas, recharges
from billing_console.services.actions import Action, role_allows
from billing_console.services.approvals import ApprovalState, ApprovalView, Wanted, unknown, view_of
from billing_console.services.audit import Trail
from billing_console.services.changes import change, consider
from billing_console.services.ledger import Ledger
from billing_console.services.pools import BalanceChange
from billing_console.services.quotas import GrantView
from billing_console.services.recharges import RechargeView
from billing_console.text import clean, storable
from db.schema import ApprovalDecision, ApprovalRequest, Operator
from db.statements import row_of
from db.values import ApprovalKind, Role

ACTIONS = {
    ApprovalKind.RECHARGE: Action.RECHARGE,
    ApprovalKind.REVERSAL: Action.REVERSE,
    ApprovalKind.GRANT: Action.GRANT,
}
"""What each kind of request does once it is approved."""


@dataclass(frozen=True, slots=True)
class Approved:
    """A request after its approval, and what was booked by it."""

    request: ApprovalView
    booked: RechargeView | GrantView


def approve(ledger: Ledger, request_id: int) -> Approved:
    """Approve somebody else's request and book it, by the rules as they are now.

    Raises NotFound for an unknown id, Conflict for one that was decided, Refused for one that has expired, for one's
    own, and for one that the rules no longer allow; then it still waits.
    """

    def work(session: Session, trail: Trail) -> Approved:
        request = _open_request(session, ledger, request_id)
        wanted = _wanted_by_another(request, ledger)
        _require_asker(session, wanted, request)
        book = quotas.book_approved if wanted.kind == ApprovalKind.GRANT else recharges.book_approved
        booked = book(session, ledger, trail, wanted, request.operator)
        decision = _decide(session, ledger, trail, request_id, approved=True, reason="")
        return Approved(view_of(request, decision, ledger.clock(), replayed=False), booked)

    return change(ledger, Action.APPROVE, str(request_id), work)


def preview_approval(ledger: Ledger, request_id: int) -> BalanceChange:
    """Return what approving would change, a QuotaChange for a grant, by the rules of `approve`, writing nothing."""

    def look(session: Session) -> BalanceChange:
        request = _open_request(session, ledger, request_id, lock=False)
        wanted = _wanted_by_another(request, ledger)
        preview = quotas.preview_approved if wanted.kind == ApprovalKind.GRANT else recharges.preview_approved
        return preview(session, ledger, wanted, request.operator)

    return consider(ledger, Action.APPROVE, str(request_id), look)


def reject(ledger: Ledger, request_id: int, *, reason: str) -> ApprovalView:
    """Reject a request, also one's own; raises as `approve` does."""
    reason = storable(reason, "reason")

    def work(session: Session, trail: Trail) -> ApprovalView:
        request = _open_request(session, ledger, request_id)
        trail.note({"state": ApprovalState.PENDING}, {"state": ApprovalState.REJECTED, "reason": reason})
        decision = _decide(session, ledger, trail, request_id, approved=False, reason=reason)
        return view_of(request, decision, ledger.clock(), replayed=False)

    return change(ledger, Action.REJECT, str(request_id), work)


def _wanted_by_another(request: ApprovalRequest, ledger: Ledger) -> Wanted:
    """Return what a request asks for; refuse one's own."""
    if request.operator == ledger.operator:
        raise Refused(
            _("Request %(id)d is your own; somebody else must approve it.") % {"id": request.id},
            _("Nothing was changed."),
        )
    return Wanted(**{name: getattr(request, name) for name in Wanted.__dataclass_fields__})


def _open_request(session: Session, ledger: Ledger, request_id: int, *, lock: bool = True) -> ApprovalRequest:
    """Return a request that can be decided, locked unless it is only looked at: two people at once decide it once."""
    request = None
    if 0 <= request_id < 2**63:
        query = select(ApprovalRequest).where(ApprovalRequest.id == request_id)
        request = session.exec(query.with_for_update() if lock else query).first()
    if request is None:
        raise unknown(request_id)
    view = view_of(request, session.get(ApprovalDecision, request_id), ledger.clock(), replayed=False)
    if view.state is ApprovalState.EXPIRED:
        raise Refused(
            _("Request %(id)d has expired; nobody decided it within 24 hours.") % {"id": request_id},
            _("Ask again with a new key."),
        )
    if view.state is not ApprovalState.PENDING:
        raise Conflict(
            _("Request %(id)d was decided by %(name)s already: it is %(state)s.")
            % {"id": request_id, "name": clean(view.decided_by or ""), "state": view.state.spelled}
        )
    return request


def _require_asker(session: Session, wanted: Wanted, request: ApprovalRequest) -> None:
    """Refuse what somebody asked for who may not do it any more.

    The row is locked: what the asker does meanwhile counts for the same day.
    """
    asker = session.exec(select(Operator).where(Operator.name == request.operator).with_for_update()).first()
    if not role_allows(None if asker is None else Role(asker.role), ACTIONS[wanted.kind]):
        raise Refused(
            _("%(name)s, who made request %(id)d, may not do that any more.")
            % {"name": clean(request.operator), "id": request.id},
            _("Nothing was changed. Reject it with: billing-console approvals reject ID --reason TEXT"),
        )


def _decide(
    session: Session, ledger: Ledger, trail: Trail, request_id: int, *, approved: bool, reason: str
) -> ApprovalDecision:
    decision = ApprovalDecision(
        request_id=request_id,
        approved=approved,
        reason=reason,
        operator=ledger.operator,
        created_at=ledger.clock(),
    )
    session.add(decision)
    session.flush()
    trail.fact("approval_decisions", row_of(decision))
    return decision
