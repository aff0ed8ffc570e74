"""Gateways that insert with SQL of their own, many at once, with rollbacks and slow commits, while settlers count."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg

from billing_console.services.ledger import Ledger
from billing_console.services.pools import list_pools
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from db.engine import parse_url
from tests.factories import NOON, pool, price, query
from tests.torture.operations import at_once, chosen_seed, is_long, open_as

WRITERS = 8
SETTLERS = 2
TRANSACTIONS = 25
LONG_TRANSACTIONS = 1000
SHARED_KEYS = 100
"""Calls that several gateways insert, each with the same content."""

COLUMNS = (
    "provider_id",
    "request_id",
    "user_id",
    "model_id",
    "usage_type",
    "input_tokens",
    "output_tokens",
    "cost_amount",
    "status",
    "created_at",
)
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Account:
    """What one process did: the keys it committed, and how many records it counted."""

    committed: frozenset[str]
    counted: int


def row_of(seed: str, key: str) -> Row:
    """The call that a key stands for: every third has no cost of its own, and some have failed."""
    choose = random.Random(f"{seed} {key}")
    cost = None if choose.random() < 0.34 else choose.randrange(10**9)
    status = "failed" if choose.random() < 0.1 else "success"
    provider, user = choose.choice(("openai", "azure")), choose.choice(("alice", "bob", None))
    tokens = choose.randrange(1000), choose.randrange(1000)
    return (provider, key, user, "gpt-4o", "text_generation", *tokens, cost, status, f"{NOON:%Y-%m-%d %H:%M:%S.%f}")


def cost_of(row: Row) -> int:
    """What a call costs, in billionths of a yuan, at 10 and 30 yuan a million tokens."""
    cost, status = row[7], row[8]
    if cost is not None:
        return int(cost)
    return 0 if status == "failed" else int(row[5] * 10_000 + row[6] * 30_000)


def _work(url: str, seed: str, number: int, start: Barrier, answer: Connection) -> None:
    """Be one of the gateways, or one of the settlers that count until all gateways are done."""
    if number >= WRITERS:
        answer.send(_settle(url, number, start))
    elif url.startswith("sqlite"):
        with closing(sqlite3.connect(str(parse_url(url).database), timeout=120, isolation_level=None)) as file:
            answer.send(_insert(file, "BEGIN IMMEDIATE", "?", seed, number, start))
    else:
        server = parse_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("SET timezone TO 'UTC'")
            answer.send(_insert(connection, "BEGIN", "%s", seed, number, start))


def _insert(connection: Any, begin: str, mark: str, seed: str, number: int, start: Barrier) -> Account:
    insert = f"INSERT INTO usage_records ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))})"
    choose = random.Random(f"{seed} gateway {number}")
    committed: set[str] = set()
    start.wait()
    for transaction in range(LONG_TRANSACTIONS if is_long() else TRANSACTIONS):
        own = [f"{number}-{transaction}-{part}" for part in range(choose.randrange(1, 5))]
        keys = own + [f"shared-{choose.randrange(SHARED_KEYS)}" for _ in range(choose.randrange(3))]
        connection.execute(begin)
        # In one order everywhere, so that two that insert the same calls do not wait for each other.
        for row in sorted({row_of(seed, key) for key in keys}, key=lambda row: row[:2]):
            connection.execute(f"{insert} ON CONFLICT DO NOTHING", row)
        if choose.random() < 0.3:
            time.sleep(choose.uniform(0, 0.03))
        if choose.random() < 0.25:
            connection.execute("ROLLBACK")
        else:
            connection.execute("COMMIT")
            committed.update(keys)
    connection.execute(insert, row_of(seed, f"last-{number}"))
    return Account(frozenset(committed | {f"last-{number}"}), 0)


def _settle(url: str, number: int, start: Barrier) -> Account:
    ledger = open_as(url, f"settler-{number}")
    counted, done = 0, False
    start.wait()
    while not done:
        done = query(ledger, "SELECT count(*) FROM usage_records WHERE request_id LIKE 'last-%'") == [(WRITERS,)]
        counted += settle(ledger, limit=37).counted
    ledger.close()
    return Account(frozenset(), counted)


def test_gateways_at_once_with_rollbacks_and_slow_commits_are_counted_exactly(
    database_url: str, ledger: Ledger
) -> None:
    seed = chosen_seed("gateways")
    for provider in ("openai", "azure"):
        pool(ledger, provider, amount="1000")
        price(ledger, provider_id=provider)
    accounts: list[Account] = at_once(_work, [(database_url, seed, number) for number in range(WRITERS + SETTLERS)])
    rows = [row_of(seed, key) for key in frozenset().union(*(account.committed for account in accounts))]
    live = {view.provider_id: view.available_balance for view in list_pools(ledger)}
    counted = sum(account.counted for account in accounts) + settle(ledger).counted
    print(f"gateways on {ledger.database.engine.dialect.name}: {len(rows)} calls, {counted} counted")
    assert counted == len(rows)
    stored = query(ledger, "SELECT provider_id, request_id, cost_amount FROM usage_records")
    assert sorted(stored) == sorted((row[0], row[1], cost_of(row)) for row in rows)
    spent: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        spent["provider"][row[0]] += cost_of(row)
        if row[2] is not None:
            spent["user"][row[2]] += cost_of(row)
    assert dict(query(ledger, "SELECT provider_id, used_amount FROM resource_pools")) == spent["provider"]
    assert dict(query(ledger, "SELECT user_id, used_amount FROM user_quotas")) == spent["user"]
    after = {view.provider_id: view.available_balance for view in list_pools(ledger)}
    assert after == {name: 1000 - Decimal(cost).scaleb(-9) for name, cost in spent["provider"].items()}
    # Before the last ones were priced, the live balance could only be higher.
    assert all(live[name] >= after[name] for name in after)
    failed = sum(row[8] == "failed" for row in rows)
    assert query(ledger, "SELECT sum(call_count), sum(failed_count) FROM daily_cost_stats") == [(len(rows), failed)]
    assert query(ledger, "SELECT count(*) FROM usage_outbox") == [(0,)]
    assert reconcile(ledger) == ()
