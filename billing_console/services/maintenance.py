"""Keep the usage records of a ledger on PostgreSQL in monthly partitions, made before their month begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.errors import NotPermitted
from billing_console.i18n import _
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from db.partitions import (
    PREFIX,
    Partition,
    may_make_partitions,
    newest,
    partitions,
    split_before,
    split_later,
    split_whole,
)
from db.schema import UsageRecord
from db.statements import table_of

AHEAD = 2
"""Months after this one that have their partition already."""

PATIENCE_SECONDS = 3
"""How long a partition waits to be attached: those who come meanwhile wait behind it."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """The first days of the months that got a partition, and of those that share one, since records came before it."""

    made: tuple[date, ...]
    late: tuple[date, ...]


NOTHING = Maintained((), ())


def maintain(ledger: Ledger, since: date | None = None) -> Maintained:
    """Make the partitions that are missing, of this month and the next two, and of all from the month of `since` on.

    Does nothing on SQLite, where all usage is in one table. A record needs no partition of its month: those of all
    earlier and all later times take it. Raises NotPermitted for a database role that does not own the tables, and
    Unavailable where others use them for too long.
    """

    def work(session: Session, trail: Trail) -> Maintained:
        if ledger.database.is_sqlite or not _is_missing(session, ledger, since):
            return NOTHING
        if not may_make_partitions(session):
            raise NotPermitted(
                _("This role of the database does not own the tables; nothing was changed."),
                _("Run maintain with the role that ran init."),
            )
        session.connection().execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'"))
        # Before the newest record is looked for: who writes meanwhile must not put in another.
        session.connection().execute(text("LOCK TABLE usage_records IN ACCESS EXCLUSIVE MODE"))
        done = make_partitions(session, ledger.timezone, ledger.clock(), since)
        if done.made:
            trail.note(None, {"partitions": [_spelled(month) for month in done.made]})
        return done

    return change(ledger, Action.MAINTAIN, "", work)


def missing(ledger: Ledger, since: date | None = None) -> tuple[date, ...]:
    """Return the first days of the months that `maintain` would care for now."""
    if ledger.database.is_sqlite:
        return ()
    with reading(ledger.database) as session:
        known, zone = partitions(session), ledger.timezone
    before, later = known[0].end, known[-1].start
    assert before is not None and later is not None
    back = () if since is None else _months(since, _previous(day_of(before, zone)))
    return (*back, *_months(day_of(later, zone), _last(ledger.clock(), zone)))


def is_due(ledger: Ledger) -> bool:
    """Tell whether a partition of this month or the next two is missing and can be made by this role."""
    if ledger.database.is_sqlite:
        return False
    with reading(ledger.database) as session:
        return _is_missing(session, ledger, None) and may_make_partitions(session)


def make_partitions(session: Session, zone: ZoneInfo, now: datetime, since: date | None = None) -> Maintained:
    """Make the partitions of this month and the next two, and of all from the month of `since` on, where missing."""
    if partitions(session)[0].end is None:
        split_whole(session, start_of(day_of(now, zone).replace(day=1), zone))
    ahead = _make_later(session, zone, now)
    back = NOTHING if since is None else _make_before(session, zone, since)
    return Maintained(back.made + ahead.made, back.late + ahead.late)


def _make_later(session: Session, zone: ZoneInfo, now: datetime) -> Maintained:
    later = partitions(session)[-1]
    assert later.start is not None
    months = _months(day_of(later.start, zone), _last(now, zone))
    if not months:
        return NOTHING
    last = newest(session, later.start, _bounds(months[-1], zone)[1])
    used = 0 if last is None else 1 + months.index(day_of(last, zone).replace(day=1))
    shared = None
    if used:
        name = f"{months[0]:%Y_%m}" + (f"_to_{months[used - 1]:%Y_%m}" if used > 1 else "")
        shared = Partition(PREFIX + name, later.start, _bounds(months[used - 1], zone)[1])
    split_later(session, later, [_partition(month, zone) for month in months[used:]], shared)
    if used == 1:
        used = 0
    return Maintained(tuple(months[used:]), tuple(months[:used]))


def _make_before(session: Session, zone: ZoneInfo, since: date) -> Maintained:
    before = partitions(session)[0]
    assert before.end is not None
    months = _months(since, _previous(day_of(before.end, zone)))
    if not months:
        return NOTHING
    last = newest(session, None, before.end)
    used = sum(last is not None and month <= day_of(last, zone) for month in months)
    if months[used:]:
        split_before(session, before, [_partition(month, zone) for month in months[used:]])
    return Maintained(tuple(months[used:]), tuple(months[:used]))


def first_month(session: Session, zone: ZoneInfo, now: datetime) -> date | None:
    """Return the first day of the month of the oldest record, of those of the last ten years."""
    created_at = table_of(UsageRecord).c.created_at
    recent = select(func.min(created_at)).where(created_at > now - timedelta(days=3650))
    oldest = session.connection().execute(recent).scalar_one()
    return None if oldest is None else day_of(oldest, zone).replace(day=1)


def _is_missing(session: Session, ledger: Ledger, since: date | None) -> bool:
    known, zone = partitions(session), ledger.timezone
    before, later = known[0].end, known[-1].start
    assert before is not None and later is not None
    wanted = since is not None and since.replace(day=1) < day_of(before, zone)
    return wanted or day_of(later, zone) <= _last(ledger.clock(), zone)


def _last(now: datetime, zone: ZoneInfo) -> date:
    """Return the first day of the last month that is made ahead."""
    month = day_of(now, zone).replace(day=1)
    for _number in range(AHEAD):
        month = next_month(month)
    return month


def _months(first: date, last: date) -> list[date]:
    """Return the first days of all months from one to another."""
    months = []
    month = first.replace(day=1)
    while month <= last:
        months.append(month)
        month = next_month(month)
    return months


def _partition(month: date, zone: ZoneInfo) -> Partition:
    return Partition(f"{PREFIX}{month:%Y_%m}", *_bounds(month, zone))


def _bounds(month: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    return start_of(month, zone), start_of(next_month(month), zone)


def next_month(month: date) -> date:
    """Return the first day of the month after that of a day."""
    return (month + timedelta(days=31)).replace(day=1)


def _previous(month: date) -> date:
    return (month - timedelta(days=1)).replace(day=1)


def _spelled(month: date) -> str:
    return f"{month:%Y-%m}"
