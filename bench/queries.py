"""The screens' queries at every size: all combinations of the usage filters, totals, costs, pools and quotas.

Beside them the page that most consoles have, by OFFSET with COUNT(*), and the bare SQL that an index answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, text

from bench.ledger import END, SPAN
from bench.report import quantile, seconds, table
from billing_console.services.costs import CostFilter, cost_rows, cost_totals
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.pools import list_pools
from billing_console.services.quota_list import quota_page
from billing_console.services.session import reading
from billing_console.services.usage import usage_page
from billing_console.services.usage_filter import Position, UsageFilter
from billing_console.services.usage_totals import usage_totals
from db.values import CallStatus, UsageType

PAGE = 200
BLOCK = 1 << 20
DRAWS = 5
GOAL = 20
"""Milliseconds that no query of a screen may take."""

FIELDS = ("user_id", "provider_id", "model_id", "usage_type", "status", "start", "end")

Found = dict[str, list[float]]


def measure(urls: Sequence[str]) -> list[Found]:
    """Return the milliseconds of every query, by what it is for, of each ledger; they take turns."""
    found: list[Found] = [{} for _url in urls]
    for url in urls:
        _keep_in_memory(url)
    with ExitStack() as stack:
        ledgers = [stack.enter_context(closing(open_ledger(url, read_only=True))) for url in urls]
        for turns in zip(*map(_works, ledgers), strict=True):
            for times, (name, work) in zip(found, turns, strict=True):
                times.setdefault(name, []).append(seconds(work) * 1000)
    return found


def _keep_in_memory(url: str) -> None:
    """Read a file of SQLite once: where a console is in use, the system has it in memory, as it has one just built."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with Path(str(parsed.database)).open("rb") as file:
            while file.read(BLOCK):
                pass


def _works(ledger: Ledger) -> Iterator[tuple[str, Callable[[], object]]]:
    deepest = Position(END - SPAN + timedelta(days=1), 1).encode()
    for chosen in _filters(ledger):
        for after in (None, deepest):
            yield "usage page, every filter", partial(usage_page, ledger, chosen, limit=PAGE, after=after)
        yield "usage totals, every filter", partial(usage_totals, ledger, chosen)
    month = CostFilter(start=(END - timedelta(days=30)).date(), end=END.date())
    for _number in range(4 * DRAWS):
        yield "costs of 30 days", lambda: (cost_rows(ledger, month), cost_totals(ledger, month))
        yield "pools", partial(list_pools, ledger)
        yield "quotas", partial(quota_page, ledger, limit=PAGE)
        yield from _peers(ledger)


def _filters(ledger: Ledger) -> Iterator[UsageFilter]:
    """Yield every combination of fields with values that are frequent, rare and absent."""
    for values in _values(ledger):
        for chosen in product((False, True), repeat=len(FIELDS)):
            given = {name: values[name] for name, is_chosen in zip(FIELDS, chosen, strict=True) if is_chosen}
            yield UsageFilter(**given)


def _values(ledger: Ledger) -> list[dict[str, Any]]:
    by_calls = (
        "SELECT provider_id, model_id, usage_type FROM daily_cost_stats GROUP BY 1, 2, 3 ORDER BY SUM(call_count)"
    )
    by_cost = "SELECT user_id FROM user_quotas ORDER BY used_amount"
    with reading(ledger.database) as session:
        offered = session.connection().execute(text(by_calls)).all()
        users = session.connection().execute(text(by_cost)).scalars().all()
    found = []
    for user, model, status, days in (
        (users[-1], offered[-1], CallStatus.SUCCESS, 90),
        (users[0], offered[0], CallStatus.FAILED, 1),
        ("nobody", ("nowhere", "none", UsageType.AUDIO_STT), CallStatus.FAILED, 1),
    ):
        values = (user, model[0], model[1], UsageType(model[2]), status, END - timedelta(days=days), END)
        found.append(dict(zip(FIELDS, values, strict=True)))
    return found


def _peers(ledger: Ledger) -> Iterator[tuple[str, Callable[[], object]]]:
    newest = "SELECT * FROM usage_records ORDER BY created_at DESC, id DESC LIMIT 201"
    with reading(ledger.database) as session:
        count = session.connection().execute(text("SELECT SUM(call_count) FROM daily_cost_stats")).scalar_one()
    for name, statements in (
        ("bare SQL, newest page", (newest,)),
        ("OFFSET and COUNT(*), first page", ("SELECT COUNT(*) FROM usage_records", f"{newest} OFFSET 0")),
        (
            "OFFSET and COUNT(*), middle page",
            ("SELECT COUNT(*) FROM usage_records", f"{newest} OFFSET {int(count) // 2}"),
        ),
    ):
        yield name, partial(_run, ledger, statements)


def _run(ledger: Ledger, statements: tuple[str, ...]) -> None:
    with reading(ledger.database) as session:
        for statement in statements:
            session.connection().exec_driver_sql(statement).all()


def spell(found: dict[tuple[str, int], Found]) -> str:
    """Make the tables of each engine: milliseconds by size, and the growth from each size to the next."""
    parts = []
    for engine in dict.fromkeys(engine for engine, _rows in found):
        sizes = sorted(rows for name, rows in found if name == engine)
        heads = [f"{rows:,} p50 / p99" for rows in sizes]
        growth = [f"p50 × at {large // small} ×" for small, large in pairwise(sizes)]
        rows = []
        for name in found[engine, sizes[0]]:
            times = [found[engine, size][name] for size in sizes]
            p50 = [quantile(each, 0.5) for each in times]
            cells = [f"{middle:.2f} / {quantile(each, 0.99):.2f}" for middle, each in zip(p50, times, strict=True)]
            grown = [f"{large / small:.2f}" for small, large in pairwise(p50)]
            slow = sum(each > GOAL for each in times[-1])
            rows.append([name, *cells, *grown, f"{slow} of {len(times[-1])}"])
        last = f"over {GOAL} ms at {sizes[-1]:,}"
        parts.append(f"{engine}, milliseconds:\n\n{table(['query', *heads, *growth, last], rows)}")
    return "\n\n".join(parts)
