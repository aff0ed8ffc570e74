"""`check-pools` as a whole process, beside an import of its ORM and beside SQL that adds up the facts."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import make_url

from bench.report import by_turns, ratio, seconds, table

ROUNDS = 9
ROOT = Path(__file__).resolve().parent.parent
BALANCES = (
    "SELECT p.provider_id, p.total_balance - (SELECT COALESCE(SUM(u.cost_amount), 0) FROM usage_records u"
    " WHERE u.provider_id = p.provider_id) FROM resource_pools p"
)
DRIVER = "import sqlmodel, sqlalchemy.dialects.postgresql, psycopg"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["PYTHONPATH"] = str(ROOT)


def _process(argv: Sequence[str]) -> Callable[[], float]:
    def run() -> float:
        return seconds(lambda: subprocess.run(argv, stdout=subprocess.DEVNULL, cwd=ROOT, env=ENVIRONMENT, check=False))

    return run


def one_liner(url: str) -> list[str]:
    """Return the command of the engine's own client that adds up the facts of every pool."""
    place = make_url(url)
    if place.get_backend_name() == "sqlite":
        return ["sqlite3", str(place.database), BALANCES]
    dsn = place.set(drivername="postgresql").render_as_string(hide_password=False)
    return ["psql", "-qAtc", BALANCES, dsn]


def measure(url: str) -> dict[str, list[float]]:
    """Return the seconds of whole processes, by turns; compiled beforehand, as an installed program is."""
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    check = [sys.executable, "-m", "billing_console", "--database", url, "check-pools"]
    works = {
        "python -c 'import sqlmodel'": _process([sys.executable, "-c", "import sqlmodel"]),
        **({} if is_sqlite else {"... and PostgreSQL's dialect and driver": _process([sys.executable, "-c", DRIVER])}),
        "check-pools": _process(check),
        f"{one_liner(url)[0]}: balances from the facts": _process(one_liner(url)),
    }
    for work in list(works.values())[:-1]:
        work()
    return by_turns(ROUNDS, works)


def spell(found: dict[tuple[str, int], dict[str, list[float]]]) -> str:
    """Make the table: seconds, and each as a ratio of the import."""
    rows = []
    for (engine, size), times in found.items():
        base = next(iter(times.values()))
        for name, each in times.items():
            rows.append([f"{engine}, {size:,}", name, f"{statistics.median(each):.2f}", f"{ratio(each, base):.2f}"])
    return table(["calls", "whole process", "seconds", "of the import"], rows)
