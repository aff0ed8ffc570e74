"""Transactions: read one snapshot, or write with the whole transaction repeated when it lost a race."""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from sqlalchemy import inspect, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoResultFound,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlmodel import Session
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from billing_console.errors import BillingError, Refused, Replaced, Unavailable, Uncertain
from billing_console.i18n import _
from billing_console.text import clean, one_line
from db.damage import DamagedBalance, DamagedFile
from db.engine import LOCK_TIMEOUT_SECONDS, Database, FileReplaced, parse_url
from db.revision import HEAD, REVISIONS

Result = TypeVar("Result")

log = logging.getLogger(__name__)

_RACE_LOST = {"40001", "40P01", "55P03", "23505"}
"""PostgreSQL: serialization failure, deadlock, lock not available, unique violation (somebody was first)."""

_SERVER_GONE = {"57P01", "57P02", "57P03", "25P03"}
"""PostgreSQL: stopped by an administrator, after a crash, not ready yet, a transaction that was idle for too long."""


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


_DAMAGE = (DamagedBalance, DamagedFile, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What reading raises where the database holds what no service has written: a time, a name or a number that is none."""


def _require_file(database: Database) -> None:
    """Raise Unavailable unless there is a regular file; opening a pipe or a device could wait for ever."""
    try:
        mode = Path(str(database.url.database)).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(database) from None
    except (OSError, ValueError):
        raise _not_opened(database) from None
    if not stat.S_ISREG(mode):
        raise _not_opened(database)


def _missing(database: Database) -> Unavailable:
    return Unavailable(
        _("There is no database at %(name)s.") % {"name": database.label},
        _("Run: billing-console init, or try the product with: billing-console demo"),
    )


def _not_there(database: Database) -> Unavailable:
    return _not_opened(database) if os.path.exists(str(database.url.database)) else _missing(database)


def _not_opened(database: Database) -> Unavailable:
    return Unavailable(
        _("The database %(name)s cannot be opened.") % {"name": database.label}, _("Check its path and permissions.")
    )


@contextmanager
def reading(database: Database) -> Iterator[Session]:
    """Yield a session on one snapshot; raise Unavailable when the database cannot answer."""
    try:
        with database.reading() as session:
            yield session
    except (SQLAlchemyError, FileReplaced, *_DAMAGE) as error:
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
    attempts = _Attempts(database, work, one_snapshot, done)
    try:
        return Retrying(
            retry=retry_if_exception(attempts.may_pass),
            wait=wait_random_exponential(multiplier=0.01, max=1),
            stop=attempts.out_of_time,
            reraise=True,
        )(attempts.run)
    except (SQLAlchemyError, FileReplaced, *_DAMAGE) as error:
        raise (_uncertain(database, key) if attempts.may_be_done else explain(error, database)) from error


class _Attempts(Generic[Result]):
    """The attempts at one transaction, and whether one of them may have been committed without an answer."""

    def __init__(
        self,
        database: Database,
        work: Callable[[Session], Result],
        one_snapshot: bool,
        done: Callable[[Session], Result | None] | None,
    ) -> None:
        self.may_be_done = False
        self._database = database
        self._work = work
        self._one_snapshot = one_snapshot
        self._done = done
        self._connected = False
        self._since = time.monotonic()
        self._lost_before = False

    def run(self) -> Result:
        """Make one attempt."""
        self._connected = committing = False
        try:
            with self._database.writing(one_snapshot=self._one_snapshot) as session:
                self._connected = True
                result = self._result(session)
                session.flush()
                committing = True
            return result
        except DBAPIError as error:
            self.may_be_done |= committing and _lost_connection(error)
            raise

    def _result(self, session: Session) -> Result:
        try:
            return self._work(session)
        except Refused:
            earlier = self._done(session) if self.may_be_done and self._done else None
            if earlier is None:
                raise
            return earlier

    def may_pass(self, error: BaseException) -> bool:
        """Tell whether another attempt may succeed: the race was lost, or the server was and may come back."""
        return _lost_race(error) or self._lost_server(error)

    def _lost_server(self, error: BaseException) -> bool:
        # The ledger was open before: a server that cannot be reached now is being restarted, or is out of reach.
        unreachable = not (self._connected or self._database.is_sqlite) and isinstance(error, OperationalError)
        return unreachable or _lost_connection(error)

    def out_of_time(self, state: RetryCallState) -> bool:
        """Give up once the database's timeout has passed: from the start, or from where the server was first lost."""
        error = state.outcome.exception() if state.outcome else None
        if error is not None and not self._lost_before and self._lost_server(error):
            self._lost_before = True
            self._since = time.monotonic()
        return time.monotonic() - self._since >= self._database.timeout


def _uncertain(database: Database, key: str) -> Uncertain:
    lost = _("The connection to the database %(name)s was lost, and it is unknown whether the change was made.")
    if key:
        hint = _("Repeat it with the same key, %(key)s: what was done is not done twice.") % {"key": clean(key)}
    else:
        hint = _("Repeat it: what was done is not done twice.")
    return Uncertain(lost % {"name": database.label}, hint)


def _is_sound(database: Database) -> bool:
    """Look through the whole file, whose checks also say which values a column takes; slow, so only after a failure."""
    try:
        with database.reading() as session:
            return session.connection().exec_driver_sql("PRAGMA integrity_check(1)").scalar() == "ok"
    except (SQLAlchemyError, UnicodeDecodeError):
        return False


def _sqlstate(error: BaseException) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _lost_race(error: BaseException) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    said = str(error.orig)
    return _sqlstate(error) in _RACE_LOST or "database is locked" in said


def _lost_connection(error: BaseException) -> bool:
    """Tell whether the connection broke while it was in use."""
    if not isinstance(error, DBAPIError):
        return False
    state = _sqlstate(error)
    return error.connection_invalidated or state in _SERVER_GONE or state.startswith("08")


def explain(error: Exception, database: Database) -> BillingError:
    """Turn a database error into one sentence for people and the next step; SQL and values never leave here."""
    if isinstance(error, FileReplaced):
        return Replaced(
            _("Another file has taken the place of the database %(name)s.") % {"name": database.label},
            _("Open it again."),
        )
    if isinstance(error, DamagedBalance):
        return Unavailable(
            _("The balance of %(where)s in %(name)s is damaged: it contradicts its copy.")
            % {"where": clean(error.where), "name": database.label},
            _("Run: billing-console reconcile"),
        )
    said = str(getattr(error, "orig", None) or error)
    name = {"name": database.label}
    cause = getattr(error, "orig", None) or error
    overflow = isinstance(cause, OverflowError) or "integer overflow" in said or _sqlstate(error) == "22003"
    if overflow or re.search(r"CHECK constraint failed: ck_\w+_form", said):
        return Refused(_("The amount is beyond the range of the ledger; nothing was changed."))
    if "database is locked" in said or _sqlstate(error) in _RACE_LOST:
        return Unavailable(
            _("The database %(name)s stayed busy; nothing was changed.") % name, _("Try again in a moment.")
        )
    if "readonly database" in said or _sqlstate(error) in ("25006", "42501"):
        return Unavailable(
            _("The database %(name)s cannot be written.") % name,
            _("Check the permissions of the file and its directory.")
            if database.is_sqlite
            else _("Check the permissions of the role, and that the server is not a standby."),
        )
    reason = said.strip().splitlines()[0][:200] if said.strip() else type(error).__name__
    if isinstance(error, DamagedFile):
        return Unavailable(
            _("The database %(name)s is damaged: %(reason)s") % {**name, "reason": clean(reason)},
            _("Restore it from a backup."),
        )
    unreadable = isinstance(error, (*_DAMAGE, NoResultFound)) or "not decode to UTF-8" in said
    if unreadable and (not database.is_sqlite or _is_sound(database)):
        log.debug("what the database holds cannot be read", exc_info=error)
        return Unavailable(
            _("The database %(name)s holds something that cannot be read: %(reason)s")
            % {**name, "reason": clean(reason)},
            _("Run: billing-console reconcile"),
        )
    if unreadable or any(words in said for words in ("not a database", "malformed", "Could not decode")):
        return _damaged(database)
    if "disk is full" in said or _sqlstate(error) == "53100":
        return Unavailable(
            _("The disk of the database %(name)s is full; nothing was changed.") % name,
            _("Free some space and try again."),
        )
    if "disk I/O error" in said:
        return Unavailable(
            _("The file system did not read or write the database %(name)s.") % name,
            _("Check the disk, its space, and the limit on the size of files."),
        )
    if "unable to open" in said:
        return _not_there(database)
    if "no such table" in said or "no such column" in said or _sqlstate(error) in ("42P01", "42703"):
        return Unavailable(
            _("The database %(name)s does not have the expected tables.") % name, _("Run: billing-console upgrade")
        )
    if _lost_connection(error):
        return Unavailable(
            _("The connection to the database %(name)s was lost; nothing was changed.") % name,
            _("Try again in a moment."),
        )
    return Unavailable(
        _("The database %(name)s did not answer: %(reason)s") % {**name, "reason": reason},
        _("Check the file and the disk it is on.")
        if database.is_sqlite
        else _("Check that the server runs and the URL is right."),
    )


def _damaged(database: Database) -> Unavailable:
    return Unavailable(
        _("The database %(name)s is damaged or not a database.") % {"name": database.label},
        _("Restore it from a backup."),
    )
