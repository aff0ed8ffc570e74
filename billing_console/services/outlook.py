"""The outlook of a pool: what it burns a day, when it will be empty, how its level went, what to recharge."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal

from sqlalchemy import func, select
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.services.burn import (
    HORIZON,
    Burn,
    Emptying,
    History,
    burn_of,
    emptying,
    histories,
    this_hour,
    used_within,
)
from billing_console.services.ledger import Ledger
from billing_console.services.pools import PoolView, pool_in, pools_in, unsettled
from billing_console.services.session import reading
from db.schema import DailyCostStat, Recharge
from db.statements import table_of

LEVEL_DAYS = 30
"""Business days of the level history, today included."""


@dataclass(frozen=True, slots=True)
class PoolOutlook:
    """A pool and where it is heading, as of the beginning of this hour (`as_of`).

    `burn_per_day` in yuan, None from less than 7 of `history_days`. `levels` is the available balance in yuan at the
    end of each business day since the pool was opened, oldest first, today's as it is now.
    """

    pool: PoolView
    as_of: datetime
    history_days: int
    burn_per_day: Decimal | None
    empty: Emptying
    levels: tuple[tuple[date, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to recharge so that a pool lasts `days` from now, in whole yuan, 0 for nothing; None without history.

    `expected` goes by the burn, `at_most` by the upper end of its range.
    """

    days: int
    expected: Decimal | None
    at_most: Decimal | None


def list_outlooks(ledger: Ledger, *, with_no_pool: bool = False) -> tuple[PoolOutlook, ...]:
    """List the pools with their outlook by provider name; with those providers that have none, if asked for."""
    with reading(ledger.database) as session:
        return _outlooks(session, ledger, pools_in(session, ledger, with_no_pool=with_no_pool))


def get_outlook(ledger: Ledger, provider_id: str) -> PoolOutlook:
    """Return one pool with its outlook; raise NotFound, with the nearest name, if there is no such provider."""
    with reading(ledger.database) as session:
        return _outlooks(session, ledger, (pool_in(session, ledger, provider_id),))[0]


def suggest(ledger: Ledger, provider_id: str, *days: int) -> tuple[Suggestion, ...]:
    """Say what to recharge so that a pool lasts so many days, or so many; raise NotFound for an unknown provider."""
    if not all(1 <= number <= HORIZON for number in days):
        raise InvalidInput(_("The days must be between 1 and %(most)d.") % {"most": HORIZON}, field="days")
    pool, burn = _burning(ledger, provider_id)
    found = []
    for number in days:
        if burn is None:
            found.append(Suggestion(number, None, None))
            continue
        expected, at_most = used_within(burn, number, ledger.clock(), ledger.timezone)
        found.append(Suggestion(number, _missing(expected, pool), _missing(at_most, pool)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Lasting:
    """When a pool will be empty as it is, and with more in it; as of the beginning of this hour."""

    as_of: datetime
    before: Emptying
    after: Emptying


def lasting_with(ledger: Ledger, provider_id: str, amount: Decimal) -> Lasting | None:
    """Compare a pool as it is with one that holds `amount` yuan more; None without enough history."""
    pool, burn = _burning(ledger, provider_id)
    if burn is None:
        return None
    available, now, zone = pool.available_balance, ledger.clock(), ledger.timezone
    before, after = (emptying(burn, balance, now, zone) for balance in (available, available + amount))
    return Lasting(this_hour(now), before, after)


def _burning(ledger: Ledger, provider_id: str) -> tuple[PoolView, Burn | None]:
    now = ledger.clock()
    with reading(ledger.database) as session:
        pool = pool_in(session, ledger, provider_id)
        found = histories(session, ledger.timezone, now, provider_id).get(provider_id)
    return pool, None if found is None else burn_of(found)


def _missing(used: Decimal, pool: PoolView) -> Decimal:
    return max(Decimal(0), (used - pool.available_balance).to_integral_value(ROUND_CEILING))


def _outlooks(session: Session, ledger: Ledger, pools: tuple[PoolView, ...]) -> tuple[PoolOutlook, ...]:
    now, zone = ledger.clock(), ledger.timezone
    only = pools[0].provider_id if len(pools) == 1 else None
    known = histories(session, zone, now, only)
    changes = _changes(session, ledger, now, only)
    found = []
    for pool in pools:
        history = known.get(pool.provider_id, History(day_of(now, zone)))
        burn = burn_of(history)
        found.append(
            PoolOutlook(
                pool=pool,
                as_of=this_hour(now),
                history_days=len(history.costs),
                burn_per_day=None if burn is None else burn.per_day,
                empty=emptying(burn if pool.has_pool else None, pool.available_balance, now, zone),
                levels=_levels(pool, changes.get(pool.provider_id, {}), ledger, now),
            )
        )
    return tuple(found)


def _changes(
    session: Session, ledger: Ledger, now: datetime, provider_id: str | None
) -> dict[str, dict[date, Decimal]]:
    """Return by how much usage and recharges of the last days changed each balance; what is not settled is today's."""
    today = day_of(now, ledger.timezone)
    since = today - timedelta(days=LEVEL_DAYS)
    stats, paid = table_of(DailyCostStat).c, table_of(Recharge).c
    costs = select(stats.provider_id, stats.stat_date, func.sum(stats.total_cost)).where(stats.stat_date >= since)
    costs = costs.group_by(stats.provider_id, stats.stat_date)
    recharges = select(paid.provider_id, paid.created_at, paid.amount)
    recharges = recharges.where(paid.created_at >= start_of(since, ledger.timezone))
    if provider_id is not None:
        costs, recharges = (
            costs.where(stats.provider_id == provider_id),
            recharges.where(paid.provider_id == provider_id),
        )
    changes: dict[str, dict[date, Decimal]] = {}

    def add(provider: str, day: date, amount: Decimal) -> None:
        by_day = changes.setdefault(provider, {})
        by_day[min(day, today)] = by_day.get(min(day, today), Decimal(0)) + amount

    for provider, waiting in unsettled(session, provider_id).items():
        add(provider, today, -waiting)
    for provider, day, cost in session.connection().execute(costs):
        add(provider, day, -cost)
    for provider, at, amount in session.connection().execute(recharges):
        add(provider, day_of(at, ledger.timezone), amount)
    return changes


def _levels(
    pool: PoolView, changes: dict[date, Decimal], ledger: Ledger, now: datetime
) -> tuple[tuple[date, Decimal], ...]:
    """Walk back from today's balance; before it was opened there was no pool to have a level."""
    if pool.opened_at is None:
        return ()
    day, level = day_of(now, ledger.timezone), pool.available_balance
    first = max(day - timedelta(days=LEVEL_DAYS - 1), min(day, day_of(pool.opened_at, ledger.timezone)))
    levels = []
    while day >= first:
        levels.append((day, level))
        level -= changes.get(day, Decimal(0))
        day -= timedelta(days=1)
    return tuple(reversed(levels))
