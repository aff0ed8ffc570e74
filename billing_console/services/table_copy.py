"""Copy a ledger row by row from one engine to another: all tables of the schema, whichever there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, text
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlmodel import Session, SQLModel

import db.schema  # noqa: F401  (fills the metadata)
from billing_console.errors import Refused
from billing_console.i18n import _
from billing_console.services.database_errors import explain
from billing_console.services.page_copy import Progress
from db.engine import Database
from db.partitions import know_requests
from db.statements import is_sqlite

BATCH = 2000
"""Rows in memory at a time."""


def tables() -> Sequence[Table]:
    """Return the tables of the schema, each after those it refers to."""
    return SQLModel.metadata.sorted_tables


def count_rows(session: Session) -> dict[str, int]:
    """Count the rows of every table in the session's snapshot."""
    return {
        table.name: session.connection().execute(select(func.count()).select_from(table)).scalar_one()
        for table in tables()
    }


def copy_rows(source: Session, ledger: Database, target: Session, progress: Progress) -> None:
    """Give `target`, a schema without rows of its own, exactly the rows of `source`, which is a session of `ledger`.

    Raises Unavailable for what `ledger` cannot answer; an error of the target is the caller's.
    """
    whole = sum(count_rows(source).values())
    done = 0
    connection = target.connection()
    with _without_triggers(target):
        # A migration may have made rows, which are in the source as well.
        for table in reversed(tables()):
            connection.execute(delete(table))
        for table in tables():
            for batch in _batches(source, ledger, table):
                _insert(connection, table, batch)
                done += len(batch)
                progress(done, whole)
    if not is_sqlite(target):
        know_requests(target)
        _continue_ids(connection)


def _batches(source: Session, ledger: Database, table: Table) -> Iterator[list[dict[str, Any]]]:
    """Stream the rows in the order of the key: of two rows in one table the later one refers to the earlier one."""
    query = select(table).order_by(*table.primary_key)
    try:
        rows = source.connection().execute(query, execution_options={"yield_per": BATCH}).mappings()
        for batch in rows.partitions():
            yield [dict(row) for row in batch]
    except SQLAlchemyError as error:
        raise explain(error, ledger) from error


def _insert(connection: Connection, table: Table, batch: list[dict[str, Any]]) -> None:
    try:
        connection.execute(insert(table), batch)
    except DataError as error:
        raise Refused(
            _("The table %(table)s holds a text that PostgreSQL cannot store; nothing was changed.")
            % {"table": table.name},
            _("Restore it to an SQLite file instead."),
        ) from error


@contextmanager
def _without_triggers(session: Session) -> Iterator[None]:
    """Keep triggers from adding to rows that were complete before, as to the outbox, or from refusing the copy."""
    connection = session.connection()
    if is_sqlite(session):
        triggers = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
        for trigger in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {_quoted(connection, trigger.name)}")
        yield
        for trigger in triggers:
            connection.exec_driver_sql(trigger.sql)
    else:
        for table in tables():
            connection.exec_driver_sql(f"ALTER TABLE {_quoted(connection, table.name)} DISABLE TRIGGER USER")
        yield
        for table in tables():
            connection.exec_driver_sql(f"ALTER TABLE {_quoted(connection, table.name)} ENABLE TRIGGER USER")


def _continue_ids(connection: Connection) -> None:
    """Let PostgreSQL number new rows after the highest id; SQLite does so by itself."""
    for table in tables():
        column = table.autoincrement_column
        if column is not None:
            highest = select(func.max(column)).scalar_subquery()
            connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), highest)))


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
