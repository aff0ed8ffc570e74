"""Somebody who has the database's password: changes rows past the program and past every trigger and constraint."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Table, delete, insert, select, text, update
from sqlalchemy.types import Date, DateTime, Integer
from sqlmodel import SQLModel

from billing_console.services.audit import hash_of
from billing_console.services.ledger import Ledger
from db.schema import AuditEntry
from db.statements import table_of
from db.types import FixedPoint
from db.values import (
    AlertLevel,
    AlertType,
    ApprovalKind,
    CallStatus,
    LimitName,
    Outcome,
    PriceUnit,
    Role,
    UsageType,
)

LOG = table_of(AuditEntry)

VOCABULARIES: Mapping[str, type[StrEnum]] = {
    "prices.usage_type": UsageType,
    "prices.unit": PriceUnit,
    "usage_records.usage_type": UsageType,
    "usage_records.status": CallStatus,
    "approval_requests.kind": ApprovalKind,
    "audit_log.outcome": Outcome,
    "operators.role": Role,
    "limits.name": LimitName,
    "balance_alerts.alert_type": AlertType,
    "balance_alerts.alert_level": AlertLevel,
}
"""The columns that take only some words; any other would be seen at once."""


class Intruder:
    """Works on a ledger's database with SQL of its own, and can put everything back."""

    def __init__(self, ledger: Ledger, choose: random.Random) -> None:
        self.choose = choose
        self._database = ledger.database
        self._tables = SQLModel.metadata.sorted_tables
        with self._past_everything() as connection:
            self._drop_checks(connection)
            for table in self._tables:
                connection.execute(text(f"CREATE TABLE safe_{table.name} AS SELECT * FROM {table.name}"))

    def _drop_checks(self, connection: Connection) -> None:
        """Whoever owns the tables can drop their rules; SQLite is told to ignore them."""
        if self._database.is_sqlite:
            return
        rules = "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c' AND coninhcount = 0"
        for table, name in connection.execute(text(f"{rules} AND connamespace = 'public'::regnamespace")).all():
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))

    @contextmanager
    def _past_everything(self) -> Iterator[Connection]:
        """A transaction in which no trigger fires and no key is looked up; all of it is as before afterwards."""
        with self._database.engine.connect() as connection:
            if not self._database.is_sqlite:
                with connection.begin():
                    connection.execute(text("SET LOCAL session_replication_role = replica"))
                    yield connection
                return
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA foreign_keys = OFF")
            raw.execute("PRAGMA ignore_check_constraints = ON")
            with connection.begin():
                triggers = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
                for name, _sql in triggers:
                    connection.exec_driver_sql(f"DROP TRIGGER {name}")
                yield connection
                for _name, sql in triggers:
                    connection.exec_driver_sql(sql)
            raw.execute("PRAGMA foreign_keys = ON")
            raw.execute("PRAGMA ignore_check_constraints = OFF")

    def put_back(self) -> None:
        """Undo everything."""
        with self._past_everything() as connection:
            for table in reversed(self._tables):
                connection.execute(delete(table))
            for table in self._tables:
                columns = ", ".join(column.name for column in table.columns)
                connection.execute(
                    text(f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM safe_{table.name}")
                )

    def rows(self, table: Table, condition: Any = None) -> list[Any]:
        """Rows in the order of the table's key."""
        query = select(table).order_by(*table.primary_key.columns)
        with self._database.engine.connect() as connection:
            return list(connection.execute(query if condition is None else query.where(condition)))

    def one(self, table: Table, condition: Any = None) -> Any:
        """A row by chance."""
        return self.choose.choice(self.rows(table, condition))

    def change(self, table: Table, *changes: tuple[Any, Mapping[str, Any]]) -> None:
        """Give rows other values, all in one transaction."""
        with self._past_everything() as connection:
            for row, values in changes:
                connection.execute(update(table).where(*_key(table, row)).values(**values))

    def add(self, table: Table, row: Any, adding: Mapping[str, Any]) -> None:
        """Add to the numbers of a row, and take from the negated copies that there are."""
        self.change(table, (row, {name: getattr(row, name) + amount for name, amount in adding.items()}))

    def remove(self, table: Table, *rows: Any) -> None:
        """Delete rows."""
        with self._past_everything() as connection:
            for row in rows:
                connection.execute(delete(table).where(*_key(table, row)))

    def put_in(self, table: Table, like: Any, **values: Any) -> None:
        """Insert a row like another one, changed where told."""
        self.put_in_row(table, dict(like._mapping) | values)

    def put_in_row(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert a row."""
        with self._past_everything() as connection:
            connection.execute(insert(table).values(**row))

    def replace_log(self, rows: list[dict[str, Any]]) -> None:
        """Put these rows where the log is."""
        with self._past_everything() as connection:
            connection.execute(delete(LOG))
            connection.execute(insert(LOG), rows)

    def other(self, column: Column[Any], value: Any) -> Any:
        """Another value that looks as well in this column."""
        words = VOCABULARIES.get(f"{column.table.name}.{column.name}")
        if words is not None:
            return self.choose.choice([word.value for word in words if word.value != value])
        kind = column.type
        if isinstance(kind, FixedPoint):
            step = Decimal(self.choose.choice((1, 10**4, 10**9))).scaleb(-kind.scale)
            return (value or Decimal(0)) + self.choose.choice((1, -1)) * step
        if isinstance(kind, Boolean):
            return not value
        if isinstance(kind, Integer):
            return self.choose.randrange(10**6, 10**9) if value is None else value + self.choose.randrange(1, 10**6)
        if isinstance(kind, DateTime) or isinstance(value, datetime):
            instant: datetime = value
            return instant + self.choose.choice((1, -1)) * timedelta(seconds=self.choose.randrange(1, 10**6))
        if isinstance(kind, Date):
            day: date = value
            return day + timedelta(days=self.choose.randrange(1, 400))
        return self._other_text(value or "")

    def unused(self, column: Column[Any], like: Any, rows: list[Any]) -> Any:
        """A value that looks as one row's and is none of the rows'."""
        taken = {getattr(row, column.name) for row in rows}
        while (value := self.other(column, getattr(like, column.name))) in taken:
            pass
        return value

    def _other_text(self, value: str) -> str:
        if not value or self.choose.random() < 0.2:
            return value + self.choose.choice("ax7 ")
        place = self.choose.randrange(len(value))
        letter = self.choose.choice([letter for letter in "abcdef0123456789" if letter != value[place]])
        return value[:place] + letter + value[place + 1 :]


def _key(table: Table, row: Any) -> list[Any]:
    return [column == getattr(row, column.name) for column in table.primary_key.columns]


def hashed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the log with the hash that fits it."""
    return {**row, "hash": hash_of(row)}
