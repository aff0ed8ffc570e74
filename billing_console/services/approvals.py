"""Four eyes: money operations that wait for a second person, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from billing_console.errors import Conflict, NotFound, Refused
from billing_console.i18n import N_, _
from billing_console.money import plain
from billing_console.services.audit import Trail
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.text import clean
from db.schema import ApprovalDecision, ApprovalRequest
from db.statements import row_of, table_of
from db.values import ApprovalKind

VALID_FOR = timedelta(hours=24)


class ApprovalState(StrEnum):
    """Where a request stands; one that nobody decided in time has expired."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def spelled(self) -> str:
        """Say where it stands, for people."""
        return _(STATES[self])


STATES = {
    ApprovalState.PENDING: N_("pending"),
    ApprovalState.APPROVED: N_("approved"),
    ApprovalState.REJECTED: N_("rejected"),
    ApprovalState.EXPIRED: N_("expired"),
}
OVER = (ApprovalState.REJECTED, ApprovalState.EXPIRED)
"""The ends of a request from which nothing was booked."""


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """A request; `amount` in yuan, negative for a reversal. `replayed` tells that it had been asked before."""

    id: int
    kind: ApprovalKind
    subject: str
    amount: Decimal
    reference: str
    note: str
    idempotency_key: str
    reverses_id: int | None
    operator: str
    created_at: datetime
    expires_at: datetime
    state: ApprovalState
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    replayed: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to be booked, and what a repeated key must agree in."""

    kind: ApprovalKind
    subject: str
    amount: Decimal
    reference: str
    note: str
    idempotency_key: str
    reverses_id: int | None = None


def waiting(session: Session, ledger: Ledger, wanted: Wanted) -> ApprovalView | None:
    """Return the request that this key stands for, None if it stands for none.

    Raises Conflict where it asks for something else, Refused where it was rejected or has expired: a new key is a new
    request.
    """
    request = _standing_for(session, wanted.idempotency_key)
    if request is None:
        return None
    same = all(getattr(request, name) == getattr(wanted, name) for name in Wanted.__dataclass_fields__)
    if not same:
        raise Conflict(
            _("The key %(key)s already stands for request %(id)d: %(known)s. Asked was: %(asked)s.")
            % {
                "key": clean(request.idempotency_key),
                "id": request.id,
                "known": _spelled(request),
                "asked": _spelled(wanted),
            },
            _("Nothing was changed. Use a new key for another request."),
        )
    view = view_of(request, session.get(ApprovalDecision, request.id), ledger.clock(), replayed=True)
    if view.state in OVER:
        raise Refused(
            _("Request %(id)d was not approved: it is %(state)s.") % {"id": view.id, "state": view.state.spelled},
            _("Ask again with a new key."),
        )
    return view


def renewed(session: Session, ledger: Ledger, wanted: Wanted) -> Wanted:
    """Give what is asked for by a fixed key, a reversal, another one for each request that came to nothing."""
    key, number = wanted.idempotency_key, 1
    while (request := _standing_for(session, wanted.idempotency_key)) is not None:
        view = view_of(request, session.get(ApprovalDecision, request.id), ledger.clock(), replayed=True)
        if view.state not in OVER:
            break
        number += 1
        wanted = replace(wanted, idempotency_key=f"{key}:{number}")
    return wanted


def _standing_for(session: Session, key: str) -> ApprovalRequest | None:
    return session.exec(select(ApprovalRequest).where(ApprovalRequest.idempotency_key == key)).first()


def _spelled(of: Any) -> str:
    return clean(f"{of.kind} {of.subject} {plain(of.amount)} “{of.reference}”")


def ask(session: Session, ledger: Ledger, trail: Trail, wanted: Wanted) -> ApprovalView:
    """Write the request, for somebody else to decide within 24 hours."""
    now = ledger.clock()
    fields: Mapping[str, Any] = {name: getattr(wanted, name) for name in Wanted.__dataclass_fields__}
    request = ApprovalRequest(**fields, operator=ledger.operator, created_at=now, expires_at=now + VALID_FOR)
    session.add(request)
    session.flush()
    view = view_of(request, None, now, replayed=False)
    trail.note(
        None,
        {
            "request": view.id,
            "kind": view.kind,
            "subject": view.subject,
            "amount": view.amount,
            "reference": view.reference,
        },
    )
    trail.fact("approval_requests", row_of(request))
    return view


def list_approvals(ledger: Ledger, *, only_pending: bool = False, limit: int | None = 100) -> tuple[ApprovalView, ...]:
    """List requests, newest first; only those that can still be decided, if asked for."""
    now = ledger.clock()
    query = (
        select(ApprovalRequest, ApprovalDecision)
        .outerjoin(ApprovalDecision, col(ApprovalDecision.request_id) == col(ApprovalRequest.id))
        .order_by(col(ApprovalRequest.id).desc())
    )
    if only_pending:
        query = query.where(col(ApprovalDecision.request_id).is_(None), col(ApprovalRequest.expires_at) > now)
    if limit is not None:
        query = query.limit(limit)
    with reading(ledger.database) as session:
        return tuple(view_of(request, decision, now, replayed=False) for request, decision in session.exec(query))


def get_approval(ledger: Ledger, request_id: int) -> ApprovalView:
    """Return one request; raise NotFound for an unknown id."""
    with reading(ledger.database) as session:
        request = session.get(ApprovalRequest, request_id) if 0 <= request_id < 2**63 else None
        if request is None:
            raise unknown(request_id)
        return view_of(request, session.get(ApprovalDecision, request_id), ledger.clock(), replayed=False)


def unknown(request_id: int) -> NotFound:
    """Return the refusal of a request that nobody made."""
    return NotFound(
        _("There is no request %(id)d.") % {"id": request_id}, _("List them with: billing-console approvals list")
    )


APPROVER = col(ApprovalDecision.operator)
"""Who approved what was booked, None where nobody had to; in a query that `with_approver` joined."""


def with_approver(query: Any, key: Any, kinds: Sequence[ApprovalKind]) -> Any:
    """Join the approval to a query of what was booked; `key` is its idempotency key.

    The kinds are asked for because a recharge and a grant may have the same key.
    """
    request, decision = table_of(ApprovalRequest), table_of(ApprovalDecision)
    asked = (request.c.idempotency_key == key) & request.c.kind.in_([kind.value for kind in kinds])
    decided = (decision.c.request_id == request.c.id) & decision.c.approved
    return query.outerjoin(request, asked).outerjoin(decision, decided)


def count_waiting(ledger: Ledger) -> int:
    """Count the requests that can still be decided and that somebody else made."""
    query = (
        select(func.count())
        .select_from(ApprovalRequest)
        .outerjoin(ApprovalDecision, col(ApprovalDecision.request_id) == col(ApprovalRequest.id))
        .where(
            col(ApprovalDecision.request_id).is_(None),
            col(ApprovalRequest.expires_at) > ledger.clock(),
            col(ApprovalRequest.operator) != ledger.operator,
        )
    )
    with reading(ledger.database) as session:
        return session.exec(query).one()


def view_of(
    request: ApprovalRequest, decision: ApprovalDecision | None, now: datetime, *, replayed: bool
) -> ApprovalView:
    """Copy a request and what became of it into the frozen form that leaves the services."""
    if request.id is None:
        raise ValueError("a request has an id once it is stored")
    if decision is not None:
        state = ApprovalState.APPROVED if decision.approved else ApprovalState.REJECTED
    else:
        state = ApprovalState.PENDING if now < request.expires_at else ApprovalState.EXPIRED
    return ApprovalView(
        id=request.id,
        kind=ApprovalKind(request.kind),
        subject=request.subject,
        amount=request.amount,
        reference=request.reference,
        note=request.note,
        idempotency_key=request.idempotency_key,
        reverses_id=request.reverses_id,
        operator=request.operator,
        created_at=request.created_at,
        expires_at=request.expires_at,
        state=state,
        decided_by=None if decision is None else decision.operator,
        decided_at=None if decision is None else decision.created_at,
        reason=None if decision is None else decision.reason,
        replayed=replayed,
    )
