"""Count the usage that others inserted, and price the usage that had no price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, update
from sqlmodel import Session

from billing_console.errors import InvalidInput, Refused
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.catalogue import register
from billing_console.services.changes import change
from billing_console.services.counters import count
from billing_console.services.facts import COSTS
from billing_console.services.ledger import Ledger
from billing_console.services.metering import vouch
from billing_console.services.new_usage import MOST_QUANTITY, MOST_TOKENS
from billing_console.services.price_cost import bills, cost_of
from billing_console.services.prices import PriceBook
from billing_console.services.session import reading
from db.partitions import with_ids
from db.prepared import by_column
from db.schema import UsageOutbox, UsageRecord
from db.statements import is_sqlite, table_of
from db.values import CallStatus

BATCH = 2000

MOST_COST = Decimal(10_000_000)
"""The most yuan that a call can cost which others insert: far beyond any, and far from where a pool would overflow."""

MOST_NAMED = 20
"""Records that a result names of those that cannot be counted."""

FIRST, LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
"""Where days can be counted in every time zone."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How many records were counted, how many of them have no price yet, and ids of the first that cannot be counted.

    These stay in the outbox: a number or a time in them is beyond what a call can have, or a counter has no room.
    """

    counted: int
    unpriced: int
    beyond: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Repriced:
    """How many records got their price, how many still have none, and the yuan that added."""

    priced: int
    still_unpriced: int
    cost: Decimal


def settle(ledger: Ledger, limit: int = BATCH) -> Settled:
    """Count every record in the outbox exactly once, `limit` a transaction (DESIGN.md, 4).

    Records that cannot be counted are left there and keep no other from being counted.
    """
    counted = unpriced = 0
    size, no_room = limit, list[int]()
    while True:
        taken: list[int] = []
        try:
            work = partial(_settle_batch, ledger=ledger, limit=size, leave=no_room, taken=taken)
            batch = change(ledger, Action.SETTLE, "", work, audit_refusal=False)
        except Refused:
            # A counter would overflow: find the record that does it, and let the others through.
            if not taken:
                raise
            if len(taken) == 1:
                no_room += taken
                size = limit
            else:
                size = max(1, len(taken) // 2)
            continue
        counted += batch.counted
        unpriced += batch.unpriced
        if batch.counted < size:
            return Settled(counted, unpriced, _left_behind(ledger, no_room))


def _settle_batch(
    session: Session, trail: Trail, ledger: Ledger, limit: int, leave: Sequence[int], taken: list[int]
) -> Settled:
    outbox = table_of(UsageOutbox)
    waiting = select(outbox.c.usage_id).where(~_is_beyond(session), outbox.c.usage_id.not_in(leave))
    waiting = waiting.order_by(outbox.c.usage_id).limit(limit)
    if not is_sqlite(session):
        waiting = waiting.with_for_update(skip_locked=True)
    found = session.connection().execute(
        delete(outbox).where(outbox.c.usage_id.in_(waiting.scalar_subquery())).returning(outbox.c.usage_id)
    )
    taken[:] = sorted(row.usage_id for row in found)
    rows = _rows(session, taken)
    if not rows:
        return Settled(0, 0)
    to_price = [row for row in rows if row["cost_amount"] is None]
    book = PriceBook(session, _pairs(to_price))
    register(session, ledger, _pairs(rows) - book.known)
    _price(session, book, to_price)
    columns = by_column(rows)
    count(session, ledger, columns)
    unpriced = columns["cost_amount"].count(None)
    trail.note(None, {"recorded": len(rows), "unpriced": unpriced})
    vouch(trail, columns)
    return Settled(counted=len(rows), unpriced=unpriced)


def _pairs(rows: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(row["provider_id"], row["model_id"]) for row in rows}


def _is_beyond(session: Session) -> ColumnElement[bool]:
    """Say whether no call can have made what an entry of the outbox names: its time or a count of it is out of range.

    Asked of each entry, not of a join: SQLite takes the outbox for large, and would go through every record.
    """
    columns = table_of(UsageRecord).c
    tokens = (columns.input_tokens, columns.cached_input_tokens, columns.output_tokens, columns.total_tokens)
    reasons = [column > MOST_TOKENS for column in tokens]
    reasons += [columns.quantity > MOST_QUANTITY, func.coalesce(columns.cost_amount > MOST_COST, False)]
    reasons += [columns.created_at < FIRST, columns.created_at > LAST]
    if is_sqlite(session):
        # A day that no calendar has, such as 31 February, is another one when it is counted on by none.
        day, hour = func.substr(columns.created_at, 1, 10), func.substr(columns.created_at, 12, 2)
        reasons += [func.date(day, "+0 days").is_distinct_from(day), hour > "23"]
    same = columns.id == table_of(UsageOutbox).c.usage_id
    return select(columns.id).where(same, or_(*reasons)).exists()


def _left_behind(ledger: Ledger, no_room: Sequence[int]) -> tuple[int, ...]:
    """Return the ids of the first records that cannot be counted."""
    waiting = table_of(UsageOutbox).c.usage_id
    with reading(ledger.database) as session:
        query = select(waiting).where(_is_beyond(session)).order_by(waiting).limit(MOST_NAMED)
        found = session.connection().execute(query).scalars()
        return tuple(sorted({*found, *no_room})[:MOST_NAMED])


def _rows(session: Session, ids: list[int]) -> list[dict[str, Any]]:
    table = table_of(UsageRecord)
    found: list[dict[str, Any]] = []
    for start in range(0, len(ids), 500):
        query = select(table).where(with_ids(session, ids[start : start + 500]))
        found += [dict(row._mapping) for row in session.connection().execute(query)]
    return found


def _price(session: Session, book: PriceBook, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill in the cost of those rows that have a price now, or failed; return these."""
    table = table_of(UsageRecord)
    priced = []
    for row in rows:
        price = book.in_force(row["provider_id"], row["model_id"], row["usage_type"], row["created_at"])
        if row["status"] == CallStatus.FAILED:
            row["cost_amount"] = Decimal(0)
        elif price is not None and bills(price, row["input_tokens"], row["output_tokens"], row["quantity"]):
            try:
                row["cost_amount"] = cost_of(
                    price, row["input_tokens"], row["cached_input_tokens"], row["output_tokens"], row["quantity"]
                )
            except InvalidInput:
                # More than the ledger can hold: it waits for another price, and keeps nothing else waiting.
                continue
            row["price_id"] = price.id
        else:
            continue
        values = {"cost_amount": row["cost_amount"], "price_id": row["price_id"]}
        same = (table.c.id == row["id"]) & (table.c.created_at == row["created_at"])
        session.connection().execute(update(table).where(same).values(values))
        priced.append(row)
    return priced


def reprice(ledger: Ledger, provider_id: str | None = None, model_id: str | None = None) -> Repriced:
    """Bill the records that had no price when they were recorded, where one now holds for their time."""
    priced, cost, after = 0, Decimal(0), 0
    while True:
        work = partial(_reprice_batch, ledger=ledger, provider_id=provider_id, model_id=model_id, after=after)
        last, done, added = change(ledger, Action.REPRICE, " ".join(filter(None, (provider_id, model_id))), work)
        if not last:
            return Repriced(priced, _unpriced(ledger, provider_id, model_id), cost)
        priced, cost, after = priced + done, cost + added, last


def _reprice_batch(
    session: Session, trail: Trail, ledger: Ledger, provider_id: str | None, model_id: str | None, after: int
) -> tuple[int, int, Decimal]:
    """Price one batch of records after an id; return the last id seen (0 at the end), the count and the yuan."""
    table = table_of(UsageRecord)
    query = _unpriced_query(select(table), provider_id, model_id).where(table.c.id > after)
    waiting = select(table_of(UsageOutbox).c.usage_id)
    query = query.where(table.c.id.not_in(waiting)).order_by(table.c.id).limit(BATCH)
    if not is_sqlite(session):
        query = query.with_for_update()
    rows = [dict(row._mapping) for row in session.connection().execute(query)]
    if not rows:
        return 0, 0, Decimal(0)
    book = PriceBook(session, _pairs(rows))
    priced = _price(session, book, rows)
    if not priced:
        return rows[-1]["id"], 0, Decimal(0)
    columns = by_column(priced)
    count(session, ledger, columns, only_cost=True)
    cost = sum(columns["cost_amount"], Decimal(0))
    trail.note(None, {"priced": len(priced), "cost": cost})
    trail.facts_of(COSTS, columns)
    return rows[-1]["id"], len(priced), cost


def _unpriced(ledger: Ledger, provider_id: str | None, model_id: str | None) -> int:
    table = table_of(UsageRecord)
    with reading(ledger.database) as session:
        query = _unpriced_query(select(func.count()).select_from(table), provider_id, model_id)
        return int(session.connection().execute(query).scalar_one())


def _unpriced_query(query: Select[Any], provider_id: str | None, model_id: str | None) -> Select[Any]:
    table = table_of(UsageRecord)
    query = query.where(table.c.cost_amount.is_(None))
    if provider_id is not None:
        query = query.where(table.c.provider_id == provider_id)
    if model_id is not None:
        query = query.where(table.c.model_id == model_id)
    return query
