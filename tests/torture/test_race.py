from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from tests.torture.operations import (
    at_once,
    chosen_seed,
    expected,
    found,
    is_long,
    open_as,
    open_pools,
    operation,
    perform,
)

PROCESSES = 8
OPERATIONS = 40
"""What each process does in the short form."""

SECONDS = 20
"""How long each process goes on in the long form."""

SHARED_KEYS = 200
"""Keys that several processes send, each with the same content."""


@dataclass
class Account:
    """What one process did: the keys acknowledged to it, counts by kind, failures that reached it, the longest wait."""

    keys: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0


def _work(url: str, seed: str, number: int, start: Barrier, answer: Connection) -> None:
    """Be one of the processes; the ledger is opened before all of them start together."""
    ledger = open_as(url, f"process-{number}")
    account = Account()
    choose = random.Random(f"{seed} process {number}")
    start.wait()
    began = time.monotonic()
    position = 0
    while (time.monotonic() - began < SECONDS) if is_long() else (position < OPERATIONS):
        position += 1
        before = time.monotonic()
        try:
            _one(ledger, seed, choose, f"{number}-{position}", account)
        except BaseException as error:
            account.failures.append(repr(error))
        account.longest = max(account.longest, time.monotonic() - before)
    ledger.close()
    answer.send(account)


def _one(ledger: Ledger, seed: str, choose: random.Random, own_key: str, account: Account) -> None:
    kind = choose.choices(("own", "shared", "gateway", "check", "reconcile"), (55, 15, 10, 18, 2))[0]
    if kind == "check":
        settle(ledger)
        check_pools(ledger)
    elif kind == "reconcile":
        assert reconcile(ledger) == ()
    else:
        shared = f"shared-{choose.randrange(SHARED_KEYS)}"
        key = {"own": own_key, "shared": shared, "gateway": f"gateway-{own_key}"}[kind]
        wanted = operation(seed, key)
        perform(ledger, wanted)
        account.keys.append(key)
        kind = wanted.kind
    account.counts[kind] += 1


def test_many_processes_at_once_lose_nothing_and_meet_no_lock(database_url: str, ledger: Ledger) -> None:
    seed = chosen_seed("race")
    open_pools(ledger)
    began = time.monotonic()
    accounts: list[Account] = at_once(_work, [(database_url, seed, number) for number in range(PROCESSES)])
    seconds = time.monotonic() - began
    settle(ledger)
    acknowledged = {key for account in accounts for key in account.keys}
    counts = sum((account.counts for account in accounts), Counter[str]())
    print(
        f"race on {ledger.database.engine.dialect.name}: {PROCESSES} processes, {counts.total()} operations in "
        f"{seconds:.1f} s {dict(counts)}, {len(acknowledged)} keys acknowledged, "
        f"longest wait {max(account.longest for account in accounts):.2f} s"
    )
    assert [failure for account in accounts for failure in account.failures] == []
    assert found(ledger) == expected(operation(seed, key) for key in acknowledged)
    assert reconcile(ledger) == ()
