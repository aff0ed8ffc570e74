"""The last 24 hours of each model, counted by one query that the time index bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event

from billing_console.services import model_use
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.model_use import ModelUse, recent_use
from db.values import CallStatus
from tests.factories import NOON, at, execute, gateway_insert, spend, usage

HOUR = timedelta(hours=1)


@pytest.fixture
def called(ledger: Ledger) -> Ledger:
    """A ledger at noon with calls of two models, a day old and older, one failed, one unpriced, one not settled."""
    ledger = at(ledger, NOON)
    spend(ledger, "1.5", created_at=NOON - 24 * HOUR)
    spend(ledger, "100", created_at=NOON - 24 * HOUR - timedelta(microseconds=1))
    spend(ledger, "0.25", created_at=NOON)
    spend(ledger, "0", created_at=NOON - HOUR, status=CallStatus.FAILED)
    record_usage(ledger, [usage(model_id="o3", created_at=NOON - HOUR)])
    gateway_insert(ledger, model_id="o3", cost_amount=2 * 10**9, created_at=NOON - HOUR)
    spend(ledger, "7", model_id="old", created_at=NOON - 48 * HOUR)
    return ledger


def test_calls_failures_and_cost_of_a_day_settled_or_not(called: Ledger) -> None:
    found = recent_use(called)
    assert found.by_model == {
        ("openai", "gpt-4o"): ModelUse(3, 1, Decimal("1.75")),
        ("openai", "o3"): ModelUse(2, 0, Decimal(2)),
    }
    assert (found.capped, found.of("openai", "old")) == (False, ModelUse())
    one = recent_use(called, ("openai", "o3"))
    assert one.by_model == {("openai", "o3"): ModelUse(2, 0, Decimal(2))}


def test_beyond_the_bound_the_newest_calls_are_counted_and_it_is_said(
    called: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_use, "MOST_CALLS", 4)
    found = recent_use(called)
    assert (found.capped, found.of("openai", "gpt-4o")) == (True, ModelUse(2, 1, Decimal("0.25")))


@contextmanager
def statements(ledger: Ledger) -> Iterator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "FROM usage_records" in statement:
            seen.append((statement, parameters))

    event.listen(ledger.database.engine, "before_cursor_execute", remember)
    yield seen
    event.remove(ledger.database.engine, "before_cursor_execute", remember)


@pytest.mark.parametrize(("model", "index"), [(None, "ix_usage_created"), (("openai", "o3"), "ix_usage_model")])
def test_one_query_reads_no_more_than_the_index_on_the_time_bounds(
    called: Ledger, model: tuple[str, str] | None, index: str
) -> None:
    execute(called, "ANALYZE")
    with statements(called) as seen:
        recent_use(called, model)
    ((statement, parameters),) = seen
    with called.database.reading() as session:
        run = session.connection().exec_driver_sql
        if not called.database.is_sqlite:
            run("SET LOCAL enable_seqscan = off")
            run("SET LOCAL enable_bitmapscan = off")
            run("SET LOCAL enable_sort = off")
        explain = "EXPLAIN QUERY PLAN " if called.database.is_sqlite else "EXPLAIN "
        steps = "\n".join(str(row[-1]) for row in run(explain + statement, parameters))
    if called.database.is_sqlite:
        assert f"SEARCH usage_records USING INDEX {index}" in steps, steps
        assert "created_at>?" in steps, steps
    else:
        assert f"Index Scan Backward using {index}_" in steps, steps
        assert "created_at >=" in steps, steps
