"""Back a ledger up to one SQLite file, whatever engine it is on, and restore it to either engine."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from sqlalchemy import func, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from billing_console.atomic import creating, unwritable
from billing_console.errors import NotPermitted, Refused
from billing_console.i18n import _
from billing_console.services.actions import Action
from billing_console.services.audit import Trail, append
from billing_console.services.backup_check import (
    Rows,
    examine,
    open_backup,
    refuse_what_lies_beside,
    require_balance,
    require_rows,
    url_of,
)
from billing_console.services.changes import change
from billing_console.services.database_errors import explain
from billing_console.services.identity import Actor, this_person
from billing_console.services.ledger import Ledger
from billing_console.services.maintenance import first_month, make_partitions
from billing_console.services.page_copy import Progress, copy_pages, make_one_file
from billing_console.services.reconcile import compare
from billing_console.services.roles import found, role_of, state_of, whom_to_ask
from billing_console.services.session import prepare, reading
from billing_console.services.setup import migrate
from billing_console.services.table_copy import copy_rows, count_rows
from db.engine import Database
from db.schema import Operator
from db.values import Role

ROOT = 0
_RESTORING = 6227020800
"""The PostgreSQL advisory lock of a restore, so that a second one waits for it and then finds a ledger."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A backup that was made: where, its size in bytes, the rows of each table, and how long it took.

    `wrong` counts what reconcile and the verification of the audit log find in it, as they do in the ledger itself.
    """

    path: Path
    size: int
    rows: Rows
    wrong: int
    seconds: Decimal


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was restored: to which database, the rows of each table, and how long it took."""

    path: Path
    database: str
    rows: Rows
    seconds: Decimal


def back_up(ledger: Ledger, path: Path, progress: Progress) -> BackedUp:
    """Write the ledger as it is at one moment to a new SQLite file, which is checked before it gets its name.

    Only an admin may, and the audit log says so, in the backup too. Raises Refused for a name that is taken,
    Unavailable for a ledger that is damaged and for a file that cannot be written; none of them leaves a file behind.
    """
    began = time.monotonic_ns()
    with creating(path) as temporary:
        change(ledger, Action.BACKUP, str(path), lambda session, trail: trail.note(None, {"file": str(path)}))
        wanted: Rows = {}
        if ledger.database.is_sqlite:
            copy_pages(ledger.database, temporary, path, progress)
        else:
            wanted = _write_rows(ledger, temporary, path, progress)
        rows, wrong = _examined(ledger, temporary, ledger.label)
        require_rows(rows, wanted, ledger.label)
        size = temporary.stat().st_size
    return BackedUp(path, size, rows, wrong, _seconds_since(began))


def restore(
    url: str,
    path: Path,
    progress: Progress,
    *,
    low_threshold: Decimal = Decimal(10),
    person: Actor | None = None,
) -> Restored:
    """Put the backup at `path`, once it is checked, to the database at `url`, which must not hold a ledger yet.

    `low_threshold` is that of the ledger, in percent, by which its alerts are checked. Only an admin of the backup may,
    and root, who can always read and copy files and becomes an admin where nobody knows them; the audit log of the
    restored ledger says who did it.

    Raises NotPermitted for anybody else, Refused where there is a ledger, or what SQLite left of one, and what opening
    a backup does; the database is then as it was.
    """
    began = time.monotonic_ns()
    person = person or this_person()
    database = prepare(url)
    try:
        if database.is_sqlite:
            _require_room(Path(str(database.url.database)))
        with open_backup(path, low_threshold) as (backup, rows):
            with reading(backup.database) as session:
                _require_admin(session, person)
            if database.is_sqlite:
                _restore_file(backup, rows, Path(str(database.url.database)), progress, person)
            else:
                _restore_rows(backup, rows, database, progress, person)
        return Restored(path, database.label, rows, _seconds_since(began))
    finally:
        database.close()


def _seconds_since(began: int) -> Decimal:
    return round(Decimal(time.monotonic_ns() - began).scaleb(-9), 2)


def _require_admin(session: Session, person: Actor) -> None:
    if role_of(session, person) is not Role.ADMIN and person.uid != ROOT:
        raise NotPermitted(
            _("Only an admin of the backup, or root, may restore it."),
            whom_to_ask(session),
        )


def _sign(session: Session, backup: Ledger, person: Actor) -> None:
    """Begin the restored ledger's own part of the audit log; root becomes an admin where the backup knows no root."""
    trail = Trail(backup.label)
    trail.note(None, {"file": backup.label})
    if role_of(session, person) is not Role.ADMIN:
        row = session.get(Operator, person.name)
        if row is not None:
            session.delete(row)
            session.flush()
        trail.state("operators", person.name, state_of(found(session, person, backup.clock())))
    append(session, person, backup.clock(), Action.RESTORE, trail)


def _examined(ledger: Ledger, copy: Path, name: str) -> tuple[Rows, int]:
    """Check a copy of the ledger by the ledger's own rules."""
    database = prepare(url_of(copy), read_only=True)
    try:
        return examine(
            replace(ledger, database=database),
            name,
            if_damaged=_("Restore it from a backup."),
        )
    finally:
        database.close()


def _write_rows(ledger: Ledger, temporary: Path, path: Path, progress: Progress) -> Rows:
    """Make a ledger at `temporary` with all rows of one snapshot, and return how many these are."""
    with reading(ledger.database) as source:
        wanted = count_rows(source)
        with _new_file(temporary, path) as target:
            migrate(target)
            copy_rows(source, ledger.database, target, progress)
    return wanted


@contextmanager
def _new_file(temporary: Path, path: Path) -> Iterator[Session]:
    database = prepare(url_of(temporary), durable=False)
    try:
        with database.writing() as session:
            yield session
        database.close()
        make_one_file(temporary)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise unwritable(path, str(getattr(error, "orig", None) or error)) from error
    finally:
        database.close()


def _require_room(target: Path) -> None:
    """Raise Refused unless the name is free, also of what SQLite keeps beside a file of that name."""
    if os.path.lexists(target):
        raise Refused(_("%(path)s is there already; it was left as it is.") % {"path": target}, _move_it())
    refuse_what_lies_beside(
        target,
        _("%(beside)s lies beside %(path)s, left by a database that was moved away; it would damage the restored one."),
        _("Move it to where that database is."),
    )


def _restore_file(backup: Ledger, rows: Rows, target: Path, progress: Progress, person: Actor) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error.strerror) from error
    with creating(target) as temporary:
        copy_pages(backup.database, temporary, target, progress)
        require_rows(_examined(backup, temporary, backup.label)[0], rows, backup.label)
        with _new_file(temporary, target) as restored:
            _sign(restored, backup, person)


def _restore_rows(backup: Ledger, rows: Rows, database: Database, progress: Progress, person: Actor) -> None:
    """Make the ledger in one transaction, which is committed only if it holds what the backup does."""
    restored = replace(backup, database=database)
    with reading(backup.database) as source, _filling(database) as target:
        migrate(target)
        if not database.is_sqlite:
            make_partitions(
                target, backup.timezone, backup.clock(), first_month(source, backup.timezone, backup.clock())
            )
        copy_rows(source, backup.database, target, progress)
        require_rows(count_rows(target), rows, backup.label)
        require_balance(len(compare(target, restored)), database.label, _("Check the disk."))
        _sign(target, backup, person)


@contextmanager
def _filling(database: Database) -> Iterator[Session]:
    """Yield a session on a PostgreSQL database that was empty, and is again unless the block comes to its end."""
    try:
        with database.writing() as session:
            session.connection().execute(select(func.pg_advisory_xact_lock(_RESTORING)))
            if inspect(session.connection()).get_table_names():
                words = _("The database %(name)s holds tables already; it was left as it is.")
                raise Refused(words % {"name": database.label}, _move_it())
            yield session
    except SQLAlchemyError as error:
        raise explain(error, database) from error


def _move_it() -> str:
    return _("Move the old one away first, or name another with --database.")
