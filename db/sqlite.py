"""How statements are handed to SQLite at the end of a transaction: by its driver, which takes half as long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


@dataclass(frozen=True, slots=True)
class Upsert:
    """A change of one row for each of some values, and the insert of those rows that are not there, few as a rule.

    `INSERT … ON CONFLICT DO UPDATE` checks a whole row before it finds that it is there, and takes twice as long.
    """

    change: str
    changes: Sequence[tuple[Any, ...]]
    insert: str
    rows: Sequence[tuple[Any, ...]]


def run_in_turn(connection: Connection, statements: Sequence[tuple[str, Any] | Upsert]) -> None:
    """Run statements whose rows nobody reads; raises as each would."""
    driver: Any = connection.connection.driver_connection
    failure = connection.dialect.loaded_dbapi.Error
    try:
        for statement in statements:
            if isinstance(statement, Upsert):
                _upsert(driver.cursor(), statement)
            else:
                driver.execute(*statement)
    except failure as error:
        raise DBAPIError.instance(
            None, None, error, failure, hide_parameters=True, dialect=connection.dialect
        ) from error


def _upsert(cursor: Any, wanted: Upsert) -> None:
    found = [cursor.execute(wanted.change, values).rowcount for values in wanted.changes]
    missing = [row for row, changed in zip(wanted.rows, found, strict=True) if not changed]
    if missing:
        cursor.executemany(wanted.insert, missing)
