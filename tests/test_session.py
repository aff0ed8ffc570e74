"""What lost a race or its connection is done once in the end; what cannot be done, or known, is said in one line."""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from billing_console.cli.failures import failure_of
from billing_console.errors import BillingError, Conflict, ExitCode, Unavailable, Uncertain
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota, list_quotas, revoke_quota
from billing_console.services.recharges import recharge_history, reverse_recharge
from billing_console.services.reconcile import reconcile
from tests.commands import command
from tests.conftest import OpenLedger
from tests.factories import execute, pay, pool, query, spend, usage
from tests.relay import relayed
from tests.torture.operations import chosen_seed, processes

FAILURES = 100
DEADLOCKS = 20
LOST = 50
PATIENCE = 60
"""Seconds after which a process of this test hangs, and the test fails."""

TRIGGERS = """
CREATE SEQUENCE failures;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A sequence is not rolled back: it counts the failures, of which only every so many are followed by none.
    IF nextval('failures') % {period} <> 0 THEN {failure}; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON {table} {when} FOR EACH ROW EXECUTE FUNCTION fail();
"""
AT_ONCE = "NOT DEFERRABLE"
AT_COMMIT = "DEFERRABLE INITIALLY DEFERRED"
NEVER_DONE = 10**9


def failing(ledger: Ledger, failure: str, *, when: str, period: int = 2, table: str = "recharges") -> None:
    """Let writes of a table fail in the server itself: all but one in every `period`."""
    with psycopg.connect(_dsn(ledger), autocommit=True) as connection:
        connection.execute(TRIGGERS.format(failure=failure, when=when, period=period, table=table).encode())


def _dsn(ledger: Ledger) -> str:
    return ledger.database.url.set(drivername="postgresql").render_as_string(hide_password=False)


def raised(state: str) -> str:
    return f"RAISE EXCEPTION 'injected' USING ERRCODE = '{state}'"


TERMINATED = "PERFORM pg_terminate_backend(pg_backend_pid())"


@pytest.fixture
def short_place() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="relay-") as name:
        yield Path(name)


@pytest.mark.parametrize("when", [AT_ONCE, AT_COMMIT])
@pytest.mark.parametrize(("table", "state"), [("recharges", "40001"), ("audit_log", "40P01"), ("audit_log", "55P03")])
def test_a_race_that_is_lost_is_run_again(
    postgres_url: str, opened: OpenLedger, table: str, state: str, when: str
) -> None:
    """The row of the audit log goes with the commit: what it fails with is not seen before that."""
    ledger = opened(postgres_url)
    pool(ledger)
    failing(ledger, raised(state), when=when, table=table)
    for number in range(FAILURES):
        assert not pay(ledger, "1", key=f"key {number}").replayed
    assert query(ledger, "SELECT last_value FROM failures") == [(2 * FAILURES,)]
    assert get_pool(ledger, "openai").total_balance == len(recharge_history(ledger, limit=None)) == FAILURES
    assert reconcile(ledger) == ()


def test_a_batch_that_really_deadlocks_is_run_again(postgres_url: str, opened: OpenLedger) -> None:
    """Somebody else takes the pools in the opposite order, and gets the second only when the batch has lost."""
    ledger = opened(postgres_url)
    for name in ("one", "two"):
        pool(ledger, name)
    # Each looks for a deadlock once, so long after it began to wait; the batch, which waits first, is to find it.
    execute(ledger, f"ALTER DATABASE {make_url(postgres_url).database} SET deadlock_timeout = '100ms'")
    ledger.database.close()
    locks = "UPDATE resource_pools SET low_threshold = NULL WHERE provider_id = %s"
    lost = 0
    with ThreadPoolExecutor(1) as threads, psycopg.connect(_dsn(ledger), autocommit=True) as other:
        other.execute("SET deadlock_timeout = '2s'")
        for number in range(DEADLOCKS):
            try:
                with other.transaction():
                    other.execute(locks, ["two"])
                    batch = threads.submit(_spend_on_both, ledger, number)
                    _wait_for_a_lock(_dsn(ledger))
                    other.execute(locks, ["one"])
                    lost += 1
            except psycopg.errors.DeadlockDetected:
                # On a busy machine the batch may have looked too early.
                pass
            batch.result(PATIENCE)
    print(f"deadlock: {lost} of {DEADLOCKS} were lost by the batch")
    assert lost > 0
    assert [get_pool(ledger, name).used_amount for name in ("one", "two")] == [DEADLOCKS, DEADLOCKS]
    assert reconcile(ledger) == ()


def _spend_on_both(ledger: Ledger, number: int) -> None:
    calls = [usage(request_id=f"{number}", provider_id=name, cost_amount=Decimal(1)) for name in ("one", "two")]
    assert record_usage(ledger, calls).recorded == 2


def _wait_for_a_lock(dsn: str) -> None:
    waiting = """
        SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database()
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(waiting).fetchall() == [(0,)]:
            connection.execute("SELECT pg_sleep(0.001)")


@pytest.mark.parametrize("when", [AT_ONCE, AT_COMMIT])
def test_a_connection_that_is_terminated_is_made_again(postgres_url: str, opened: OpenLedger, when: str) -> None:
    ledger = opened(postgres_url)
    pool(ledger)
    failing(ledger, TERMINATED, when=when)
    for number in range(LOST):
        assert not pay(ledger, "1", key=f"key {number}").replayed
    assert query(ledger, "SELECT last_value FROM failures") == [(2 * LOST,)]
    assert get_pool(ledger, "openai").total_balance == len(recharge_history(ledger, limit=None)) == LOST
    assert reconcile(ledger) == ()


def test_a_commit_whose_answer_is_lost_is_made_once(postgres_url: str, opened: OpenLedger, short_place: Path) -> None:
    with relayed(postgres_url, short_place) as (url, relay):
        ledger = opened(url)
        pool(ledger)
        first = pay(ledger, "1000")
        for number in range(LOST):
            relay.lose = 1 + number % 3
            pay(ledger, "1", key=f"key {number}")
            relay.lose = 1
            grant_quota(ledger, "alice", Decimal(1), reference="ticket", key=f"key {number}")
            relay.lose = 1
            spend(ledger, "0.5", request_id=f"request {number}")
        relay.lose = 1
        assert revoke_quota(ledger, "alice", Decimal(25), reference="all that is left", key="revoked").replayed
        relay.lose = 1
        assert reverse_recharge(ledger, first.id, reason="wrong pool").replayed
        assert relay.lost > 3 * LOST
        assert relay.lose == 0
        with pytest.raises(Conflict, match="already reversed"):
            reverse_recharge(ledger, first.id, reason="wrong pool")
        view = get_pool(ledger, "openai")
        assert (view.total_balance, view.used_amount) == (Decimal(LOST), Decimal(LOST) / 2)
        assert [quota.granted_amount for quota in list_quotas(ledger)] == [25]
        assert query(ledger, "SELECT count(*) FROM quota_grants") == [(LOST + 1,)]
        assert reconcile(ledger) == ()


def test_a_commit_whose_answers_are_all_lost_is_said_to_be_unknown(
    postgres_url: str, opened: OpenLedger, short_place: Path
) -> None:
    with relayed(postgres_url, short_place) as (url, relay):
        ledger = opened(url, timeout=1)
        pool(ledger)
        relay.lose = NEVER_DONE
        with pytest.raises(Uncertain) as uncertain:
            pay(ledger, "1", key="my key")
        assert failure_of(uncertain.value) == (
            ExitCode.UNKNOWN,
            f"billing-console: The connection to the database {ledger.label} was lost, and it is unknown whether the "
            "change was made. Repeat it with the same key, my key: what was done is not done twice.",
        )
        with pytest.raises(Uncertain, match=r"unknown whether .*Repeat it: what was done is not done twice"):
            spend(ledger, "1", request_id="request")
        relay.lose = 0
        assert pay(ledger, "1", key="my key").replayed
        assert spend(ledger, "1", request_id="request").duplicates == 1
        view = get_pool(ledger, "openai")
        assert (view.total_balance, view.used_amount) == (Decimal(1), Decimal(1))


def test_a_server_that_stays_away_after_a_commit_leaves_the_outcome_unknown(
    postgres_url: str, opened: OpenLedger, short_place: Path
) -> None:
    with relayed(postgres_url, short_place) as (url, relay):
        ledger = opened(url, timeout=1)
        pool(ledger)
        relay.lose, relay.refuse = 1, True
        with pytest.raises(Uncertain):
            pay(ledger, "1", key="k")
        # Nothing of this one was ever sent, and it does not pretend to be in doubt.
        with pytest.raises(Unavailable, match="did not answer") as away:
            pay(ledger, "1", key="another")
        assert type(away.value) is Unavailable
        relay.refuse = False
        assert pay(ledger, "1", key="k").replayed
        assert not pay(ledger, "1", key="another").replayed


@pytest.mark.parametrize(
    ("failure", "when", "error", "words"),
    [
        (raised("40001"), AT_COMMIT, Unavailable, r"stayed busy; nothing was changed\. Try again in a moment\."),
        (raised("40P01"), AT_ONCE, Unavailable, r"stayed busy; nothing was changed\. Try again in a moment\."),
        (TERMINATED, AT_ONCE, Unavailable, r"was lost; nothing was changed\. Try again in a moment\."),
        (TERMINATED, AT_COMMIT, Uncertain, r"was lost, and it is unknown .* same key, k: what was done"),
    ],
)
def test_a_failure_that_persists_ends_in_one_honest_error(
    postgres_url: str, opened: OpenLedger, failure: str, when: str, error: type[BillingError], words: str
) -> None:
    ledger = opened(postgres_url, timeout=2)
    pool(ledger)
    failing(ledger, failure, when=when, period=NEVER_DONE)
    with pytest.raises(error, match=words) as said:
        pay(ledger, "1", key="k")
    assert type(said.value) is error
    assert len(str(said.value).splitlines()) == 1
    attempts = query(ledger, "SELECT last_value FROM failures")[0][0]
    assert 2 <= attempts < 100
    assert get_pool(ledger, "openai").total_balance == 0


def test_writers_terminated_at_random_moments_have_done_each_thing_once(postgres_url: str, opened: OpenLedger) -> None:
    seed = chosen_seed("terminate")
    choose = random.Random(seed)
    ledger = opened(postgres_url)
    pool(ledger)
    done = 0
    stop = threading.Event()

    def write() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            pay(ledger, "1", key=f"key {number}")
        return number

    with ThreadPoolExecutor(1) as threads, psycopg.connect(_dsn(ledger), autocommit=True) as other:
        writing = threads.submit(write)
        terminated = 0
        try:
            while terminated < LOST and not writing.done():
                other.execute("SELECT pg_sleep(%s)", [choose.uniform(0, 0.03)])
                terminated += len(other.execute(TERMINATE_OTHERS).fetchall())
        finally:
            stop.set()
        done = writing.result(PATIENCE)
    print(f"terminate: {terminated} connections terminated, {done} recharges")
    assert terminated >= LOST
    assert get_pool(ledger, "openai").total_balance == len(recharge_history(ledger, limit=None)) == done
    assert reconcile(ledger) == ()


TERMINATE_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def _hold(path: str, begin: str, held: Connection) -> None:
    """Be another process that keeps the file locked until it is told to end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(begin)
        held.send("locked")
        held.recv()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_file_that_another_process_keeps_locked_is_said_to_be_busy(
    sqlite_url: str, opened: OpenLedger, begin: str
) -> None:
    ledger = opened(sqlite_url, timeout=1)
    pool(ledger)
    context = processes()
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(sqlite_url.removeprefix("sqlite:///"), begin, theirs), daemon=True)
    process.start()
    assert ours.recv() == "locked"
    with pytest.raises(Unavailable) as busy:
        pay(ledger, "5", key="k")
    program = command("--database", sqlite_url, "check-pools", "--timeout", "1", environment=os.environ)
    ours.send("end")
    process.join(PATIENCE)
    assert failure_of(busy.value) == (
        ExitCode.UNKNOWN,
        f"billing-console: The database {ledger.label} stayed busy; nothing was changed. Try again in a moment.",
    )
    assert program.code == 3
    assert len(program.out.splitlines() + program.err.splitlines()) == 1
    assert not pay(ledger, "5", key="k").replayed
    assert get_pool(ledger, "openai").total_balance == 5
