"""Times taken by turns, and the tables of docs/performance.md made from them."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def by_turns(rounds: int, works: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run all works once a round, each of which returns what it measured: what disturbs one disturbs the others too."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _number in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return found


def seconds(work: Callable[[], object]) -> float:
    """Return how long a work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def quantile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that this part of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of the ratios of values that were measured in the same rounds."""
    return statistics.median(value / other for value, other in zip(values, base, strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Spell a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine(server: str = "") -> str:
    """Name the machine and the versions that were measured."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    parts = [
        f"{os.cpu_count()} × {model[1] if model else platform.machine()}",
        f"{platform.system()} {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        *([f"PostgreSQL {server}"] if server else []),
        f"load {os.getloadavg()[0]:.1f} at the end",
    ]
    return ", ".join(parts)


def publish(part: str, text: str, page: Path = PAGE) -> None:
    """Put a text between the markers of its part in the page; raise ValueError where the page has none."""
    begin, end = f"<!-- bench {part} -->", f"<!-- /bench {part} -->"
    whole = page.read_text(encoding="utf-8")
    before, found, rest = whole.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"{page} has no place for {part}")
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
