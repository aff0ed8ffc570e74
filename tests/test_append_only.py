"""Facts stay as they are, and the database itself is set up for money: both engines refuse what code might try."""

from __future__ import annotations

import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from billing_console.errors import Unavailable
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota
from billing_console.services.reconcile import reconcile
from billing_console.services.session import in_transaction
from billing_console.services.settlement import settle
from tests.conftest import OpenLedger
from tests.factories import NOON, execute, gateway_insert, pay, pool, price, query, spend, stored, usage

CHANGES = {
    "recharges": "amount = amount + 1",
    "quota_grants": "amount = amount + 1",
    "prices": "input_price = 0",
    "usage_imports": "file_name = 'other'",
}


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """A ledger with a row of every fact, and an unpriced record."""
    pool(ledger, amount="100")
    price(ledger)
    grant_quota(ledger, "alice", Decimal(5), reference="g")
    spend(ledger, "1")
    record_usage(ledger, [usage(model_id="unpriced", request_id="unpriced")])
    execute(
        ledger,
        "INSERT INTO usage_imports (file_name, operator, created_at) VALUES ('f', 'o', :at)",
        {"at": stored(NOON, ledger)},
    )
    return ledger


def test_a_fact_is_neither_changed_nor_deleted(filled: Ledger) -> None:
    for table, change in CHANGES.items():
        before = query(filled, f"SELECT * FROM {table}")
        assert before
        for statement in (
            f"UPDATE {table} SET {change}",
            f"UPDATE {table} SET operator = 'somebody else'",
            f"UPDATE {table} SET id = id",
            f"DELETE FROM {table}",
        ):
            with pytest.raises(DBAPIError, match=f"{table} is append-only"):
                execute(filled, statement)
        assert query(filled, f"SELECT * FROM {table}") == before


USAGE_CHANGES = [
    "request_id = 'other'",
    "user_id = NULL",
    "user_id = 'bob'",
    "provider_id = 'other'",
    "model_id = 'other'",
    "usage_type = 'audio_tts'",
    "input_tokens = input_tokens + 1",
    "cached_input_tokens = 1",
    "output_tokens = 0",
    "total_tokens = 0",
    "quantity = 1",
    "status = 'failed'",
    "error_message = 'x'",
    "import_id = 1",
    "id = id + 100",
]


def test_a_usage_record_is_neither_changed_nor_deleted(filled: Ledger) -> None:
    before = query(filled, "SELECT * FROM usage_records ORDER BY id")
    for change in (*USAGE_CHANGES, "cost_amount = 0", "cost_amount = NULL", "price_id = 1", "status = status"):
        with pytest.raises(DBAPIError, match="usage_records is append-only"):
            execute(filled, f"UPDATE usage_records SET {change} WHERE cost_amount IS NOT NULL")
    with pytest.raises(DBAPIError, match="usage_records is append-only"):
        execute(filled, "DELETE FROM usage_records")
    assert query(filled, "SELECT * FROM usage_records ORDER BY id") == before


def test_an_unpriced_record_takes_its_cost_once_and_nothing_else(filled: Ledger) -> None:
    unpriced = "WHERE request_id = 'unpriced'"
    for change in (*USAGE_CHANGES, "price_id = 1", "cost_amount = NULL"):
        alone, with_cost = f"SET {change}", f"SET cost_amount = 1, {change}"
        for setting in (alone,) if "cost_amount" in change or "price_id" in change else (alone, with_cost):
            with pytest.raises(DBAPIError, match="append-only"):
                execute(filled, f"UPDATE usage_records {setting} {unpriced}")
    execute(filled, f"UPDATE usage_records SET cost_amount = 7, price_id = 1 {unpriced}")
    with pytest.raises(DBAPIError, match="append-only"):
        execute(filled, f"UPDATE usage_records SET cost_amount = 8 {unpriced}")
    assert query(filled, f"SELECT cost_amount FROM usage_records {unpriced}") == [(7,)]


def test_a_record_that_a_gateway_replaces_on_sqlite_is_found_out(sqlite_ledger: Ledger) -> None:
    """INSERT OR REPLACE deletes past every trigger; the counters, which hold the old record, then contradict."""
    gateway_insert(sqlite_ledger, request_id="r", cost_amount=5)
    settle(sqlite_ledger)
    values = "'r', 'openai', 'gpt-4o', 'text_generation', 'success', :at, 7"
    columns = "request_id, provider_id, model_id, usage_type, status, created_at, cost_amount"
    execute(
        sqlite_ledger,
        f"INSERT OR REPLACE INTO usage_records ({columns}) VALUES ({values})",
        {"at": stored(NOON, sqlite_ledger)},
    )
    settle(sqlite_ledger)
    found = {finding.what: (finding.stored, finding.computed) for finding in reconcile(sqlite_ledger)}
    assert found["resource_pools.used_amount"] == ("0.000000012", "0.000000007")


FOREIGN_KEYS = [
    "INSERT INTO models (provider_id, model_id, name, created_at) VALUES ('nobody', 'm', 'm', :at)",
    "INSERT INTO resource_pools (provider_id, total_balance, used_amount) VALUES ('nobody', 0, 0)",
    "INSERT INTO quota_grants (user_id, amount, reference, idempotency_key, granted_after, remaining_after, operator,"
    " created_at) VALUES ('nobody', 1, 'r', 'k', 1, 1, 'o', :at)",
    "INSERT INTO balance_alerts (provider_id, alert_type, alert_level, balance_percentage, available_balance,"
    " created_at, updated_at) VALUES ('nobody', 'low_balance', 'warning', 0, 0, :at, :at)",
    "INSERT INTO prices (provider_id, model_id, usage_type, unit, input_price, output_price, effective_from, operator,"
    " created_at) VALUES ('openai', 'no such model', 'text_generation', '1m_tokens', 0, 0, :at, 'o', :at)",
    "INSERT INTO recharges (provider_id, amount, reference, note, idempotency_key, total_after, available_after,"
    " operator, created_at) VALUES ('nobody', 1, 'r', '', 'k2', 1, 1, 'o', :at)",
    "DELETE FROM providers",
]


def test_nothing_names_what_does_not_exist(filled: Ledger) -> None:
    for statement in FOREIGN_KEYS:
        with pytest.raises(DBAPIError, match=r"(?i)foreign key"):
            execute(filled, statement, {"at": stored(NOON, filled)} if ":at" in statement else {})


def test_only_a_reversal_is_negative(filled: Ledger) -> None:
    insert = (
        "INSERT INTO recharges (provider_id, amount, reference, note, idempotency_key, reverses_id, total_after,"
        " available_after, operator, created_at) VALUES ('openai', {}, 'r', '', 'k', {}, 1, 1, 'o', :at)"
    )
    for amount, reverses in (("-1", "NULL"), ("0", "NULL"), ("1", "1"), ("0", "1")):
        with pytest.raises(DBAPIError, match=r"(?i)check"):
            execute(filled, insert.format(amount, reverses), {"at": stored(NOON, filled)})


# SQLite, set up for money


def pragma(ledger: Ledger, name: str, *, write: bool) -> Any:
    session_of = ledger.database.writing if write else ledger.database.reading
    with session_of() as session:
        return session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one()


@pytest.mark.parametrize("write", [True, False])
def test_an_acknowledged_write_survives_a_power_cut(sqlite_ledger: Ledger, write: bool) -> None:
    """Write-ahead logging corrupts files before SQLite 3.51.3; there only a rollback journal with EXTRA is safe."""
    fixed = sqlite3.sqlite_version_info >= (3, 51, 3)
    full, extra = 2, 3
    assert pragma(sqlite_ledger, "journal_mode", write=write) == ("wal" if fixed else "delete")
    assert pragma(sqlite_ledger, "synchronous", write=write) == (full if fixed else extra)
    assert pragma(sqlite_ledger, "foreign_keys", write=write) == 1
    assert pragma(sqlite_ledger, "busy_timeout", write=write) == 30_000


def test_where_nothing_temporary_can_be_written_it_is_kept_in_memory(
    sqlite_url: str, opened: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pragma(opened(sqlite_url), "temp_store", write=True) == 0
    # As in a container whose file system is read-only, but for the ledger.
    monkeypatch.setattr(os, "access", lambda *_place: False)
    ledger = opened(sqlite_url)
    assert pragma(ledger, "temp_store", write=True) == 2
    calls = [usage(request_id=f"r{number}") for number in range(1200)]
    assert record_usage(ledger, calls).recorded == 1200


def test_a_file_that_somebody_put_into_another_journal_mode_is_put_back(sqlite_url: str, opened: OpenLedger) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    fixed = sqlite3.sqlite_version_info >= (3, 51, 3)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {'delete' if fixed else 'wal'}")
    connection.close()
    ledger = opened(sqlite_url)
    assert pragma(ledger, "journal_mode", write=True) == ("wal" if fixed else "delete")


def test_a_read_only_ledger_cannot_write_even_past_the_services(sqlite_url: str, opened: OpenLedger) -> None:
    ledger = opened(sqlite_url, read_only=True)
    assert pragma(ledger, "query_only", write=False) == 1
    with pytest.raises(DBAPIError, match="readonly"):
        execute(ledger, "DELETE FROM providers")


def test_a_write_holds_the_lock_from_its_first_statement(sqlite_url: str, opened: OpenLedger) -> None:
    """A lock asked for only when something is written would fail at once, not wait, where another wrote first."""
    writer, other = opened(sqlite_url), opened(sqlite_url, timeout=0)
    with writer.database.writing() as session:
        session.connection().execute(text("SELECT 1"))
        with pytest.raises(DBAPIError, match="locked"), other.database.writing() as second:
            second.connection().execute(text("SELECT 1"))
        with other.database.reading() as reader:
            assert reader.connection().execute(text("SELECT count(*) FROM providers")).scalar_one() == 0


def test_a_writer_waits_for_another_one(ledger: Ledger) -> None:
    pool(ledger, amount="10")
    holding, free = threading.Event(), threading.Event()

    def hold(session: Any) -> None:
        session.connection().execute(text("UPDATE resource_pools SET used_amount = 1"))
        holding.set()
        free.wait()

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(in_transaction, ledger.database, hold)
        holding.wait()
        second = threads.submit(pay, ledger, "5")
        free.set()
        first.result()
        assert second.result().available_after == Decimal("14.999999999")
    assert get_pool(ledger, "openai").total_balance == 15


def test_a_database_that_stays_locked_says_so_and_nothing_is_changed(sqlite_url: str, opened: OpenLedger) -> None:
    writer, other = opened(sqlite_url), opened(sqlite_url, timeout=0)
    pool(writer)
    with writer.database.writing() as session:
        session.connection().execute(text("SELECT 1"))
        with pytest.raises(Unavailable, match=r"stayed busy; nothing was changed\. Try again"):
            pay(other, "5")
    assert get_pool(writer, "openai").total_balance == 0


def test_a_reader_sees_one_snapshot(database_url: str, opened: OpenLedger) -> None:
    reader, writer = opened(database_url), opened(database_url, timeout=0 if "sqlite" in database_url else 5)
    count = text("SELECT count(*) FROM providers")
    with reader.database.reading() as session:
        assert session.connection().execute(count).scalar_one() == 0
        try:
            pool(writer)
            written = 1
        except Unavailable:
            # With a rollback journal a writer waits for the readers instead.
            written = 0
        assert session.connection().execute(count).scalar_one() == 0
    assert written == (0 if "sqlite" in database_url and sqlite3.sqlite_version_info < (3, 51, 3) else 1)
    assert query(reader, "SELECT count(*) FROM providers") == [(written,)]


def test_reading_on_postgresql_cannot_write(postgres_url: str, opened: OpenLedger) -> None:
    ledger = opened(postgres_url)
    with pytest.raises(DBAPIError, match="read-only"), ledger.database.reading() as session:
        session.connection().execute(text("DELETE FROM providers"))
