"""Measure, and write the tables of docs/performance.md.

    python -m bench --sizes 100000,1000000 --parts queries,check,import,writers,memory

Ledgers are built once and kept in a directory; PostgreSQL is started as the tests start it, so its own are built anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from bench import check, imports, memory, queries, writers
from bench.places import Places, places, with_a_slow_disk
from bench.report import machine, publish

IMPORTED = 1_000_000


def _queries(at: Places, sizes: list[int]) -> str:
    found: dict[tuple[str, int], queries.Found] = {}
    for engine in at.engines():
        times = queries.measure([at.ledger(engine, size) for size in sizes])
        found |= {(engine, size): each for size, each in zip(sizes, times, strict=True)}
    return queries.spell(found)


def _check(at: Places, sizes: list[int]) -> str:
    return check.spell({(e, sizes[-1]): check.measure(at.ledger(e, sizes[-1])) for e in at.engines()})


def _import(at: Places, sizes: list[int]) -> str:
    return imports.spell(imports.measure(at, min(sizes[-1], IMPORTED)))


def _writers(at: Places, sizes: list[int]) -> str:
    found = {engine: writers.measure(at, engine) for engine in at.engines()}
    if "PostgreSQL" in found:
        with with_a_slow_disk(at.home, writers.FLUSH_MS) as slow:
            found[f"PostgreSQL, flush + {writers.FLUSH_MS} ms"] = writers.measure(slow, "PostgreSQL")
    return writers.spell(found)


def _memory(at: Places, sizes: list[int]) -> str:
    ends = (sizes[0], sizes[-1])
    return memory.spell({(e, n): memory.measure(at.ledger(e, n)) for e in at.engines() for n in ends})


PARTS: dict[str, Callable[[Places, list[int]], str]] = {
    "queries": _queries,
    "check": _check,
    "import": _import,
    "writers": _writers,
    "memory": _memory,
}


def main() -> None:
    """Measure what is asked for, and write each part as soon as it is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--home", type=Path, default=Path(".bench"), help="where ledgers are kept")
    parser.add_argument("--sqlite-only", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, and leave docs/performance.md alone")
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    with places(options.home.resolve(), postgresql=not options.sqlite_only) as at:
        for part in options.parts.split(","):
            text = f"{PARTS[part](at, sizes)}\n\n{machine(at.version())}."
            print(f"{text}\n", flush=True)
            if not options.dry_run:
                publish(part, text)


if __name__ == "__main__":
    main()
