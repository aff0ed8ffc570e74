"""Look at usage records: pages, one whole record, and totals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, case, func, select
from sqlmodel import Session

from billing_console import clock
from billing_console.errors import NotFound
from billing_console.i18n import _
from billing_console.services.counters import usage_amount
from billing_console.services.ledger import Ledger
from billing_console.services.price_cost import CostLine, cost_lines
from billing_console.services.prices import PriceView, price_by_id
from billing_console.services.session import reading
from billing_console.services.usage_query import RECORDS, Position, UsageFilter, matching, page_rows
from db.schema import DailyCostStat, Provider, UsageImport
from db.statements import table_of
from db.values import CallStatus, UsageType

__all__ = [
    "UsageDetails",
    "UsageFilter",
    "UsagePage",
    "UsageRow",
    "UsageTotals",
    "usage_details",
    "usage_page",
    "usage_totals",
]

COUNT_CAP = 10_000
"""Totals of a filter that no daily statistic answers look at so many records at the most."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One usage record; cost in yuan (0 while unpriced), `quantity` in the type's unit, `cursor` its place in lists."""

    id: int
    cursor: str
    request_id: str
    user_id: str | None
    provider_id: str
    provider_name: str
    model_id: str
    usage_type: UsageType
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    total_tokens: int
    quantity: Decimal
    cost_amount: Decimal
    unpriced: bool
    status: CallStatus
    error_message: str | None
    created_at: datetime

    @property
    def usage(self) -> Decimal:
        """Return what totalUsage counts for this record."""
        return usage_amount(self.usage_type, self.input_tokens, self.output_tokens, self.total_tokens, self.quantity)


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Some usage records in order, and the cursor of the last one when there are more."""

    rows: tuple[UsageRow, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class UsageDetails:
    """One usage record with the price it was billed at, how its cost comes about, and the import it came with."""

    row: UsageRow
    price: PriceView | None
    lines: tuple[CostLine, ...]
    import_file: str | None
    import_currency: str | None
    import_rate: str | None


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Totals of a filter, `tokens` of text only; `capped` means that there are more records than were looked at."""

    calls: int
    failures: int
    tokens: int
    cost: Decimal
    capped: bool


def usage_page(
    ledger: Ledger, chosen: UsageFilter, *, limit: int = 200, after: str | None = None, oldest_first: bool = False
) -> UsagePage:
    """Return the records after a cursor, newest first; raise InvalidInput for a cursor that is not one."""
    position = None if after is None else Position.decode(after)
    with reading(ledger.database) as session:
        names = _names(session)
        found = page_rows(session, chosen, limit + 1, position, oldest_first)
        # Still in the block, which tells a damaged value from an error in the program.
        rows = tuple(_view(row, names) for row in found[:limit])
    return UsagePage(rows=rows, next=rows[-1].cursor if len(found) > limit else None)


def recent_usage(session: Session, user_id: str, limit: int) -> tuple[UsageRow, ...]:
    """Return a user's newest records inside an open session."""
    names = _names(session)
    return tuple(_view(row, names) for row in page_rows(session, UsageFilter(user_id=user_id), limit, None, False))


def usage_details(ledger: Ledger, record_id: int) -> UsageDetails:
    """Return one record whole; raise NotFound if there is none."""
    with reading(ledger.database) as session:
        known = 0 <= record_id < 2**63
        row = session.connection().execute(select(RECORDS).where(RECORDS.c.id == record_id)).first() if known else None
        if row is None:
            raise NotFound(
                _("There is no usage record %(id)d.") % {"id": record_id},
                _("List them with: billing-console usage list"),
            )
        price = None if row.price_id is None else price_by_id(session, row.price_id, ledger.clock())
        batch = None if row.import_id is None else session.get(UsageImport, row.import_id)
        view = _view(row, _names(session))
        return UsageDetails(
            row=view,
            price=price,
            lines=()
            if price is None
            else cost_lines(price, view.input_tokens, view.cached_input_tokens, view.output_tokens, view.quantity),
            import_file=batch.file_name if batch else None,
            import_currency=batch.source_currency if batch else None,
            import_rate=batch.exchange_rate if batch else None,
        )


def usage_totals(ledger: Ledger, chosen: UsageFilter) -> UsageTotals:
    """Add up a filter: exactly up to 10,000 records or where the daily statistics know it, else at least so much."""
    with reading(ledger.database) as session:
        if _known_by_day(ledger, chosen):
            return _totals_by_day(session, ledger, chosen)
        found = matching(session, chosen, COUNT_CAP + 1).subquery()
        total = case(
            (found.c.total_tokens == 0, found.c.input_tokens + found.c.output_tokens), else_=found.c.total_tokens
        )
        tokens = case((found.c.usage_type == UsageType.TEXT_GENERATION.value, total), else_=0)
        query = select(
            func.count(),
            func.coalesce(func.sum(case((found.c.status == CallStatus.FAILED.value, 1), else_=0)), 0),
            func.coalesce(func.sum(tokens), 0),
            func.sum(found.c.cost_amount),
        ).select_from(found)
        calls, failures, tokens, cost = session.connection().execute(query).one()
    return UsageTotals(min(calls, COUNT_CAP), failures, int(tokens), cost or Decimal(0), capped=calls > COUNT_CAP)


def _known_by_day(ledger: Ledger, chosen: UsageFilter) -> bool:
    edges = (edge for edge in (chosen.start, chosen.end) if edge is not None)
    whole_days = all(clock.start_of(clock.day_of(edge, ledger.timezone), ledger.timezone) == edge for edge in edges)
    return chosen.user_id is None and chosen.status is None and whole_days


def _totals_by_day(session: Session, ledger: Ledger, chosen: UsageFilter) -> UsageTotals:
    stats = table_of(DailyCostStat).c
    text_usage = case((stats.usage_type == UsageType.TEXT_GENERATION.value, stats.total_usage), else_=None)
    query = select(
        func.sum(stats.call_count), func.sum(stats.failed_count), func.sum(text_usage), func.sum(stats.total_cost)
    )
    wanted = {
        "provider_id": chosen.provider_id,
        "model_id": chosen.model_id,
        "usage_type": chosen.usage_type and chosen.usage_type.value,
    }
    query = query.where(*(stats[name] == value for name, value in wanted.items() if value is not None))
    if chosen.start is not None:
        query = query.where(stats.stat_date >= clock.day_of(chosen.start, ledger.timezone))
    if chosen.end is not None:
        query = query.where(stats.stat_date < clock.day_of(chosen.end, ledger.timezone))
    calls, failures, usage, cost = session.connection().execute(query).one()
    return UsageTotals(int(calls or 0), int(failures or 0), int(usage or 0), cost or Decimal(0), capped=False)


def _names(session: Session) -> dict[str, str]:
    rows = session.connection().execute(select(table_of(Provider).c.provider_id, table_of(Provider).c.name))
    return {provider: name for provider, name in rows}


def _view(row: Row[Any], names: dict[str, str]) -> UsageRow:
    return UsageRow(
        id=row.id,
        cursor=Position(row.created_at, row.id).encode(),
        request_id=row.request_id,
        user_id=row.user_id,
        provider_id=row.provider_id,
        provider_name=names.get(row.provider_id, row.provider_id),
        model_id=row.model_id,
        usage_type=UsageType(row.usage_type),
        input_tokens=row.input_tokens,
        cached_input_tokens=row.cached_input_tokens,
        output_tokens=row.output_tokens,
        total_tokens=row.total_tokens,
        quantity=row.quantity,
        cost_amount=Decimal(0) if row.cost_amount is None else row.cost_amount,
        unpriced=row.cost_amount is None,
        status=CallStatus(row.status),
        error_message=row.error_message,
        created_at=row.created_at,
    )
