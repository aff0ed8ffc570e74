"""Resource pools: the prepaid balance at each provider, how full it is, and below what it is low."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import case, func, or_, select
from sqlmodel import Session, col
from sqlmodel import select as select_model

from billing_console.errors import Conflict, Refused
from billing_console.i18n import _
from billing_console.money import percentage, plain
from billing_console.services.actions import Action
from billing_console.services.audit import State, Trail
from billing_console.services.burn import History, burn_of, emptying, histories, this_hour
from billing_console.services.catalogue import BY_NAME, not_found, register_providers, require_provider
from billing_console.services.changes import change, require
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.services.thresholds import NewThresholds, Thresholds, check_thresholds, status_of
from billing_console.text import clean, storable
from db.damage import DamagedBalance, require_sound
from db.schema import Provider, ResourcePool, UsageOutbox, UsageRecord
from db.statements import table_of
from db.types import Money
from db.values import BalanceStatus, Threshold


@dataclass(frozen=True, slots=True)
class PoolView:
    """A provider's pool as it stands now, unsettled usage included; amounts in yuan, `low_threshold` in percent.

    `own_threshold` is the percentage set for this pool, None where that of the settings holds; `crossed` says which
    thresholds the balance is below. `status` is None, and the amounts say nothing, for a provider that has no pool.
    """

    provider_id: str
    provider_name: str
    has_pool: bool
    opened_at: datetime | None
    total_balance: Decimal
    used_amount: Decimal
    available_balance: Decimal
    balance_percentage: Decimal
    status: BalanceStatus | None
    is_low_balance: bool
    low_threshold: Decimal
    own_threshold: Decimal | None
    low_amount: Decimal | None
    low_days: int | None
    crossed: tuple[Threshold, ...]
    suspended_at: datetime | None
    last_recharge_at: datetime | None
    last_check_at: datetime | None


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """What a money operation would change: the balance before and after, in yuan, and whether it must be approved."""

    before: Decimal
    after: Decimal
    needs_approval: bool = False


def list_pools(ledger: Ledger, *, with_no_pool: bool = False) -> tuple[PoolView, ...]:
    """List the pools by provider name; with those providers that have none, if asked for."""
    with reading(ledger.database) as session:
        return pools_in(session, ledger, with_no_pool=with_no_pool)


def pools_in(session: Session, ledger: Ledger, *, with_no_pool: bool) -> tuple[PoolView, ...]:
    """Do the work of `list_pools` on what a session sees."""
    query = select_model(ResourcePool, Provider.name).join(Provider).order_by(*BY_NAME)
    if not with_no_pool:
        query = query.where(col(ResourcePool.opened_at).is_not(None))
    waiting = unsettled(session)
    return tuple(view_of(session, ledger, pool, name, waiting) for pool, name in session.exec(query))


def get_pool(ledger: Ledger, provider_id: str) -> PoolView:
    """Return one provider's pool; raise NotFound, with the nearest name, if there is no such provider."""
    with reading(ledger.database) as session:
        return pool_in(session, ledger, provider_id)


def pool_in(session: Session, ledger: Ledger, provider_id: str) -> PoolView:
    """Do the work of `get_pool` on what a session sees."""
    waiting = unsettled(session)
    name = require_provider(session, provider_id).name
    pool = session.get_one(ResourcePool, provider_id)
    return view_of(session, ledger, pool, name, waiting)


def open_pool(
    ledger: Ledger, provider_id: str, *, name: str | None = None, low_threshold: Decimal | None = None
) -> PoolView:
    """Give a provider, known or new, a pool with nothing in it; `low_threshold` in percent, None for the setting.

    Only an admin may give it a threshold of its own. Raises Conflict if it has a pool already.
    """
    provider_id = storable(provider_id, "providerId")
    name = None if name is None else storable(name, "name")
    check_thresholds({"percent": low_threshold})

    def work(session: Session, trail: Trail) -> PoolView:
        if low_threshold is not None:
            require(session, ledger, Action.POOL_THRESHOLD)
        register_providers(session, ledger, [provider_id])
        pool = lock_pool(session, provider_id)
        if pool.opened_at is not None:
            raise Conflict(_("%(provider)s already has a pool.") % {"provider": clean(provider_id)})
        pool.opened_at = ledger.clock()
        pool.low_threshold = low_threshold
        provider = session.get_one(Provider, provider_id)
        provider.name = name or provider.name
        session.flush()
        trail.note(None, {"name": provider.name, "lowThreshold": low_threshold})
        if low_threshold is not None:
            trail.state("thresholds", provider_id, _vouched(low_threshold))
        return view_of(session, ledger, pool, provider.name, unsettled(session))

    return change(ledger, Action.POOL_OPEN, provider_id, work)


THRESHOLDS: dict[Threshold, tuple[str, str, str]] = {
    Threshold.PERCENT: ("low_threshold", "lowThreshold", "thresholds"),
    Threshold.AMOUNT: ("low_amount", "lowAmount", "low_amounts"),
    Threshold.DAYS: ("low_days", "lowDays", "low_days"),
}
"""The column of each threshold, its field name, and the kind of decision that the audit log calls it."""


def set_thresholds(ledger: Ledger, provider_id: str, wanted: NewThresholds) -> PoolView:
    """Set below what a pool is low; what is not named stays as it is, and the pool is checked at once.

    Raises NotFound for an unknown provider, Refused for one without a pool, InvalidInput for values that are none.
    """
    from billing_console.services.check import apply_check

    check_thresholds(wanted)

    def work(session: Session, trail: Trail) -> PoolView:
        pool = lock_pool(session, provider_id)
        if pool.opened_at is None:
            raise no_pool(provider_id)
        before, after = {}, {}
        for kind, (column, name, decision) in THRESHOLDS.items():
            if kind.value in wanted:
                before[name], after[name] = getattr(pool, column), wanted[kind.value]
                setattr(pool, column, after[name])
                if before[name] != after[name]:
                    trail.state(decision, provider_id, _vouched(after[name]))
        checked = apply_check(session, ledger, pool, trail)
        if before != after or checked.change:
            trail.note(before, after | {"status": checked.pool.status, "alert": checked.change or None})
        return checked.pool

    return change(ledger, Action.POOL_THRESHOLD, provider_id, work)


def threshold_states(session: Session, kind: Threshold) -> dict[str, State]:
    """Return the thresholds of one kind that people set, by provider, as the audit log spells them."""
    pools = table_of(ResourcePool).c
    column = pools[THRESHOLDS[kind][0]]
    query = select(pools.provider_id, column).where(column.is_not(None))
    return {provider: _vouched(value) for provider, value in session.connection().execute(query)}


def _vouched(value: Decimal | int | None) -> State:
    return plain(value) if isinstance(value, Decimal) else None if value is None else str(value)


def no_pool(provider_id: str) -> Refused:
    """Return the refusal of what only a provider with a pool can have."""
    return Refused(
        _("%(provider)s has no pool.") % {"provider": clean(provider_id)},
        _("Open one with: billing-console pools add %(provider)s") % {"provider": clean(provider_id)},
    )


def lock_pool(session: Session, provider_id: str) -> ResourcePool:
    """Return a provider's pool row, locked until the transaction ends; raise NotFound for an unknown provider."""
    query = select_model(ResourcePool).where(ResourcePool.provider_id == provider_id)
    pool = session.exec(query.with_for_update().execution_options(populate_existing=True)).first()
    if pool is None:
        known = list(session.exec(select_model(Provider.provider_id)))
        raise not_found(_("provider"), provider_id, known, _("Add it with: billing-console pools add PROVIDER"))
    return pool


def unsettled(session: Session, provider_id: str | None = None) -> dict[str, Decimal]:
    """Return the yuan by provider that others recorded but no counter holds yet.

    Every balance of a pool needs it, so here the tables that make it up are looked at for damage, and each call that
    waits is compared with what its entry in the outbox says of it. Raises DamagedFile and DamagedBalance.
    """
    require_sound(session, Provider, ResourcePool, UsageOutbox)
    records, outbox = table_of(UsageRecord), table_of(UsageOutbox)
    changed = or_(
        outbox.c.usage_check != -outbox.c.usage_id,
        outbox.c.provider_check != func.coalesce(records.c.provider_id, ""),
        outbox.c.cost_check != -func.coalesce(records.c.cost_amount, Decimal(-1), type_=Money),
    )
    query = (
        select(records.c.provider_id, func.sum(records.c.cost_amount), func.max(case((changed, 1), else_=0)))
        .select_from(outbox.outerjoin(records, outbox.c.usage_id == records.c.id))
        .group_by(records.c.provider_id)
    )
    rows = session.connection().execute(query).all()
    for provider, _cost, damaged in rows:
        if damaged:
            raise DamagedBalance(provider or "usage_outbox")
    return {provider: cost for provider, cost, _damaged in rows if cost is not None and provider_id in (None, provider)}


def thresholds_of(ledger: Ledger, pool: Any) -> Thresholds:
    """Return the thresholds in force for a pool, given as its row."""
    percent = ledger.low_threshold if pool.low_threshold is None else pool.low_threshold
    return Thresholds(percent, pool.low_amount, pool.low_days)


def view_of(session: Session, ledger: Ledger, pool: ResourcePool, name: str, waiting: dict[str, Decimal]) -> PoolView:
    """Copy a pool row into the frozen form that leaves the services, its unsettled usage taken into account."""
    used = pool.used_amount + waiting.get(pool.provider_id, Decimal(0))
    available = pool.total_balance - used
    low = thresholds_of(ledger, pool)
    lasts = None if pool.opened_at is None or low.days is None else _lasts(session, ledger, pool.provider_id, available)
    status = None if pool.opened_at is None else status_of(available, pool.total_balance, low, lasts)
    return PoolView(
        provider_id=pool.provider_id,
        provider_name=name,
        has_pool=pool.opened_at is not None,
        opened_at=pool.opened_at,
        total_balance=pool.total_balance,
        used_amount=used,
        available_balance=available,
        balance_percentage=percentage(available, pool.total_balance),
        status=status,
        is_low_balance=status in (BalanceStatus.LOW, BalanceStatus.DEPLETED),
        low_threshold=low.percent,
        own_threshold=pool.low_threshold,
        low_amount=low.amount,
        low_days=low.days,
        crossed=() if status is None else low.crossed(available, pool.total_balance, lasts),
        suspended_at=pool.suspended_at,
        last_recharge_at=pool.last_recharge_at,
        last_check_at=pool.last_check_at,
    )


def _lasts(session: Session, ledger: Ledger, provider_id: str, available: Decimal) -> timedelta | None:
    now = ledger.clock()
    found = histories(session, ledger.timezone, now, provider_id).get(provider_id)
    return None if found is None else lasting(found, available, now, ledger.timezone)


def lasting(history: History, available: Decimal, now: datetime, zone: ZoneInfo) -> timedelta | None:
    """Return how long a balance lasts from `now` on; None where that is not known, or is more than a year."""
    at = emptying(burn_of(history), available, now, zone).at
    return None if at is None else at - this_hour(now)
