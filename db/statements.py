"""Statements that SQLite and PostgreSQL share but SQLAlchemy builds per engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Table, Text, func, literal, select, tuple_
from sqlmodel import Session, SQLModel


def table_of(model: type[SQLModel]) -> Table:
    """Return the table behind a model."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def is_sqlite(session: Session) -> bool:
    """Tell which of the two engines a session talks to."""
    return session.connection().dialect.name == "sqlite"


def one_of_pairs(
    session: Session, first: ColumnElement[Any], second: ColumnElement[Any], pairs: Sequence[tuple[str, str]]
) -> ColumnElement[bool]:
    """Return the condition that two columns of text are one of these pairs.

    Given them as values, SQLite reads the whole table; from a query of its own it looks each up in the index.
    """
    both = tuple_(first, second)
    if is_sqlite(session):
        listed = func.json_each(literal(json.dumps(pairs), Text)).table_valued("value")
        return both.in_(select(*(func.json_extract(listed.c.value, f"$[{side}]", type_=Text) for side in (0, 1))))
    arrays = [literal([pair[side] for pair in pairs], ARRAY(Text)) for side in (0, 1)]
    given = func.unnest(*arrays).table_valued("first", "second").render_derived()
    return both.in_(select(given.c.first, given.c.second))


def row_of(row: SQLModel) -> dict[str, Any]:
    """Return a row that was written or read as a mapping by column name."""
    return {column.name: getattr(row, column.name) for column in table_of(type(row)).columns}
