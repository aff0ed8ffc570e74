"""Cost statistics at the keyboard: the last 30 days, filters, groups, totals, and the way to the calls behind a row."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from decimal import Decimal

import pytest
from textual.widgets import Input

from billing_console.app import BillingConsoleApp
from billing_console.clock import day_of, now, start_of
from billing_console.services.budgets import ALL, budget_of, set_budget
from billing_console.services.costs_trend import Trend
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.metering import record_usage
from billing_console.terminal import ConsoleOptions
from db.values import CallStatus, Role, UsageType
from screens.usage import UsageRecordsView
from screens.widgets.table import RecordTable
from screens.widgets.trend import FILLS, TrendChart, legend
from tests.factories import TESTER, acting, spend, usage
from tests.keyboard import PATIENCE_SECONDS, Keyboard, console


@pytest.fixture
def spent(ledger: Ledger) -> Ledger:
    """A little every day for 40 days at one provider, one dear day at another, one failed call."""
    days = [now() - timedelta(days=number) for number in range(40)]
    record_usage(ledger, [usage(cost_amount=Decimal("1.25"), created_at=day) for day in days])
    dear = {"provider_id": "anthropic", "model_id": "claude", "created_at": now() - timedelta(days=3)}
    spend(ledger, "400", **dear)
    spend(ledger, "0", status=CallStatus.FAILED, **dear)
    return ledger


def days_ago(ledger: Ledger, days: int) -> str:
    return day_of(now() - timedelta(days=days), ledger.timezone).isoformat()


def shown_trend(keys: Keyboard) -> Trend:
    trend = keys.app.query_one(TrendChart).trend
    assert trend is not None
    return trend


def rows(keys: Keyboard) -> list[tuple[str | None, Decimal]]:
    """Provider and cost of the rows of the table."""
    items = keys.app.query_one("#costs-table", RecordTable).items
    return [(item.row.provider_id, item.row.total_cost) for item in items]


async def field(keys: Keyboard, **fields: str) -> None:
    await keys.press("slash")
    for name, text in fields.items():
        keys.app.screen.query_one(f"#{name}", Input).focus()
        await keys.type(text)
    await keys.press("enter")


async def test_the_last_30_days_are_shown_with_their_totals(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2")
        assert "last 30 days" in keys.screen
        assert "Total ¥437.50 · ¥14.58 a day · 32 calls · 1 failed" in keys.screen
        assert len(shown_trend(keys).starts) == 30


async def test_filters_and_escape(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
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


async def test_a_day_that_is_none_is_refused_at_its_field(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2")
        await field(keys, start="2026-02-30")
        assert "“2026-02-30” is not a date" in keys.screen


async def test_grouping_by_provider_puts_the_dearest_first(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2", "w", "w", "w", "b")
        assert "by provider" in keys.screen
        assert rows(keys) == [("anthropic", Decimal(400)), ("openai", Decimal("37.5"))]


async def test_enter_leads_to_the_calls_behind_a_row(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2", "w", "w", "w", "b", "enter")
        calls = keys.app.query_one(UsageRecordsView)._window.rows
        assert [(call.provider_id, call.cost_amount) for call in calls] == [
            ("anthropic", Decimal(0)),
            ("anthropic", Decimal(400)),
        ]
        assert "provider anthropic" in keys.screen


async def test_the_chart_can_make_room_for_the_table_and_the_table_for_the_chart(
    spent: Ledger, database_url: str
) -> None:
    def height(name: str) -> int:
        widget = keys.app.query_one(name)
        return widget.size.height if widget.display else 0

    async with console(database_url) as keys:
        await keys.press("2")
        both = height("#trend"), height("#costs-table")
        await keys.press("t")
        assert height("#trend") == 0 and height("#costs-table") > both[1] + 6
        await keys.press("t")
        assert height("#trend") > both[0] and 0 < height("#costs-table") <= both[1]
        await keys.press("t")
        assert (height("#trend"), height("#costs-table")) == both


async def test_the_average_counts_no_day_to_come(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2")
        await field(keys, start=days_ago(spent, 1), end=days_ago(spent, -300))
        assert "Total ¥2.50 · ¥1.25 a day" in keys.screen


async def test_every_period_and_every_thing_can_be_grouped_by(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2")
        for things in ("provider, model, type", "provider", "provider, model", "model", "type", ""):
            for period in ("day", "week", "month", ""):
                by = ", ".join(part for part in (period, things) if part)
                assert (f"by {by}" if by else "all in one") in keys.line("Filter: ")
                assert sum(cost for _provider, cost in rows(keys)) == Decimal("437.5")
                assert sum(shown_trend(keys).totals) == Decimal("437.5")
                await keys.press("w")
            await keys.press("b")
        assert "by day, provider, model, type" in keys.screen


async def test_enter_on_a_week_leads_to_the_calls_of_that_week_within_the_range(
    spent: Ledger, database_url: str
) -> None:
    today = day_of(now(), spent.timezone)
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press("2", "w", "b", "enter")
        first = max(today - timedelta(days=today.weekday()), today - timedelta(days=29))
        line = keys.line("Filter: ")
        assert f"from {first}" in line and f"to {today}" in line


async def test_several_groups_are_stacked_with_a_legend_and_one_is_an_area(spent: Ledger, database_url: str) -> None:
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press("2")
        legend = keys.line("anthropic ¥400.00 91%")
        assert f"{FILLS[0][0]} anthropic ¥400.00 91%  {FILLS[1][0]} openai ¥37.50 9%" in legend
        bar = "".join(line[0:118] for line in keys.lines[8:20])
        assert FILLS[0][0] in bar and FILLS[1][0] in bar
        await keys.press("b", "b", "b", "b", "b")
        assert not keys.app.query_one("#legend").display and len(shown_trend(keys).groups) == 1


async def test_a_legend_that_has_no_room_says_the_shares(ledger: Ledger, database_url: str) -> None:
    kinds = [UsageType.IMAGE_GENERATION, UsageType.TEXT_GENERATION]
    calls = [
        usage(provider_id=f"provider-{number}-" + "x" * 30, usage_type=kind, created_at=now(), cost_amount=Decimal(5))
        for number in range(9)
        for kind in kinds
    ]
    record_usage(ledger, calls)
    async with console(database_url) as keys:
        await keys.press("2")
        line = keys.line("others")
        assert line.count("11%") == 4 and "others 56%" in line and line.count("provid") == 4
        for _period in range(3):
            await keys.press("b")
        assert "gpt-4o" in keys.screen


async def test_what_changed_and_what_the_month_will_have_cost_stand_above_the_chart(
    ledger: Ledger, database_url: str
) -> None:
    today = day_of(now(), ledger.timezone)
    starts = [start_of(today - timedelta(days=number), ledger.timezone) for number in range(60)]
    record_usage(ledger, [usage(cost_amount=Decimal(10), created_at=start) for start in starts])
    set_budget(ledger, ALL, Decimal(100))
    set_budget(ledger, "openai", Decimal(5000))
    days = ((today.replace(day=28) + timedelta(days=4)).replace(day=1) - today.replace(day=1)).days
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press("2")
        assert "30 days before: ¥300 · ¥0.00 (0.0%) · ¥10.00 a call" in keys.screen
        assert f"{today:%Y-%m}: ¥{today.day * 10}.00 so far · projected ¥{days * 10} (¥{days * 10} to" in keys.screen
        state = "■ exceeded" if today.day > 10 else "▲ will be exceeded"
        assert f"budget ¥100, {'-' if today.day > 10 else ''}¥" in keys.screen and state in keys.screen
        await field(keys, provider_id="openai")
        assert "budget ¥5,000, ¥" in keys.screen and "● within budget" in keys.screen
        await field(keys, model_id="gpt-4o")
        assert "budget" not in keys.line("projected")


async def test_a_young_ledger_says_that_it_cannot_project(ledger: Ledger, database_url: str) -> None:
    spend(ledger, "3", created_at=now() - timedelta(days=1))
    async with console(database_url) as keys:
        await keys.press("2")
        assert "not enough history to project (1 of 14 days)" in keys.screen


async def test_an_admin_sets_and_removes_a_budget(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2", "B")
        assert "all providers" in keys.line("no budget")
        await keys.press("j", "c")
        await keys.type("0")
        assert "greater than 0" in keys.screen
        await keys.press("backspace")
        await keys.type("500")
        await keys.press("enter")
        assert "Set the monthly budget of anthropic?" in keys.screen and "none → ¥500.00" in keys.screen
        await keys.press("y")
        assert budget_of(spent, "anthropic") == 500
        assert "¥500" in keys.line("anthropic")
        await keys.press("x")
        await keys.until(lambda: "¥500.00 → none" in keys.screen)
        await keys.press("y")
        assert budget_of(spent, "anthropic") is None
        assert "no budget" in keys.line("anthropic")
        assert "x Remove budget" not in keys.screen


async def test_an_operator_sees_budgets_and_is_not_offered_to_set_them(spent: Ledger, database_url: str) -> None:
    acting(spent, "olga", Role.OPERATOR)
    set_budget(spent, ALL, Decimal(1000))
    async with console(database_url, name="olga") as keys:
        await keys.press("2", "B", "c", "x")
        assert "all providers" in keys.screen and "¥1,000" in keys.screen
        assert "Set budget" not in keys.screen and "Remove budget" not in keys.screen


async def test_the_top_users_lead_to_their_calls(spent: Ledger, database_url: str) -> None:
    spend(spent, "1000", user_id="东京团队", created_at=now())
    spend(spent, "5", user_id=None, created_at=now())
    async with console(database_url) as keys:
        await keys.press("2", "u")
        users = keys.app.screen.query_one("#users-table", RecordTable).items
        assert [(user.user_id, user.cost) for user in users] == [
            ("东京团队", 1000),
            ("alice", Decimal("437.5")),
            (None, 5),
        ]
        assert "3 users · 34 calls · Total ¥1,442.50" in keys.screen
        await keys.press("enter")
        calls = keys.app.query_one(UsageRecordsView)._window.rows
        assert [call.user_id for call in calls] == ["东京团队"]
        assert "user 东京团队" in keys.line("Filter: ")


async def test_a_filter_counts_for_the_top_users_too(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2")
        await field(keys, provider_id="anthropic")
        await keys.press("u")
        assert "provider anthropic" in keys.line("Filter: ") and "1 user · 2 calls · Total ¥400.00" in keys.screen


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (40, 10), (200, 60)])
async def test_every_size_shows_every_dialog_without_a_crash(
    spent: Ledger, database_url: str, size: tuple[int, int]
) -> None:
    async with console(database_url, size=size) as keys:
        await keys.press("2", "t", "t", "t", "w", "b", "B", "c", "escape", "escape", "u", "escape")
        table = keys.app.query_one("#costs-table", RecordTable)
        await keys.until(lambda: table.has_focus and table.size.height >= 2)


async def test_a_day_beyond_the_calendar_is_refused(spent: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2")
        await field(keys, end=str(date.max))
        assert "is not a date" in keys.screen


async def test_amounts_have_their_symbol_although_the_tab_was_there_before_the_ledger(
    spent: Ledger, database_url: str
) -> None:
    """Somebody presses 2 before the database is open."""
    opens = threading.Event()
    options = ConsoleOptions(
        lambda: open_ledger(database_url, actor=TESTER) if opens.wait(PATIENCE_SECONDS) else spent, "a ledger"
    )
    app = BillingConsoleApp(options)
    async with app.run_test(size=(80, 24)) as pilot:
        keys = Keyboard(app, pilot)
        await pilot.press("2")
        await keys.until(lambda: bool(app.query("#costs-table")))
        opens.set()
        await keys.until(lambda: "openai" in keys.screen)
        await keys.settled()
        assert "¥1.25" in keys.line(" gpt-4o ")


def test_a_legend_without_groups_is_empty_also_before_there_is_room() -> None:
    assert legend(Trend("day", (), ()), "¥", -2, str).plain == ""
