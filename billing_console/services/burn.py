"""How fast a pool is used and when it will be empty, from what its provider cost on each business day.

Costs come from `daily_cost_stats`, so recharges play no part. The burn of a weekday is the mean of that weekday over
the last 28 whole business days, or over as many as there are since the provider's first usage; fewer than 7 are not
enough to say anything. Running the balance down from now by these means tells when it will be empty, within a year.

The range is where about nine of ten outcomes lie if days keep scattering around their weekday's mean as they did: a sum
of n days estimated from N days of history is uncertain by 2·s·√(n + n²/N), s being the standard deviation of a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.money import NANO
from db.schema import DailyCostStat, Provider
from db.statements import table_of

WINDOW = 28
"""Days of history that count: four of each weekday."""

LEAST_DAYS = 7
"""Days of history below which nothing is said: one of each weekday."""

HORIZON = 365
"""Days ahead beyond which four weeks of history say nothing."""

SPREAD = Decimal(2)
"""Standard deviations on each side of the range."""


@dataclass(frozen=True, slots=True)
class History:
    """What a provider cost in yuan on each of the last whole business days, oldest first, up to yesterday."""

    today: date
    costs: tuple[Decimal, ...] = ()

    @property
    def is_enough(self) -> bool:
        """Tell whether a burn can be derived from it."""
        return len(self.costs) >= LEAST_DAYS


@dataclass(frozen=True, slots=True)
class Burn:
    """Yuan a day by weekday, Monday first; `scatter` is the standard deviation of a day, from `days` of history."""

    by_weekday: tuple[Decimal, ...]
    scatter: Decimal
    days: int

    @property
    def per_day(self) -> Decimal:
        """Return the mean of a week, in yuan a day."""
        return (sum(self.by_weekday, Decimal(0)) / 7).quantize(NANO)


@dataclass(frozen=True, slots=True)
class Emptying:
    """When a pool will be empty, to the hour, and the range; None where it is not within a year."""

    at: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None


def histories(session: Session, zone: ZoneInfo, now: datetime, provider_id: str | None = None) -> dict[str, History]:
    """Return the history of every provider that was used before today, or of one, as it is `now`."""
    today = day_of(now, zone)
    since = today - timedelta(days=WINDOW)
    stat, provider = table_of(DailyCostStat).c, table_of(Provider).c
    # Whether there is anything older is found on the oldest days, which is sooner than the first day of each.
    older = select(stat.stat_date).where(stat.provider_id == provider.provider_id, stat.stat_date < since).exists()
    known_before = select(provider.provider_id).where(older)
    days = select(stat.provider_id, stat.stat_date, func.sum(stat.total_cost))
    days = days.where(stat.stat_date >= since, stat.stat_date < today).group_by(stat.provider_id, stat.stat_date)
    if provider_id is not None:
        known_before = known_before.where(provider.provider_id == provider_id)
        days = days.where(stat.provider_id == provider_id)
    connection = session.connection()
    costs: dict[str, dict[date, Decimal]] = {one: {since: Decimal(0)} for one in connection.scalars(known_before)}
    for one, day, cost in connection.execute(days):
        costs.setdefault(one, {})[day] = cost
    return {one: history_of(by_day, today) for one, by_day in costs.items()}


def history_of(costs: Mapping[date, Decimal], today: date) -> History:
    """Cut the history as of `today` out of costs by business day, the first of which began it; days without are 0."""
    length = min(WINDOW, (today - min(costs, default=today)).days)
    days = (today - timedelta(days=ago) for ago in range(length, 0, -1))
    return History(today, tuple(costs.get(day, Decimal(0)) for day in days))


def burn_of(history: History) -> Burn | None:
    """Derive the burn, None from too short a history.

    Below two weeks a weekday has one day alone, so there the days scatter around the mean of all.
    """
    if not history.is_enough:
        return None
    weekdays = [(history.today - timedelta(days=ago)).weekday() for ago in range(len(history.costs), 0, -1)]
    by_weekday = tuple(
        _mean([cost for cost, on in zip(history.costs, weekdays, strict=True) if on == weekday]) for weekday in range(7)
    )
    one_mean = len(history.costs) < 2 * LEAST_DAYS
    expected = [_mean(history.costs) if one_mean else by_weekday[weekday] for weekday in weekdays]
    squares = [(cost - mean) ** 2 for cost, mean in zip(history.costs, expected, strict=True)]
    freedom = len(squares) - (1 if one_mean else 7)
    return Burn(by_weekday, (sum(squares, Decimal(0)) / freedom).sqrt(), len(squares))


def _mean(costs: list[Decimal] | tuple[Decimal, ...]) -> Decimal:
    return sum(costs, Decimal(0)) / len(costs)


@dataclass(frozen=True, slots=True)
class _Step:
    """A stretch of time within one business day, and what will have been used since now when it ends."""

    start: datetime
    end: datetime
    used: Decimal
    uncertain: Decimal


def _course(burn: Burn, now: datetime, until: datetime, zone: ZoneInfo) -> Iterator[_Step]:
    start, days, used = now, Decimal(0), Decimal(0)
    while start < until:
        day = day_of(start, zone)
        midnight = start_of(day + timedelta(days=1), zone)
        end = min(midnight, until)
        share = _ratio(end - start, midnight - start_of(day, zone))
        days += share
        used += burn.by_weekday[day.weekday()] * share
        yield _Step(start, end, used, SPREAD * burn.scatter * (days + days * days / burn.days).sqrt())
        start = end


def emptying(burn: Burn | None, available: Decimal, now: datetime, zone: ZoneInfo) -> Emptying:
    """Run `available` yuan down from the beginning of this hour; nothing is said of an empty pool or without a burn."""
    now = this_hour(now)
    found: dict[str, datetime] = {}
    if burn is None or available <= 0:
        return Emptying()
    before = dict.fromkeys(_BOUNDS, Decimal(0))
    for step in _course(burn, now, now + timedelta(days=HORIZON), zone):
        for name, side in _BOUNDS.items():
            used = step.used + side * step.uncertain
            if name not in found and used >= available:
                part = (available - before[name]) / (used - before[name])
                found[name] = this_hour(step.start + _part(step.end - step.start, part))
            before[name] = used
        if len(found) == len(_BOUNDS):
            break
    return Emptying(**found)


_BOUNDS = {"at": 0, "earliest": 1, "latest": -1}


def used_within(burn: Burn, days: int, now: datetime, zone: ZoneInfo) -> tuple[Decimal, Decimal]:
    """Return the yuan that `days` from now will use, as expected and at the upper end of the range."""
    now = this_hour(now)
    *_earlier, last = _course(burn, now, now + timedelta(days=days), zone)
    return last.used, last.used + last.uncertain


def this_hour(instant: datetime) -> datetime:
    """Return the beginning of an instant's hour: an estimate that moved every second would never be the same twice."""
    return instant.replace(minute=0, second=0, microsecond=0)


def _ratio(part: timedelta, whole: timedelta) -> Decimal:
    return Decimal(part // timedelta(seconds=1)) / Decimal(whole // timedelta(seconds=1))


def _part(whole: timedelta, part: Decimal) -> timedelta:
    return timedelta(seconds=int(whole // timedelta(seconds=1) * part))
