"""Periodic quotas: so much a day, week or month of the business time zone, for that period alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing_console.clock import day_of, iso, start_of
from billing_console.i18n import N_
from billing_console.services.quota_lots import Coming
from db.schema import PeriodicQuota
from db.values import Period

EVERY = {Period.DAY: N_("every day"), Period.WEEK: N_("every week"), Period.MONTH: N_("every month")}
"""How often a periodic quota is given, for people."""


def coming(periodic: PeriodicQuota, known: set[str], now: datetime, timezone: ZoneInfo) -> list[Coming]:
    """Return the grants up to `now` that a periodic quota has not given yet, whose keys are not among those `known`.

    The period in which it was set is given from then on; a period of which the key is known was given already.
    """
    found = []
    for start, end in periods(Period(periodic.period), periodic.created_at, now, timezone):
        key = f"period:{periodic.user_id}:{periodic.period}:{iso(start)}"
        if key not in known:
            found.append(Coming(key, max(start, periodic.created_at), periodic.amount, end))
    return found


def periods(
    period: Period, since: datetime, until: datetime, timezone: ZoneInfo
) -> Iterator[tuple[datetime, datetime]]:
    """Yield start and end of every period from the one that holds `since` to the one that holds `until`."""
    day = first_day(period, day_of(since, timezone))
    while start_of(day, timezone) <= until:
        after = next_first_day(period, day)
        yield start_of(day, timezone), start_of(after, timezone)
        day = after


def first_day(period: Period, day: date) -> date:
    """Return the first day of the period that a day is in; weeks begin on Monday."""
    if period is Period.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period is Period.MONTH else day


def next_first_day(period: Period, first: date) -> date:
    """Return the first day of the period after the one that begins with `first`."""
    if period is Period.MONTH:
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if period is Period.WEEK else 1)


def end_of_day(now: datetime, days: int, timezone: ZoneInfo) -> datetime:
    """Return the end of the business day so many days after today."""
    return start_of(day_of(now, timezone) + timedelta(days=days + 1), timezone)
