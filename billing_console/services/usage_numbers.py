"""Numbered pages of usage records: how many there are in all, and where a page begins, without passing over the rest.

The daily statistics know how many records each day has, unless a user or a status is asked for; so a count adds up
days, and a page is looked for within its day alone. What waits in the outbox is in no statistic yet and is added. Where
the statistics do not know the filter, one pass over its index counts what each day of UTC has.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import Date, Select, Text, cast, func, select
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.services.catalogue import require_provider
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.services.usage_filter import Position, UsageFilter
from db.schema import DailyCostStat, UsageOutbox, UsageRecord
from db.statements import is_sqlite, table_of

RECORDS = table_of(UsageRecord)


@dataclass(frozen=True, slots=True)
class PlaceInUsage:
    """How many records match, and the cursor after which a page begins; None for the first page.

    `beyond` tells that there is no such page.
    """

    total: int
    after: str | None
    beyond: bool


def require_known(ledger: Ledger, provider_id: str) -> None:
    """Raise NotFound, with the nearest name, unless the ledger knows this provider."""
    with reading(ledger.database) as session:
        require_provider(session, provider_id)


def place_of(ledger: Ledger, chosen: UsageFilter, before: int) -> PlaceInUsage:
    """Count what matches, exactly, and find the place after the first `before` records, newest first."""
    by_day = chosen.user_id is None and chosen.status is None
    zone = ledger.timezone if by_day else UTC
    with reading(ledger.database) as session:
        if not by_day and before == 0:
            return PlaceInUsage(_counted(session, chosen), None, beyond=False)
        days = _days(session, ledger, chosen) if by_day else _days_of_utc(session, chosen)
        total = sum(days.values())
        if before == 0 or before >= total:
            return PlaceInUsage(total, None, beyond=before > 0)
        passed = 0
        for day in sorted(days, reverse=True):
            if passed + days[day] >= before:
                within = _within(zone, chosen, day)
                return PlaceInUsage(total, _cursor(session, within, before - passed, days[day]), beyond=False)
            passed += days[day]
    raise ValueError("the days of a count hold all that it counted")


def _days(session: Session, ledger: Ledger, chosen: UsageFilter) -> Counter[date]:
    """Count what matches by business day: whole days from the statistics, the ends of the range by their records."""
    stats = table_of(DailyCostStat).c
    query = select(stats.stat_date, func.sum(stats.call_count)).group_by(stats.stat_date)
    query = query.where(*chosen.on(stats, "provider_id", "model_id", "usage_type"))
    cut = _cut_days(ledger, chosen)
    if chosen.start is not None:
        query = query.where(stats.stat_date >= day_of(chosen.start, ledger.timezone))
    if chosen.end is not None:
        query = query.where(stats.stat_date <= day_of(chosen.end, ledger.timezone))
    counts: Counter[date] = Counter()
    for day, count in session.connection().execute(query):
        if day not in cut:
            counts[day] = int(count)
    outbox = table_of(UsageOutbox)
    waiting = _matching(select(RECORDS.c.created_at), chosen).where(RECORDS.c.id.in_(select(outbox.c.usage_id)))
    for (created_at,) in session.connection().execute(waiting):
        day = day_of(created_at, ledger.timezone)
        if day not in cut:
            counts[day] += 1
    for day in cut:
        counts[day] = _counted(session, _within(ledger.timezone, chosen, day))
    return counts


def _days_of_utc(session: Session, chosen: UsageFilter) -> dict[date, int]:
    """Count what matches by day of UTC, in which the records are stored."""
    created_at = RECORDS.c.created_at
    day = func.substr(created_at, 1, 10, type_=Text) if is_sqlite(session) else _utc_day(created_at)
    query = _matching(select(day.label("day"), func.count()), chosen).group_by("day")
    return {date.fromisoformat(str(day)): count for day, count in session.connection().execute(query)}


def _utc_day(created_at: Any) -> Any:
    return cast(func.timezone("UTC", created_at), Date)


def _cut_days(ledger: Ledger, chosen: UsageFilter) -> set[date]:
    """Return the days of which the range holds a part only."""
    edges = [edge for edge in (chosen.start, chosen.end) if edge is not None]
    days = {edge: day_of(edge, ledger.timezone) for edge in edges}
    cut = {day for edge, day in days.items() if start_of(day, ledger.timezone) != edge}
    # The end is excluded: a day that begins there holds nothing of the range.
    return cut | ({days[chosen.end]} if chosen.end is not None else set())


def _within(zone: tzinfo, chosen: UsageFilter, day: date) -> UsageFilter:
    """Return the part of the filter that lies in a day of a time zone."""
    first, last = start_of(day, zone), start_of(day + timedelta(days=1), zone)
    return replace(chosen, start=_later(chosen.start, first), end=_earlier(chosen.end, last))


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)


def _counted(session: Session, chosen: UsageFilter) -> int:
    return int(session.connection().execute(_matching(select(func.count()), chosen)).scalar_one())


def _cursor(session: Session, chosen: UsageFilter, number: int, count: int) -> str:
    """Return the cursor of the record with this number of `count`, from 1, newest first; found from the nearer end."""
    columns = RECORDS.c
    query = _matching(select(columns.created_at, columns.id), chosen)
    if number <= count // 2:
        query = query.order_by(columns.created_at.desc(), columns.id.desc()).offset(number - 1)
    else:
        query = query.order_by(columns.created_at, columns.id).offset(count - number)
    row = session.connection().execute(query.limit(1)).one()
    return Position(row.created_at, row.id).encode()


def _matching(query: Select[Any], chosen: UsageFilter) -> Select[Any]:
    conditions = chosen.on(RECORDS.c, "user_id", "provider_id", "model_id", "usage_type")
    query = query.select_from(RECORDS).where(*conditions)
    if chosen.status is not None:
        query = query.where(RECORDS.c.status == chosen.status.value)
    if chosen.start is not None:
        query = query.where(RECORDS.c.created_at >= chosen.start)
    return query if chosen.end is None else query.where(RECORDS.c.created_at < chosen.end)
