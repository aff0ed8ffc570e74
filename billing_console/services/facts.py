"""What the audit log says of the facts a transaction wrote: their ids, and a digest of all that they hold."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Table, select
from sqlmodel import Session
from sqlmodel.sql.sqltypes import UTCDateTime

from billing_console.money import plain
from billing_console.services.spans import Span
from db.prepared import Columns
from db.schema import ApprovalDecision, ApprovalRequest, Price, QuotaGrant, Recharge, UsageImport, UsageRecord
from db.statements import table_of
from db.types import FixedPoint

PAGE = 2000
"""Rows that are in memory at once, however many there are."""

COSTS = "usage_costs"
_COST_COLUMNS = ("cost_amount", "price_id")


@dataclass(frozen=True, slots=True)
class FactKind:
    """A table of facts, the column that numbers it, and the columns that never change once a row has them.

    `later` are columns that came with a later revision: a row without them has the digest it had before.
    """

    table: Table
    key: str
    columns: tuple[str, ...]
    later: tuple[str, ...] = ()

    @property
    def held(self) -> tuple[str, ...]:
        """All columns that the digest covers."""
        return self.columns + self.later

    def within(self, session: Session, span: Span) -> Iterator[Columns]:
        """Yield what the table holds of the rows with these ids, as `read` does."""
        return self.read(session, self.table.c[self.key].between(*span))

    def read(self, session: Session, *conditions: ColumnElement[bool]) -> Iterator[Columns]:
        """Yield what the table holds of some rows, or all, a page at a time, in order of id."""
        query = select(*(self.table.c[name] for name in self.held)).where(*conditions)
        query = query.order_by(self.table.c[self.key])
        for rows in session.connection().execute(query.execution_options(yield_per=PAGE)).partitions():
            yield dict(zip(self.held, zip(*rows, strict=True), strict=True))


def _whole(model: Any, key: str = "id", later: tuple[str, ...] = ()) -> FactKind:
    table = table_of(model)
    return FactKind(table, key, tuple(column.name for column in table.columns if column.name not in later), later)


_records = table_of(UsageRecord)

KINDS: dict[str, FactKind] = {
    "recharges": _whole(Recharge),
    "quota_grants": _whole(QuotaGrant, later=("expires_at", "used_before", "expires_id")),
    "prices": _whole(Price),
    "usage_imports": _whole(UsageImport),
    "approval_requests": _whole(ApprovalRequest),
    "approval_decisions": _whole(ApprovalDecision, "request_id"),
    "usage_records": FactKind(_records, "id", tuple(c.name for c in _records.columns if c.name not in _COST_COLUMNS)),
    COSTS: FactKind(_records, "id", ("id", *_COST_COLUMNS)),
}
"""Every kind of fact; the cost of a usage record is one of its own, because it may come later than the record."""


@dataclass(slots=True)
class Digest:
    """The ids of some facts of one kind and a SHA-256 over their content, in order of id."""

    kind: str
    spans: list[list[int]] = field(default_factory=list)
    _hash: Any = field(default_factory=hashlib.sha256)

    def add(self, rows: Columns) -> None:
        """Add rows, which come in order of id."""
        kind = KINDS[self.kind]
        for number in rows[kind.key]:
            if self.spans and self.spans[-1][1] == number - 1:
                self.spans[-1][1] = number
            else:
                self.spans.append([number, number])
        lines: Iterable[tuple[Any, ...]] = zip(*(_column(kind, name, rows[name]) for name in kind.columns), strict=True)
        if kind.later:
            later = zip(*(_named(kind, name, rows[name]) for name in kind.later), strict=True)
            lines = [(*line, *filter(None, filled)) for line, filled in zip(lines, later, strict=True)]
        self._hash.update(_json_lines(lines))

    def spelled(self) -> list[str]:
        """Return the ids and the digest as the audit log keeps them."""
        return [spell_spans(self.spans), self._hash.hexdigest()]


def spell_spans(spans: Iterable[Iterable[int]]) -> str:
    """Spell ranges of ids, as 1-2000,2003."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def read_spans(text: str) -> list[tuple[int, int]]:
    """Read ranges of ids; raise ValueError for anything else."""
    spans = []
    for part in text.split(",") if text else ():
        first, _dash, last = part.partition("-")
        spans.append((int(first), int(last or first)))
    return spans


def _named(kind: FactKind, name: str, values: Sequence[Any]) -> list[list[Any] | None]:
    return [None if value is None else [name, value] for value in _column(kind, name, values)]


def _column(kind: FactKind, name: str, values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a column such that they are the same from a service and from either engine."""
    held = kind.table.c[name].type
    if isinstance(held, FixedPoint):
        return [None if value is None else plain(value) for value in values]
    if isinstance(held, UTCDateTime):
        return [None if value is None else value.astimezone(UTC) for value in values]
    return values


def _json_lines(lines: Iterable[tuple[Any, ...]]) -> bytes:
    """Spell a line a row, in JSON of printable ASCII: an instant is one of RFC 3339."""
    spelled = _ENCODER.encode_lines(lines)
    if spelled.isascii() and b"\x7f" not in spelled:
        return spelled
    return _NOT_PRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], spelled.decode()).encode()


_ENCODER = msgspec.json.Encoder()
_NOT_PRINTABLE = re.compile("[\x7f-\U0010ffff]+")
