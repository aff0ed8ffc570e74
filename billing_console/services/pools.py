"""Resource pools: the prepaid balance at each provider, and the rule that says how full it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import case, func, or_, select
from sqlmodel import Session, col
from sqlmodel import select as select_model

from billing_console.errors import Conflict, InvalidInput, Refused
from billing_console.i18n import _
from billing_console.money import CENT, EXACT, percentage, plain
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.catalogue import BY_NAME, not_found, register_providers, require_provider
from billing_console.services.changes import change, require
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.text import clean, storable
from db.damage import DamagedBalance, require_sound
from db.schema import Provider, ResourcePool, UsageOutbox, UsageRecord
from db.statements import table_of
from db.types import Money
from db.values import BalanceStatus


@dataclass(frozen=True, slots=True)
class PoolView:
    """A provider's pool as it stands now, unsettled usage included; amounts in yuan, `low_threshold` in percent.

    `status` is None, and the amounts say nothing, for a provider that has no pool.
    """

    provider_id: str
    provider_name: str
    has_pool: bool
    total_balance: Decimal
    used_amount: Decimal
    available_balance: Decimal
    balance_percentage: Decimal
    status: BalanceStatus | None
    is_low_balance: bool
    low_threshold: Decimal
    suspended_at: datetime | None
    last_recharge_at: datetime | None
    last_check_at: datetime | None


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """What a money operation would change: the balance before and after, in yuan, and whether it must be approved."""

    before: Decimal
    after: Decimal
    needs_approval: bool = False


def status_of(available: Decimal, total: Decimal, low_threshold: Decimal) -> BalanceStatus:
    """Say how full a pool is by the table of DESIGN.md, section 5, comparing exactly, not by a rounded percentage."""
    if available <= 0:
        return BalanceStatus.DEPLETED
    if EXACT.multiply(available, Decimal(100)) < EXACT.multiply(total, low_threshold):
        return BalanceStatus.LOW
    return BalanceStatus.SUFFICIENT


def list_pools(ledger: Ledger, *, with_no_pool: bool = False) -> tuple[PoolView, ...]:
    """List the pools by provider name; with those providers that have none, if asked for."""
    query = select_model(ResourcePool, Provider.name).join(Provider).order_by(*BY_NAME)
    if not with_no_pool:
        query = query.where(col(ResourcePool.opened_at).is_not(None))
    with reading(ledger.database) as session:
        waiting = unsettled(session)
        return tuple(view_of(ledger, pool, name, waiting) for pool, name in session.exec(query))


def get_pool(ledger: Ledger, provider_id: str) -> PoolView:
    """Return one provider's pool; raise NotFound, with the nearest name, if there is no such provider."""
    with reading(ledger.database) as session:
        waiting = unsettled(session)
        name = require_provider(session, provider_id).name
        pool = session.get_one(ResourcePool, provider_id)
        return view_of(ledger, pool, name, waiting)


def open_pool(
    ledger: Ledger, provider_id: str, *, name: str | None = None, low_threshold: Decimal | None = None
) -> PoolView:
    """Give a provider, known or new, a pool with nothing in it; `low_threshold` in percent, None for the setting.

    Only an admin may give it a threshold of its own. Raises Conflict if it has a pool already.
    """
    provider_id = storable(provider_id, "providerId")
    name = None if name is None else storable(name, "name")
    if low_threshold is not None:
        check_threshold(low_threshold)

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
            trail.state("thresholds", provider_id, plain(low_threshold))
        return view_of(ledger, pool, provider.name, unsettled(session))

    return change(ledger, Action.POOL_OPEN, provider_id, work)


def set_threshold(ledger: Ledger, provider_id: str, low_threshold: Decimal | None) -> PoolView:
    """Set below which percentage a pool is low, None for the setting; the pool is checked at once.

    Raises NotFound for an unknown provider, Refused for one without a pool.
    """
    from billing_console.services.check import apply_check

    if low_threshold is not None:
        check_threshold(low_threshold)

    def work(session: Session, trail: Trail) -> PoolView:
        pool = lock_pool(session, provider_id)
        if pool.opened_at is None:
            raise no_pool(provider_id)
        before = pool.low_threshold
        pool.low_threshold = low_threshold
        checked = apply_check(session, ledger, pool, trail)
        if before != low_threshold or checked.change:
            trail.note(
                {"lowThreshold": before},
                {"lowThreshold": low_threshold, "status": checked.pool.status, "alert": checked.change or None},
            )
            trail.state("thresholds", provider_id, None if low_threshold is None else plain(low_threshold))
        return checked.pool

    return change(ledger, Action.POOL_THRESHOLD, provider_id, work)


def no_pool(provider_id: str) -> Refused:
    """Return the refusal of what only a provider with a pool can have."""
    return Refused(
        _("%(provider)s has no pool.") % {"provider": clean(provider_id)},
        _("Open one with: billing-console pools add %(provider)s") % {"provider": clean(provider_id)},
    )


def check_threshold(percent: Decimal) -> None:
    """Refuse a threshold that is not a percentage with at most two decimals."""
    if not (percent.is_finite() and 0 <= percent <= 100 and percent == percent.quantize(CENT, context=EXACT)):
        raise InvalidInput(
            _("The threshold must be between 0 and 100 percent, with at most two decimals."), field="lowThreshold"
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


def view_of(ledger: Ledger, pool: ResourcePool, name: str, waiting: dict[str, Decimal]) -> PoolView:
    """Copy a pool row into the frozen form that leaves the services, its unsettled usage taken into account."""
    used = pool.used_amount + waiting.get(pool.provider_id, Decimal(0))
    available = pool.total_balance - used
    threshold = ledger.low_threshold if pool.low_threshold is None else pool.low_threshold
    status = None if pool.opened_at is None else status_of(available, pool.total_balance, threshold)
    return PoolView(
        provider_id=pool.provider_id,
        provider_name=name,
        has_pool=pool.opened_at is not None,
        total_balance=pool.total_balance,
        used_amount=used,
        available_balance=available,
        balance_percentage=percentage(available, pool.total_balance),
        status=status,
        is_low_balance=status in (BalanceStatus.LOW, BalanceStatus.DEPLETED),
        low_threshold=threshold,
        suspended_at=pool.suspended_at,
        last_recharge_at=pool.last_recharge_at,
        last_check_at=pool.last_check_at,
    )
