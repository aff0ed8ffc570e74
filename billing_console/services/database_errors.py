"""What went wrong in the database, in one sentence for people and the next step; SQL and values never leave here."""

from __future__ import annotations

import logging
import os
import re

from sqlalchemy.exc import DBAPIError, NoResultFound, SQLAlchemyError

from billing_console.errors import BillingError, Refused, Replaced, Unavailable, Uncertain
from billing_console.i18n import _
from billing_console.text import clean
from db.damage import DamagedBalance, DamagedFile
from db.engine import Database, FileReplaced

log = logging.getLogger(__name__)

_RACE_LOST = {"40001", "40P01", "55P03", "23505"}
"""PostgreSQL: serialization failure, deadlock, lock not available, unique violation (somebody was first)."""

_SERVER_GONE = {"57P01", "57P02", "57P03", "25P03"}
"""PostgreSQL: stopped by an administrator, after a crash, not ready yet, a transaction that was idle for too long."""


DAMAGE = (DamagedBalance, DamagedFile, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What reading raises where the database holds what no service has written: a time, a name or a number that is none."""


def missing(database: Database) -> Unavailable:
    """Return the error for a path with nothing at it."""
    return Unavailable(
        _("There is no database at %(name)s.") % {"name": database.label},
        _("Run: billing-console init, or try the product with: billing-console demo"),
    )


def not_opened(database: Database) -> Unavailable:
    """Return the error for a path that is no file, or one that may not be opened."""
    return Unavailable(
        _("The database %(name)s cannot be opened.") % {"name": database.label}, _("Check its path and permissions.")
    )


def _not_there(database: Database) -> Unavailable:
    try:
        os.stat(str(database.url.database))
    except (FileNotFoundError, NotADirectoryError):
        return missing(database)
    except OSError:
        pass
    return not_opened(database)


def uncertain(database: Database, key: str) -> Uncertain:
    """Return the error for a change that may have been made; `key` is what it can be repeated with."""
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


def lost_race(error: BaseException) -> bool:
    """Tell whether somebody else was first, so that the same transaction may succeed when it is run again."""
    if not isinstance(error, DBAPIError):
        return False
    said = str(error.orig)
    return _sqlstate(error) in _RACE_LOST or "database is locked" in said


def lost_connection(error: BaseException) -> bool:
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
    reason = said.strip().splitlines()[0][:200].rstrip(".") if said.strip() else type(error).__name__
    if isinstance(error, DamagedFile):
        return Unavailable(
            _("The database %(name)s is damaged: %(reason)s.") % {**name, "reason": clean(reason)},
            _("Restore it from a backup."),
        )
    unreadable = isinstance(error, (*DAMAGE, NoResultFound)) or "not decode to UTF-8" in said
    if unreadable and (not database.is_sqlite or _is_sound(database)):
        log.debug("what the database holds cannot be read", exc_info=error)
        return Unavailable(
            _("The database %(name)s holds something that cannot be read: %(reason)s.")
            % {**name, "reason": clean(reason)},
            _("Run: billing-console reconcile"),
        )
    if unreadable or any(words in said for words in ("not a database", "malformed", "Could not decode")):
        return _damaged(database)
    if "disk is full" in said or _sqlstate(error) == "53100":
        return Unavailable(
            _("The disk of the database %(name)s is full; nothing was changed.") % name,
            # SQLite says the same of the disk of its temporary files.
            _("Free some space, also where temporary files go (TMPDIR), and try again.")
            if database.is_sqlite
            else _("Free some space and try again."),
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
    if lost_connection(error):
        return Unavailable(
            _("The connection to the database %(name)s was lost; nothing was changed.") % name,
            _("Try again in a moment."),
        )
    return Unavailable(
        _("The database %(name)s did not answer: %(reason)s.") % {**name, "reason": reason},
        _("Check the file and the disk it is on.")
        if database.is_sqlite
        else _("Check that the server runs and the URL is right."),
    )


def _damaged(database: Database) -> Unavailable:
    return Unavailable(
        _("The database %(name)s is damaged or not a database.") % {"name": database.label},
        _("Restore it from a backup."),
    )
