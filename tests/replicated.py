"""A primary and its streaming standby, started by the tests, with a ledger on them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.replica import follow
from tests.factories import TESTER, set_up
from tests.postgres_server import Server, running, standby_of

PATIENCE_SECONDS = 60
TEMPLATE = "empty_ledger"


@dataclass
class Pair:
    """A primary and its standby, and the name of a database with an empty ledger on both."""

    primary: Server
    standby: Server
    name: str = TEMPLATE

    @property
    def url(self) -> str:
        """What is written to."""
        return self.primary.url(self.name)

    @property
    def read_url(self) -> str:
        """What is read from."""
        return self.standby.url(self.name)

    @property
    def either(self) -> str:
        """Whichever of the two takes changes."""
        hosts = [f"host={server.maintenance.query['host']}" for server in (self.primary, self.standby)]
        return f"postgresql://postgres@/{self.name}?{'&'.join(hosts)}&target_session_attrs=read-write"

    def caught_up(self) -> None:
        """Wait until the standby has replayed everything."""
        with self.primary.connect() as primary, self.standby.connect() as standby:
            least = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchall()[0]
            until(
                lambda: standby.execute("SELECT pg_last_wal_replay_lsn() >= %s", least).fetchone() == (True,), standby
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the standby from replaying anything meanwhile; it has replayed all that was before."""
        self.caught_up()
        with self.standby.connect() as standby:
            standby.execute("SELECT pg_wal_replay_pause()")
            until(lambda: standby.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",), standby)
        try:
            yield
        finally:
            with self.standby.connect() as standby:
                standby.execute("SELECT pg_wal_replay_resume()")

    def promote(self) -> None:
        """Make a primary of the standby, as what watches over a cluster does."""
        with self.standby.connect() as standby:
            assert standby.execute("SELECT pg_promote()").fetchone() == (True,)

    def opened(self) -> Ledger:
        """The ledger in the hands of the tester, with its replica."""
        ledger = open_ledger(self.url, actor=TESTER)
        follow(ledger, self.read_url)
        return ledger


def until(condition: Callable[[], bool], connection: psycopg.Connection) -> None:
    """Ask again and again; a server waits in between."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        connection.execute("SELECT pg_sleep(0.01)")


@contextmanager
def replicated() -> Iterator[Pair]:
    """Start a primary with an empty ledger, and its standby."""
    with running(private=True) as primary:
        with primary.connect() as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        set_up(primary.url(TEMPLATE))
        with standby_of(primary) as standby:
            yield Pair(primary, standby)


def with_own_ledger(pair: Pair) -> Pair:
    """The same servers, with an empty ledger of its own for one test."""
    name = f"ledger_{uuid.uuid4().hex}"
    with pair.primary.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
    own = Pair(pair.primary, pair.standby, name)
    own.caught_up()
    return own
