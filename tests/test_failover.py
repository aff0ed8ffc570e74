"""PostgreSQL restarted, killed, replaced by its standby, or ending transactions: console and server go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal

import httpx
import psycopg
import pytest
from sqlalchemy import text
from sqlmodel import Session

from billing_console.errors import Unavailable
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.pools import get_pool
from billing_console.services.recharges import recharge_history
from billing_console.services.reconcile import reconcile
from billing_console.services.session import in_transaction, reading
from billing_console.services.tokens import create_token
from db.engine import parse_url
from db.values import Scope
from tests.conftest import OpenLedger
from tests.factories import TESTER, pool, query, set_up
from tests.keyboard import Keyboard, console
from tests.postgres_server import Server, running
from tests.replicated import Pair, replicated, until
from tests.test_api_writes import USAGE, call
from tests.test_serve import serving


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this test alone, with an empty ledger."""
    with running(private=True) as server:
        with server.connect() as connection:
            connection.execute("CREATE DATABASE billing")
        set_up(server.url("billing"))
        yield server


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary that answers for a commit only once its standby has it, so that a failover loses nothing."""
    with replicated() as pair, pair.primary.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        synchronous = "SELECT sync_state FROM pg_stat_replication"
        until(lambda: connection.execute(synchronous).fetchall() == [("sync",)], connection)
        yield pair


async def half_filled_form(keys: Keyboard) -> None:
    await keys.press("3", "c")
    await keys.type("250")
    await keys.press("enter")
    await keys.type("INV-7")


async def test_a_restart_of_the_server_keeps_a_half_filled_form(server: Server) -> None:
    with closing(open_ledger(server.url("billing"), actor=TESTER)) as ledger:
        pool(ledger, "openai", "100")
    async with console(server.url("billing"), refresh_seconds=0.3) as keys:
        await half_filled_form(keys)
        server.stop()
        await keys.until(lambda: "✖" in keys.lines[1])
        assert "INV-7" in keys.screen
        server.restart()
        await keys.until(lambda: "✖" not in keys.lines[1])
        await keys.press("enter")
        await keys.until(lambda: "¥100.00 → ¥350.00" in keys.screen)


async def test_what_is_booked_while_the_server_restarts_is_booked_once(server: Server) -> None:
    with closing(open_ledger(server.url("billing"), actor=TESTER)) as ledger:
        pool(ledger, "openai", "100")
        async with console(server.url("billing"), refresh_seconds=0.3) as keys:
            await half_filled_form(keys)
            await keys.press("enter")
            server.stop()
            await keys.pilot.press("y")
            await keys.until(lambda: "✖" in keys.lines[1])
            server.restart()
            await keys.until(lambda: "openai recharged" in keys.said)
            await keys.until(lambda: "¥350.00" in keys.screen and "✖" not in keys.screen)
        assert [row.amount for row in recharge_history(ledger, limit=None)] == [250, 100]


async def test_a_failover_keeps_a_half_filled_form_and_all_that_was_done(pair: Pair) -> None:
    with closing(open_ledger(pair.url, actor=TESTER)) as ledger:
        pool(ledger, "openai", "100")
    async with console(pair.either, refresh_seconds=0.3) as keys:
        await half_filled_form(keys)
        pair.primary.crash()
        await keys.until(lambda: "✖" in keys.lines[1])
        assert "INV-7" in keys.screen
        pair.promote()
        await keys.until(lambda: "✖" not in keys.lines[1])
        await keys.press("enter")
        await keys.until(lambda: "¥100.00 → ¥350.00" in keys.screen)
        await keys.press("y")
        await keys.until(lambda: "openai recharged" in keys.said)
        assert "✖" not in keys.screen
    with closing(open_ledger(pair.read_url, actor=TESTER)) as ledger:
        assert get_pool(ledger, "openai").total_balance == 350
        assert reconcile(ledger) == ()


def test_a_server_that_meters_goes_on_after_a_failover_and_has_every_call_once(pair: Pair) -> None:
    with closing(open_ledger(pair.url, actor=TESTER)) as ledger:
        pool(ledger, "openai", "100")
        _made, token = create_token(ledger, "gateway", [Scope.METER])
    with (
        serving(pair.either) as served,
        httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client,
    ):
        for number in range(20):
            if number == 10:
                pair.primary.crash()
                refused = client.get(f"{served.url}/readyz")
                assert refused.status_code == 503
                pair.promote()
            body = call(requestId=f"call-{number}", costAmount="1")
            answer = client.post(served.url + USAGE, json=body)
            assert answer.json()["recorded"] == 1, answer.text
        assert client.get(f"{served.url}/readyz").status_code == 200
        assert served.stop()[0] == 0
    with closing(open_ledger(pair.read_url, actor=TESTER)) as ledger:
        assert query(ledger, "SELECT count(*), count(DISTINCT request_id) FROM usage_records") == [(20, 20)]
        assert get_pool(ledger, "openai").used_amount == 20
        assert reconcile(ledger) == ()


def let_it_be_killed(session: Session, url: str) -> None:
    """Be idle in this transaction until the server has ended it."""
    session.connection().execute(text("SET LOCAL idle_in_transaction_session_timeout = '20ms'"))
    pid = session.connection().scalar(text("SELECT pg_backend_pid()"))
    dsn = parse_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as other:
        alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        until(lambda: other.execute(alive, [pid]).fetchone() == (0,), other)


def test_a_change_that_is_killed_while_idle_is_made_once(postgres_url: str, opened: OpenLedger) -> None:
    ledger = opened(postgres_url)
    pool(ledger, "openai", "100", low_threshold=Decimal(5))
    attempts: list[int] = []

    def work(session: Session) -> None:
        session.connection().execute(text("UPDATE resource_pools SET low_threshold = low_threshold * 2"))
        attempts.append(len(attempts))
        if len(attempts) == 1:
            let_it_be_killed(session, postgres_url)

    in_transaction(ledger.database, work)
    assert attempts == [0, 1]
    assert get_pool(ledger, "openai").low_threshold == 10


def test_a_question_that_is_killed_while_idle_is_an_error_and_the_next_one_none(
    postgres_url: str, opened: OpenLedger
) -> None:
    ledger = opened(postgres_url)
    pool(ledger, "openai", "100")

    def ask(ledger: Ledger) -> None:
        with reading(ledger.database) as session:
            let_it_be_killed(session, postgres_url)
            session.connection().execute(text("SELECT 1"))

    with pytest.raises(Unavailable, match="was lost; nothing was changed"):
        ask(ledger)
    assert get_pool(ledger, "openai").total_balance == 100
