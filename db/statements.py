"""Statements that SQLite and PostgreSQL share but SQLAlchemy builds per engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel


def table_of(model: type[SQLModel]) -> Table:
    """Return the table behind a model."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def is_sqlite(session: Session) -> bool:
    """Tell which of the two engines a session talks to."""
    return session.connection().dialect.name == "sqlite"


def insert(session: Session, model: type[SQLModel]) -> Any:
    """Return an INSERT that knows ON CONFLICT, in the session's dialect."""
    return (sqlite.insert if is_sqlite(session) else postgresql.insert)(table_of(model))


def add_to(
    session: Session, model: type[SQLModel], keys: Sequence[str], sums: Sequence[str], sets: Sequence[str] = ()
) -> Any:
    """Return an upsert that adds the `sums` columns to the row with these keys and overwrites the `sets` columns."""
    statement = insert(session, model)
    table = table_of(model)
    changes = {name: table.c[name] + statement.excluded[name] for name in sums}
    changes |= {name: statement.excluded[name] for name in sets}
    return statement.on_conflict_do_update(index_elements=keys, set_=changes)


def row_of(row: SQLModel) -> dict[str, Any]:
    """Return a row that was written or read as a mapping by column name."""
    return {column.name: getattr(row, column.name) for column in table_of(type(row)).columns}
