"""What a transaction does last: changes of rows that others wait for, which nothing else in it reads.

PostgreSQL gets them in one round trip with the commit, so that such rows are locked for as long as the server takes
and not for as long as this program does.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from db.postgresql import run_together

Statement = tuple[str, Any]
"""SQL as the driver takes it, and its values."""

_LAST = "last statements"


def at_last(session: Session, *statements: Statement) -> None:
    """Have statements run at the end of the transaction, after those given before."""
    session.info.setdefault(_LAST, []).extend(statements)


def run_last(session: Session, *, commit: bool = False) -> None:
    """Run these statements now, for what reads what they change; with `commit` PostgreSQL commits in the same trip."""
    statements = session.info.pop(_LAST, [])
    if not statements:
        return
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        for statement, values in statements:
            connection.exec_driver_sql(statement, values)
    else:
        run_together(connection, statements, commit=commit)
