"""Cost statistics at the keyboard: the last 30 days, filters, groups, totals, and the way to the calls behind a row."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from textual.widgets import Input

from billing_console.clock import day_of, now
from billing_console.services.ledger import Ledger
from db.values import CallStatus
from screens.usage import UsageRecordsView
from screens.widgets.trend import TrendChart
from tests.factories import spend
from tests.keyboard import Keyboard, console


@pytest.fixture
def spent(sqlite_ledger: Ledger) -> Ledger:
    """A little every day for 40 days at one provider, one dear day at another, one failed call."""
    for days in range(40):
        spend(sqlite_ledger, "1.25", created_at=now() - timedelta(days=days))
    dear = {"provider_id": "anthropic", "model_id": "claude", "created_at": now() - timedelta(days=3)}
    spend(sqlite_ledger, "400", **dear)
    spend(sqlite_ledger, "0", status=CallStatus.FAILED, **dear)
    return sqlite_ledger


def days_ago(ledger: Ledger, days: int) -> str:
    return day_of(now() - timedelta(days=days), ledger.timezone).isoformat()


async def field(keys: Keyboard, **fields: str) -> None:
    await keys.press("slash")
    for name, text in fields.items():
        keys.app.screen.query_one(f"#{name}", Input).focus()
        await keys.type(text)
    await keys.press("enter")


async def test_the_last_30_days_are_shown_with_their_totals(spent: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("2")
        assert "last 30 days" in keys.screen
        assert "Total ¥437.50 · ¥14.58 a day · 32 calls · 1 failed" in keys.screen
        assert len(keys.app.query_one(TrendChart)._days) == 30


async def test_filters_and_escape(spent: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("2")
        await field(keys, provider_id="anthropic")
        assert "Total ¥400.00" in keys.screen
        assert "2 calls · 1 failed" in keys.screen
        await keys.press("escape")
        assert "Total ¥437.50" in keys.screen
        await field(keys, start=days_ago(spent, 39), end=days_ago(spent, 38))
        assert "Total ¥2.50" in keys.screen
        await keys.press("escape")
        await field(keys, start="1999-01-01", end="1999-01-02")
        assert "Nothing matches the filter" in keys.screen


async def test_a_day_that_is_none_is_refused_at_its_field(spent: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("2")
        await field(keys, start="2026-02-30")
        assert "“2026-02-30” is not a date" in keys.screen


async def test_grouping_by_provider_puts_the_dearest_first(spent: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("2", "b", "b")
        assert "by provider" in keys.screen
        table = keys.app.query_one("#costs-table")
        rows = [(row.provider_id, row.total_cost) for row in table.items]  # type: ignore[attr-defined]
        assert rows == [("anthropic", Decimal(400)), ("openai", Decimal("37.5"))]


async def test_enter_leads_to_the_calls_behind_a_row(spent: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("2", "b", "b", "enter")
        rows = keys.app.query_one(UsageRecordsView)._window.rows
        assert [(row.provider_id, row.cost_amount) for row in rows] == [
            ("anthropic", Decimal(0)),
            ("anthropic", Decimal(400)),
        ]
        assert "provider anthropic" in keys.screen


async def test_the_chart_can_make_room_for_the_table(spent: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("2")
        before = sum("openai" in line for line in keys.lines)
        await keys.press("t")
        assert sum("openai" in line for line in keys.lines) > before
        assert not keys.app.query_one(TrendChart).display


async def test_the_average_counts_no_day_to_come(spent: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("2")
        await field(keys, start=days_ago(spent, 1), end=days_ago(spent, -300))
        assert "Total ¥2.50 · ¥1.25 a day" in keys.screen
