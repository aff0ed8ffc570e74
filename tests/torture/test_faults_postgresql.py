"""A PostgreSQL server that is not there, goes away, or says no: the right exit code, one line, nothing half-written."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from billing_console.services.metering import record_usage
from billing_console.services.recharges import recharge_history
from db.engine import parse_url
from db.revision import HEAD, REVISIONS
from tests.commands import Answer
from tests.factories import usage
from tests.postgres_server import Server, running
from tests.torture.children import USAGE, Content, Place, a_place, alike, ask, held, make_ledger, open_one, start
from tests.torture.operations import is_long
from tests.torture.test_faults import ALL, CHECK, LATER, READS, WRITES, failed, spelled, warm

BOTH_KINDS = ("pools list", "usage list", "pools recharge", "usage import", CHECK, "init", "upgrade")
"""Commands for faults that stop each of them before it can do anything."""

CALLS = 5000
"""Records in a listing that is longer than what fits into a pipe."""


@dataclass(frozen=True)
class Stocked:
    """A ledger on a server of its own, and what it holds."""

    server: Server
    database: str
    before: Content

    @property
    def url(self) -> str:
        return self.server.url(self.database)

    def with_role(self, role: str, password: str | None = None) -> str:
        return parse_url(self.url).set(username=role, password=password).render_as_string(hide_password=False)

    def unchanged(self) -> None:
        assert alike(held(self.url), LATER) == self.before


@contextmanager
def _stocked() -> Iterator[Stocked]:
    with running(from_wheel=True) as server:
        # The children are not the server's user, whose socket is its own.
        home = Path(str(server.maintenance.query["host"]))
        for socket in home.glob(".s.PGSQL.*"):
            socket.chmod(0o777)
        with server.connect() as connection:
            connection.execute("CREATE DATABASE ledger")
            connection.execute("CREATE DATABASE empty")
        make_ledger(server.url("ledger"))
        yield Stocked(server, "ledger", alike(held(server.url("ledger")), LATER))


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stocked]:
    """A server that no other test uses, so that its settings can be changed."""
    with _stocked() as found:
        _warm(found, tmp_path_factory.mktemp("warm"))
        yield found


def _warm(stocked: Stocked, directory: Path) -> None:
    """Have everything imported, by running the commands on a ledger that is thrown away."""
    _sql(stocked, "CREATE DATABASE warm")
    (directory / "usage.csv").write_text(USAGE)
    for name in ("init", *ALL):
        arguments = (str(directory / "usage.csv") if part == "USAGE" else part for part in ALL[name])
        warm(stocked.server.url("warm"), *arguments)


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as found:
        yield found


def _fails(place: Place, url: str, name: str, *said: str, label: str) -> Answer:
    answer = ask(place, *spelled(place, name), url=url)
    failed(name, answer, *said, label=label)
    assert "secret" not in answer.out + answer.err
    return answer


def _sql(stocked: Stocked, statement: str) -> None:
    with stocked.server.connect() as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize("name", ALL)
def test_the_children_reach_the_server(stocked: Stocked, place: Place, name: str) -> None:
    """Without a fault nothing fails: what the other tests see is their fault's."""
    if name in WRITES and name != CHECK:
        assert ask(place, *spelled(place, name), "--help", url=stocked.url).code == 0
    else:
        assert ask(place, *spelled(place, name), *_dry(name), url=stocked.url).code == (2 if name == CHECK else 0)
    stocked.unchanged()


def _dry(name: str) -> tuple[str, ...]:
    return ("--dry-run",) if name == CHECK else ()


@pytest.mark.parametrize("name", BOTH_KINDS)
def test_a_refused_connection(place: Place, stocked: Stocked, name: str) -> None:
    _fails(place, "postgresql://me:secret@127.0.0.1:1/ledger", name, "server runs", label="me:***@127.0.0.1:1/ledger")


@pytest.mark.parametrize("name", BOTH_KINDS)
def test_a_database_or_a_role_that_is_not_there(place: Place, stocked: Stocked, name: str) -> None:
    _fails(place, stocked.server.url("none"), name, "did not answer", label="/none")
    _fails(place, stocked.with_role("stranger"), name, "did not answer", label="stranger@")
    stocked.unchanged()


def test_a_wrong_password(place: Place, stocked: Stocked) -> None:
    _sql(stocked, "CREATE ROLE careful LOGIN SUPERUSER PASSWORD 'right'")
    rules = Path(str(stocked.server.maintenance.query["host"])) / "data" / "pg_hba.conf"
    usual = rules.read_text()
    rules.write_text("local all careful scram-sha-256\n" + usual)
    _sql(stocked, "SELECT pg_reload_conf()")
    try:
        for name in BOTH_KINDS:
            _fails(place, stocked.with_role("careful", "secret"), name, "password", label="careful:***@")
        assert ask(place, *READS["pools list"], url=stocked.with_role("careful", "right")).code == 0
    finally:
        rules.write_text(usual)
        _sql(stocked, "SELECT pg_reload_conf()")
    stocked.unchanged()


def test_transactions_that_are_read_only(place: Place, stocked: Stocked) -> None:
    """As on a standby."""
    for database in ("ledger", "empty"):
        _sql(stocked, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    try:
        for name in WRITES:
            _fails(place, stocked.url, name, "cannot be written", "permissions of the role", label="/ledger")
        for name in (*READS, "init", "upgrade"):
            assert ask(place, *spelled(place, name), url=stocked.url).code == 0
        _fails(place, stocked.server.url("empty"), "init", "cannot be written", label="/empty")
    finally:
        for database in ("ledger", "empty"):
            _sql(stocked, f"ALTER DATABASE {database} RESET default_transaction_read_only")
    stocked.unchanged()
    assert ask(place, *READS["pools list"], url=stocked.server.url("empty")).code == 3


@pytest.mark.parametrize("revision", [*REVISIONS[:-1], "9999", "0000", ""])
def test_another_schema(place: Place, stocked: Stocked, revision: str) -> None:
    _revision(stocked, revision)
    how = "older" if revision in REVISIONS else "newer"
    try:
        for name in [name for name in ALL if name not in ("init", "upgrade")]:
            _fails(place, stocked.url, name, how, f"({HEAD})", label="/ledger")
        assert ask(place, "init", url=stocked.url).code == 0
        if how == "newer":
            _fails(place, stocked.url, "upgrade", how, label="/ledger")
    finally:
        _revision(stocked, HEAD)
    stocked.unchanged()


def _revision(stocked: Stocked, revision: str) -> None:
    with psycopg.connect(_plain(stocked.url), autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))


def _plain(url: str) -> str:
    return parse_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.mark.parametrize("name", ["pools list", "pools recharge", CHECK])
def test_a_lock_that_stays_and_one_of_a_moment(place: Place, stocked: Stocked, name: str) -> None:
    with psycopg.connect(_plain(stocked.url)) as holder:
        holder.execute("LOCK TABLE resource_pools IN ACCESS EXCLUSIVE MODE")
        if is_long() or name == CHECK:
            answer = ask(place, *spelled(place, name), *(("--timeout", "2") if name == CHECK else ()), url=stocked.url)
            assert answer.code == 3 and "busy" in (answer.out if name == CHECK else answer.err)
        child = start(place, *spelled(place, name), *_dry(name), url=stocked.url)
        assert not child.ended(1)
        holder.rollback()
    if name in READS or name == CHECK:
        assert child.answer().code == (2 if name == CHECK else 0)
    else:
        assert child.answer().code == 0
        ledger = open_one(stocked.url)
        assert [row.idempotency_key for row in recharge_history(ledger, "openai")].count("fault") == 1
        ledger.close()


def test_a_server_that_is_killed_in_the_middle_of_a_long_listing(place: Place) -> None:
    """The child has written what a pipe holds and waits; what it writes after the kill is lines that are whole."""
    with _stocked() as stocked:
        assert stocked.server.process is not None
        ledger = open_one(stocked.url)
        record_usage(ledger, [usage(request_id=f"long-{number}") for number in range(CALLS)])
        ledger.close()
        child = start(place, "usage", "export", "-", "--format", "jsonl", url=stocked.url)
        first = os.read(child.out, 1)
        stocked.server.process.send_signal(signal.SIGQUIT)
        stocked.server.process.wait()
        answer = child.answer()
        whole = Answer(answer.code, first.decode() + answer.out, answer.err)
        assert whole.code == 3, whole.err
        assert whole.err.count("\n") == 1 and "/ledger" in whole.err and "server runs" in whole.err
        assert whole.out.endswith("\n") and 0 < len(whole.jsonl) < CALLS
        for name in BOTH_KINDS:
            _fails(place, stocked.url, name, "server runs", label="/ledger")
        file = place.path / "export.csv"
        assert ask(place, "usage", "export", str(file), url=stocked.url).code == 3
        assert list(place.path.iterdir()) == []
