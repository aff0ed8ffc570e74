"""What the processes under test do to a shared ledger, and what must then be in it.

An operation follows from its key alone, so that a second process, or the same one after a crash, sends the same content
under the same key, and the test knows what every acknowledged key stands for.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext

from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import list_pools
from billing_console.services.quotas import grant_quota, list_quotas
from billing_console.services.recharges import recharge
from tests.factories import NANO, gateway_insert, pool, usage

PROVIDERS = ("anthropic", "deepseek", "openai")
USERS = ("alice", "bob", "carol", "dora")
CALLS = 3
"""Calls in one batch of usage: they are recorded together or not at all."""


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


def open_pools(ledger: Ledger) -> None:
    """Give every provider a pool with little in it, so that alerts and suspensions come and go."""
    for provider in PROVIDERS:
        pool(ledger, provider)


@dataclass(frozen=True)
class Operation:
    """One write: money for a pool or a user, or calls that cost `amount` yuan each."""

    key: str
    kind: str
    provider: str
    user: str
    amount: Decimal


def operation(seed: str, key: str) -> Operation:
    """The operation that a key stands for; one whose key begins with `gateway` is an insert past the services."""
    choose = random.Random(f"{seed} {key}")
    kind = choose.choices(("recharge", "usage", "grant"), (3, 5, 2))[0]
    amount = Decimal(choose.randrange(1, 2000)) / 100
    if kind == "usage":
        amount = choose.randrange(1, 10**10) * NANO
    kind = "gateway" if key.startswith("gateway") else kind
    return Operation(key, kind, choose.choice(PROVIDERS), choose.choice(USERS), amount)


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
        else:
            cost = done.amount * (CALLS if done.kind == "usage" else 1)
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
