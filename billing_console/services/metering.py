"""Record usage: the facts and every counter they change, in one transaction, each request once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session

from billing_console.i18n import _
from billing_console.services.actions import Action
from billing_console.services.archived import archived_requests
from billing_console.services.audit import Trail
from billing_console.services.catalogue import register
from billing_console.services.changes import change
from billing_console.services.counters import ZERO, count
from billing_console.services.facts import COSTS
from billing_console.services.ledger import Ledger
from billing_console.services.new_usage import NewUsage
from billing_console.services.price_cost import bills, cost_of
from billing_console.services.prices import PriceBook
from billing_console.text import storable_message
from db.partitions import insert_claimed, with_requests
from db.prepared import Columns, Prepared, insert_rows, picked
from db.schema import UsageRecord
from db.statements import is_sqlite, table_of
from db.values import CallStatus


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What became of a batch; `conflicts` are positions whose request id stands for another call, with the reason."""

    recorded: int
    duplicates: int
    conflicts: tuple[tuple[int, str], ...]
    unpriced: int


def record_usage(ledger: Ledger, records: Sequence[NewUsage], *, import_id: int | None = None) -> RecordResult:
    """Record calls and count them, all in one transaction; a request recorded before is counted once.

    Raises InvalidInput, before anything is written, if one of them cannot be recorded.
    """
    for record in records:
        record.validate()

    def work(session: Session, trail: Trail) -> RecordResult:
        result = record_usage_in(session, ledger, trail, records, import_id)
        if result.recorded:
            trail.note(None, {"recorded": result.recorded, "unpriced": result.unpriced})
        return result

    return change(ledger, Action.METER, "", work)


@dataclass(frozen=True, slots=True)
class Written:
    """The new rows, which of them is that of a call by the call's position, and how a repeat is another call."""

    rows: Columns
    numbers: Mapping[int, int]
    differing: Mapping[int, list[str]]

    def result(self, records: Sequence[NewUsage], start: int = 0) -> RecordResult:
        """Return what became of these calls, the first of which is at `start`."""
        mine = range(start, start + len(records))
        new = self.numbers_of(mine)
        conflicts = tuple(
            (position - start, _conflict_reason(records[position - start].request_id, self.differing[position]))
            for position in mine
            if position in self.differing
        )
        return RecordResult(
            recorded=len(new),
            duplicates=len(records) - len(new) - len(conflicts),
            conflicts=conflicts,
            unpriced=sum(self.rows["cost_amount"][number] is None for number in new),
        )

    def numbers_of(self, positions: Iterable[int]) -> list[int]:
        """Return the numbers of the new rows of calls."""
        return [self.numbers[position] for position in positions if position in self.numbers]


def record_usage_in(
    session: Session, ledger: Ledger, trail: Trail, records: Sequence[NewUsage], import_id: int | None = None
) -> RecordResult:
    """Do the work of `record_usage` inside an open transaction, for validated records, and vouch for the new ones."""
    written = write_usage(session, ledger, records, import_id)
    if written.numbers:
        vouch(trail, written.rows)
    return written.result(records)


def write_usage(session: Session, ledger: Ledger, records: Sequence[NewUsage], import_id: int | None = None) -> Written:
    """Write validated calls and count the new ones, inside an open transaction; the caller vouches for them."""
    if not records:
        return Written({}, {}, {})
    book = PriceBook(session, _pairs(record for record in records if record.cost_amount is None))
    register(session, ledger, _pairs(records) - book.known)
    first: dict[tuple[str, str], int] = {}
    for position, record in enumerate(records):
        first.setdefault((record.provider_id, record.request_id), position)
    rows = _rows([records[position] for position in first.values()], book, import_id)
    ids = _insert_new(session, rows)
    new = [number for number, row_id in enumerate(ids) if row_id is not None]
    if len(new) < len(ids):
        rows = picked(rows, new)
    if new:
        rows["id"] = [ids[number] for number in new]
        count(session, ledger, rows)
    positions = list(first.values())
    numbers = {positions[number]: row for row, number in enumerate(new)}
    repeats = [position for position in range(len(records)) if position not in numbers]
    return Written(rows, numbers, _differing(session, records, repeats))


def _pairs(records: Iterable[NewUsage]) -> set[tuple[str, str]]:
    return {(record.provider_id, record.model_id) for record in records}


def _rows(records: Sequence[NewUsage], book: PriceBook, import_id: int | None) -> dict[str, list[Any]]:
    billed = [
        (None, record.cost_amount) if record.cost_amount is not None else _bill(record, book) for record in records
    ]
    return {
        "request_id": [record.request_id for record in records],
        "user_id": [record.user_id for record in records],
        "provider_id": [record.provider_id for record in records],
        "model_id": [record.model_id for record in records],
        "usage_type": [record.usage_type.value for record in records],
        "input_tokens": [record.input_tokens for record in records],
        "cached_input_tokens": [record.cached_input_tokens for record in records],
        "output_tokens": [record.output_tokens for record in records],
        "total_tokens": [
            record.input_tokens + record.output_tokens if record.total_tokens is None else record.total_tokens
            for record in records
        ],
        "quantity": [record.quantity or ZERO for record in records],
        "cost_amount": [cost for _price, cost in billed],
        "price_id": [price for price, _cost in billed],
        "status": [record.status.value for record in records],
        "error_message": [
            None if record.error_message is None else storable_message(record.error_message) for record in records
        ],
        "created_at": [record.created_at for record in records],
        "import_id": [import_id] * len(records),
        "counted_by_settler": [False] * len(records),
    }


def _bill(record: NewUsage, book: PriceBook) -> tuple[int | None, Decimal | None]:
    """Return the id of the price in force for a call without a cost, and the cost; None where there is none."""
    if record.status == CallStatus.FAILED:
        return None, ZERO
    quantity = record.quantity or ZERO
    price = book.in_force(record.provider_id, record.model_id, record.usage_type, record.created_at)
    if price is None or not bills(price, record.input_tokens, record.output_tokens, quantity):
        return None, None
    return price.id, cost_of(price, record.input_tokens, record.cached_input_tokens, record.output_tokens, quantity)


def vouch(trail: Trail, rows: Columns) -> None:
    """Have the audit log vouch for usage rows that were counted, and for the cost of those that have one."""
    ids = rows["id"]
    in_order = sorted(range(len(ids)), key=ids.__getitem__)
    if in_order != list(range(len(ids))):
        rows = picked(rows, in_order)
    trail.facts_of("usage_records", rows)
    priced = [number for number, cost in enumerate(rows["cost_amount"]) if cost is not None]
    if priced:
        trail.facts_of(COSTS, rows if len(priced) == len(ids) else picked(rows, priced))


def _insert_new(session: Session, rows: Columns) -> Sequence[int | None]:
    """Insert the rows whose request is new and return their ids, None for the others; the database decides which."""
    if not is_sqlite(session):
        return _by_key(rows, insert_claimed(session, rows))
    connection = session.connection()
    newest = _NEWEST.run(connection).scalar() or 0
    if newest > _FAR:
        statement = insert(table_of(UsageRecord)).on_conflict_do_nothing(index_elements=["provider_id", "request_id"])
        asked = statement.returning(_RECORDS.provider_id, _RECORDS.request_id, _RECORDS.id)
        each = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
        return _by_key(rows, connection.execute(asked, each))
    new = insert_rows(session, UsageRecord, rows, "(provider_id, request_id) DO NOTHING")
    # Nobody else writes meanwhile, and ids go up one by one.
    if new == len(rows["request_id"]):
        return range(newest + 1, newest + 1 + new)
    return _by_key(rows, _AFTER.run(connection, newest=newest))


def _by_key(rows: Columns, written: Iterable[Any]) -> Sequence[int | None]:
    ids = {(provider_id, request_id): row_id for provider_id, request_id, row_id in written}
    return list(map(ids.get, zip(rows["provider_id"], rows["request_id"], strict=True)))


_FAR = 2**62
"""Beyond it somebody chose an id by hand; after the last one there is SQLite takes any that is free, in no order."""

_RECORDS = table_of(UsageRecord).c
_NEWEST = Prepared(lambda: select(func.max(_RECORDS.id)))
_AFTER = Prepared(
    lambda: select(_RECORDS.provider_id, _RECORDS.request_id, _RECORDS.id).where(_RECORDS.id > bindparam("newest"))
)

_SAME = ("user_id", "model_id", "usage_type", "input_tokens", "output_tokens", "quantity", "status", "created_at")
"""What a repeated request must agree in; its cost may differ, since prices and rates change between two sendings."""


def _differing(session: Session, records: Sequence[NewUsage], repeats: list[int]) -> dict[int, list[str]]:
    """Return for each repeat that is another call than the one recorded in what they differ.

    Of a call whose record is archived the ledger knows its time alone.
    """
    found = {}
    for start in range(0, len(repeats), 500):
        chunk = repeats[start : start + 500]
        keys = [(records[p].provider_id, records[p].request_id) for p in chunk]
        stored = _stored(session, keys)
        archived = archived_requests(session, [key for key in keys if key not in stored])
        for position in chunk:
            record = records[position]
            key = (record.provider_id, record.request_id)
            if key in stored:
                row = stored[key]
                differing = [name for name in _SAME if row[name] != (getattr(record, name) or _EMPTY.get(name))]
            else:
                differing = [] if archived.get(key) == record.created_at else ["created_at"]
            if differing:
                found[position] = differing
    return found


_EMPTY: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "quantity": Decimal(0)}


def _conflict_reason(request_id: str, differing: list[str]) -> str:
    return _("request id %(id)s was already recorded with other content (%(fields)s)") % {
        "id": request_id,
        "fields": ", ".join(differing),
    }


def _stored(session: Session, keys: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    columns = table_of(UsageRecord).c
    query = select(columns.provider_id, columns.request_id, *(columns[name] for name in _SAME))
    query = query.where(with_requests(session, keys))
    return {(row.provider_id, row.request_id): dict(row._mapping) for row in session.connection().execute(query)}
