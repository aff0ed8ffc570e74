"""Which usage records to look at, and a place in their order."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.text import clean
from db.values import CallStatus, UsageType


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which usage records to look at; None means any, times are instants in UTC, `end` is excluded.

    `negated` names the fields among the first four whose value is excluded; a call without a user is not one of alice.
    """

    user_id: str | None = None
    provider_id: str | None = None
    model_id: str | None = None
    usage_type: UsageType | None = None
    status: CallStatus | None = None
    start: datetime | None = None
    end: datetime | None = None
    negated: frozenset[str] = frozenset()

    def wanted(self, name: str) -> str | None:
        """Return the value a field must have; None where any will do, or all but one."""
        return None if name in self.negated else self._value(name)

    def unwanted(self, name: str) -> str | None:
        """Return the value a field must not have, if there is one."""
        return self._value(name) if name in self.negated else None

    def _value(self, name: str) -> str | None:
        """Spell a value as it is stored."""
        value = getattr(self, name)
        return value.value if isinstance(value, StrEnum) else value

    def on(self, columns: Any, *names: str) -> list[ColumnElement[bool]]:
        """Return the conditions on these fields, which `columns` has under the same names."""
        conditions: list[ColumnElement[bool]] = []
        for name in names:
            wanted, unwanted = self.wanted(name), self.unwanted(name)
            if wanted is not None:
                conditions.append(columns[name] == wanted)
            if unwanted is not None:
                conditions.append(columns[name].is_distinct_from(unwanted))
        return conditions


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order by time and id."""

    created_at: datetime
    id: int

    def encode(self) -> str:
        """Spell the position as an opaque cursor."""
        raw = f"{self.created_at.astimezone(UTC).isoformat()}|{self.id}"
        return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, cursor: str) -> Position:
        """Read a cursor back; raise InvalidInput for anything else."""
        try:
            raw = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
            instant, _bar, number = raw.partition("|")
            created_at = datetime.fromisoformat(instant)
            if created_at.tzinfo is None or not 0 <= int(number) < 2**63:
                raise ValueError
            return cls(created_at.astimezone(UTC), int(number))
        except (ValueError, OverflowError, binascii.Error):
            raise InvalidInput(
                _("“%(cursor)s” is not a cursor of this list.") % {"cursor": clean(cursor[:60])}, field="after"
            ) from None
