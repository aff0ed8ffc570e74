"""What a transaction does last: changes of rows that others wait for, which nothing else in it reads.

PostgreSQL gets them in one round trip with the commit, so that such rows are locked for as long as the server takes
and not for as long as this program does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlmodel import Session

from db.postgresql import run_together
from db.sqlite import Upsert, run_in_turn

Statement = tuple[str, Any]
"""SQL as the driver takes it, and its values."""

_LAST = "last statements"


def at_last(session: Session, *statements: Statement | Upsert) -> None:
    """Have statements run at the end of the transaction, after those given before."""
    session.info.setdefault(_LAST, []).extend(statements)


def run_last(session: Session, *, commit: bool = False) -> None:
    """Run these statements now, for what reads what they change; with `commit` PostgreSQL commits in the same trip."""
    statements = session.info.pop(_LAST, [])
    if statements:
        run_now(session, *statements, commit=commit)


def run_now(session: Session, *statements: Statement | Upsert, commit: bool = False) -> None:
    """Run statements whose rows nobody reads."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        run_in_turn(connection, statements)
    else:
        run_together(connection, cast(Sequence[Statement], statements), commit=commit)
