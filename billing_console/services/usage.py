"""Look at usage records: pages, and one whole record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from billing_console.errors import NotFound
from billing_console.i18n import _
from billing_console.services.counters import usage_amount
from billing_console.services.ledger import Ledger
from billing_console.services.price_cost import CostLine, cost_lines
from billing_console.services.prices import PriceView, price_by_id
from billing_console.services.session import reading
from billing_console.services.usage_filter import Position, UsageFilter
from billing_console.services.usage_query import COLUMNS, UsageSql
from db.schema import Provider, UsageImport, UsageRecord
from db.statements import table_of
from db.values import CallStatus, UsageType

__all__ = [
    "UsageDetails",
    "UsageFilter",
    "UsagePage",
    "UsageRow",
    "usage_details",
    "usage_page",
]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One usage record; cost in yuan (0 while unpriced), `quantity` in the type's unit."""

    id: int
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
    def cursor(self) -> str:
        """Return its place in lists."""
        return Position(self.created_at, self.id).encode()

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


def usage_page(
    ledger: Ledger, chosen: UsageFilter, *, limit: int = 200, after: str | None = None, oldest_first: bool = False
) -> UsagePage:
    """Return the records after a cursor, newest first; raise InvalidInput for a cursor that is not one."""
    position = None if after is None else Position.decode(after)
    with reading(ledger.database) as session:
        names = _names(session)
        found = UsageSql(session, chosen).page(limit + 1, position, oldest_first)
        # Still in the block, which tells a damaged value from an error in the program.
        rows = tuple(_view(row, names) for row in found[:limit])
    return UsagePage(rows=rows, next=rows[-1].cursor if len(found) > limit else None)


def recent_usage(session: Session, user_id: str, limit: int) -> tuple[UsageRow, ...]:
    """Return a user's newest records inside an open session."""
    names = _names(session)
    found = UsageSql(session, UsageFilter(user_id=user_id)).page(limit, None, oldest_first=False)
    return tuple(_view(row, names) for row in found)


def usage_details(ledger: Ledger, record_id: int) -> UsageDetails:
    """Return one record whole; raise NotFound if there is none."""
    with reading(ledger.database) as session:
        known = 0 <= record_id < 2**63
        columns = table_of(UsageRecord).c
        query = select(*(columns[name] for name in COLUMNS), columns.price_id, columns.import_id)
        row = session.connection().execute(query.where(columns.id == record_id)).first() if known else None
        if row is None:
            raise NotFound(
                _("There is no usage record %(id)d.") % {"id": record_id},
                _("List them with: billing-console usage list"),
            )
        price = None if row.price_id is None else price_by_id(session, row.price_id, ledger.clock())
        batch = None if row.import_id is None else session.get(UsageImport, row.import_id)
        view = _view(row[: len(COLUMNS)], _names(session))
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


def _names(session: Session) -> dict[str, str]:
    rows = session.connection().execute(select(table_of(Provider).c.provider_id, table_of(Provider).c.name))
    return {provider: name for provider, name in rows}


def _view(record: Sequence[Any], names: dict[str, str]) -> UsageRow:
    created_at, number, request, user, provider, model, kind, *counts, quantity, cost, status, error = record
    of_input, cached, of_output, tokens = counts
    return UsageRow(
        number,
        request,
        user,
        provider,
        names.get(provider, provider),
        model,
        UsageType(kind),
        of_input,
        cached,
        of_output,
        tokens,
        quantity,
        Decimal(0) if cost is None else cost,
        cost is None,
        CallStatus(status),
        error,
        created_at,
    )
