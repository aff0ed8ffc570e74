"""Which usage records go to a file next, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import ColumnElement, func, select
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.errors import InvalidInput, Refused
from billing_console.i18n import _
from billing_console.services.ledger import Ledger
from billing_console.services.maintenance import next_month
from billing_console.services.session import reading
from db.partitions import partitions
from db.schema import UsageOutbox, UsageRecord
from db.statements import is_sqlite, table_of

RECORDS = table_of(UsageRecord)


@dataclass(frozen=True, slots=True)
class Archived:
    """Records that were moved to a file, or would be: the first and last month, calls, yuan, and the file's name."""

    first: date
    last: date
    calls: int
    cost: Decimal
    file: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes into one file: the records from an instant to before another, up to an id; `whole` is a partition."""

    start: datetime
    end: datetime
    last_id: int
    whole: bool = False

    @property
    def condition(self) -> ColumnElement[bool]:
        """Return the condition on usage records that they belong to it."""
        created_at = RECORDS.c.created_at
        return (created_at >= self.start) & (created_at < self.end) & (RECORDS.c.id <= self.last_id)


def archivable(ledger: Ledger, keep_months: int) -> tuple[Archived, ...]:
    """Return what `archive_usage` would move, month by month, without a file; raises InvalidInput as it does."""
    end = kept_from(ledger, keep_months)
    found = []
    created_at = RECORDS.c.created_at
    with reading(ledger.database) as session:
        run = session.connection().execute
        others = RECORDS.c.id != run(select(func.max(RECORDS.c.id))).scalar_one()
        oldest = run(select(func.min(created_at)).where(others)).scalar_one()
        while oldest is not None and oldest < end:
            month = day_of(oldest, ledger.timezone).replace(day=1)
            stop = start_of(next_month(month), ledger.timezone)
            calls, cost = sums_of(session, (created_at >= oldest) & (created_at < stop) & others)
            found.append(Archived(month, month, calls, cost, ""))
            oldest = run(select(func.min(created_at)).where(created_at >= stop, others)).scalar_one()
    return tuple(found)


def kept_from(ledger: Ledger, keep_months: int) -> datetime:
    """Return the instant from which records are kept; raise InvalidInput for less than one whole month."""
    if keep_months < 1:
        raise InvalidInput(_("Keep at least one month besides this one."), field="keep-months")
    month = day_of(ledger.clock(), ledger.timezone).replace(day=1)
    for _number in range(keep_months):
        month = (month - timedelta(days=1)).replace(day=1)
    return start_of(month, ledger.timezone)


def next_unit(session: Session, ledger: Ledger, end: datetime) -> Unit | None:
    """Find the oldest records: a whole partition where it is old enough, else those of a month.

    The record with the highest id stays until there is another one: SQLite gives ids anew from there.
    """
    run = session.connection().execute
    highest = run(select(func.max(RECORDS.c.id))).scalar_one()
    oldest = run(select(func.min(RECORDS.c.created_at)).where(RECORDS.c.id != highest)).scalar_one()
    if oldest is None:
        return None
    stop, whole = start_of(next_month(day_of(oldest, ledger.timezone)), ledger.timezone), False
    if not is_sqlite(session):
        last = next(part.end for part in partitions(session) if part.end is None or oldest < part.end)
        newest = run(select(RECORDS.c.created_at).where(RECORDS.c.id == highest)).scalar_one()
        if last is not None and last <= end and newest >= last:
            stop, whole = last, True
    return Unit(oldest, stop, highest - 1, whole) if stop <= end else None


def require_complete(session: Session, unit: Unit) -> None:
    """Raise Refused where a record may still change, or is in no counter yet."""
    waiting = select(table_of(UsageOutbox).c.usage_id).where(table_of(UsageOutbox).c.usage_id == RECORDS.c.id)
    columns = RECORDS.c.provider_id, RECORDS.c.model_id, func.count()
    query = select(*columns).where(unit.condition, RECORDS.c.cost_amount.is_(None) | waiting.exists())
    left = session.connection().execute(query.group_by(*columns[:2]).order_by(columns[2].desc())).all()
    if left:
        provider, model, _calls = left[0]
        raise Refused(
            _("%(count)d calls of these months, most of %(provider)s %(model)s, have no price or are not counted yet.")
            % {"count": sum(calls for _provider, _model, calls in left), "provider": provider, "model": model},
            _("Run billing-console settle, set the prices, and run billing-console usage reprice."),
        )


def sums_of(session: Session, condition: ColumnElement[bool]) -> tuple[int, Decimal]:
    """Return how many records meet a condition, and what they cost in yuan."""
    query = select(func.count(), func.sum(RECORDS.c.cost_amount)).where(condition)
    calls, cost = session.connection().execute(query).one()
    return int(calls), cost or Decimal(0)


def months_of(ledger: Ledger, unit: Unit) -> tuple[date, date]:
    """Return the first days of the first and the last month that it may have records of."""
    first, last = (day_of(at, ledger.timezone) for at in (unit.start, unit.end - timedelta(microseconds=1)))
    return first.replace(day=1), last.replace(day=1)
