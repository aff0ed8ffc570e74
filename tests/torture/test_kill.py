from __future__ import annotations

import os
import random
import select
import time
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection

from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.reconcile import reconcile
from tests.factories import TESTER, query
from tests.torture.operations import (
    Operation,
    chosen_seed,
    expected,
    found,
    is_long,
    open_pools,
    operation,
    perform,
    processes,
)

KILLS = 10
LONG_KILLS = 100
MOST_BEFORE = 12
"""A writer is killed after at most so many acknowledged writes, and a moment."""

LONGEST_MOMENT = 0.05
"""Seconds; longer than one write takes, so that the kill may fall into any part of the next one."""


@dataclass
class Count:
    """What became of the writes."""

    acknowledged: int = 0
    lost: int = 0
    in_flight: int = 0
    had_arrived: int = 0


def _write(url: str, seed: str, round_number: int, acknowledge: Connection) -> None:
    """Write without end, and tell of each write once it is committed, by one unbuffered byte in a pipe."""
    ledger = open_ledger(url, actor=TESTER)
    for position in count():
        perform(ledger, _planned(seed, round_number, position))
        os.write(acknowledge.fileno(), b".")


def _planned(seed: str, round_number: int, position: int) -> Operation:
    return operation(seed, f"{round_number}-{position}")


def test_a_killed_writer_leaves_each_acknowledged_write_once_and_no_half_one(database_url: str, ledger: Ledger) -> None:
    seed = chosen_seed("kill")
    choose = random.Random(f"{seed} kills")
    open_pools(ledger)
    total = Count()
    done: list[Operation] = []
    kills = LONG_KILLS if is_long() else KILLS
    began = time.monotonic()
    for round_number in range(kills):
        acknowledged = _kill_one(database_url, seed, round_number, choose)
        done += _again(ledger, seed, round_number, acknowledged, total)
        assert reconcile(ledger) == ()
        if ledger.database.is_sqlite:
            assert query(ledger, "PRAGMA quick_check") == [("ok",)]
    doubled = {name for name, value in found(ledger).items() if value != expected(done).get(name)}
    print(
        f"kill on {ledger.database.engine.dialect.name}: {kills} kills in {time.monotonic() - began:.1f} s, "
        f"{total.acknowledged} writes acknowledged, {total.lost} lost, {len(doubled)} sums differ, "
        f"{total.in_flight} in flight, of which {total.had_arrived} had been committed"
    )
    assert (total.lost, doubled) == (0, set())
    assert found(ledger) == expected(done)


def _kill_one(url: str, seed: str, round_number: int, choose: random.Random) -> int:
    """Start a writer, kill it at a random moment and return how many writes it had acknowledged."""
    context = processes()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_write, args=(url, seed, round_number, sender), daemon=True)
    process.start()
    sender.close()
    acknowledged = 0
    for _write_number in range(choose.randrange(MOST_BEFORE)):
        assert os.read(receiver.fileno(), 1) == b".", "the writer ended by itself"
        acknowledged += 1
    select.select([], [], [], choose.uniform(0, LONGEST_MOMENT))
    process.kill()
    process.join()
    while os.read(receiver.fileno(), 1):
        acknowledged += 1
    receiver.close()
    return acknowledged


def _again(ledger: Ledger, seed: str, round_number: int, acknowledged: int, total: Count) -> list[Operation]:
    """Send every write of a killed writer once more; an acknowledged one must be there already."""
    retried = []
    for position in range(acknowledged + 1):
        wanted = _planned(seed, round_number, position)
        was_there = perform(ledger, wanted)
        retried.append(wanted)
        if position < acknowledged:
            total.acknowledged += 1
            total.lost += not was_there
        else:
            total.in_flight += 1
            total.had_arrived += was_there
    return retried
