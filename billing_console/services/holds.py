"""Holds: what a call may cost is set aside before it is made, so that calls at once cannot overdraw a quota."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import delete, func, select, tuple_
from sqlmodel import Session, col

from billing_console.errors import Conflict, InvalidInput, Refused
from billing_console.i18n import _
from billing_console.money import EXACT, LEDGER_LIMIT, NANO, shown_exact
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.metering import NewUsage, RecordResult, record_usage_in
from billing_console.services.quota_due import due_amount
from billing_console.text import clean, storable
from db.schema import Hold, Model, ResourcePool, UsageOutbox, UsageRecord, UserQuota
from db.statements import insert, table_of
from db.values import UsageType

LASTS = timedelta(minutes=10)
"""A call that is not recorded by then holds nothing any more."""


class QuotaExceeded(Refused):
    """The user has not so much quota left."""


class ModelDisabled(Refused):
    """A person disabled the model."""


class PoolDepleted(Refused):
    """The provider's pool is used up."""


@dataclass(slots=True)
class NewHold:
    """A call that somebody wants to make, and what it may cost at most, in yuan."""

    request_id: str
    user_id: str
    provider_id: str
    model_id: str
    usage_type: UsageType
    estimated_cost: Decimal

    def validate(self) -> None:
        """Trim the ids; raise InvalidInput, naming the field, for what cannot be held."""
        self.request_id = storable(self.request_id, "requestId")
        self.user_id = storable(self.user_id, "userId")
        self.provider_id = storable(self.provider_id, "providerId")
        self.model_id = storable(self.model_id, "modelId")
        cost = self.estimated_cost
        exact = cost.is_finite() and 0 <= cost <= LEDGER_LIMIT and cost == cost.quantize(NANO, context=EXACT)
        if not exact:
            words = _("estimatedCost must be 0 or more, with at most 9 decimals.")
            raise InvalidInput(words, field="estimatedCost")


@dataclass(frozen=True, slots=True)
class HoldView:
    """What is set aside for a call; `remaining` is what the user may still spend then, None without a limit."""

    request_id: str
    provider_id: str
    user_id: str
    amount: Decimal
    remaining: Decimal | None
    expires_at: datetime
    replayed: bool


def authorize(ledger: Ledger, wanted: NewHold) -> HoldView:
    """Set aside what a call may cost; the same call again answers with the hold it has.

    Raises QuotaExceeded, ModelDisabled or PoolDepleted where the call must not be made, Conflict for a request id that
    stands for another call or one that was recorded already.
    """
    wanted.validate()

    def work(session: Session, _trail: Trail) -> HoldView:
        now = ledger.clock()
        # All that could change what the user has left waits for this row.
        quota = _locked(session, wanted.user_id, now)
        session.execute(delete(Hold).where(col(Hold.user_id) == wanted.user_id, col(Hold.expires_at) <= now))
        left = _left(session, ledger, quota)
        known = _known(session, wanted, now)
        if known is None:
            _require_callable(session, wanted)
            if left is None and ledger.require_quota:
                raise QuotaExceeded(_("%(user)s has no quota.") % {"user": clean(wanted.user_id)})
            if left is not None and (left <= 0 or left < wanted.estimated_cost):
                raise _exceeded(ledger, wanted, left)
            hold = _hold(wanted, now + LASTS)
            session.add(hold)
            session.flush()
            left = None if left is None else left - hold.amount
        else:
            hold = known
        return HoldView(
            request_id=hold.request_id,
            provider_id=hold.provider_id,
            user_id=hold.user_id,
            amount=hold.amount,
            remaining=left,
            expires_at=hold.expires_at,
            replayed=known is not None,
        )

    return change(ledger, Action.METER, wanted.user_id, work, audit_refusal=False)


def record_and_settle(ledger: Ledger, records: Sequence[NewUsage]) -> RecordResult:
    """Record calls as `record_usage` does, and end their holds in the same transaction."""
    for record in records:
        record.validate()
    keys = sorted({(record.provider_id, record.request_id) for record in records})

    def work(session: Session, trail: Trail) -> RecordResult:
        result = record_usage_in(session, ledger, trail, records)
        # After the counting, which locks the users: `authorize` takes both in that order.
        session.execute(delete(Hold).where(tuple_(col(Hold.provider_id), col(Hold.request_id)).in_(keys)))
        if result.recorded:
            trail.note(None, {"recorded": result.recorded, "unpriced": result.unpriced})
        return result

    return change(ledger, Action.METER, "", work)


def _locked(session: Session, user_id: str, now: datetime) -> UserQuota:
    row = {"user_id": user_id, "used_amount": 0, "created_at": now, "updated_at": now}
    session.execute(insert(session, UserQuota).on_conflict_do_nothing(), [row])
    return session.get_one(UserQuota, user_id, with_for_update=True, populate_existing=True)


def _left(session: Session, ledger: Ledger, quota: UserQuota) -> Decimal | None:
    """Return what the user may still spend: calls under way and calls that no counter holds yet are taken off.

    What has expired, and what a new period gives, counts from its instant on, also before a timer books it.
    """
    if quota.granted_amount is None:
        return None
    holds, records, outbox = table_of(Hold).c, table_of(UsageRecord).c, table_of(UsageOutbox).c
    held = select(func.sum(holds.amount)).where(holds.user_id == quota.user_id)
    waiting = select(func.sum(records.cost_amount)).where(
        records.id.in_(select(outbox.usage_id)), records.user_id == quota.user_id
    )
    taken = [session.connection().execute(query).scalar_one() or Decimal(0) for query in (held, waiting)]
    return quota.granted_amount + due_amount(session, ledger, quota) - quota.used_amount - sum(taken)


def _known(session: Session, wanted: NewHold, now: datetime) -> Hold | None:
    """Return the hold that this very call has."""
    hold = session.get(Hold, (wanted.provider_id, wanted.request_id))
    if hold is not None and hold.expires_at <= now:
        session.delete(hold)
        session.flush()
        hold = None
    if hold is not None:
        asked = _hold(wanted, hold.expires_at)
        if hold.model_dump() != asked.model_dump():
            raise Conflict(_("The request id %(id)s holds quota for another call.") % {"id": clean(wanted.request_id)})
        return hold
    records = table_of(UsageRecord).c
    recorded = select(records.id).where(
        records.provider_id == wanted.provider_id, records.request_id == wanted.request_id
    )
    if session.connection().execute(recorded).first() is not None:
        raise Conflict(_("The call %(id)s was recorded already.") % {"id": clean(wanted.request_id)})
    return None


def _hold(wanted: NewHold, expires_at: datetime) -> Hold:
    return Hold(
        provider_id=wanted.provider_id,
        request_id=wanted.request_id,
        user_id=wanted.user_id,
        model_id=wanted.model_id,
        usage_type=wanted.usage_type.value,
        amount=wanted.estimated_cost,
        expires_at=expires_at,
    )


def _require_callable(session: Session, wanted: NewHold) -> None:
    """Refuse a model that a person disabled or a pool that is used up; what nobody has seen yet may be called."""
    names = {"provider": clean(wanted.provider_id), "model": clean(wanted.model_id)}
    model = session.get(Model, (wanted.provider_id, wanted.model_id))
    if model is not None and model.disabled_at is not None:
        raise ModelDisabled(_("%(model)s of %(provider)s is disabled.") % names)
    pool = session.get(ResourcePool, wanted.provider_id)
    if pool is None or pool.opened_at is None:
        return
    if pool.suspended_at is not None or pool.total_balance <= pool.used_amount:
        raise PoolDepleted(_("The pool of %(provider)s is used up.") % names)


def _exceeded(ledger: Ledger, wanted: NewHold, left: Decimal) -> QuotaExceeded:
    return QuotaExceeded(
        _("%(user)s has %(left)s left, and the call may cost %(cost)s.")
        % {
            "user": clean(wanted.user_id),
            "left": shown_exact(left, symbol=ledger.symbol),
            "cost": shown_exact(wanted.estimated_cost, symbol=ledger.symbol),
        }
    )
