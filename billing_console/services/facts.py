"""What the audit log says of the facts a transaction wrote: their ids, and a digest of all that they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any

from sqlalchemy import Table

from billing_console.clock import iso
from billing_console.money import plain
from db.schema import ApprovalDecision, ApprovalRequest, Price, QuotaGrant, Recharge, UsageImport, UsageRecord
from db.statements import table_of

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

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Add rows, given by column name; they come in order of id."""
        kind = KINDS[self.kind]
        for row in rows:
            number = row[kind.key]
            if self.spans and self.spans[-1][1] == number - 1:
                self.spans[-1][1] = number
            else:
                self.spans.append([number, number])
        held = itemgetter(*kind.columns)
        if kind.later:
            lines = [_encode(held(row) + _later(kind, row)) for row in rows]
        else:
            # Row by row takes three times as long. JSON holds no NUL in text, so this is the end of a row and no more.
            lines = [_encode([held(row) for row in rows])[1:-1].replace("]\0[", "]\n[")] if rows else []
        self._hash.update("".join(line.replace("\0", ",") + "\n" for line in lines).encode())

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


def _later(kind: FactKind, row: Mapping[str, Any]) -> tuple[list[Any], ...]:
    return tuple([name, row[name]] for name in kind.later if row[name] is not None)


def _spelled(value: Any) -> Any:
    """Spell a value the same whether it comes from a service or from either engine."""
    if isinstance(value, Decimal):
        return plain(value)
    return iso(value) if isinstance(value, datetime) else value


_encode = json.JSONEncoder(separators=("\0", ":"), default=_spelled).encode
"""Asks only for what JSON does not have: most values of a row are text and whole numbers."""
