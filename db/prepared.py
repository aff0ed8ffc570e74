"""Statements of the paths that are gone often: put together once, with values as the driver takes them.

To look up a statement, bind its values and convert them takes SQLAlchemy longer than a database takes to answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection, CursorResult, Dialect, Executable
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.types import TypeEngine
from sqlmodel import Session, SQLModel
from sqlmodel.sql.sqltypes import UTCDateTime

from db.last import Statement
from db.sqlite import Upsert
from db.statements import table_of
from db.types import FixedPoint

Columns = Mapping[str, Sequence[Any]]
"""Rows, one or more, as the values of each column in the order of the rows: faster to go through than row by row."""


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows with the same columns each by column."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def picked(columns: Columns, numbers: Sequence[int]) -> dict[str, list[Any]]:
    """Return the rows with these numbers, counted from 0, in this order."""
    return {name: [values[number] for number in numbers] for name, values in columns.items()}


class Prepared:
    """A statement that is spelled once for each engine; its values are given by the names of its parameters."""

    def __init__(self, build: Callable[[], Executable]) -> None:
        """Keep how it is built; that happens when it is first run, and not where it never is."""
        self._build = build
        self._spelled: dict[str, str] = {}

    def run(self, connection: Connection, **values: Any) -> CursorResult[*tuple[Any, ...]]:
        """Run it; values are as the driver takes them, and so are the columns of its rows."""
        return connection.exec_driver_sql(self.spelled(connection), values)

    def spelled(self, connection: Connection) -> str:
        """Return it as the driver takes it."""
        engine = connection.dialect.name
        if engine not in self._spelled:
            statement = self._build()
            assert isinstance(statement, ClauseElement)
            dialect = sqlite.dialect(paramstyle="named") if engine == "sqlite" else connection.dialect
            self._spelled[engine] = str(statement.compile(dialect=dialect))
        return self._spelled[engine]


def insert_rows(session: Session, model: type[SQLModel], rows: Columns, conflict: str = "") -> int:
    """Insert rows in their order, and return how many rows that inserted or changed.

    `conflict` is what follows ON CONFLICT, if anything.
    """
    connection = session.connection()
    if connection.dialect.name != "sqlite":
        return connection.exec_driver_sql(*_from_arrays(connection, model, rows, conflict)).rowcount
    values = list(zip(*stored(connection, model, rows), strict=True))
    statements = [(_inserting(model, tuple(rows), size, conflict), given) for size, given in _together(values)]
    return sum(connection.exec_driver_sql(*statement).rowcount for statement in statements)


def _from_arrays(connection: Connection, model: type[SQLModel], rows: Columns, conflict: str) -> Statement:
    spelled, values = given(connection, model, rows)
    end = f" ON CONFLICT {conflict}" if conflict else ""
    return f"INSERT INTO {model.__tablename__} ({', '.join(rows)}) SELECT * FROM {spelled}{end}", values


@lru_cache
def _inserting(model: type[SQLModel], names: tuple[str, ...], size: int, conflict: str) -> str:
    row = f"({', '.join('?' * len(names))})"
    end = f" ON CONFLICT {conflict}" if conflict else ""
    return f"INSERT INTO {model.__tablename__} ({', '.join(names)}) VALUES {', '.join([row] * size)}{end}"


_TOGETHER = (1000, 100, 10, 1)
"""How many rows a statement of SQLite has: it sets every page aside that a statement changes, since one with triggers
may fail in the middle, and does so once for many rows. Few sizes are few statements to prepare."""


def _together(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Yield how many rows a statement has, and its values for each time that it is run; the rows keep their order."""
    start = 0
    for size in _TOGETHER:
        end = len(rows) - (len(rows) - start) % size
        if start < end:
            yield size, [tuple(chain.from_iterable(rows[at : at + size])) for at in range(start, end, size)]
        start = end


def addition(
    session: Session,
    model: type[SQLModel],
    rows: Columns,
    keys: Sequence[str],
    sums: Sequence[str],
    sets: Sequence[str] = (),
) -> Statement | Upsert:
    """Spell that the `sums` columns are added to the rows with these keys and the `sets` overwritten, in this order."""
    connection, table, key = session.connection(), model.__tablename__, ", ".join(keys)
    if connection.dialect.name != "sqlite":
        changes = [f"{each} = {table}.{each} + excluded.{each}" for each in sums]
        changes += [f"{each} = excluded.{each}" for each in sets]
        return _from_arrays(connection, model, rows, f"({key}) DO UPDATE SET {', '.join(changes)}")
    columns = dict(zip(rows, stored(connection, model, rows), strict=True))
    changes = [f"{each} = {each} + ?" for each in sums] + [f"{each} = ?" for each in sets]
    change = f"UPDATE {table} SET {', '.join(changes)} WHERE {' AND '.join(f'{each} = ?' for each in keys)}"
    return Upsert(
        change,
        list(zip(*(columns[each] for each in (*sums, *sets, *keys)), strict=True)),
        _inserting(model, tuple(columns), 1, ""),
        list(zip(*columns.values(), strict=True)),
    )


def given(connection: Connection, model: type[SQLModel], rows: Columns) -> Statement:
    """Spell rows as a table `given` for PostgreSQL, and return its values.

    Many rows are an array a column: thousands of parameters or statements take it long. For one row arrays do.
    """
    names, columns = tuple(rows), stored(connection, model, rows)
    if len(columns[0]) == 1:
        return _given(connection.dialect, model, names, one=True), tuple(value for (value,) in columns)
    return _given(connection.dialect, model, names, one=False), tuple(map(_array, columns))


@lru_cache
def _given(dialect: Dialect, model: type[SQLModel], names: tuple[str, ...], *, one: bool) -> str:
    types = [table_of(model).c[name].type.compile(dialect=dialect) for name in names]
    if one:
        rows = f"(VALUES ({', '.join(f'%s::{each}' for each in types)}))"
    else:
        rows = f"unnest({', '.join(f'%s::{each}[]' for each in types)})"
    return f"{rows} AS given({', '.join(names)})"


def _array(values: Sequence[Any]) -> str:
    """Spell an array as PostgreSQL reads it (its manual, 8.15.6); the driver's own way takes thrice as long."""
    if set(map(type, values)) == {str}:
        text = '","'.join(values)
        if "\\" not in text and text.count('"') == 2 * (len(values) - 1):
            return f'{{"{text}"}}'
    spelled = (
        "NULL" if each is None else f'"{_escaped(each)}"' if isinstance(each, str) else str(each) for each in values
    )
    return f"{{{','.join(spelled)}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def among(connection: Connection, pairs: Sequence[tuple[str, str]]) -> Statement:
    """Spell pairs of text as a table of `one` and `other`, which two columns can be IN, and return the values of that.

    Both engines look each pair up in an index.
    """
    if connection.dialect.name == "sqlite":
        sides = "json_extract(value, '$[0]') AS one, json_extract(value, '$[1]') AS other"
        return f"(SELECT {sides} FROM json_each(?))", (json.dumps(pairs),)
    sides = "unnest(%s::text[], %s::text[]) AS pair (one, other)"
    return f"(SELECT * FROM {sides})", tuple([pair[side] for pair in pairs] for side in (0, 1))


def loaded(connection: Connection, model: type[SQLModel], names: tuple[str, ...], rows: Iterable[Any]) -> list[Any]:
    """Return rows of these columns, as the driver gave them, with the values that the model's columns have."""
    columns = list(zip(*rows, strict=True))
    converters = _loaders(connection.dialect, model, names)
    values = [map(convert, each) if convert else each for convert, each in zip(converters, columns, strict=False)]
    return list(zip(*values, strict=True))


def stored(connection: Connection, model: type[SQLModel], rows: Columns) -> list[Sequence[Any]]:
    """Return the values of each column, as the driver takes them."""
    converters = _converters(connection.dialect, model, tuple(rows))
    return [
        values if convert is None else _converted(values, convert)
        for values, convert in zip(rows.values(), converters, strict=True)
    ]


def _converted(values: Sequence[Any], convert: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
    first = values[0]
    # Much is the same in all rows: the time of writing, and what this kind of row leaves empty.
    if values[-1] == first and values.count(first) == len(values):
        return convert([first]) * len(values)
    return convert(values)


@lru_cache
def _loaders(dialect: Dialect, model: type[SQLModel], names: tuple[str, ...]) -> tuple[Any, ...]:
    types = [table_of(model).c[name].type for name in names]
    return tuple(each.dialect_impl(dialect).result_processor(dialect, None) for each in types)


@lru_cache
def _converters(dialect: Dialect, model: type[SQLModel], names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(_storing(dialect, table_of(model).c[name].type) for name in names)


def _storing(dialect: Dialect, kind: TypeEngine[Any]) -> Callable[[Sequence[Any]], list[Any]] | None:
    """Return what makes the values of a column of this type those for the driver; commonest types in one step."""
    if isinstance(kind, UTCDateTime) and dialect.name == "sqlite":
        return _sqlite_instants
    each = kind.stored if isinstance(kind, FixedPoint) else kind.dialect_impl(dialect).bind_processor(dialect)
    return None if each is None else lambda values: list(map(each, values))


def _sqlite_instants(instants: Sequence[datetime | None]) -> list[str | None]:
    """Spell instants as SQLAlchemy does for SQLite, in UTC and always with microseconds; one by one is slower."""
    there = [each for each in instants if each is not None]
    if any(each.tzinfo is None for each in there):
        raise ValueError("an instant has a time zone")
    encoded = msgspec.json.encode([each.astimezone(UTC) for each in there]).decode()
    # RFC 3339, as in "2026-11-24T09:30:00Z", with six decimals where there are any.
    spelled = (f"{each[:10]} {each[11:-1]}{'' if '.' in each else '.000000'}" for each in encoded[2:-2].split('","'))
    return [None if each is None else next(spelled) for each in instants]
