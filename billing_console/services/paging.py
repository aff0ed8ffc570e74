"""A page of a list and how much the list holds in all, both from one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import func
from sqlmodel import Session

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Part(Generic[Row]):
    """Some rows of a list in order, and how many there are in all."""

    rows: tuple[Row, ...]
    total: int


def part_of(session: Session, query: Any, limit: int, offset: int) -> tuple[list[Any], int]:
    """Return up to `limit` rows of a query without groups after the first `offset`, and how many it has in all."""
    counting = query.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    total = int(session.connection().execute(counting).scalar_one())
    return list(session.exec(query.limit(limit).offset(offset))) if offset < total else [], total
