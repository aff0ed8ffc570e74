"""How the ledger's database is opened: SQLite set up for money, or PostgreSQL."""

from __future__ import annotations

import copy
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool
from sqlmodel import Session

from db.last import run_last
from db.postgresql import postgresql_engine, with_hosts_apart
from db.replica import Replica

WAL_SAFE = (3, 51, 3)
"""First SQLite release without the WAL-reset bug, in which a concurrent write and checkpoint may corrupt the file."""

LOCK_TIMEOUT_SECONDS = 30
INTERRUPT_SECONDS = 2
"""How long PostgreSQL may take to hear that a query is to be stopped."""


class FileReplaced(Exception):
    """Another file has taken the place of the SQLite file that was opened: what is known of it holds no longer."""


class Database:
    """One open ledger; hands out sessions that read one snapshot or write in one transaction."""

    def __init__(
        self,
        url: URL,
        *,
        read_only: bool = False,
        create: bool = False,
        timeout: int = LOCK_TIMEOUT_SECONDS,
        durable: bool = True,
    ) -> None:
        """Prepare to open `url`; nothing is connected before the first session. Waits `timeout` seconds for locks.

        Without `durable` a commit to SQLite does not wait for the disk: for a file that is of no use until it is whole.
        """
        self.url = url
        self.read_only = read_only
        self.timeout = timeout
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.engine = (
            _sqlite(url, read_only, create, timeout, durable) if self.is_sqlite else postgresql_engine(url, timeout)
        )
        self._reading = self.engine.execution_options(**_reading_options(self.is_sqlite))
        self._writing = self.engine.execution_options(ledger_write=True)
        self._readers: dict[int, Any] = {}
        self._writers: dict[int, Any] = {}
        self.replica: Replica | None = None
        self._viewer: str | None = None

    def follow(self, url: URL) -> Replica:
        """Let the standby at `url` answer those who only look, see `for_viewing`."""
        self.replica = Replica(url, self.engine, self.timeout)
        return self.replica

    def for_viewing(self, who: str) -> Database:
        """Return the same database for what is only shown to `who`: it may be older, but never than what they wrote."""
        viewed = copy.copy(self)
        viewed._viewer = who
        return viewed

    def wrote(self, who: str) -> None:
        """Remember that somebody has written, once it is committed."""
        if self.replica is not None:
            self.replica.wrote(who)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session in which every query sees the same snapshot."""
        with (
            self._connected_to_read() as connection,
            _known(self._readers, connection),
            connection.begin(),
            Session(bind=connection) as session,
        ):
            yield session

    def _connected_to_read(self) -> Connection:
        if self.replica is not None and self._viewer is not None:
            lent = self.replica.connection(self._viewer)
            if lent is not None:
                return lent.execution_options(**_reading_options(self.is_sqlite))
        return self._reading.connect()

    def interrupt(self, thread: int) -> None:
        """Stop what this thread is reading, which raises there; what it writes goes on, whole or not at all.

        The caller keeps the thread from reading something else meanwhile.
        """
        self._stop(self._readers.get(thread))

    def stop_writing(self) -> None:
        """Stop what every thread is writing, which raises there, and nothing of it is written but what is committed."""
        for connection in list(self._writers.values()):
            self._stop(connection)

    def _stop(self, connection: Any) -> None:
        if connection is None:
            return
        if self.is_sqlite:
            connection.interrupt()
        else:
            connection.cancel_safe(timeout=INTERRUPT_SECONDS)

    @contextmanager
    def writing(self, *, one_snapshot: bool = False) -> Iterator[Session]:
        """Yield a session that holds the write lock from its first statement (SQLite), committed at the end.

        With `one_snapshot` PostgreSQL too shows all its queries the same state.
        """
        writing = self._writing
        if one_snapshot and not self.is_sqlite:
            writing = writing.execution_options(isolation_level="REPEATABLE READ")
        with (
            writing.connect() as connection,
            _known(self._writers, connection),
            connection.begin(),
            Session(bind=connection) as session,
        ):
            yield session
            session.flush()
            run_last(session, commit=True)

    @contextmanager
    def for_writing(self) -> Iterator[Database]:
        """Yield this database, or where it is open for reading only, the same one opened for writing meanwhile."""
        if not self.read_only:
            yield self
            return
        writable = Database(self.url, timeout=self.timeout)
        try:
            yield writable
        finally:
            writable.close()

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        if self.replica is not None:
            self.replica.close()

    @property
    def label(self) -> str:
        """Name the database for people, without a password."""
        if self.is_sqlite:
            return str(self.url.database)
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)


def make_room(session: Session) -> None:
    """Have SQLite keep in memory all that a long transaction changes, up to 32 MB, for as long as it is connected.

    What finds no room is written before the commit, and from then on nobody can read.
    """
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA cache_size = -32000")


@contextmanager
def _known(connections: dict[int, Any], connection: Connection) -> Iterator[None]:
    """Keep this thread's connection among others while it is in use, so that another thread can stop it."""
    thread = threading.get_ident()
    before = connections.get(thread)
    connections[thread] = connection.connection.dbapi_connection
    try:
        yield
    finally:
        connections[thread] = before


def parse_url(text: str) -> URL:
    """Read a database URL; PostgreSQL always goes through psycopg 3. Raises ValueError or ArgumentError."""
    url = make_url(with_hosts_apart(text))
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(database=str(Path(str(url.database)).expanduser().absolute()))
    raise ValueError(text)


def _reading_options(is_sqlite: bool) -> dict[str, object]:
    if is_sqlite:
        return {}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _sqlite(url: URL, read_only: bool, create: bool, timeout: int, durable: bool) -> Engine:
    mode = "ro" if read_only else "rwc" if create else "rw"
    uri = f"file:{quote(str(url.database))}?mode={mode}"
    opened: tuple[int, int] | None = None

    def connect() -> sqlite3.Connection:
        nonlocal opened
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=timeout)
        try:
            _prepare_sqlite(connection, read_only, durable)
            found = _file_of(url)
            opened = opened or found
            if found != opened:
                raise FileReplaced
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=4, max_overflow=8, hide_parameters=True
    )
    event.listen(engine, "begin", _begin_sqlite)

    def still_there(*_connection: object) -> None:
        # The file that a connection holds open lives on without its name: what is written to it would be lost.
        if _file_of(url) != opened:
            raise DisconnectionError

    event.listen(engine, "checkout", still_there)
    return engine


def _file_of(url: URL) -> tuple[int, int] | None:
    """Tell which file stands at the place of the database, by device and number; None where there is none."""
    try:
        found = os.stat(str(url.database))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: sqlite3.Connection, read_only: bool, durable: bool) -> None:
    """Choose the journal so that an acknowledged write survives a crash and the file is never corrupted."""
    journal, synchronous = ("wal", "FULL") if sqlite3.sqlite_version_info >= WAL_SAFE else ("delete", "EXTRA")
    connection.create_function("sha256", 1, _sha256, deterministic=True)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute(f"PRAGMA synchronous = {synchronous if durable else 'OFF'}")
    (current,) = connection.execute("PRAGMA journal_mode").fetchone()
    if current != journal and not read_only:
        connection.execute(f"PRAGMA journal_mode = {journal}")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    if not any(place and os.access(place, os.W_OK | os.X_OK) for place in _temporary_places()):
        connection.execute("PRAGMA temp_store = MEMORY")


def _temporary_places() -> Sequence[str | None]:
    """Return where SQLite makes its temporary files, by its manual; a statement of many rows needs one.

    In a container of which nothing else can be written to there is none.
    """
    return os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp", "."


def _sha256(text: str) -> str:
    """Hash a text, which SQLite cannot."""
    return hashlib.sha256(text.encode()).hexdigest()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once for a write: a lock asked for later fails instead of waiting."""
    immediate = connection.get_execution_options().get("ledger_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
