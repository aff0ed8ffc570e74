"""Cost statistics: every record in the right business day, and days that add up to ranges."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain, combinations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from billing_console import clock
from billing_console.errors import InvalidInput
from billing_console.services.costs import (
    GROUPS,
    PERIODS,
    CostFilter,
    CostRow,
    CostTotals,
    cost_rows,
    cost_totals,
    last_days,
)
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import open_pool
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from billing_console.services.usage import UsageFilter
from billing_console.services.usage_totals import usage_totals
from db.values import CallStatus, UsageType
from tests.conftest import OpenLedger
from tests.factories import NOON, at, gateway_insert, set_up, spend, usage

MICRO = timedelta(microseconds=1)
EVER = CostFilter(date.min, date.max)


def by_day(ledger: Ledger) -> dict[date, Decimal]:
    days = cost_rows(ledger, EVER, ["day"])
    return {row.stat_date: row.total_cost for row in days if row.stat_date is not None}


def test_a_business_day_begins_at_midnight_in_shanghai(ledger: Ledger) -> None:
    midnight = datetime(2026, 3, 10, 16, 0, tzinfo=UTC)
    for moment, cost in ((midnight - MICRO, "1"), (midnight, "2"), (midnight + timedelta(days=1) - MICRO, "4")):
        spend(ledger, cost, created_at=moment)
    spend(ledger, "8", created_at=midnight + timedelta(days=1))
    assert by_day(ledger) == {date(2026, 3, 10): 1, date(2026, 3, 11): 6, date(2026, 3, 12): 8}
    assert reconcile(ledger) == ()


ZONES = {
    "Europe/Berlin": [date(2026, 3, 29), date(2026, 10, 25)],
    "America/New_York": [date(2026, 3, 8), date(2026, 11, 1)],
    "Africa/Cairo": [date(2026, 4, 24), date(2026, 10, 29)],  # summer time begins at midnight: the day starts at one
    "Australia/Lord_Howe": [date(2026, 4, 5), date(2026, 10, 4)],  # by half an hour
    "America/Havana": [date(2026, 3, 8), date(2026, 11, 1)],  # midnight comes twice
    "Asia/Kathmandu": [date(2026, 1, 1)],
}


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_of_any_length_has_its_own_records_only(zone: str, tmp_path: Path, opened: OpenLedger) -> None:
    url = f"sqlite:///{tmp_path / 'zone.db'}"
    set_up(url, timezone=zone)
    ledger = opened(url)
    tz = ZoneInfo(zone)
    expected: dict[date, Decimal] = defaultdict(Decimal)
    cost = Decimal(1)
    for day in ZONES[zone]:
        for around in (day - timedelta(days=1), day, day + timedelta(days=1)):
            start = clock.start_of(around, tz)
            for moment in (start - MICRO, start, start + timedelta(minutes=59), start + timedelta(minutes=61)):
                spend(ledger, cost, created_at=moment)
                expected[moment.astimezone(tz).date()] += cost
                cost += 1
            assert clock.day_of(start, tz) == around
            assert clock.day_of(start - MICRO, tz) == around - timedelta(days=1)
    assert by_day(ledger) == expected
    assert reconcile(ledger) == ()
    for day, total in expected.items():
        within = UsageFilter(start=clock.start_of(day, tz), end=clock.start_of(day + timedelta(days=1), tz))
        assert usage_totals(ledger, within).cost == total
        # The same range with a filter that the daily statistics cannot answer.
        assert usage_totals(ledger, UsageFilter(user_id="alice", start=within.start, end=within.end)).cost == total


CALLS = [
    ("openai", "gpt-4o", UsageType.TEXT_GENERATION, 0, "1.000000001", CallStatus.SUCCESS),
    ("openai", "gpt-4o", UsageType.TEXT_GENERATION, 0, "2", CallStatus.FAILED),
    ("openai", "gpt-4o", UsageType.IMAGE_GENERATION, 0, "3", CallStatus.SUCCESS),
    ("openai", "o3", UsageType.TEXT_GENERATION, 1, "4", CallStatus.SUCCESS),
    ("azure", "gpt-4o", UsageType.TEXT_GENERATION, 1, "5", CallStatus.SUCCESS),
    ("azure", "tts", UsageType.AUDIO_TTS, 3, "0.000000001", CallStatus.SUCCESS),
    ("azure", "tts", UsageType.AUDIO_TTS, 4, "0", CallStatus.FAILED),
]


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    open_pool(ledger, "openai", name="OpenAI")
    for provider, model, kind, day, cost, status in CALLS:
        spend(
            ledger,
            cost,
            provider_id=provider,
            model_id=model,
            usage_type=kind,
            created_at=NOON + timedelta(days=day),
            status=status,
            quantity=None if kind is UsageType.TEXT_GENERATION else Decimal("1.5"),
        )
    return ledger


def in_python(chosen: CostFilter, group_by: tuple[str, ...]) -> list[CostRow]:
    """The same groups, from the list above."""
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for provider, model, kind, day, cost, status in CALLS:
        stat_date = date(2026, 3, 10) + timedelta(days=day)
        wanted = (chosen.provider_id in (None, provider), chosen.model_id in (None, model))
        if chosen.start <= stat_date <= chosen.end and all(wanted) and chosen.usage_type in (None, kind):
            periods = {
                "day": stat_date,
                "week": date.fromisocalendar(*stat_date.isocalendar()[:2], 1),
                "month": date(stat_date.year, stat_date.month, 1),
            }
            values = {"provider": provider, "model": model, "type": kind}
            period = next((periods[name] for name in PERIODS if name in group_by), None)
            key = (period, *(values[name] if name in group_by else None for name in values))
            amount = Decimal(150) if kind is UsageType.TEXT_GENERATION else Decimal("1.5")
            groups[key].append((kind, amount, Decimal(cost), status is CallStatus.FAILED))
    rows = [
        CostRow(
            stat_date=key[0],
            provider_id=key[1],
            provider_name={"openai": "OpenAI"}.get(key[1], key[1]),
            model_id=key[2],
            usage_type=key[3],
            total_usage=sum((call[1] for call in calls), Decimal(0)) if len({call[0] for call in calls}) == 1 else None,
            total_cost=sum((call[2] for call in calls), Decimal(0)),
            call_count=len(calls),
            failed_count=sum(call[3] for call in calls),
            token_usage=sum((call[1] for call in calls if call[0] is UsageType.TEXT_GENERATION), Decimal(0)),
            token_cost=sum((call[2] for call in calls if call[0] is UsageType.TEXT_GENERATION), Decimal(0)),
        )
        for key, calls in groups.items()
    ]

    def order(row: CostRow) -> tuple[Any, ...]:
        newest = -row.stat_date.toordinal() if row.stat_date else 0
        return newest, -row.total_cost, row.provider_id or "", row.model_id or "", row.usage_type or ""

    return sorted(rows, key=order)


FILTERS = [
    EVER,
    CostFilter(date(2026, 3, 10), date(2026, 3, 11)),
    CostFilter(date(2026, 3, 11), date(2026, 3, 11)),
    CostFilter(date(2026, 3, 12), date(2026, 3, 12)),
    CostFilter(date(2026, 3, 14), date(2026, 3, 10)),
    CostFilter(date.min, date.max, provider_id="openai"),
    CostFilter(date.min, date.max, model_id="gpt-4o"),
    CostFilter(date.min, date.max, usage_type=UsageType.TEXT_GENERATION),
    CostFilter(date(2026, 3, 10), date(2026, 3, 13), "azure", "tts", UsageType.AUDIO_TTS),
    CostFilter(date.min, date.max, provider_id="nobody"),
]


def test_every_grouping_of_every_filter_is_what_python_makes_of_the_calls(filled: Ledger) -> None:
    every_grouping = chain.from_iterable(combinations(GROUPS, size) for size in range(len(GROUPS) + 1))
    one_period = (group_by for group_by in every_grouping if len(set(group_by) & set(PERIODS)) < 2)
    for group_by in one_period:
        for chosen in FILTERS:
            assert list(cost_rows(filled, chosen, group_by)) == in_python(chosen, group_by), (group_by, chosen)


def test_the_order_in_which_groups_are_named_does_not_matter(filled: Ledger) -> None:
    assert cost_rows(filled, EVER, ["type", "day", "day"]) == cost_rows(filled, EVER, ["day", "type"])
    assert cost_rows(filled, EVER, ["model"], limit=2) == cost_rows(filled, EVER, ["model"])[:2]


def test_days_add_up_to_their_range(filled: Ledger) -> None:
    first, last = date(2026, 3, 8), date(2026, 3, 16)
    for start in range(9):
        for end in range(start, 9):
            chosen = CostFilter(first + timedelta(days=start), first + timedelta(days=end))
            days = cost_rows(filled, chosen, ["day"])
            assert sum(day.total_cost for day in days) == cost_totals(filled, chosen).total_cost
    whole = CostFilter(first, last)
    assert cost_totals(filled, whole) == CostTotals(
        Decimal("15.000000002"), 7, 2, Decimal(600), Decimal("12.000000001")
    )
    assert cost_totals(filled, CostFilter(last, last)) == CostTotals(Decimal(0), 0, 0, Decimal(0), Decimal(0))
    assert list(cost_rows(filled, CostFilter(last, first), ["day"])) == []


def test_totals_of_a_filter_agree_with_those_of_the_records(filled: Ledger) -> None:
    for chosen in FILTERS:
        if chosen.end == date.max:
            found = usage_totals(filled, UsageFilter(None, chosen.provider_id, chosen.model_id, chosen.usage_type))
            by_user = usage_totals(filled, UsageFilter("alice", chosen.provider_id, chosen.model_id, chosen.usage_type))
            totals = cost_totals(filled, chosen)
            assert (found.cost, found.calls, found.failures) == (
                totals.total_cost,
                totals.call_count,
                totals.failed_count,
            )
            assert by_user == found


def test_the_last_days_end_with_today_in_the_business_time_zone(ledger: Ledger) -> None:
    late = at(ledger, datetime(2026, 3, 10, 16, 0, tzinfo=UTC))
    assert last_days(late) == CostFilter(date(2026, 2, 10), date(2026, 3, 11))
    assert last_days(late, 1) == CostFilter(date(2026, 3, 11), date(2026, 3, 11))


def test_an_unknown_group_is_refused_by_name(sqlite_ledger: Ledger) -> None:
    with pytest.raises(InvalidInput, match="“user”") as refused:
        cost_rows(sqlite_ledger, EVER, ["day", "user"])
    assert refused.value.field == "groupBy"


def test_two_periods_at_once_are_refused(sqlite_ledger: Ledger) -> None:
    with pytest.raises(InvalidInput, match="more than one period") as refused:
        cost_rows(sqlite_ledger, EVER, ["day", "week"])
    assert refused.value.field == "groupBy"


def test_weeks_begin_on_monday_and_months_on_the_first_also_where_the_year_turns(ledger: Ledger) -> None:
    """The first days of 2027 are in the last week of 2026 (ISO 8601)."""
    for day in (date(2026, 12, 27), date(2026, 12, 28), date(2026, 12, 31), date(2027, 1, 3), date(2027, 1, 4)):
        spend(ledger, "1", created_at=clock.start_of(day, ledger.timezone))
    assert {row.stat_date: row.total_cost for row in cost_rows(ledger, EVER, ["week"])} == {
        date(2026, 12, 21): 1,
        date(2026, 12, 28): 3,
        date(2027, 1, 4): 1,
    }
    assert {row.stat_date: row.total_cost for row in cost_rows(ledger, EVER, ["month"])} == {
        date(2026, 12, 1): 3,
        date(2027, 1, 1): 2,
    }


def test_unit_costs_are_of_calls_and_of_text_tokens_alone(ledger: Ledger) -> None:
    spend(ledger, "3", total_tokens=2_000_000)
    spend(ledger, "1", total_tokens=1_000_000, status=CallStatus.FAILED)
    spend(ledger, "96", usage_type=UsageType.IMAGE_GENERATION, quantity=Decimal(5))
    (row,) = cost_rows(ledger, EVER, [])
    assert row.cost_per_call == Decimal("33.333333333")
    assert row.cost_per_million_tokens == Decimal("1.333333333")
    totals = cost_totals(ledger, EVER)
    assert (totals.cost_per_call, totals.cost_per_million_tokens) == (row.cost_per_call, row.cost_per_million_tokens)
    images = CostFilter(date.min, date.max, usage_type=UsageType.IMAGE_GENERATION)
    assert cost_totals(ledger, images).cost_per_million_tokens is None
    assert cost_totals(ledger, CostFilter(date.min, date.min)).cost_per_call is None


def test_what_a_gateway_inserted_is_in_the_statistics_once_it_is_settled(ledger: Ledger) -> None:
    gateway_insert(ledger, cost_amount=10**9)
    assert cost_rows(ledger, EVER) == ()
    settle(ledger)
    assert [row.total_cost for row in cost_rows(ledger, EVER)] == [1]


def test_text_counts_tokens_and_other_types_their_quantity(ledger: Ledger) -> None:
    record_usage(
        ledger,
        [
            usage(total_tokens=170, quantity=Decimal(9)),
            usage(usage_type=UsageType.AUDIO_STT, quantity=Decimal("0.000001")),
        ],
    )
    found = {row.usage_type: row.total_usage for row in cost_rows(ledger, EVER)}
    assert found == {UsageType.TEXT_GENERATION: 170, UsageType.AUDIO_STT: Decimal("0.000001")}
    mixed = cost_rows(ledger, EVER, ["provider"])
    assert [(row.total_usage, row.call_count) for row in mixed] == [(None, 2)]
