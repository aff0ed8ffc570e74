"""Costs beside the period before, their shares, and their trend: what is compared is equally long and over."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from billing_console import clock
from billing_console.services.costs import CostFilter
from billing_console.services.costs_compare import Change, compared_rows, compared_totals, days_before
from billing_console.services.costs_trend import MOST_STARTS, Trend, TrendGroup, cost_trend
from billing_console.services.ledger import Ledger
from db.values import UsageType
from tests.factories import NOON, at, spend

TODAY = date(2026, 3, 10)
"""A Tuesday; it is noon."""


def on(ledger: Ledger, day: date, cost: str, provider: str = "openai", **changes: object) -> None:
    start = clock.start_of(day, ledger.timezone)
    spend(ledger, cost, created_at=start, provider_id=provider, **changes)


def changes(ledger: Ledger, chosen: CostFilter, *group_by: str) -> dict[object, Decimal | None]:
    """The change of each row in yuan, by its period or else its provider."""
    rows = compared_rows(at(ledger, NOON), chosen, group_by)
    return {row.row.stat_date or row.row.provider_id: row.change.amount for row in rows}


def test_a_range_is_compared_with_as_many_days_before_it(ledger: Ledger) -> None:
    for day, cost in ((9, "1"), (8, "2"), (7, "4"), (6, "8"), (5, "16")):
        on(ledger, date(2026, 3, day), cost)
    on(ledger, date(2026, 3, 8), "100", "azure")
    chosen = CostFilter(date(2026, 3, 8), date(2026, 3, 9))
    assert changes(ledger, chosen, "provider") == {"azure": 100, "openai": 3 - 12}
    totals = compared_totals(at(ledger, NOON), chosen)
    assert totals.before == CostFilter(date(2026, 3, 6), date(2026, 3, 7))
    assert totals.change == Change(Decimal(103), Decimal(12))
    assert totals.change.percentage == Decimal("758.3")
    of_openai = CostFilter(date(2026, 3, 8), date(2026, 3, 9), provider_id="openai")
    assert compared_totals(at(ledger, NOON), of_openai).change == Change(Decimal(3), Decimal(12))


def test_days_to_come_are_not_compared_with_days_that_are_over(ledger: Ledger) -> None:
    on(ledger, date(2026, 3, 9), "5")
    on(ledger, date(2026, 3, 7), "3")
    chosen = CostFilter(date(2026, 3, 9), date(2026, 3, 31))
    assert compared_totals(at(ledger, NOON), chosen).before == CostFilter(date(2026, 3, 7), date(2026, 3, 8))
    assert changes(ledger, chosen, "provider") == {"openai": 2}


def test_what_began_only_today_is_not_compared(ledger: Ledger) -> None:
    on(ledger, TODAY, "5")
    on(ledger, TODAY - timedelta(days=1), "50")
    only_today = CostFilter(TODAY, TODAY)
    assert compared_totals(at(ledger, NOON), only_today).change.previous is None
    assert changes(ledger, only_today, "provider") == {"openai": None}
    assert changes(ledger, CostFilter(date(2026, 3, 9), TODAY), "day") == {TODAY: None, date(2026, 3, 9): 50}


def test_a_week_that_has_had_two_days_is_compared_with_two_days_of_last_week(ledger: Ledger) -> None:
    for day, cost in ((10, "3"), (9, "2"), (8, "1000"), (3, "30"), (2, "20"), (1, "7"), (23, "500"), (24, "4")):
        on(ledger, date(2026, 3 if day < 20 else 2, day), cost)
    # From Tuesday of the first week on: compared with Tuesday to Sunday of the week before.
    chosen = CostFilter(date(2026, 2, 24), TODAY)
    assert changes(ledger, chosen, "week") == {
        date(2026, 3, 9): 5 - 50,
        date(2026, 3, 2): 1050 - 511,
        date(2026, 2, 23): 11,
    }


def test_months_of_unequal_length_are_compared_whole(ledger: Ledger) -> None:
    on(ledger, date(2026, 2, 28), "5")
    on(ledger, date(2026, 1, 31), "7")
    on(ledger, date(2026, 1, 29), "2")
    assert changes(ledger, CostFilter(date(2026, 1, 1), date(2026, 2, 28)), "month") == {
        date(2026, 2, 1): 5 - 9,
        date(2026, 1, 1): 9,
    }


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ((2026, 2, 1), (2026, 3, 5), ((2026, 1, 1), (2026, 2, 5))),
        ((2025, 3, 31), (2025, 3, 31), ((2025, 2, 28), (2025, 2, 28))),
        ((2025, 3, 30), (2025, 5, 30), ((2025, 2, 28), (2025, 4, 30))),
        ((2026, 1, 1), (2026, 1, 31), ((2025, 12, 1), (2025, 12, 31))),
    ],
)
def test_the_month_before(
    start: tuple[int, int, int], end: tuple[int, int, int], expected: tuple[tuple[int, int, int], ...]
) -> None:
    before = days_before(CostFilter(date(*start), date(*end)), TODAY, "month")
    assert before == CostFilter(date(*expected[0]), date(*expected[1]))


def test_the_calendar_ends_without_a_crash(ledger: Ledger) -> None:
    on(ledger, TODAY - timedelta(days=1), "1")
    ever = CostFilter(date.min, date.max)
    for group_by in ((), ("day",), ("week",), ("month",)):
        assert len(compared_rows(at(ledger, NOON), ever, group_by)) == 1


def test_shares_are_of_the_whole_filter_even_where_rows_are_left_out(ledger: Ledger) -> None:
    for provider, cost in (("a", "50"), ("b", "37.5"), ("c", "12.5")):
        on(ledger, TODAY - timedelta(days=1), cost, provider)
    rows = compared_rows(at(ledger, NOON), CostFilter(TODAY - timedelta(days=1), TODAY), ["provider"], limit=2)
    assert [(row.row.provider_id, row.share) for row in rows] == [("a", Decimal("50.0")), ("b", Decimal("37.5"))]


def test_rows_left_out_do_not_disturb_the_comparison(ledger: Ledger) -> None:
    for day in range(1, 10):
        on(ledger, date(2026, 3, day), str(day * day))
    rows = compared_rows(at(ledger, NOON), CostFilter(date(2026, 3, 1), TODAY), ["day"], limit=3)
    assert [row.change.amount for row in rows] == [17, 15, 13]


def test_free_is_compared_without_a_percentage(ledger: Ledger) -> None:
    assert Change(Decimal(5), Decimal(0)).percentage is None
    assert Change(Decimal(0), Decimal(5)).percentage == -100
    assert Change(Decimal(5), None).percentage is None


def test_the_trend_keeps_the_dearest_groups_and_adds_up_the_others(ledger: Ledger) -> None:
    for number, provider in enumerate("abcdefg", 1):
        on(ledger, date(2026, 3, 9), str(number), provider)
    on(ledger, date(2026, 3, 7), "100", "a")
    trend = cost_trend(ledger, CostFilter(date(2026, 3, 7), TODAY), "provider")
    assert trend.starts == tuple(date(2026, 3, day) for day in (7, 8, 9, 10))
    assert [group.name for group in trend.groups] == ["a", "g", "f", "e", None]
    assert trend.groups[0] == TrendGroup("a", (Decimal(100), Decimal(0), Decimal(1), Decimal(0)))
    assert trend.groups[-1].total == 2 + 3 + 4
    assert list(map(int, trend.totals)) == [100, 0, 28, 0]


def test_the_trend_takes_longer_periods_where_the_range_is_long(ledger: Ledger) -> None:
    on(ledger, date(2026, 3, 9), "1")
    on(ledger, date(2026, 3, 9), "2", usage_type=UsageType.IMAGE_GENERATION, quantity=Decimal(1))
    for days, period in ((30, "day"), (90, "week"), (900, "month")):
        trend = cost_trend(ledger, CostFilter(TODAY - timedelta(days=days - 1), TODAY), "type")
        assert trend.period == period and len(trend.starts) <= MOST_STARTS
        assert [group.total for group in trend.groups] == [2, 1]
    assert cost_trend(ledger, CostFilter(date(2026, 3, 9), TODAY), None, "month") == Trend(
        "month", (date(2026, 3, 1),), (TrendGroup("", (Decimal(3),)),)
    )
