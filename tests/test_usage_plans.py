"""How the engines answer a page of usage records: by seeks in the right index, never by OFFSET or a full scan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from sqlalchemy import event

from billing_console.services.catalogue import user_ids
from billing_console.services.ledger import Ledger
from billing_console.services.settlement import settle
from billing_console.services.usage import UsageFilter, usage_page
from billing_console.services.usage_totals import count_usage, usage_totals
from db.values import CallStatus
from tests.conftest import OpenLedger
from tests.factories import NOON, execute, spend
from tests.test_usage_query import HOUR, IMAGE, every_row, fill


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    fill(ledger)
    return ledger


@contextmanager
def statements(ledger: Ledger, table: str = "usage_records") -> Iterator[list[tuple[str, Any]]]:
    """The statements that read a table as they reach the driver; of usage records, not by way of the outbox."""
    seen: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        by_outbox = "usage_records" in table and "usage_outbox" in statement
        if re.search(rf"FROM (?:pair CROSS JOIN )?{table}\b", statement) and not by_outbox:
            seen.append((statement, parameters))

    event.listen(ledger.database.engine, "before_cursor_execute", remember)
    yield seen
    event.remove(ledger.database.engine, "before_cursor_execute", remember)


def plan(ledger: Ledger, statement: str, parameters: Any) -> list[str]:
    with ledger.database.reading() as session:
        run = session.connection().exec_driver_sql
        if not ledger.database.is_sqlite:
            # With so few rows, to read and sort them all is cheaper; what matters is whether an index can answer.
            run("SET LOCAL enable_seqscan = off")
            run("SET LOCAL enable_bitmapscan = off")
            run("SET LOCAL enable_sort = off")
        explain = "EXPLAIN QUERY PLAN " if ledger.database.is_sqlite else "EXPLAIN "
        return [str(row[-1]) for row in run(explain + statement, parameters)]


MAIN = {
    "everything": (UsageFilter(), "ix_usage_created"),
    "user": (UsageFilter(user_id="alice"), "ix_usage_user"),
    "provider": (UsageFilter(provider_id="openai"), "ix_usage_model"),
    "model": (UsageFilter(model_id="o3"), "ix_usage_model"),
    "provider, model": (UsageFilter(provider_id="openai", model_id="o3"), "ix_usage_model"),
    "user, provider": (UsageFilter(user_id="alice", provider_id="openai"), "ix_usage_user"),
    "user, provider, model": (UsageFilter(user_id="alice", provider_id="openai", model_id="o3"), "ix_usage_user"),
    "type": (UsageFilter(usage_type=IMAGE), "ix_usage_model"),
    "provider, model, type": (UsageFilter(None, "openai", "o3", IMAGE), "ix_usage_model"),
    "user, type": (UsageFilter(user_id="alice", usage_type=IMAGE), "ix_usage_user"),
    "failed": (UsageFilter(status=CallStatus.FAILED), "ix_usage_failed_created"),
    "failed, provider": (UsageFilter(provider_id="openai", status=CallStatus.FAILED), "ix_usage_failed_model"),
    "not user": (UsageFilter(user_id="alice", negated=frozenset({"user_id"})), "ix_usage_created"),
    "not provider": (UsageFilter(provider_id="openai", negated=frozenset({"provider_id"})), "ix_usage_model"),
    "not model": (UsageFilter(model_id="o3", negated=frozenset({"model_id"})), "ix_usage_model"),
    "not type": (UsageFilter(usage_type=IMAGE, negated=frozenset({"usage_type"})), "ix_usage_model"),
    "user, not model": (UsageFilter("alice", None, "o3", negated=frozenset({"model_id"})), "ix_usage_user"),
    "failed, user": (UsageFilter(user_id="alice", status=CallStatus.FAILED), "ix_usage_failed_user"),
}


def test_every_page_is_answered_by_seeks_in_the_right_index(filled: Ledger) -> None:
    """Each combination, with and without a time range, its first page and one after a cursor, both ways."""
    execute(filled, "ANALYZE")
    cursor = every_row(filled)[75].cursor
    for chosen, index in MAIN.values():
        ranged = replace(chosen, start=NOON + HOUR, end=NOON + 9 * HOUR)
        for wish, after, oldest_first in product((chosen, ranged), (None, cursor), (False, True)):
            with statements(filled) as seen:
                usage_page(filled, wish, limit=3, after=after, oldest_first=oldest_first)
            assert seen
            for statement, parameters in seen:
                assert "OFFSET" not in offsets_of(statement, parameters), statement
                steps = plan(filled, statement, parameters)
                if filled.database.is_sqlite:
                    check_sqlite(steps, index)
                else:
                    check_postgresql(steps, index)


def test_totals_go_to_the_models_that_have_such_calls(filled: Ledger) -> None:
    """A rare type, failed calls of it, and a type that a model was never called for: each was a scan."""
    execute(filled, "ANALYZE")
    for name in ("type", "not type", "not provider", "user, type", "provider, model, type"):
        chosen, index = MAIN[name]
        for status in (None, CallStatus.FAILED):
            with statements(filled) as seen:
                list(count_usage(filled, replace(chosen, status=status, start=NOON + HOUR)))
                usage_totals(filled, replace(chosen, status=status, start=NOON + HOUR))
            if chosen.model_id is None:
                assert seen
            for statement, parameters in seen:
                steps = plan(filled, statement, parameters)
                if not filled.database.is_sqlite:
                    check_postgresql(steps, index if status is None else index.replace("usage", "usage_failed"))
                else:
                    found = [step for step in steps if "usage_records" in step]
                    assert found and all(re.match(r"SEARCH usage_records USING INDEX ix_usage", step) for step in found)


def test_totals_that_stop_read_in_the_order_of_an_index(postgres_url: str, opened: OpenLedger) -> None:
    """What reads a range whole before its first record, or in several processes, takes longer than the records."""
    ledger = opened(postgres_url)
    fill(ledger)
    execute(ledger, "ANALYZE")
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT count(*)") and "usage_records" in statement:
            plans.append("\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)))

    event.listen(ledger.database.engine, "before_cursor_execute", explain)
    for name, (chosen, _index) in MAIN.items():
        plans.clear()
        usage_totals(ledger, replace(chosen, status=CallStatus.SUCCESS, start=NOON + HOUR))
        assert plans, name
        for plan in plans:
            assert not re.search("(Seq|Bitmap Heap) Scan on usage_records|Gather", plan), f"{name}: {plan}"
    event.remove(ledger.database.engine, "before_cursor_execute", explain)


def offsets_of(statement: str, parameters: Any) -> str:
    """The statement without the OFFSET 0 that SQLAlchemy writes for SQLite beside a LIMIT."""
    if statement.rstrip().endswith("LIMIT ? OFFSET ?"):
        assert parameters[-1] == 0
        return statement.rstrip().removesuffix("OFFSET ?")
    return statement


def check_sqlite(steps: list[str], index: str) -> None:
    tables = [step for step in steps if "usage_records" in step]
    assert tables
    for step in tables:
        by_its_key = step.startswith("SEARCH usage_records USING INTEGER PRIMARY KEY")
        assert by_its_key or re.search(rf"USING (?:COVERING )?INDEX {index}\b", step), steps
        assert step.startswith("SEARCH") or index.endswith("created"), steps
    assert not [step for step in steps if "TEMP B-TREE" in step], steps


def check_postgresql(steps: list[str], index: str) -> None:
    said = "\n".join(steps)
    assert "Seq Scan on usage_records" not in said, said
    found = re.findall(rf"Index (?:Only )?Scan (?:Backward )?using {index}_\w+ on (usage_records_\w+)", said)
    assert found, said
    for partition in set(re.findall(r" on (usage_records_\w+)", said)):
        assert said.count(f" on {partition} ") <= 3, "one branch is planned, not one per model"
    leading = {"ix_usage_user": "user_id", "ix_usage_model": "provider_id", "ix_usage_failed_model": "provider_id"}
    if index in leading:
        assert re.search(rf"Index Cond: .*{leading[index]}", said), said


def test_what_waits_in_the_outbox_is_looked_up_by_itself_not_in_all_records(sqlite_ledger: Ledger) -> None:
    """The outbox is all but empty, which SQLite does not know of a table that was so at every ANALYZE."""
    fill(sqlite_ledger)
    execute(sqlite_ledger, "DELETE FROM usage_outbox")
    execute(sqlite_ledger, "ANALYZE")
    with statements(sqlite_ledger, "daily_cost_stats") as by_type, statements(sqlite_ledger, "models") as by_user:
        usage_page(sqlite_ledger, UsageFilter(usage_type=IMAGE))
        usage_page(sqlite_ledger, UsageFilter(user_id="alice"))
    for statement, parameters in (by_type[0], by_user[0]):
        steps = plan(sqlite_ledger, statement, parameters)
        assert any(step.startswith("SEARCH usage_records USING INTEGER PRIMARY KEY") for step in steps), steps
        assert not any(step.startswith("SCAN usage_records") for step in steps), steps


def test_postgresql_reads_models_in_order_instead_of_sorting_all_their_calls(
    postgres_url: str, opened: OpenLedger
) -> None:
    """By statistics that take type, user and model for independent, few calls of each match: here all do."""
    ledger = opened(postgres_url)
    execute(
        ledger,
        "INSERT INTO usage_records"
        " (request_id, user_id, provider_id, model_id, usage_type, status, created_at, cost_amount)"
        " SELECT 'many-' || n, 'alice', 'openai', CASE WHEN n % 20 = 0 THEN 'draws' ELSE 'm-' || n % 20 END,"
        " CASE WHEN n % 20 = 0 THEN 'image_generation' ELSE 'text_generation' END, 'success',"
        " CAST(:noon AS timestamptz) + n * interval '1 minute', 1 FROM generate_series(1, 40000) AS n",
        {"noon": NOON},
    )
    settle(ledger)
    execute(ledger, "ANALYZE")
    for wish in (UsageFilter(usage_type=IMAGE), UsageFilter(user_id="alice"), UsageFilter(user_id="alice", start=NOON)):
        with statements(ledger, r"usage_records\b|SET LOCAL") as seen:
            usage_page(ledger, wish, limit=200)
        with ledger.database.reading() as session:
            run = session.connection().exec_driver_sql
            for setting, parameters in seen[:-1]:
                run(setting, parameters)
            ((found,),) = run(f"EXPLAIN (ANALYZE, FORMAT JSON) {seen[-1][0]}", seen[-1][1])
        assert read_by(found[0]["Plan"]) < 2500, found


def read_by(node: dict[str, Any]) -> int:
    """The rows that a plan took from usage records."""
    own = node["Actual Rows"] * node["Actual Loops"] if "usage_records" in node.get("Relation Name", "") else 0
    return int(own) + sum(map(read_by, node.get("Plans", ())))


def test_settling_nothing_does_not_go_through_all_records(sqlite_ledger: Ledger) -> None:
    fill(sqlite_ledger)
    execute(sqlite_ledger, "DELETE FROM usage_outbox")
    execute(sqlite_ledger, "ANALYZE")
    with statements(sqlite_ledger, r"usage_\w+") as seen:
        settle(sqlite_ledger)
    assert seen
    for statement, parameters in seen:
        steps = plan(sqlite_ledger, statement, parameters)
        assert not any(step.startswith("SCAN usage_records") for step in steps), steps


def test_users_are_completed_by_a_seek(sqlite_ledger: Ledger) -> None:
    for user in ("alice", "alina", "bob", "al%", "Alice"):
        spend(sqlite_ledger, "1", user_id=user)
    with statements(sqlite_ledger, "user_quotas") as seen:
        assert user_ids(sqlite_ledger, "al") == ("al%", "alice", "alina")
    ((statement, parameters),) = seen
    (step,) = plan(sqlite_ledger, statement, parameters)
    assert step.startswith("SEARCH user_quotas") and "user_id>? AND user_id<?" in step


@pytest.mark.parametrize("negated", [frozenset[str](), frozenset({"usage_type"})])
def test_the_models_of_a_type_are_found_by_an_index_and_not_in_the_statistics_of_all_days(
    filled: Ledger, negated: frozenset[str]
) -> None:
    with statements(filled, "models") as seen:
        usage_page(filled, UsageFilter(usage_type=IMAGE, negated=negated), limit=5)
    (asked,) = (one for one in seen if "daily_cost_stats" in one[0])
    steps = [step for step in plan(filled, *asked) if "daily_cost_stats" in step]
    assert steps and all("ix_daily_cost_stats_model" in step for step in steps), steps
