"""Recharge a pool, reverse a recharge, and the history of both."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlmodel import Session, col, select

from billing_console.errors import Conflict
from billing_console.i18n import _
from billing_console.money import check_amount, plain
from billing_console.services import limits
from billing_console.services.actions import Action
from billing_console.services.approvals import (
    APPROVER,
    ApprovalView,
    Wanted,
    ask,
    renewed,
    waiting,
    with_approver,
)
from billing_console.services.audit import Trail
from billing_console.services.catalogue import require_provider
from billing_console.services.changes import change, consider
from billing_console.services.check import apply_check
from billing_console.services.ledger import Ledger
from billing_console.services.paging import Part, part_of
from billing_console.services.pools import BalanceChange, lock_pool, unsettled, view_of
from billing_console.services.recharge_rules import (
    REVERSAL_KEY,
    checked_key,
    overdrawn,
    require_recharge,
    require_reversible,
    require_room,
)
from billing_console.services.session import reading
from billing_console.text import clean, storable
from db.schema import Recharge, ResourcePool
from db.statements import row_of, table_of
from db.values import ApprovalKind

RECHARGE_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class RechargeView:
    """A recharge, or its reversal (negative); amounts in yuan. `replayed` tells that it had been done before."""

    id: int
    provider_id: str
    amount: Decimal
    reference: str
    note: str
    idempotency_key: str
    reverses_id: int | None
    reversed_by_id: int | None
    total_after: Decimal
    available_before: Decimal
    available_after: Decimal
    operator: str
    approved_by: str | None
    created_at: datetime
    replayed: bool


def new_key() -> str:
    """Return a fresh idempotency key, made when a form opens, so that sending it twice moves money once."""
    return str(uuid.uuid4())


def preview_recharge(ledger: Ledger, provider_id: str, amount: Decimal) -> BalanceChange:
    """Return the available balance before and after a recharge, by the rules of `recharge`, writing nothing."""
    check_amount(amount, places=RECHARGE_DECIMALS)

    def look(session: Session) -> BalanceChange:
        name = require_provider(session, provider_id).name
        pool = session.get_one(ResourcePool, provider_id)
        require_room(pool, amount)
        limits.enforce(session, ledger, amount, provider_id=provider_id)
        before = view_of(session, ledger, pool, name, unsettled(session, provider_id)).available_balance
        return BalanceChange(
            before=before, after=before + amount, needs_approval=limits.needs_approval(session, amount)
        )

    return consider(ledger, Action.RECHARGE, provider_id, look)


def recharge(
    ledger: Ledger, provider_id: str, amount: Decimal, *, reference: str, key: str | None = None, note: str = ""
) -> RechargeView | ApprovalView:
    """Pay `amount` yuan into a provider's pool, opening it if need be; alert and suspension are lifted at once.

    More than the limit `approval_above` becomes a request, which is returned, for another person to approve.

    The same key with the same content answers with the first result; with other content it raises Conflict.
    Raises InvalidInput for an amount that is not positive or finer than a cent and for a key that only reversals have,
    NotFound for an unknown provider, Refused beyond a limit.
    """
    check_amount(amount, places=RECHARGE_DECIMALS)
    wanted = Wanted(
        kind=ApprovalKind.RECHARGE,
        subject=provider_id,
        amount=amount,
        reference=storable(reference, "reference"),
        note=storable(note, "note", limit=1000, required=False),
        idempotency_key=new_key() if key is None else checked_key(key),
    )

    def work(session: Session, trail: Trail) -> RechargeView | ApprovalView:
        # Under the lock: who holds it now may be booking the same key.
        pool = lock_pool(session, provider_id)
        known = _known(session, ledger, wanted)
        if known is not None:
            return known
        require_room(pool, amount)
        limits.enforce(session, ledger, amount, provider_id=provider_id)
        if limits.needs_approval(session, amount):
            return ask(session, ledger, trail, wanted)
        return _book(session, ledger, trail, pool, wanted, ledger.operator)

    return change(ledger, Action.RECHARGE, provider_id, work, key=wanted.idempotency_key)


def reverse_recharge(
    ledger: Ledger, recharge_id: int, *, reason: str, overdraw: bool = False
) -> RechargeView | ApprovalView:
    """Take a recharge back by a new entry that names it, once.

    Raises NotFound for an unknown id, Conflict for one that is reversed or is a reversal itself, Refused where the
    money is already used; there, with `overdraw`, it becomes a request, which is returned, for another person to
    approve.
    """
    reason = storable(reason, "reason")

    def work(session: Session, trail: Trail) -> RechargeView | ApprovalView:
        original = require_recharge(session, recharge_id)
        pool = lock_pool(session, original.provider_id)
        wanted = _reversal_of(original, reason)
        require_reversible(session, original)
        left = _left_after(session, ledger, pool, original)
        if left < 0:
            if not overdraw:
                raise overdrawn(ledger, original, left)
            wanted = renewed(session, ledger, wanted)
            return waiting(session, ledger, wanted) or ask(session, ledger, trail, wanted)
        return _book(session, ledger, trail, pool, wanted, ledger.operator)

    def done(session: Session) -> RechargeView | None:
        entry = session.exec(select(Recharge).where(Recharge.reverses_id == recharge_id)).first()
        return _view(entry, None, None, replayed=True) if entry is not None and entry.reference == reason else None

    return change(ledger, Action.REVERSE, str(recharge_id), work, done=done)


def preview_reversal(ledger: Ledger, recharge_id: int, *, overdraw: bool = False) -> BalanceChange:
    """Return the available balance before and after a reversal, by the rules of `reverse_recharge`, writing nothing."""

    def look(session: Session) -> BalanceChange:
        original = require_recharge(session, recharge_id)
        pool = session.get_one(ResourcePool, original.provider_id)
        require_reversible(session, original)
        left = _left_after(session, ledger, pool, original)
        if left < 0 and not overdraw:
            raise overdrawn(ledger, original, left)
        return BalanceChange(before=left + original.amount, after=left, needs_approval=left < 0)

    return consider(ledger, Action.REVERSE, str(recharge_id), look)


def book_approved(session: Session, ledger: Ledger, trail: Trail, wanted: Wanted, operator: str) -> RechargeView:
    """Book a recharge or reversal that `operator` asked for and the actor approved, by the rules as they are now."""
    pool = lock_pool(session, wanted.subject)
    _require_bookable(session, ledger, pool, wanted, operator)
    return _book(session, ledger, trail, pool, wanted, operator)


def preview_approved(session: Session, ledger: Ledger, wanted: Wanted, operator: str) -> BalanceChange:
    """Return what `book_approved` would do to the available balance, by its rules, writing nothing."""
    name = require_provider(session, wanted.subject).name
    pool = session.get_one(ResourcePool, wanted.subject)
    _require_bookable(session, ledger, pool, wanted, operator)
    before = view_of(session, ledger, pool, name, unsettled(session, wanted.subject)).available_balance
    return BalanceChange(before=before, after=before + wanted.amount)


def _require_bookable(session: Session, ledger: Ledger, pool: ResourcePool, wanted: Wanted, operator: str) -> None:
    if wanted.reverses_id is None:
        require_room(pool, wanted.amount)
        limits.enforce(session, ledger, wanted.amount, operator=operator, provider_id=wanted.subject)
    else:
        require_reversible(session, require_recharge(session, wanted.reverses_id))


def _left_after(session: Session, ledger: Ledger, pool: ResourcePool, original: Recharge) -> Decimal:
    view = view_of(session, ledger, pool, "", unsettled(session, pool.provider_id))
    return view.available_balance - original.amount


def _reversal_of(original: Recharge, reason: str) -> Wanted:
    return Wanted(
        kind=ApprovalKind.REVERSAL,
        subject=original.provider_id,
        amount=-original.amount,
        reference=reason,
        note="",
        idempotency_key=f"{REVERSAL_KEY}{original.id}",
        reverses_id=original.id,
    )


def _book(
    session: Session, ledger: Ledger, trail: Trail, pool: ResourcePool, wanted: Wanted, operator: str
) -> RechargeView:
    """Write the entry, its effect on the pool and the check of the pool together."""
    now = ledger.clock()
    before = view_of(session, ledger, pool, "", unsettled(session, pool.provider_id))
    pool.total_balance += wanted.amount
    pool.opened_at = pool.opened_at or now
    if wanted.amount > 0:
        pool.last_recharge_at = now
    checked = apply_check(session, ledger, pool, trail)
    booked = Recharge(
        provider_id=wanted.subject,
        amount=wanted.amount,
        reference=wanted.reference,
        note=wanted.note,
        idempotency_key=wanted.idempotency_key,
        reverses_id=wanted.reverses_id,
        total_after=pool.total_balance,
        available_after=checked.pool.available_balance,
        operator=operator,
        created_at=now,
    )
    session.add(booked)
    session.flush()
    trail.note(
        {"availableBalance": before.available_balance, "status": before.status},
        {
            "availableBalance": checked.pool.available_balance,
            "status": checked.pool.status,
            "alert": checked.change or None,
            "recharge": booked.id,
            "amount": booked.amount,
            "reference": booked.reference,
            "operator": operator,
        },
    )
    trail.fact("recharges", row_of(booked))
    return _view(booked, None, None if operator == ledger.operator else ledger.operator, replayed=False)


def _known(session: Session, ledger: Ledger, wanted: Wanted) -> RechargeView | ApprovalView | None:
    """Return what this key stands for already, None if it is new."""
    earlier = session.exec(select(Recharge).where(Recharge.idempotency_key == wanted.idempotency_key)).first()
    return waiting(session, ledger, wanted) if earlier is None else _replay(session, earlier, wanted)


def _replay(session: Session, earlier: Recharge, wanted: Wanted) -> RechargeView:
    known = (earlier.provider_id, earlier.amount, earlier.reference, earlier.note, earlier.reverses_id)
    if known != (wanted.subject, wanted.amount, wanted.reference, wanted.note, wanted.reverses_id):
        raise Conflict(
            _("The key %(key)s already stands for another recharge: %(stored)s. This one is: %(asked)s.")
            % {"key": clean(earlier.idempotency_key), "stored": _content(earlier), "asked": _content(wanted)},
            _("Nothing was changed. Use a new key for another recharge."),
        )
    ((_entry, reversal, approver),) = session.exec(_with_others().where(col(Recharge.id) == earlier.id))
    return _view(earlier, reversal, approver, replayed=True)


def _with_others() -> Any:
    """Return a query of recharges, each with the reversal that names it and who approved it."""
    reversal = table_of(Recharge).alias("reversal")
    query = select(Recharge, reversal.c.id, APPROVER).select_from(Recharge)
    query = query.outerjoin(reversal, reversal.c.reverses_id == col(Recharge.id))
    return with_approver(query, col(Recharge.idempotency_key), (ApprovalKind.RECHARGE, ApprovalKind.REVERSAL))


def _content(entry: Recharge | Wanted) -> str:
    """Spell what a repeated key must agree in."""
    words = _("%(provider)s, %(amount)s, reference “%(reference)s”") % {
        "provider": clean(entry.provider_id if isinstance(entry, Recharge) else entry.subject),
        "amount": plain(entry.amount),
        "reference": clean(entry.reference),
    }
    return words + (_(", note “%(note)s”") % {"note": clean(entry.note)} if entry.note else "")


def recharge_history(
    ledger: Ledger, provider_id: str | None = None, *, limit: int | None = 100
) -> tuple[RechargeView, ...]:
    """List recharges and reversals, of one provider or all, newest first; raise NotFound for an unknown provider."""
    query = _with_others().order_by(col(Recharge.id).desc())
    with reading(ledger.database) as session:
        if provider_id is not None:
            require_provider(session, provider_id)
            query = query.where(Recharge.provider_id == provider_id)
        if limit is not None:
            query = query.limit(limit)
        return tuple(_view(*row, replayed=False) for row in session.exec(query))


def recharge_page(ledger: Ledger, provider_id: str | None = None, *, limit: int, offset: int = 0) -> Part[RechargeView]:
    """Return the entries after the first `offset` of `recharge_history`; raise NotFound for an unknown provider."""
    query = _with_others().order_by(col(Recharge.id).desc())
    with reading(ledger.database) as session:
        if provider_id is not None:
            require_provider(session, provider_id)
            query = query.where(Recharge.provider_id == provider_id)
        rows, total = part_of(session, query, limit, offset)
        return Part(tuple(_view(*row, replayed=False) for row in rows), total)


def reversal_of(ledger: Ledger, recharge_id: int) -> RechargeView | None:
    """Return the entry that took a recharge back, None where there is none."""
    query = _with_others().where(col(Recharge.reverses_id) == recharge_id)
    with reading(ledger.database) as session:
        row = session.exec(query).first()
        return None if row is None else _view(*row, replayed=True)


def _view(entry: Recharge, reversed_by_id: int | None, approved_by: str | None, *, replayed: bool) -> RechargeView:
    if entry.id is None:
        raise ValueError("a recharge has an id once it is stored")
    return RechargeView(
        id=entry.id,
        provider_id=entry.provider_id,
        amount=entry.amount,
        reference=entry.reference,
        note=entry.note,
        idempotency_key=entry.idempotency_key,
        reverses_id=entry.reverses_id,
        reversed_by_id=reversed_by_id,
        total_after=entry.total_after,
        available_before=entry.available_after - entry.amount,
        available_after=entry.available_after,
        operator=entry.operator,
        approved_by=approved_by,
        created_at=entry.created_at,
        replayed=replayed,
    )
