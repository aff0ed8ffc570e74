"""Calls that are recorded and counted, beside bare inserts of the same rows, by several processes at once."""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from bench.ledger import END
from bench.places import Places
from bench.report import by_turns, ratio, table
from billing_console.demo.mix import OFFERS
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.metering import record_usage
from billing_console.services.new_usage import NewUsage
from billing_console.services.setup import init
from db.schema import UsageRecord
from db.statements import table_of
from db.types import scaled

COST = Decimal("0.004321")
ROUNDS = 3
SECONDS = 3.0
WARMING = 20
"""Transactions of each writer before the clock runs: statements are prepared and planned anew in the first ten."""

USERS = 5000
RUNS = ((1, 1), (1, 100), (4, 100), (16, 1), (16, 100))
"""How many processes, and how many calls a transaction."""

COLUMNS = tuple(column.name for column in table_of(UsageRecord).columns if column.name != "id")

Found = dict[tuple[int, int], dict[str, list[float]]]
"""Calls a second by processes and batch, bare and recorded."""


FLUSH_MS = 2
"""How much longer a flush of PostgreSQL takes in runs that stand for a disk slower than the one measured on."""


def measure(places: Places, engine: str) -> Found:
    """Return calls a second by turns, on ledgers of this engine that begin empty."""
    found = {}
    for processes, batch in RUNS:
        works = {}
        for name in ("bare", "recorded"):
            url = places.empty(engine, f"bench_{name}")
            init(url, demo=True)
            with closing(open_ledger(url)) as ledger:
                _record(ledger, _calls("first", count(), 500))
            works[name] = _run(url, name, processes, batch)
        found[processes, batch] = by_turns(ROUNDS, works)
    return found


def _run(url: str, name: str, processes: int, batch: int) -> Callable[[], float]:
    rounds = count()

    def run() -> float:
        context = multiprocessing.get_context("spawn")
        turn = next(rounds)
        with context.Manager() as manager, context.Pool(processes) as pool:
            ready = manager.Barrier(processes)
            tasks = [(url, name, f"{processes}-{batch}-{turn}-{number}", batch, ready) for number in range(processes)]
            return sum(pool.starmap(write, tasks, chunksize=1))

    return run


def write(url: str, name: str, writer: str, batch: int, ready: Any) -> float:
    """Write calls for some seconds, once all writers are ready, and return how many a second."""
    with closing(open_ledger(url)) as ledger:
        work = _bare if name == "bare" else _record
        numbers = count()
        for _warming in range(WARMING):
            work(ledger, _calls(writer, numbers, batch))
        ready.wait()
        began = time.perf_counter()
        done = 0
        while (took := time.perf_counter() - began) < SECONDS:
            work(ledger, _calls(writer, numbers, batch))
            done += batch
        return done / took


def _calls(writer: str, numbers: Any, batch: int) -> list[NewUsage]:
    """Make calls with their cost, of users and providers of whom few call often."""
    chosen = random.choices(OFFERS, [offer.share for offer in OFFERS], k=batch)
    return [
        NewUsage(
            provider_id=offer.provider_id,
            model_id=offer.model_id,
            usage_type=offer.usage_type,
            created_at=END - timedelta(microseconds=random.randrange(3_600_000_000)),
            request_id=f"{writer}-{next(numbers)}",
            user_id=f"u-{int(USERS * random.random() ** 3):05d}",
            input_tokens=1200,
            output_tokens=300,
            cost_amount=COST,
        )
        for offer in chosen
    ]


def _record(ledger: Ledger, calls: Sequence[NewUsage]) -> None:
    record_usage(ledger, calls)


def _bare(ledger: Ledger, calls: Sequence[NewUsage]) -> None:
    """Insert the rows by the driver's own statement, in one transaction."""
    sqlite = ledger.database.is_sqlite
    mark = "?" if sqlite else "%s"
    statement = f"INSERT INTO usage_records ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))})"
    with ledger.database.writing() as session:
        session.connection().exec_driver_sql(statement, [_row(call, sqlite=sqlite) for call in calls])


def _row(call: NewUsage, *, sqlite: bool) -> tuple[Any, ...]:
    given = {
        "total_tokens": call.input_tokens + call.output_tokens,
        "usage_type": call.usage_type.value,
        "status": call.status.value,
        "cost_amount": scaled(COST, 9),
        "quantity": 0,
        "created_at": f"{call.created_at:%Y-%m-%d %H:%M:%S.%f}" if sqlite else call.created_at,
        "counted_by_settler": False,
    }
    return tuple(given.get(name, getattr(call, name, None)) for name in COLUMNS)


def spell(found: dict[str, Found]) -> str:
    """Make the table: calls a second, and recorded as a part of bare."""
    rows = []
    for engine, runs in found.items():
        for (processes, batch), times in runs.items():
            bare, recorded = times["bare"], times["recorded"]
            rates = [f"{statistics.median(each):,.0f}" for each in (bare, recorded)]
            rows.append([engine, processes, batch, *rates, f"{ratio(recorded, bare):.2f}"])
    return table(["engine", "writers", "batch", "bare inserts/s", "recorded calls/s", "of bare"], rows)
