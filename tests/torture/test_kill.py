"""Writers, and the server, that are killed: every acknowledged write is there once, and none is there in part."""

from __future__ import annotations

import os
import random
import select
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from billing_console.errors import Unavailable
from billing_console.services.ledger import Ledger
from billing_console.services.reconcile import reconcile
from tests.commands import PATIENCE_SECONDS
from tests.factories import query, set_up
from tests.postgres_server import running
from tests.torture.operations import (
    ALL_WRITES,
    Operation,
    chosen_seed,
    expected,
    found,
    imported_rows,
    is_long,
    open_as,
    open_pools,
    operation,
    perform,
    processes,
)

WRITERS = 2
KILLS = 10
LONG_WRITERS = 8
LONG_KILLS = 1000
MOST_BEFORE = 12
"""A writer is killed after at most so many acknowledged writes, and a moment."""

LONGEST_MOMENT = 0.05
LONGEST_MOMENT_OF_AN_IMPORT = 1.0
"""Seconds; longer than one write takes, so that the kill may fall into any part of the next one."""

READ_FIRST = ("check", "import")

CRASHES = 2
LONG_CRASHES = 50
BETWEEN_CRASHES = 20
"""Writes acknowledged by each writer, at most, before the server is killed again."""


@dataclass
class Count:
    """What became of the writes; `parts` are imports of which one batch had arrived."""

    acknowledged: int = 0
    lost: int = 0
    in_flight: int = 0
    had_arrived: int = 0
    imports: int = 0
    parts: int = 0

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} writes acknowledged, {self.imports} of them imports, {self.lost} lost, "
            f"{self.in_flight} in flight, of which {self.had_arrived} had been committed, and {self.parts} in part: "
            "imports, by whole batches"
        )


@dataclass(frozen=True)
class Doomed:
    """A writer, how many writes it may acknowledge, and the part of a moment after which it is killed."""

    name: str
    writes: int
    moment: float


def _write(url: str, seed: str, name: str, acknowledge: Connection) -> None:
    """Write without end, and tell of each write once it is committed, by one unbuffered byte in a pipe."""
    ledger = open_as(url, name)
    for position in count():
        _perform_at_last(ledger, _planned(seed, name, position))
        os.write(acknowledge.fileno(), b".")


def _perform_at_last(ledger: Ledger, wanted: Operation) -> None:
    """Perform it; what reads first is told of a server that is gone, which a write by itself never is."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            perform(ledger, wanted)
            return
        except Unavailable:
            if wanted.kind not in READ_FIRST or time.monotonic() > give_up:
                raise
            select.select([], [], [], LONGEST_MOMENT)


def _planned(seed: str, name: str, position: int) -> Operation:
    return operation(seed, f"{name}-{position}", ALL_WRITES)


@contextmanager
def _writer(url: str, seed: str, name: str) -> Iterator[tuple[ForkServerProcess, Connection]]:
    context = processes()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_write, args=(url, seed, name, sender), daemon=True)
    process.start()
    sender.close()
    try:
        yield process, receiver
    finally:
        process.kill()
        process.join()
        receiver.close()


def _acknowledged(receiver: Connection, most: int) -> int:
    """Wait for so many acknowledgements; return how many there are, fewer if the writer has been killed."""
    got = 0
    while got < most and (said := os.read(receiver.fileno(), most - got)):
        got += len(said)
    return got


def test_a_killed_writer_leaves_each_acknowledged_write_once_and_no_half_one(database_url: str, ledger: Ledger) -> None:
    seed = chosen_seed("kill")
    choose = random.Random(f"{seed} kills")
    open_pools(ledger)
    kills, writers = (LONG_KILLS, LONG_WRITERS) if is_long() else (KILLS, WRITERS)
    total = Count()
    done: list[Operation] = []
    began = time.monotonic()
    with ThreadPoolExecutor(writers) as threads:
        for first in range(0, kills, writers):
            doomed = [
                Doomed(f"{number}", choose.randrange(MOST_BEFORE), choose.random())
                for number in range(first, min(first + writers, kills))
            ]
            counts = list(threads.map(lambda one: _kill_one(database_url, seed, one), doomed))
            for one, acknowledged in zip(doomed, counts, strict=True):
                done += _again(ledger, seed, one.name, acknowledged, total)
            assert reconcile(ledger) == ()
            if ledger.database.is_sqlite:
                assert query(ledger, "PRAGMA quick_check") == [("ok",)]
    doubled = {name for name, value in found(ledger).items() if value != expected(done).get(name)}
    print(
        f"kill on {ledger.database.engine.dialect.name}: {kills} kills in {time.monotonic() - began:.1f} s, "
        f"{writers} writers at a time, {total}, {len(doubled)} sums differ"
    )
    assert (total.lost, doubled) == (0, set())
    assert found(ledger) == expected(done)


def _kill_one(url: str, seed: str, doomed: Doomed) -> int:
    """Start a writer, kill it at a random moment and return how many writes it had acknowledged."""
    importing = _planned(seed, doomed.name, doomed.writes).kind == "import"
    with _writer(url, seed, doomed.name) as (process, receiver):
        acknowledged = _acknowledged(receiver, doomed.writes)
        assert acknowledged == doomed.writes, "the writer ended by itself"
        longest = LONGEST_MOMENT_OF_AN_IMPORT if importing else LONGEST_MOMENT
        select.select([], [], [], longest * doomed.moment)
        process.kill()
        process.join()
        return acknowledged + _acknowledged(receiver, 10**6)


def test_a_server_that_is_killed_loses_nothing_and_its_writers_go_on() -> None:
    """The writers are not told: each finds its connection gone, perhaps in a commit, and repeats what it was doing."""
    seed = chosen_seed("crash")
    choose = random.Random(f"{seed} crashes")
    crashes, writers = (LONG_CRASHES, LONG_WRITERS) if is_long() else (CRASHES, WRITERS)
    total = Count()
    done: list[Operation] = []
    names = [f"survivor {number}" for number in range(writers)]
    with running(private=True) as server:
        with server.connect() as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            connection.execute("CREATE DATABASE crashed")
        url = server.url("crashed")
        set_up(url)
        ledger = open_as(url, "tester")
        open_pools(ledger)
        began = time.monotonic()
        acknowledged = dict.fromkeys(names, 0)
        with _all_writing(url, seed, names) as working:
            for _crash in range(crashes):
                for name, (_process, receiver) in working.items():
                    wanted = choose.randrange(1, BETWEEN_CRASHES)
                    got = _acknowledged(receiver, wanted)
                    assert got == wanted, "the writer ended by itself"
                    acknowledged[name] += got
                select.select([], [], [], LONGEST_MOMENT * choose.random())
                server.crash()
                server.restart()
                assert reconcile(ledger) == ()
            for name, (process, receiver) in working.items():
                acknowledged[name] += _acknowledged(receiver, 1)
                process.kill()
                process.join()
                acknowledged[name] += _acknowledged(receiver, 10**6)
        for name in names:
            done += _again(ledger, seed, name, acknowledged[name], total)
        print(
            f"crash of postgresql: {crashes} crashes in {time.monotonic() - began:.1f} s, "
            f"{writers} writers at a time, {total}"
        )
        assert total.lost == 0
        assert found(ledger) == expected(done)
        assert reconcile(ledger) == ()
        ledger.close()


@contextmanager
def _all_writing(url: str, seed: str, names: list[str]) -> Iterator[dict[str, tuple[ForkServerProcess, Connection]]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(_writer(url, seed, name)) for name in names}


def _again(ledger: Ledger, seed: str, name: str, acknowledged: int, total: Count) -> list[Operation]:
    """Send every write of a killed writer once more; an acknowledged one must be there already."""
    retried = []
    for position in range(acknowledged + 1):
        wanted = _planned(seed, name, position)
        in_part = wanted.kind == "import" and 0 < imported_rows(ledger, wanted) < wanted.rows
        was_there = perform(ledger, wanted)
        retried.append(wanted)
        if position < acknowledged:
            total.acknowledged += 1
            total.imports += wanted.kind == "import"
            total.lost += not was_there
        elif wanted.kind != "check":
            total.in_flight += 1
            total.had_arrived += was_there
            total.parts += in_part
    return retried
