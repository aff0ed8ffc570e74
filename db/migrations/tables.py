"""What several migrations build tables from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem
from sqlmodel.sql.sqltypes import UTCDateTime

from db.types import FixedPoint

SQLITE_TIME = (
    "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]"
)
"""How SQLite stores an instant: UTC as YYYY-MM-DD HH:MM:SS.ffffff, so that text order is time order."""


def text(name: str, *, null: bool = False) -> sa.Column[str]:
    """Return a text column."""
    return sa.Column(name, sa.Text(), nullable=null)


def instant(name: str, *, null: bool = False) -> sa.Column[object]:
    """Return a column of instants in UTC."""
    return sa.Column(name, UTCDateTime(), nullable=null)


def ident() -> sa.Column[int]:
    """Return the numbered primary key of a table."""
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)


def create(table: str, *items: SchemaItem) -> None:
    """Create a table; on SQLite, which takes any value in any column, let it refuse what PostgreSQL refuses by type.

    There a sum beyond 64 bits would silently become a float, and a time in another spelling would sort wrongly.
    """
    checks: list[SchemaItem] = []
    if op.get_bind().dialect.name == "sqlite":
        for column in items:
            if isinstance(column, sa.Column) and isinstance(column.type, (FixedPoint, sa.BigInteger)):
                rule = f"typeof({column.name}) IN ('integer', 'null')"
            elif isinstance(column, sa.Column) and isinstance(column.type, UTCDateTime):
                rule = f"{column.name} IS NULL OR {column.name} GLOB '{SQLITE_TIME}'"
            else:
                continue
            checks.append(sa.CheckConstraint(rule, name=f"ck_{table}_{column.name}_form"))
    op.create_table(table, *items, *checks)


def append_only(table: str) -> None:
    """Let the database refuse to change or delete a row of a table; refuse_change() comes with the first revision."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION refuse_change()"
    )
