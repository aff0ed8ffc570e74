"""Copy an SQLite ledger page by page while others write to it, by SQLite's own online backup."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

from billing_console.atomic import unwritable
from billing_console.errors import BillingError
from billing_console.services.database_errors import explain
from billing_console.services.session import reading
from db.engine import Database

Progress = Callable[[int, int], None]
"""Called with how much is copied and how much there is."""

PAGES = 2048
"""Copied at a time; between two times writers get their turn."""

RESTARTS = 3
"""A write of another process makes SQLite begin again; after so many times the writers have to wait instead."""


def copy_pages(source: Database, target: Path, name: Path, progress: Progress) -> None:
    """Write the state that `source` has at one moment to the empty file `target`, which people know as `name`.

    Raises Unavailable if either of the two cannot be read or written.
    """
    with reading(source) as session:
        reader = cast(sqlite3.Connection, session.connection().connection.driver_connection)
        try:
            with closing(_open(target)) as writer:
                _copy(reader, writer, progress)
            make_one_file(target)
        except sqlite3.Error as error:
            raise _explained(error, source, name) from error


def make_one_file(path: Path) -> None:
    """End the write-ahead log of a database, which it has from its source or its engine: without one it is one file.

    Raises sqlite3.Error if that cannot be done.
    """
    with closing(_open(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _open(target: Path) -> sqlite3.Connection:
    """Open a file that is of no use until it is whole, and is brought to the disk then."""
    connection = sqlite3.connect(target, isolation_level=None)
    connection.execute("PRAGMA journal_mode = MEMORY")
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _copy(reader: sqlite3.Connection, writer: sqlite3.Connection, progress: Progress) -> None:
    (journal,) = reader.execute("PRAGMA journal_mode").fetchone()
    if journal != "wal":
        try:
            reader.backup(writer, pages=PAGES, progress=_Steps(progress, RESTARTS))
            return
        except _Overtaken:
            pass
    # Inside of the session's transaction one read holds the state until the end; with a write-ahead log nobody waits.
    reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
    reader.backup(writer, pages=PAGES, progress=_Steps(progress))


class _Overtaken(Exception):
    """Writers were faster than the copy."""


class _Steps:
    """Follows the copy; ends it when it had to begin again too often, or when the ledger stayed locked."""

    def __init__(self, progress: Progress, patience: int | None = None) -> None:
        self._progress = progress
        self._patience = patience
        self._done = 0

    def __call__(self, status: int, remaining: int, whole: int) -> None:
        if status == sqlite3.SQLITE_BUSY:
            raise sqlite3.OperationalError("database is locked")
        done = whole - remaining
        if done <= self._done and self._patience is not None:
            self._patience -= 1
            if not self._patience:
                raise _Overtaken
        self._done = done
        self._progress(done, whole)


def _explained(error: sqlite3.Error, source: Database, name: Path) -> BillingError:
    """Tell whose error it is: SQLite reports those of both files in the same way, but only one of them is written."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    reading_failed = code in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
    if code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) and not reading_failed:
        return unwritable(name, str(error))
    return explain(error, source)
