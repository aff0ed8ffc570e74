"""Importing a file of usage, priced and counted, beside the engines' own import of the same file.

The engine's import fills a table with the columns of the file and the indexes of usage records, and counts nothing.
"""

from __future__ import annotations

import csv
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from bench.check import ENVIRONMENT, ROOT
from bench.ledger import END, SLOTS, SPAN
from bench.places import Places
from bench.report import seconds, table
from billing_console.demo.build import RATE
from billing_console.demo.mix import OFFERS
from billing_console.demo.traffic import DATA
from billing_console.services.ledger import open_ledger
from billing_console.services.price_import import import_prices
from billing_console.services.setup import init
from db.values import UsageType

COLUMNS = (
    "requestId",
    "userId",
    "providerId",
    "modelId",
    "usageType",
    "inputTokens",
    "outputTokens",
    "quantity",
    "status",
    "errorMessage",
    "createdAt",
)
TYPES = ("TEXT",) * 5 + ("BIGINT",) * 3 + ("TEXT",) * 3
INDEXES = (
    "createdAt",
    "providerId, modelId, createdAt",
    "userId, providerId, modelId, createdAt",
)

Found = dict[str, tuple[float, float]]
"""Seconds and, of our own processes, peak memory in MB."""


def write_file(path: Path, rows: int) -> None:
    """Write the calls to import; the same for the same number."""
    turns = [offer for offer in OFFERS for _number in range(max(1, int(offer.share * 100)))]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(rows):
            h = number * 2654435761 % 2**32
            offer = turns[h // 97 % SLOTS % len(turns)]
            text = offer.usage_type is UsageType.TEXT_GENERATION
            failed = h % 50 == 0
            user = f"u-{h // 7919 % 71 * (h // 104729 % 71):05d}"
            amounts = (200 + h % 3000, 20 + h // 31 % 400, "") if text else ("", "", 1 + h // 17 % 9)
            end = ("failed", "HTTP 503: Service unavailable") if failed else ("success", "")
            instant = (END - SPAN + SPAN * number / rows).replace(microsecond=0)
            offered = (offer.provider_id, offer.model_id, offer.usage_type.value)
            writer.writerow([f"i{number:012d}", user, *offered, *amounts, *end, instant.isoformat()])


def measure(places: Places, rows: int) -> dict[tuple[str, int], Found]:
    """Return seconds and memory of our import and the engine's own, by engine."""
    file = places.home / f"usage_{rows}.csv"
    if not file.exists():
        write_file(file, rows)
    found = {}
    for engine in places.engines():
        url = places.empty(engine, "bench_import")
        init(url, demo=True)
        with closing(open_ledger(url)) as ledger:
            start = replace(ledger, clock=lambda: END - SPAN - timedelta(days=1))
            import_prices(start, DATA / "prices.csv", currency="USD", rate=RATE)
        before = _own_import(places, engine, file)
        ours = _our_import(url, file)
        after = _own_import(places, engine, file)
        name = "sqlite3 .import" if engine == "SQLite" else "COPY"
        found[engine, rows] = {name: ((before + after) / 2, 0.0), "usage import": ours}
    return found


def _own_import(places: Places, engine: str, file: Path) -> float:
    url = places.empty(engine, "bench_plain")
    return seconds(lambda: (_sqlite_import if engine == "SQLite" else _copy)(url, file))


def _our_import(url: str, file: Path) -> tuple[float, float]:
    argv = [sys.executable, "-m", "billing_console", "--database", url, "usage", "import", str(file)]
    began = time.perf_counter()
    peak = subprocess.run(
        [sys.executable, "-c", _STARTER, *argv], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True
    ).stdout
    return time.perf_counter() - began, int(peak) / 1000


_STARTER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A child's peak counts what its parent held when it was started, so it is started by a small one."""


def _definitions() -> list[str]:
    columns = ", ".join(f'"{name}" {kind}' for name, kind in zip(COLUMNS, TYPES, strict=True))
    statements = [f'CREATE TABLE calls ({columns}, UNIQUE ("providerId", "requestId"))']
    for number, index in enumerate(INDEXES):
        quoted = ", ".join(f'"{name}"' for name in index.split(", "))
        statements.append(f"CREATE INDEX ix_{number} ON calls ({quoted})")
        statements.append(f"CREATE INDEX ix_failed_{number} ON calls ({quoted}) WHERE status = 'failed'")
    return statements


def _sqlite_import(url: str, file: Path) -> None:
    path = str(make_url(url).database)
    with closing(sqlite3.connect(path)) as connection:
        for statement in _definitions():
            connection.execute(statement)
    subprocess.run(["sqlite3", path, f".import --csv --skip 1 {file} calls"], check=True)


def _copy(url: str, file: Path) -> None:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as connection, file.open("rb") as lines:
        for statement in _definitions():
            connection.execute(statement.encode())
        with connection.cursor().copy("COPY calls FROM STDIN (FORMAT csv, HEADER)") as copy:
            while block := lines.read(1 << 20):
                copy.write(block)


def spell(found: dict[tuple[str, int], Found]) -> str:
    """Make the table: rows a second, and ours as a part of the engine's own."""
    rows = []
    for (engine, size), times in found.items():
        base = next(iter(times.values()))[0]
        for name, (took, memory) in times.items():
            cells = [f"{took:.1f}", f"{size / took:,.0f}", f"{base / took:.2f}", f"{memory:.0f}" if memory else "–"]
            rows.append([f"{engine}, {size:,}", name, *cells])
    return table(["rows", "import", "seconds", "rows/s", "of the engine's own", "peak MB"], rows)
