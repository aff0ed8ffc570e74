"""What a quota is used for a day: how long it lasts, and what is unusual for one user."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_console.money import NANO
from billing_console.services.ledger import Ledger
from billing_console.services.quota_use import DAYS, ENOUGH, UserUse, compare, lasts, user_uses
from billing_console.services.quotas import grant_quota, quota_details
from tests.factories import NOON, at, execute, gateway_insert, spend
from tests.test_usage_plans import plan, statements

MIDNIGHT = datetime(2026, 3, 9, 16, 0, tzinfo=UTC)
"""The first instant of the business day of NOON in Asia/Shanghai."""

COSTS = st.decimals(min_value=NANO, max_value=10**6, places=9)


def use(ledger: Ledger, user_id: str = "alice") -> UserUse:
    (found,) = user_uses(at(ledger, NOON), [user_id])
    return found


def on_day(ledger: Ledger, days_ago: int, cost: str, **options: object) -> None:
    spend(ledger, cost, created_at=NOON - timedelta(days=days_ago), **options)


def test_use_is_averaged_over_seven_whole_business_days(ledger: Ledger) -> None:
    for days_ago, cost in ((30, "1000"), (8, "500"), (7, "14"), (3, "7"), (0, "99")):
        on_day(ledger, days_ago, cost)
    on_day(ledger, 1, "700", user_id="bob")
    assert use(ledger).per_day == 3
    assert use(ledger).days_left(Decimal(30)) == 10


def test_who_is_new_is_averaged_over_fewer_days(ledger: Ledger) -> None:
    assert use(ledger).per_day == 0 and use(ledger).days_left(Decimal(5)) is None
    on_day(ledger, 0, "4")
    assert use(ledger).per_day == 4
    on_day(ledger, 2, "6", model_id="another", provider_id="azure")
    assert use(ledger).per_day == 3


def test_a_day_is_one_of_the_business_time_zone(ledger: Ledger) -> None:
    spend(ledger, "5", created_at=MIDNIGHT)
    spend(ledger, "3", created_at=MIDNIGHT - timedelta(microseconds=1))
    spend(ledger, "8", created_at=MIDNIGHT + timedelta(days=1))
    found = use(ledger)
    assert (found.unusual.today, found.per_day) == (Decimal(5), Decimal(3))


def test_what_no_price_is_known_for_counts_nothing(ledger: Ledger) -> None:
    spend(ledger, "2")
    gateway_insert(ledger, user_id="alice")
    assert use(ledger).unusual.today == 2


def test_days_left_are_told_only_where_they_say_something() -> None:
    assert lasts(None, Decimal(1)) is None
    assert lasts(Decimal(5), Decimal(0)) is None
    assert lasts(Decimal(-5), Decimal(1)) == 0
    assert lasts(Decimal(1), Decimal(4)) == Decimal("0.25")


def test_unusual_is_far_from_the_user_s_own_days(ledger: Ledger) -> None:
    for days_ago in range(1, DAYS + 1):
        on_day(ledger, days_ago, "10" if days_ago % 2 else "12.5")
    on_day(ledger, DAYS + 1, "9000")
    on_day(ledger, 0, "22")
    found = use(ledger).unusual
    assert (found.days, found.median, found.factor) == (DAYS, Decimal("11.180339887"), Decimal("1.12"))
    assert not found.is_unusual and found.threshold == Decimal("22.360679775")
    on_day(ledger, 0, "0.360679776")
    assert use(ledger).unusual.is_unusual
    assert quota_details(at(ledger, NOON), "alice").use == use(ledger)


@pytest.mark.parametrize(("days", "unusual"), [(ENOUGH - 1, False), (ENOUGH, True)])
def test_with_few_days_nothing_is_unusual(ledger: Ledger, days: int, unusual: bool) -> None:
    for days_ago in range(1, days + 1):
        on_day(ledger, days_ago, "2")
    on_day(ledger, 0, "1000")
    assert (use(ledger).unusual.has_history, use(ledger).unusual.is_unusual) == (unusual, unusual)


def test_little_money_is_never_unusual() -> None:
    assert not compare(Decimal(1), [NANO] * DAYS).is_unusual
    assert compare(1 + NANO, [NANO] * DAYS).is_unusual


@given(st.lists(COSTS, min_size=1, max_size=DAYS), COSTS)
def test_the_comparison_holds_what_it_says(days: list[Decimal], today: Decimal) -> None:
    found = compare(today, days)
    assert found.factor >= 1 and found.threshold >= max(Decimal(1), 2 * found.median - NANO)
    if len(days) % 2:
        assert found.median == median(days)
    assert compare(today, days[::-1]) == found
    assert not compare(found.median, days).is_unusual
    half = sum(found.median / (found.factor + 1) <= cost <= found.median * (found.factor + 1) for cost in days)
    assert 2 * half >= len(days)


def test_the_work_stops_where_it_is_cancelled(ledger: Ledger) -> None:
    grant_quota(ledger, "alice", Decimal(1), reference="r")
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 2

    assert len(list(user_uses(ledger, ["alice"] * 9, cancelled))) == 2


def test_use_is_read_by_seeks_in_the_user_s_index(sqlite_ledger: Ledger) -> None:
    for number in range(40):
        on_day(sqlite_ledger, number, "1", model_id=f"m{number % 4}")
    execute(sqlite_ledger, "ANALYZE")
    with statements(sqlite_ledger) as seen:
        use(sqlite_ledger)
    (asked,) = seen
    (step,) = (step for step in plan(sqlite_ledger, *asked) if "usage_records" in step)
    assert "ix_usage_user (user_id=? AND provider_id=? AND model_id=? AND created_at>? AND created_at<?)" in step
