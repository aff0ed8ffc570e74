"""Transactions: read one snapshot, or write with the whole transaction repeated when it lost a race."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import inspect, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlmodel import Session
from tenacity import Retrying, retry_if_exception, wait_random_exponential

from billing_console.errors import BillingError, Unavailable
from billing_console.i18n import _
from billing_console.services.attempts import Attempts
from billing_console.services.database_errors import DAMAGE, explain, missing, not_opened, uncertain
from billing_console.text import one_line
from db.engine import LOCK_TIMEOUT_SECONDS, Database, FileReplaced, parse_url
from db.revision import HEAD, REVISIONS

Result = TypeVar("Result")


def connect(
    url: str, *, read_only: bool = False, timeout: int = LOCK_TIMEOUT_SECONDS, durable: bool = True
) -> Database:
    """Open the ledger at `url` and check that its schema is the one this program knows.

    Raises Unavailable, with the next step, for a wrong URL, a missing or damaged database and an older or newer schema.
    """
    database = prepare(url, read_only=read_only, timeout=timeout, durable=durable)
    try:
        require_schema(database)
    except BillingError:
        database.close()
        raise
    return database


def prepare(
    url: str,
    *,
    read_only: bool = False,
    create: bool = False,
    timeout: int = LOCK_TIMEOUT_SECONDS,
    durable: bool = True,
) -> Database:
    """Make ready to open the database at `url` without looking at its schema; raise Unavailable for a wrong URL."""
    try:
        return Database(parse_url(url), read_only=read_only, create=create, timeout=timeout, durable=durable)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise Unavailable(
            _("The database URL is not one this program can open."),
            _("Use sqlite:////path/to/billing.db or postgresql://user@host/name."),
        ) from None
    except ModuleNotFoundError:
        raise Unavailable(
            _("PostgreSQL support is not installed."), _("Install it with: pip install 'billing-console[postgres]'")
        ) from None


def require_schema(database: Database) -> None:
    """Raise Unavailable unless the database's schema is exactly the one this program knows."""
    found = schema_revision(database)
    if found is None:
        raise Unavailable(
            _("The database %(name)s is not set up.") % {"name": database.label}, _("Run: billing-console init")
        )
    require_known(database, found)
    if found != HEAD:
        raise Unavailable(
            _("The schema of the database %(name)s (%(found)s) is older than this program (%(known)s).")
            % {"name": database.label, "found": found, "known": HEAD},
            _("Run: billing-console upgrade"),
        )


def require_known(database: Database, found: str) -> None:
    """Raise Unavailable for a schema revision that only a newer program can know."""
    if found not in REVISIONS:
        raise Unavailable(
            _("The schema of the database %(name)s (%(found)s) is newer than this program (%(known)s).")
            % {"name": database.label, "found": one_line(found, 40), "known": HEAD},
            _("Install the newer billing-console."),
        )


def schema_revision(database: Database) -> str | None:
    """Return the schema revision of the database, None while it has none."""
    if database.is_sqlite:
        _require_file(database)
    with reading(database) as session:
        if not inspect(session.connection()).has_table("alembic_version"):
            return None
        return session.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _require_file(database: Database) -> None:
    """Raise Unavailable unless there is a regular file; opening a pipe or a device could wait for ever."""
    try:
        mode = Path(str(database.url.database)).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise missing(database) from None
    except (OSError, ValueError):
        raise not_opened(database) from None
    if not stat.S_ISREG(mode):
        raise not_opened(database)


@contextmanager
def reading(database: Database) -> Iterator[Session]:
    """Yield a session on one snapshot; raise Unavailable when the database cannot answer."""
    try:
        with database.reading() as session:
            yield session
    except (SQLAlchemyError, FileReplaced, *DAMAGE) as error:
        raise explain(error, database) from error


def in_transaction(
    database: Database,
    work: Callable[[Session], Result],
    *,
    one_snapshot: bool = False,
    key: str = "",
    done: Callable[[Session], Result | None] | None = None,
) -> Result:
    """Run `work` in one transaction and commit it; what lost a race or its connection is run again, whole, for a time.

    With `one_snapshot` all its queries see the same state, and a row that somebody changes meanwhile makes it lose.
    A commit whose answer is lost may have been made. So `work` must find what it did before, by its idempotency `key`
    or by what it writes; where it refuses to do a thing twice, `done` finds what the first time left.

    This is what every write ends in; what a person or a timer changes goes through `changes.change`.

    Raises Refused when an amount leaves the ledger's range, Unavailable when the database stays locked, cannot be
    written or is gone, and Uncertain when it is gone and may have made the change.
    """
    attempts = Attempts(database, work, one_snapshot, done)
    try:
        return Retrying(
            retry=retry_if_exception(attempts.may_pass),
            wait=wait_random_exponential(multiplier=0.01, max=1),
            stop=attempts.out_of_time,
            reraise=True,
        )(attempts.run)
    except (SQLAlchemyError, FileReplaced, *DAMAGE) as error:
        raise (uncertain(database, key) if attempts.may_be_done else explain(error, database)) from error
    finally:
        attempts.forget()
