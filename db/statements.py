"""Statements that SQLite and PostgreSQL share but SQLAlchemy builds per engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, Text, column, func, literal, select, tuple_
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


def inserting(session: Session, model: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """Return an INSERT that knows ON CONFLICT and what it is executed with, for rows with the same columns each.

    PostgreSQL gets an array a column: thousands of parameters, or thousands of statements, take it and its driver long.
    """
    statement = insert(session, model)
    if is_sqlite(session):
        return statement, rows
    table, names = table_of(model), list(rows[0])
    arrays = [literal([row[name] for row in rows], postgresql.ARRAY(table.c[name].type)) for name in names]
    given = func.unnest(*arrays).table_valued(*(column(name, table.c[name].type) for name in names)).render_derived()
    return statement.from_select(names, select(*given.c)), {}


def add_rows(
    session: Session,
    model: type[SQLModel],
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    sums: Sequence[str],
    sets: Sequence[str] = (),
) -> None:
    """Add the `sums` columns to the rows with these keys and overwrite the `sets` columns; in the order given."""
    statement, parameters = inserting(session, model, rows)
    table = table_of(model)
    changes = {name: table.c[name] + statement.excluded[name] for name in sums}
    changes |= {name: statement.excluded[name] for name in sets}
    session.connection().execute(statement.on_conflict_do_update(index_elements=keys, set_=changes), parameters)


def one_of_pairs(
    session: Session, first: ColumnElement[Any], second: ColumnElement[Any], pairs: Sequence[tuple[str, str]]
) -> ColumnElement[bool]:
    """Return the condition that two columns of text are one of these pairs."""
    both = tuple_(first, second)
    if is_sqlite(session):
        return both.in_(pairs)
    arrays = [literal([pair[side] for pair in pairs], postgresql.ARRAY(Text)) for side in (0, 1)]
    given = func.unnest(*arrays).table_valued("first", "second").render_derived()
    return both.in_(select(given.c.first, given.c.second))


def row_of(row: SQLModel) -> dict[str, Any]:
    """Return a row that was written or read as a mapping by column name."""
    return {column.name: getattr(row, column.name) for column in table_of(type(row)).columns}
