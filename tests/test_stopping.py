"""A load that takes long: it is said, and Esc stops it, in the console and in the database."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest
from sqlalchemy import text

from billing_console.errors import BillingError, Unavailable
from billing_console.services import recharges
from billing_console.services.ledger import Ledger
from billing_console.services.pools import list_pools
from billing_console.services.session import reading
from tests.factories import pool
from tests.keyboard import PATIENCE_SECONDS, console

ENDLESS = {
    True: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    False: "SELECT pg_sleep(600)",
}
"""A query that never ends, on SQLite and on PostgreSQL."""


async def test_escape_stops_a_load_that_somebody_waits_for(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url, refresh_seconds=0.05) as keys:
        await keys.press("3")
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        await keys.pilot.press("r")
        await keys.until(lambda: "Esc stops it" in keys.screen)
        assert "openai" in keys.screen
        await keys.pilot.press("escape")
        await keys.until(lambda: "stopped, r loads again" in keys.screen)
        await keys.pilot.press("2")
        await keys.until(lambda: "Loading…" in keys.screen)
        await keys.pilot.press("escape")
        await keys.until(lambda: "Press r to load it again" in keys.screen)
        other.execute("ROLLBACK")
        other.close()
        await keys.press("3", "r")
        await keys.until(lambda: "live, changed" in keys.screen)


async def test_closing_a_dialog_stops_what_it_reads(
    sqlite_ledger: Ledger, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool(sqlite_ledger, "openai", "100")
    ended = threading.Event()

    def endless(ledger: Ledger, *_arguments: object, **_options: object) -> None:
        try:
            with reading(ledger.database) as session:
                session.execute(text(ENDLESS[True]))
        finally:
            ended.set()

    monkeypatch.setattr(recharges, "recharge_history", endless)
    async with console(sqlite_url) as keys:
        await keys.press("3")
        await keys.pilot.press("H")
        await keys.until(lambda: "Recharge history" in keys.screen)
        await keys.pilot.press("escape")
        await keys.until(ended.is_set)
        assert len(keys.app.screen_stack) == 1 and not keys.app.questions


def test_what_a_thread_reads_is_stopped_in_the_database_and_nothing_else(ledger: Ledger) -> None:
    pool(ledger, "openai", "100")
    ended: list[BillingError] = []

    def read() -> None:
        try:
            with reading(ledger.database) as session:
                session.execute(text(ENDLESS[ledger.database.is_sqlite]))
        except BillingError as error:
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert thread.ident is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while thread.is_alive() and time.monotonic() < deadline:
        ledger.interrupt(thread.ident)  # again and again: the query may not have begun yet
        thread.join(0.05)
    assert not thread.is_alive()
    assert isinstance(ended[0], Unavailable)
    ledger.interrupt(threading.get_ident())
    assert [one.provider_id for one in list_pools(ledger)] == ["openai"]


@pytest.mark.parametrize("key", ["4", "question_mark", "q"])
async def test_keys_that_work_everywhere_do_not_wait_for_a_load(
    sqlite_ledger: Ledger, sqlite_url: str, key: str
) -> None:
    async with console(sqlite_url) as keys:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        await keys.pilot.press("3")
        await keys.until(lambda: "Loading…" in keys.screen)
        await keys.pilot.press(key)
        wanted = {"4": "4 Quotas", "question_mark": "Keys that work here", "q": ""}[key]
        assert wanted in keys.screen
        assert keys.app.pane is not None and (key != "4" or keys.app.pane.NAME == "quotas")
        assert keys.app.return_code == (0 if key == "q" else None)
        other.execute("ROLLBACK")
        other.close()
