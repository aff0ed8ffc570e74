"""What the processes under test do to a shared ledger, and what must then be in it.

An operation follows from its key alone, so that a second process, or the same one after a crash, sends the same content
under the same key, and the test knows what every acknowledged key stands for.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from billing_console.money import plain
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import list_pools
from billing_console.services.quotas import grant_quota, list_quotas
from billing_console.services.recharges import recharge
from billing_console.services.session import reading
from billing_console.services.usage_import import import_usage
from billing_console.services.usage_import_run import SQLITE_BATCH, ImportOptions, batch_of
from billing_console.services.usage_rows import FieldSources
from db.schema import UsageRecord
from db.statements import table_of
from tests.factories import NANO, TESTER, acting, gateway_insert, pool, usage

PROVIDERS = ("anthropic", "deepseek", "openai")
USERS = ("alice", "bob", "carol", "dora")
CALLS = 3
"""Calls in one batch of usage: they are recorded together or not at all."""

WRITES = {"recharge": 3, "usage": 5, "grant": 2}
"""The kinds of writes, and how often each is drawn."""

ALL_WRITES = {"recharge": 30, "usage": 40, "grant": 20, "check": 10, "import": 3}
"""The same with checks of the pools, and with imports, which take long."""


def is_long() -> bool:
    """Whether the long form is asked for."""
    return os.environ.get("TORTURE") == "long"


def chosen_seed(name: str) -> str:
    """The seed of this run, printed so that it can be run again."""
    seed = os.environ.get("TORTURE_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"\n{name}: TORTURE_SEED={seed}")
    return seed


def processes() -> ForkServerContext:
    """Processes that begin without any of the test's connections, and do not import everything again each time."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.torture.operations"])
    return context


def open_as(url: str, name: str) -> Ledger:
    """Open the ledger as one of the processes under test, each an operator of its own: one person's changes queue."""
    ledger = open_ledger(url, actor=TESTER)
    return acting(ledger, name)


def at_once(work: Callable[..., None], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run `work` once a call, each in a process of its own; they get a barrier and a pipe for what they answer."""
    context = processes()
    start = context.Barrier(len(calls), timeout=120)
    workers = []
    for arguments in calls:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(*arguments, start, sender), daemon=True)
        process.start()
        sender.close()
        workers.append((process, receiver))
    answers = [receiver.recv() for _process, receiver in workers]
    for process, _receiver in workers:
        process.join()
    return answers


def open_pools(ledger: Ledger) -> None:
    """Give every provider a pool with little in it, so that alerts and suspensions come and go."""
    for provider in PROVIDERS:
        pool(ledger, provider)


@dataclass(frozen=True)
class Operation:
    """One write: money for a pool or a user, or calls that cost `amount` yuan each; `rows` is for an import."""

    key: str
    kind: str
    provider: str
    user: str
    amount: Decimal
    rows: int = 0


def operation(seed: str, key: str, kinds: Mapping[str, int] = WRITES) -> Operation:
    """The operation that a key stands for; one whose key begins with `gateway` is an insert past the services."""
    choose = random.Random(f"{seed} {key}")
    kind = choose.choices(list(kinds), list(kinds.values()))[0]
    amount = Decimal(choose.randrange(1, 2000)) / 100
    if kind == "usage":
        amount = choose.randrange(1, 10**10) * NANO
    if kind == "import":
        amount = choose.randrange(1, 10**7) * NANO
    kind = "gateway" if key.startswith("gateway") else kind
    rows = choose.randrange(SQLITE_BATCH + 1, SQLITE_BATCH + 200) if kind == "import" else 0
    return Operation(key, kind, choose.choice(PROVIDERS), choose.choice(USERS), amount, rows)


def perform(ledger: Ledger, wanted: Operation) -> bool:
    """Do it, or find that it was done before; return which. Raises AssertionError for a batch that is there in part."""
    return _PERFORM[wanted.kind](ledger, wanted)


def _recharge(ledger: Ledger, wanted: Operation) -> bool:
    done = recharge(ledger, wanted.provider, wanted.amount, reference=wanted.key, key=wanted.key)
    return done.replayed


def _grant(ledger: Ledger, wanted: Operation) -> bool:
    return grant_quota(ledger, wanted.user, wanted.amount, reference=wanted.key, key=wanted.key).replayed


def _usage(ledger: Ledger, wanted: Operation) -> bool:
    calls = [
        usage(
            request_id=f"{wanted.key}/{number}",
            provider_id=wanted.provider,
            model_id=f"{wanted.provider}-model",
            user_id=wanted.user,
            cost_amount=wanted.amount,
        )
        for number in range(CALLS)
    ]
    done = record_usage(ledger, calls)
    assert (done.recorded, done.duplicates) in ((CALLS, 0), (0, CALLS)), f"{wanted}: {done}"
    return done.duplicates == CALLS


def _check(ledger: Ledger, wanted: Operation) -> bool:
    return len(check_pools(ledger).pools) == len(PROVIDERS)


def _import(ledger: Ledger, wanted: Operation) -> bool:
    """Import a file of several batches, whose rows have no request ids of their own."""
    there = imported_rows(ledger, wanted)
    assert _is_in_batches(ledger, wanted, there), f"{wanted}: {there} rows"
    head = "createdAt,userId,providerId,modelId,usageType,inputTokens,outputTokens,costAmount\n"
    row = (
        f"2026-03-10T12:00:00+08:00,{wanted.user},{wanted.provider},import {wanted.key},text_generation,1,1,"
        f"{plain(wanted.amount)}\n"
    )
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, f"{wanted.key}.csv")
        path.write_text(head + row * wanted.rows)
        done = import_usage(ledger, [path], ImportOptions(FieldSources({}, {})))
    assert (done.imported + done.duplicates, done.rejected) == (wanted.rows, 0), f"{wanted}: {done}"
    return there == wanted.rows


def _is_in_batches(ledger: Ledger, wanted: Operation, there: int) -> bool:
    """Whether so many rows are whole batches: any of them on PostgreSQL, where two are under way, or the first ones."""
    batch = batch_of(ledger)
    first_ones = there == wanted.rows or there % batch == 0
    return first_ones or (not ledger.database.is_sqlite and there % batch == wanted.rows % batch)


def imported_rows(ledger: Ledger, wanted: Operation) -> int:
    """How many rows of an import are in the ledger; raises Unavailable, as services do, where none can be asked."""
    rows = table_of(UsageRecord).c
    count = select(func.count()).where(rows.provider_id == wanted.provider, rows.model_id == f"import {wanted.key}")
    with reading(ledger.database) as session:
        return int(session.connection().execute(count).scalar_one())


def _gateway(ledger: Ledger, wanted: Operation) -> bool:
    gateway_insert(
        ledger,
        request_id=wanted.key,
        provider_id=wanted.provider,
        model_id=f"{wanted.provider}-model",
        user_id=wanted.user,
        cost_amount=int(wanted.amount / NANO),
    )
    return False


_PERFORM: dict[str, Callable[[Ledger, Operation], bool]] = {
    "recharge": _recharge,
    "grant": _grant,
    "usage": _usage,
    "gateway": _gateway,
    "check": _check,
    "import": _import,
}

Sums = dict[tuple[str, str], Decimal]


def expected(operations: Iterable[Operation]) -> Sums:
    """The sums when each of the operations took effect once."""
    sums: Counter[tuple[str, str]] = Counter()
    for done in operations:
        if done.kind == "recharge":
            sums["paid", done.provider] += done.amount  # type: ignore[assignment]
        elif done.kind == "grant":
            sums["granted", done.user] += done.amount  # type: ignore[assignment]
        elif done.kind != "check":
            cost = done.amount * {"usage": CALLS, "import": done.rows}.get(done.kind, 1)
            sums["used", done.provider] += cost  # type: ignore[assignment]
            sums["spent", done.user] += cost  # type: ignore[assignment]
    return {name: Decimal(value) for name, value in sums.items()}


def found(ledger: Ledger) -> Sums:
    """The sums that the ledger shows."""
    sums: Sums = {}
    for view in list_pools(ledger, with_no_pool=True):
        sums["paid", view.provider_id] = view.total_balance
        sums["used", view.provider_id] = view.used_amount
    for quota in list_quotas(ledger):
        sums["granted", quota.user_id] = quota.granted_amount or Decimal(0)
        sums["spent", quota.user_id] = quota.used_amount
    return {name: value for name, value in sums.items() if value}
