"""Many callers' requests in one transaction: each is answered, and vouched for, as if it had come alone."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event

from billing_console.errors import NotPermitted, Unavailable
from billing_console.i18n import speaking
from billing_console.services.audit import AuditFilter, list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.holds import HoldView, NewHold
from billing_console.services.ledger import Ledger
from billing_console.services.metering import RecordResult
from billing_console.services.metering_batch import Request, meter
from billing_console.services.pools import get_pool
from billing_console.services.reconcile import reconcile
from billing_console.services.tokens import create_token, holder_of, revoke_token
from db.values import Outcome, Scope, UsageType
from tests.conftest import OpenLedger
from tests.factories import query, usage

ONE = Decimal(1)


@pytest.fixture
def hands(ledger: Ledger) -> tuple[Ledger, Ledger]:
    """The ledger in the hands of two gateways."""
    first, second = (holder_of(ledger, create_token(ledger, name, [Scope.METER])[1]) for name in ("first", "second"))
    assert first is not None and second is not None
    return first, second


def recorded_by(ledger: Ledger, name: str) -> list[int]:
    rows = list_audit(ledger, AuditFilter(operator=f"token:{name}", action="usage.record", outcome=Outcome.DONE))
    return [json.loads(row.after or "")["recorded"] for row in rows]


def test_each_token_vouches_for_its_own_calls(ledger: Ledger, hands: tuple[Ledger, Ledger]) -> None:
    first, second = hands
    calls = [usage(request_id=f"r-{number}", cost_amount=ONE) for number in range(4)]
    outcomes = meter(
        [Request(first, calls[:2]), Request(second, [calls[2]]), Request(first, [calls[3], calls[2]])],
    )
    assert [(each.recorded, each.duplicates) for each in outcomes if isinstance(each, RecordResult)] == [
        (2, 0),
        (1, 0),
        (1, 1),
    ]
    assert (recorded_by(ledger, "first"), recorded_by(ledger, "second")) == ([3], [1])
    assert get_pool(ledger, "openai").used_amount == 4
    assert (reconcile(ledger), verify_audit(ledger).findings) == ((), ())


def test_one_that_holds_no_more_keeps_no_other_from_being_recorded(
    ledger: Ledger, hands: tuple[Ledger, Ledger]
) -> None:
    first, second = hands
    revoke_token(ledger, "first")
    refused, done = meter(
        [
            Request(first, [usage(request_id="r-1", cost_amount=ONE)]),
            Request(second, [usage(request_id="r-2", cost_amount=ONE)]),
        ]
    )
    assert isinstance(refused, NotPermitted)
    assert isinstance(done, RecordResult) and done.recorded == 1
    assert query(ledger, "SELECT request_id FROM usage_records") == [("r-2",)]
    assert (recorded_by(ledger, "first"), recorded_by(ledger, "second")) == ([], [1])
    assert (reconcile(ledger), verify_audit(ledger).findings) == ((), ())


def test_each_is_answered_in_its_own_language(hands: tuple[Ledger, Ledger]) -> None:
    first, second = hands
    meter([Request(first, [usage(request_id="r-1", user_id="alice", cost_amount=ONE)])])
    other = [usage(request_id="r-1", user_id="bob", cost_amount=ONE)]
    requests = [Request(first, other)]
    with speaking("zh"):
        requests.append(Request(second, other))
    english, chinese = (each for each in meter(requests) if isinstance(each, RecordResult))
    assert "was already recorded" in english.conflicts[0][1]
    assert "已" in chinese.conflicts[0][1] and "recorded" not in chinese.conflicts[0][1]


def test_calls_are_counted_before_holds_are_decided(ledger: Ledger, hands: tuple[Ledger, Ledger]) -> None:
    first, second = hands
    wanted = NewHold("r-1", "alice", "openai", "gpt-4o", UsageType.TEXT_GENERATION, ONE)
    hold, _done = meter([Request(first, wanted), Request(second, [usage(user_id="alice", cost_amount=ONE)])])
    assert isinstance(hold, HoldView) and hold.amount == ONE
    assert (recorded_by(ledger, "first"), recorded_by(ledger, "second")) == ([], [1])


def test_a_database_that_does_not_answer_is_told_to_each_in_its_own_language(
    sqlite_url: str, opened: OpenLedger
) -> None:
    writer, other = opened(sqlite_url), opened(sqlite_url, timeout=0)
    requests = [Request(other, [usage(request_id="r-1")])]
    with speaking("zh"):
        requests.append(Request(other, [usage(request_id="r-2")]))
    with writer.database.writing() as session:
        session.connection().exec_driver_sql("SELECT 1")
        english, chinese = meter(requests)
    assert isinstance(english, Unavailable) and "stayed busy" in english.message
    assert isinstance(chinese, Unavailable) and "busy" not in chinese.message and "数据库" in chinese.message
    assert query(writer, "SELECT count(*) FROM usage_records") == [(0,)]


def test_a_call_is_looked_up_in_an_index_however_many_there_are(sqlite_ledger: Ledger) -> None:
    """Authorized, recorded, and both once more: what grows with the ledger is never read as a whole."""
    seen: dict[str, Any] = {}

    def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if re.search(r"\b(FROM|UPDATE)\b", statement):
            seen[statement] = parameters

    event.listen(sqlite_ledger.database.engine, "before_cursor_execute", remember)
    calls = [usage(request_id=name, user_id=name) for name in ("one", "two")]
    holds = [NewHold(name, name, "openai", "gpt-4o", UsageType.TEXT_GENERATION, ONE) for name in ("one", "two")]
    for requests in (holds, [calls[:1]], holds, [calls], [calls]):
        meter([Request(sqlite_ledger, wanted) for wanted in requests])
    event.remove(sqlite_ledger.database.engine, "before_cursor_execute", remember)
    grows = r"SCAN (usage_records|archived_requests|holds|user_quotas|models|prices)\b"
    with sqlite_ledger.database.reading() as session:
        run = session.connection().exec_driver_sql
        plans = {text: [row[-1] for row in run(f"EXPLAIN QUERY PLAN {text}", values)] for text, values in seen.items()}
    assert len(plans) > 10
    assert {text: plan for text, plan in plans.items() if any(re.match(grows, step) for step in plan)} == {}
