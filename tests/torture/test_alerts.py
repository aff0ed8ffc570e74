"""Many checks while the balance moves across its borders: one open alert at most, and one raise a crossing."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from decimal import ROUND_UP, Decimal
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from multiprocessing.synchronize import Event as ProcessEvent

import pytest

from billing_console.money import CENT
from billing_console.services.alerts import list_alerts
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool
from billing_console.services.recharges import new_key
from billing_console.services.reconcile import reconcile
from db.values import AlertType
from tests.commands import command
from tests.factories import pay, pool, query, spend
from tests.torture.operations import at_once, chosen_seed, is_long, open_as, processes

PROVIDER = "openai"
CHECKERS, ROUNDS = 6, 8
LONG_CHECKERS, LONG_ROUNDS = 20, 50
LONG_PROGRAM_ROUNDS = 5
"""How often each checker runs the program, which takes much longer to start than to check."""

JUST_LOW, JUST_ENOUGH = Decimal("9.9"), Decimal("10.1")
"""Percent: on either side of the border."""

TO_NOTHING = 0.2
"""How often a balance that falls ends at nothing; a pool grows with each recharge from there."""

Check = Callable[[str, Ledger], str]
"""A way to check the pool; returns what the check says it changed."""


def by_function(url: str, ledger: Ledger) -> str:
    (checked,) = check_pools(ledger).pools
    return checked.change


def by_program(url: str, ledger: Ledger) -> str:
    answer = command("--database", url, "check-pools", "--format", "json", environment=os.environ)
    assert answer.code in (0, 1, 2), answer
    (checked,) = json.loads(answer.out)["pools"]
    return str(checked["changed"])


def _check(url: str, number: int, rounds: int, check: Check, start: Barrier, answer: Connection) -> None:
    """Check so many times; answer with what was changed and the most alerts that were open at a time."""
    ledger = open_as(url, f"checker-{number}")
    changes: Counter[str] = Counter()
    most_open = 0
    start.wait()
    for _round in range(rounds):
        changes[check(url, ledger)] += 1
        most_open = max(most_open, len(list_alerts(ledger, resolved=False)))
    ledger.close()
    answer.send((changes, most_open))


def _move(url: str, seed: str, started: ProcessEvent, stop: ProcessEvent, answer: Connection) -> None:
    """Move the balance down and up again until told to stop; answer with the crossings made and what was changed."""
    ledger = open_as(url, "mover")
    choose = random.Random(f"{seed} moves")
    crossings: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    started.set()
    while not stop.is_set():
        to_nothing = choose.random() < TO_NOTHING
        crossings["down"] += 1
        if to_nothing and choose.random() < 0.5:
            _fall(ledger, Decimal(0))
            _until(ledger, AlertType.INSUFFICIENT_BALANCE, stop, changes)
        else:
            _fall(ledger, JUST_LOW)
            _until(ledger, AlertType.LOW_BALANCE, stop, changes)
            if to_nothing:
                crossings["on to nothing"] += 1
                _fall(ledger, Decimal(0))
                _until(ledger, AlertType.INSUFFICIENT_BALANCE, stop, changes)
        if to_nothing and choose.random() < 0.5:
            crossings["up to low"] += 1
            _rise(ledger, JUST_LOW)
        crossings["up"] += 1
        _rise(ledger, JUST_ENOUGH)
    ledger.close()
    answer.send((crossings, changes))


def _fall(ledger: Ledger, percent: Decimal) -> None:
    view = get_pool(ledger, PROVIDER)
    cost = view.available_balance - view.total_balance * percent / 100
    assert spend(ledger, cost, request_id=new_key()).recorded == 1


def _rise(ledger: Ledger, percent: Decimal) -> None:
    """Recharge until at least so much of the total, which grows with it, is available."""
    view = get_pool(ledger, PROVIDER)
    missing = (view.total_balance * percent / 100 - view.available_balance) / (1 - percent / 100)
    # Low is less than this border by more than a cent, so to round up does not cross it.
    pay(ledger, str(missing.quantize(CENT, ROUND_UP)), PROVIDER)


def _until(ledger: Ledger, wanted: AlertType, stop: ProcessEvent, changes: Counter[str]) -> None:
    """Wait until one of the checkers has seen the fall; once they have all ended, check instead of them."""
    while True:
        alerts = list_alerts(ledger, resolved=False)
        assert len(alerts) <= 1
        if [alert.alert_type for alert in alerts] == [wanted]:
            return
        if stop.is_set():
            changes[by_function("", ledger)] += 1


@pytest.mark.parametrize("check", [by_function, by_program])
def test_each_fall_of_a_balance_raises_one_alert(database_url: str, ledger: Ledger, check: Check) -> None:
    seed = chosen_seed(f"alerts {check.__name__}")
    pool(ledger, PROVIDER, "100")
    spend(ledger, "89.9")
    checkers, rounds = (LONG_CHECKERS, LONG_ROUNDS) if is_long() else (CHECKERS, ROUNDS)
    if check is by_program:
        checkers, rounds = (LONG_CHECKERS, LONG_PROGRAM_ROUNDS) if is_long() else (2, 1)
    began = time.monotonic()
    context = processes()
    started, stop = context.Event(), context.Event()
    receiver, sender = context.Pipe(duplex=False)
    mover = context.Process(target=_move, args=(database_url, seed, started, stop, sender), daemon=True)
    mover.start()
    sender.close()
    started.wait()
    answers = at_once(_check, [(database_url, number, rounds, check) for number in range(checkers)])
    stop.set()
    crossings, changes = receiver.recv()
    mover.join()
    seen = sum((counted for counted, _most in answers), changes)
    alerts = int(query(ledger, "SELECT count(*) FROM balance_alerts")[0][0])
    print(
        f"alerts {check.__name__} on {ledger.database.engine.dialect.name}: {checkers} processes, "
        f"{seen.total()} checks in {time.monotonic() - began:.1f} s, moves {dict(crossings)}, "
        f"changes {dict(seen)}, {alerts} alerts"
    )
    assert max(most for _counted, most in answers) <= 1
    assert seen["raised"] == alerts == crossings["down"] > 0
    assert seen["escalated"] == crossings["on to nothing"]
    assert (seen["eased"], seen["resolved"]) == (0, 0)
    assert list_alerts(ledger, resolved=False) == ()
    assert get_pool(ledger, PROVIDER).suspended_at is None
    assert reconcile(ledger) == ()
