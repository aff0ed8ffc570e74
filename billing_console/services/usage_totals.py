"""What the records of a filter add up to: at once where that is cheap, else at least so much, or step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import case, func, select
from sqlmodel import Session, SQLModel

from billing_console import clock
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.services.usage_filter import UsageFilter
from billing_console.services.usage_query import UsageSql
from db.schema import ArchivedStat, DailyCostStat, UsageRecord
from db.statements import table_of
from db.types import Money
from db.values import CallStatus, UsageType

COUNT_CAP = 2_500
"""Records looked at at the most, in each range that no daily statistic answers, by `usage_totals`."""

STEPS = 50
"""Steps in which `count_usage` goes through a time."""


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Totals of a filter, `tokens` of text only, cost in yuan; `capped` means that there is at least so much."""

    calls: int = 0
    failures: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)
    capped: bool = False

    def __add__(self, other: UsageTotals) -> UsageTotals:
        """Add up two parts of a filter."""
        return UsageTotals(
            self.calls + other.calls,
            self.failures + other.failures,
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.capped or other.capped,
        )

    def __neg__(self) -> UsageTotals:
        """Take a part of a filter off."""
        return UsageTotals(-self.calls, -self.failures, -self.tokens, -self.cost)


def usage_totals(ledger: Ledger, chosen: UsageFilter) -> UsageTotals:
    """Add up a filter: whole days from the daily statistics where they know, other ranges up to 2,500 records each."""
    with reading(ledger.database) as session:
        days, ranges = _split(ledger, chosen)
        totals = _of_days(session, ledger, days) if days is not None else UsageTotals()
        for part in ranges:
            totals += _of_records(session, part, COUNT_CAP)
    return totals


def count_usage(ledger: Ledger, chosen: UsageFilter) -> Iterator[UsageTotals]:
    """Add up every record of a filter in steps; all totals yielded but the last are `capped`."""
    days, ranges = _split(ledger, chosen)
    totals = UsageTotals()
    if days is not None:
        with reading(ledger.database) as session:
            totals = _of_days(session, ledger, days)
    for part in ranges:
        for step in _steps(ledger, part):
            yield replace(totals, capped=True)
            with reading(ledger.database) as session:
                totals += _of_records(session, step, None)
    yield totals


def _split(ledger: Ledger, chosen: UsageFilter) -> tuple[UsageFilter | None, tuple[UsageFilter, ...]]:
    """Return the whole days that the statistics answer, if any, and the ranges of records that remain."""
    if chosen.user_id is not None or chosen.status is not None:
        return None, (chosen,)
    zone, start, end = ledger.timezone, chosen.start, chosen.end
    try:
        begin = None if start is None else _midnight_from(start, zone)
    except OverflowError:  # after the last day that Python counts
        return None, (chosen,)
    stop = None if end is None else clock.start_of(clock.day_of(end, zone), zone)
    if begin is not None and stop is not None and begin > stop:
        return None, (chosen,)
    ranges = []
    if start is not None and begin is not None and start < begin:
        ranges.append(replace(chosen, end=begin))
    if end is not None and stop is not None and stop < end:
        ranges.append(replace(chosen, start=stop))
    return replace(chosen, start=begin, end=stop), tuple(ranges)


def _midnight_from(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant itself if a business day begins with it, else the beginning of the next."""
    midnight = clock.start_of(clock.day_of(instant, zone), zone)
    if midnight == instant:
        return instant
    return clock.start_of(clock.day_of(midnight, zone) + timedelta(days=1), zone)


def _steps(ledger: Ledger, chosen: UsageFilter) -> Iterator[UsageFilter]:
    """Cut a filter into pieces that are one range of one index each: by model, or where that is one already by time."""
    with reading(ledger.database) as session:
        pairs = UsageSql(session, chosen).pairs()
    if pairs is None:
        yield from _spans(ledger, chosen)
        return
    others = chosen.negated - {"provider_id", "model_id"}
    for provider, model in pairs:
        yield replace(chosen, provider_id=provider, model_id=model, negated=others)


def _spans(ledger: Ledger, chosen: UsageFilter) -> Iterator[UsageFilter]:
    """Cut the time of a filter into pieces of equal length, newest first; the outer ones stay open as they were."""
    created_at = table_of(UsageRecord).c.created_at
    with reading(ledger.database) as session:
        run = session.connection().execute
        oldest = run(select(created_at).order_by(created_at).limit(1)).scalar()
        newest = run(select(created_at).order_by(created_at.desc()).limit(1)).scalar()
    if oldest is None or newest is None:
        return
    first, last = max(oldest, chosen.start or oldest), min(newest, chosen.end or newest)
    length = max((last - first) / STEPS, timedelta(seconds=1))
    end: datetime | None = chosen.end
    for number in range(STEPS - 1, 0, -1):
        edge = first + number * length
        if edge < last:
            yield replace(chosen, start=edge, end=end)
            end = edge
    yield replace(chosen, end=end)


_SUMS = (
    f"count(*), coalesce(sum(CASE WHEN status = '{CallStatus.FAILED}' THEN 1 ELSE 0 END), 0),"
    " coalesce(sum(tokens), 0), coalesce(sum(cost_amount), 0)"
)
_COUNTED = (
    f"status, cost_amount, CASE WHEN usage_type <> '{UsageType.TEXT_GENERATION}' THEN 0"
    " WHEN total_tokens = 0 THEN input_tokens + output_tokens ELSE total_tokens END AS tokens"
)


def _of_records(session: Session, chosen: UsageFilter, most: int | None) -> UsageTotals:
    most_seen = None if most is None else most + 1
    calls, failures, tokens, cost = UsageSql(session, chosen).sums(_SUMS, _COUNTED, most_seen)
    capped = most is not None and calls > most
    calls -= capped
    return UsageTotals(calls, min(int(failures), calls), int(tokens), Money().loaded(cost), capped)


def _of_days(session: Session, ledger: Ledger, chosen: UsageFilter) -> UsageTotals:
    """Add up whole days by their statistics, without what these say of records that were moved to an archive."""
    return _of_stats(session, ledger, chosen, DailyCostStat) + -_of_stats(session, ledger, chosen, ArchivedStat)


def _of_stats(session: Session, ledger: Ledger, chosen: UsageFilter, model: type[SQLModel]) -> UsageTotals:
    stats = table_of(model).c
    text_usage = case((stats.usage_type == UsageType.TEXT_GENERATION.value, stats.total_usage), else_=None)
    query = select(
        func.sum(stats.call_count), func.sum(stats.failed_count), func.sum(text_usage), func.sum(stats.total_cost)
    ).where(*chosen.on(stats, "provider_id", "model_id", "usage_type"))
    if chosen.start is not None:
        query = query.where(stats.stat_date >= clock.day_of(chosen.start, ledger.timezone))
    if chosen.end is not None:
        query = query.where(stats.stat_date < clock.day_of(chosen.end, ledger.timezone))
    calls, failures, usage, cost = session.connection().execute(query).one()
    return UsageTotals(int(calls or 0), int(failures or 0), int(usage or 0), cost or Decimal(0))
