"""Who spent most: the same as an honest addition of every record, stopped when told, and bounded."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from billing_console.services import costs_users
from billing_console.services.costs import CostFilter
from billing_console.services.costs_users import TopUsers, top_users
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.new_usage import NewUsage
from db.values import CallStatus, UsageType
from tests.factories import execute, usage
from tests.test_usage_plans import statements

FIRST, LAST = date(2026, 3, 1), date(2026, 3, 10)
MODELS = (("openai", "gpt-4o"), ("openai", "o3"), ("azure", "gpt-4o"))


def _calls() -> list[NewUsage]:
    """300 calls of 10 days, as many on one as on another, also in the first and the last instant of a day."""
    calls = []
    for number in range(300):
        provider, model = MODELS[number * 7 % 3]
        midnight = datetime(2026, 2, 28, 16, 0, tzinfo=UTC) + timedelta(days=number % 10)
        offset = (timedelta(0), timedelta(days=1, microseconds=-1), timedelta(minutes=number))[number % 3]
        text = number % 4 > 0
        calls.append(
            usage(
                provider_id=provider,
                model_id=model,
                usage_type=UsageType.TEXT_GENERATION if text else UsageType.IMAGE_GENERATION,
                user_id=(None, "alice", "bob", "东京团队", "[/]")[number * 3 % 5],
                created_at=midnight + offset,
                cost_amount=Decimal(number) / 8,
                status=CallStatus.FAILED if number % 11 == 0 else CallStatus.SUCCESS,
            )
        )
    return calls


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    record_usage(ledger, _calls())
    return ledger


def on(_seen: int, _whole: int) -> bool:
    return True


def top(ledger: Ledger, chosen: CostFilter, **options: int) -> TopUsers:
    found = top_users(ledger, chosen, on, **options)
    assert found is not None
    return found


FILTERS = [
    CostFilter(FIRST, LAST),
    CostFilter(date(2026, 3, 3), date(2026, 3, 3)),
    CostFilter(FIRST, LAST, provider_id="openai"),
    CostFilter(FIRST, LAST, model_id="gpt-4o"),
    CostFilter(date(2026, 3, 2), date(2026, 3, 7), "openai", "o3", UsageType.IMAGE_GENERATION),
    CostFilter(FIRST, LAST, usage_type=UsageType.TEXT_GENERATION),
    CostFilter(date.min, LAST, provider_id="nobody"),
]


@pytest.mark.parametrize("slice_records", [1, 7, 20_000])
def test_the_sums_are_those_of_every_record(
    filled: Ledger, monkeypatch: pytest.MonkeyPatch, slice_records: int
) -> None:
    monkeypatch.setattr(costs_users, "SLICE_RECORDS", slice_records)
    for chosen in FILTERS:
        expected: dict[str | None, list[Decimal | int]] = defaultdict(lambda: [Decimal(0), 0, 0])
        for call in _calls():
            day = call.created_at.astimezone(filled.timezone).date()
            wanted = (
                chosen.provider_id in (None, call.provider_id),
                chosen.model_id in (None, call.model_id),
                chosen.usage_type in (None, call.usage_type),
            )
            if chosen.start <= day <= chosen.end and all(wanted):
                assert call.cost_amount is not None
                sums = expected[call.user_id]
                sums[0] += call.cost_amount
                sums[1] += 1
                sums[2] += call.status is CallStatus.FAILED
        found = top(filled, chosen)
        assert {user.user_id: [user.cost, user.call_count, user.failed_count] for user in found.users} == expected
        assert [user.cost for user in found.users] == sorted((user.cost for user in found.users), reverse=True)
        assert (found.start, found.end, found.user_count) == (chosen.start, chosen.end, len(expected))
        assert found.total_cost == sum(user.cost for user in found.users)


def test_shares_are_of_all_users_also_of_those_not_shown(filled: Ledger) -> None:
    every = top(filled, CostFilter(FIRST, LAST))
    two = top(filled, CostFilter(FIRST, LAST), limit=2)
    assert two.users == every.users[:2] and two.user_count == 5
    assert 99 < sum((user.share for user in every.users), Decimal(0)) < 101


def test_only_the_newest_days_are_looked_at_where_there_are_too_many_records(filled: Ledger) -> None:
    per_day = top(filled, CostFilter(LAST, LAST)).call_count
    assert per_day == 30
    bounded = top(filled, CostFilter(FIRST, LAST), most=3 * per_day)
    assert (bounded.start, bounded.call_count) == (date(2026, 3, 8), 3 * per_day)
    assert bounded == top(filled, CostFilter(date(2026, 3, 8), LAST))
    one = top(filled, CostFilter(FIRST, LAST), most=1)
    assert (one.start, one.call_count) == (LAST, per_day)
    assert top(filled, CostFilter(date(2026, 2, 1), LAST), most=300).start == date(2026, 2, 1)


def test_it_stops_between_two_slices_when_told(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs_users, "SLICE_RECORDS", 10)
    told: list[tuple[int, int]] = []

    def until_half(seen: int, whole: int) -> bool:
        told.append((seen, whole))
        return seen < 150

    assert top_users(filled, CostFilter(FIRST, LAST), until_half) is None
    assert told[0] == (0, 300) and 150 <= told[-1][0] < 170
    assert len(told) > 10


def test_a_slice_is_a_seek_of_one_index(filled: Ledger) -> None:
    """Whatever else is in the ledger: a scan would take minutes with millions of records."""
    execute(filled, "ANALYZE")
    with statements(filled) as seen:
        top(filled, CostFilter(LAST, LAST))
    assert len(seen) == len(MODELS)
    for statement, parameters in seen:
        with filled.database.reading() as session:
            run = session.connection().exec_driver_sql
            if filled.database.is_sqlite:
                (step,) = [
                    str(row[-1]) for row in run("EXPLAIN QUERY PLAN " + statement, parameters) if "TEMP" not in row[-1]
                ]
                assert "ix_usage_model (provider_id=? AND model_id=? AND created_at>? AND created_at<?)" in step
            else:
                run("SET LOCAL enable_seqscan = off")
                run("SET LOCAL enable_bitmapscan = off")
                plan = "\n".join(str(row[0]) for row in run("EXPLAIN " + statement, parameters))
                assert "using ix_usage_model_" in plan
