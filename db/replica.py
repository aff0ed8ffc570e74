"""A read replica: it answers what may be a moment old, the primary what it cannot answer now."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from db.postgresql import postgresql_engine

log = logging.getLogger(__name__)

REST_SECONDS = 5.0
"""How long a replica that did not answer is left alone by readers, who would all wait for it."""

CONNECT_SECONDS = 3
KEPT = 1000
"""Positions of the primary that are remembered at most, one for each look."""

_LEDGER = "system_identifier || '/' || current_database() AS ledger FROM pg_control_system()"
_POSITION = text(
    f"SELECT pg_current_wal_insert_lsn() - '0/0' AS written, pg_current_wal_flush_lsn() - '0/0' AS flushed, {_LEDGER}"
)
_LOOK = text(f"""
    SELECT pg_is_in_recovery() AS follows, pg_last_wal_replay_lsn() - '0/0' AS replayed,
           extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) AS age, {_LEDGER}
""")


class State(StrEnum):
    """What the replica does: it follows, does not answer, is a primary itself, or holds another ledger."""

    FOLLOWING = "following"
    AWAY = "away"
    PROMOTED = "promoted"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Standing:
    """How the replica stands: `behind` is in whole seconds, None where that is not known."""

    state: State
    behind: int | None = None


@dataclass(eq=False, slots=True)
class _Written:
    """That somebody wrote; `least`, in bytes of the log, is what a replica must have replayed to show it."""

    least: int | None = None


@dataclass(slots=True)
class _Samples:
    """Where the primary was when, by its position in bytes of the log and our clock."""

    taken: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def behind(self, replayed: int, age: float | None) -> int | None:
        """Return for how long at most the replica has not known of a change, None where nothing tells.

        The time of the last change alone would not: it lies hours back where nobody writes.
        """
        while len(self.taken) > 1 and self.taken[1][1] <= replayed:
            self.taken.popleft()
        bounds = [] if age is None else [age]
        if self.taken and self.taken[0][1] <= replayed:
            bounds.append(time.monotonic() - self.taken[0][0])
        return max(0, int(min(bounds))) if bounds else None


class Replica:
    """The standby at a URL, beside its primary. What it cannot answer is to be read from the primary."""

    def __init__(self, url: URL, primary: Engine, timeout: int) -> None:
        """Keep both; nothing is connected before the first look. Waits `timeout` seconds for locks."""
        self.state: State | None = None
        self._engine = postgresql_engine(url, timeout, connect_seconds=CONNECT_SECONDS)
        self._primary = primary.execution_options(isolation_level="AUTOCOMMIT")
        self._ledger = ""
        self._rests_until = 0.0
        self._written: dict[str, _Written] = {}
        self._samples = _Samples()
        self._lock = threading.Lock()

    def wrote(self, who: str) -> None:
        """Remember that somebody has just written: they are shown nothing older from now on."""
        self._written[who] = _Written()

    def connection(self, who: str) -> Connection | None:
        """Return a connection on which `who` sees what they wrote; None where the primary has to answer.

        The replica is asked on that very connection: behind one URL there may be several.
        """
        if time.monotonic() < self._rests_until:
            return None
        if self.state is not State.FOLLOWING:
            self._rest()  # nobody else need wait for this attempt
        written = self._written.get(who)
        try:
            if written is not None and written.least is None:
                written.least = int(self._position().written)
        except SQLAlchemyError:
            return None
        connection = None
        try:
            connection = self._engine.connect()
            found = self._found(connection)
            if found is not None and (written is None or found.replayed >= (written.least or 0)):
                return connection
        except SQLAlchemyError:
            self._becomes(State.AWAY)
        if connection is not None:
            connection.close()
        return None

    def look(self) -> Standing:
        """Look at both servers and return how the replica stands."""
        with self._lock:
            # Without the primary the replica is as new as it was when there was one.
            with suppress(SQLAlchemyError):
                self._samples.taken.append((time.monotonic(), int(self._position().flushed)))
            found = None
            try:
                with self._engine.connect() as connection:
                    found = self._found(connection)
            except SQLAlchemyError:
                self._becomes(State.AWAY)
            if found is None:
                return Standing(self.state or State.AWAY)
            return Standing(State.FOLLOWING, self._samples.behind(int(found.replayed), found.age))

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    def _position(self) -> Row[Any]:
        with self._primary.connect() as connection:
            found = connection.execute(_POSITION).one()
        self._ledger = found.ledger
        return found

    def _found(self, connection: Connection) -> Row[Any] | None:
        """Ask whether this server follows the primary, and how far; None where it does not."""
        connection.execution_options(isolation_level="AUTOCOMMIT")
        found = connection.execute(_LOOK).one()
        connection.rollback()
        if self._ledger not in ("", found.ledger):
            self._becomes(State.FOREIGN)
        elif not found.follows:
            self._becomes(State.PROMOTED)
        else:
            self._becomes(State.FOLLOWING)
            return found
        return None

    def _becomes(self, state: State) -> None:
        if self.state not in (None, state):
            log.warning("the read replica is %s", state)
        self.state = state
        if state is State.FOLLOWING:
            self._rests_until = 0.0
        else:
            self._rest()
            self._engine.dispose()  # another server may answer at the same URL

    def _rest(self) -> None:
        self._rests_until = time.monotonic() + REST_SECONDS
