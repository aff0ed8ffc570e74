"""Keep the usage records of a ledger on PostgreSQL in monthly partitions, made before their month begins."""

from __future__ import annotations

from collections.abc import Iterable
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
from db.partitions import Partition, add_partition, may_make_partitions, partitions
from db.schema import UsageRecord
from db.statements import table_of

AHEAD = 2
"""Months after this one that have their partition already."""

PATIENCE_SECONDS = 3
"""How long a partition waits to be attached: those who come meanwhile wait behind it."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """The first days of the months that got a partition, and of those that cannot: records came before it was made."""

    made: tuple[date, ...]
    late: tuple[date, ...]


def maintain(ledger: Ledger, since: date | None = None) -> Maintained:
    """Make the partitions that are missing, of this month and the next two, and of all from the month of `since` on.

    Does nothing on SQLite, where all usage is in one table. A record needs no partition of its month: one for all other
    records takes it, and the month then stays there. Raises NotPermitted for a database role that does not own the
    tables, and Unavailable where others use them for too long.
    """
    if ledger.database.is_sqlite:
        return Maintained((), ())

    def work(session: Session, trail: Trail) -> Maintained:
        found = _missing(session, ledger, since)
        if not found:
            return Maintained((), ())
        if not may_make_partitions(session):
            raise NotPermitted(
                _("This role of the database does not own the tables; nothing was changed."),
                _("Run maintain with the role that ran init."),
            )
        session.connection().execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'"))
        done = make_partitions(session, ledger.timezone, found)
        if done.made:
            trail.note(None, {"partitions": [_spelled(month) for month in done.made]})
        return done

    return change(ledger, Action.MAINTAIN, "", work)


def is_due(ledger: Ledger) -> bool:
    """Tell whether a partition of this month or the next two is missing and can be made by this role."""
    if ledger.database.is_sqlite:
        return False
    with reading(ledger.database) as session:
        return bool(_missing(session, ledger, None)) and may_make_partitions(session)


def make_partitions(session: Session, zone: ZoneInfo, months: Iterable[date]) -> Maintained:
    """Make a partition for each of these months, given by their first days, that has none."""
    made: list[date] = []
    late: list[date] = []
    known = partitions(session)
    for month in months:
        start, end = _bounds(month, zone)
        if not _covered(known, start, end):
            (made if add_partition(session, f"{month:%Y_%m}", start, end) else late).append(month)
    return Maintained(tuple(made), tuple(late))


def months_ahead(now: datetime, zone: ZoneInfo, since: date | None = None) -> list[date]:
    """Return the first days of this month and of those that are made ahead, from the month of `since` on."""
    month = day_of(now, zone).replace(day=1)
    last = month
    for _number in range(AHEAD):
        last = _next(last)
    months = [month if since is None else min(month, since.replace(day=1))]
    while months[-1] < last:
        months.append(_next(months[-1]))
    return months


def months_used(session: Session, zone: ZoneInfo) -> list[date]:
    """Return the first days of the months that have records, by one seek each."""
    created_at = table_of(UsageRecord).c.created_at
    months: list[date] = []
    query = select(func.min(created_at))
    found = session.connection().execute(query).scalar_one()
    while found is not None:
        months.append(day_of(found, zone).replace(day=1))
        after = created_at >= _bounds(months[-1], zone)[1]
        found = session.connection().execute(query.where(after)).scalar_one()
    return months


def _missing(session: Session, ledger: Ledger, since: date | None) -> list[date]:
    known = partitions(session)
    months = months_ahead(ledger.clock(), ledger.timezone, since)
    return [month for month in months if not _covered(known, *_bounds(month, ledger.timezone))]


def _covered(known: Iterable[Partition], start: datetime, end: datetime) -> bool:
    return any(partition.overlaps(start, end) for partition in known)


def _bounds(month: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    return start_of(month, zone), start_of(_next(month), zone)


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _spelled(month: date) -> str:
    return f"{month:%Y-%m}"
