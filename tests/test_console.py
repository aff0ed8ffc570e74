"""The console's frame: tabs, alert banner, help, palette, problems, and what it sends when nothing changed."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from rich.console import RenderableType
from textual.screen import Screen

from billing_console.app import TABS, BillingConsoleApp
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from screens.widgets.banner import AlertBanner
from tests.factories import gateway_insert, pay, pool, spend
from tests.keyboard import Keyboard, console


def banner(keys: Keyboard) -> list[str]:
    return [line for line in keys.lines if "CRITICAL" in line or "WARNING" in line]


@pytest.fixture
def short(sqlite_ledger: Ledger) -> Ledger:
    """One depleted pool and four low ones, all with open alerts."""
    for number in range(5):
        provider = f"provider-{number}"
        pool(sqlite_ledger, provider, "100")
        spend(sqlite_ledger, "130" if number == 3 else f"9{number}.5", provider_id=provider)
    check_pools(sqlite_ledger)
    return sqlite_ledger


async def test_every_tab_opens_by_number_and_by_bracket(sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        for number, tab in enumerate(TABS, 1):
            await keys.press(str(number))
            assert keys.app.pane is not None and tab.id == keys.app.pane.NAME
        await keys.press("right_square_bracket")
        assert keys.app.pane is not None and keys.app.pane.NAME == "usage"
        await keys.press("left_square_bracket")
        assert keys.app.pane is not None and keys.app.pane.NAME == "pricing"


async def test_the_banner_names_the_most_urgent_alerts_and_counts_the_others(short: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        for number in "123456":
            await keys.press(number)
            lines = banner(keys)
            assert len(lines) == 3
            for word in ("■ CRITICAL", "provider-3", "insufficient balance", "-30.00%", "-¥30.00"):
                assert word in lines[0]
            assert "▲ WARNING" in lines[1] and "low balance" in lines[1]
            assert "+2 more alerts" in keys.screen


async def test_the_banner_follows_the_database_without_a_key(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url, refresh_seconds=0.05) as keys:
        assert banner(keys) == []
        spend(sqlite_ledger, "95")
        check_pools(sqlite_ledger)
        await keys.until(lambda: any("▲ WARNING" in line and "5.00%" in line for line in banner(keys)))
        spend(sqlite_ledger, "5")
        check_pools(sqlite_ledger)
        await keys.until(lambda: any("■ CRITICAL" in line for line in banner(keys)))
        pay(sqlite_ledger, "500")
        await keys.until(lambda: banner(keys) == [])


async def test_the_timer_checks_a_pool_that_nobody_checked(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    pool(sqlite_ledger, "openai", "100")
    with sqlite_ledger.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE resource_pools SET last_check_at = NULL")
    gateway_insert(sqlite_ledger, cost_amount=95 * 10**9)
    async with console(sqlite_url, refresh_seconds=0.05) as keys:
        await keys.until(lambda: any("▲ WARNING" in line for line in banner(keys)))


async def test_help_lists_the_keys_of_the_tab_and_those_of_everywhere(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url, size=(80, 60)) as keys:
        await keys.press("3", "question_mark")
        for words in ("Recharge", "Check now", "Copy cell", "Quit", "On this tab", "Everywhere"):
            assert words in keys.screen
        await keys.press("escape")
        assert "Keys that work here" not in keys.screen


async def test_the_palette_runs_a_command_by_name(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url) as keys:
        await keys.press("3", "colon")
        await keys.type("Recharge")
        await keys.until(lambda: "Key: c" in keys.screen)
        await keys.press("enter")
        await keys.until(lambda: "Recharge openai" in keys.screen)


async def test_a_read_only_console_offers_nothing_that_writes(short: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url, read_only=True) as keys:
        assert "READ-ONLY" in keys.screen
        await keys.press("3")
        assert "Recharge" not in keys.lines[-1]
        for key in ("c", "n"):
            await keys.press(key)
            assert len(keys.app.screen_stack) == 1
        await keys.press("5", "space")
        assert len(keys.app.screen_stack) == 1


async def test_a_locked_database_is_said_at_once_and_forgotten_once_it_answers(
    sqlite_ledger: Ledger, sqlite_url: str
) -> None:
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url, refresh_seconds=0.05) as keys:
        await keys.press("3")
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        await keys.until(lambda: "waiting for the database" in keys.screen)
        assert "openai" in keys.screen
        other.execute("ROLLBACK")
        await keys.until(lambda: "waiting for the database" not in keys.screen)
        assert "live, changed" in keys.screen
        other.close()


class Watched(BillingConsoleApp):
    """Counts what is sent to the terminal."""

    painted = 0

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        self.painted += renderable is not None
        super()._display(screen, renderable)


async def test_a_refresh_that_changes_nothing_sends_nothing(short: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url, kind=Watched) as keys:
        assert isinstance(keys.app, Watched)
        for number in "123456":
            await keys.press(number)
            before = keys.app.painted
            assert before and keys.app.pane is not None
            keys.app.pane.load()
            keys.app.query_one(AlertBanner).poll()
            await keys.settled()
            assert keys.app.painted == before


async def test_one_pool_that_changed_repaints_its_cells_alone(short: Ledger, sqlite_url: str) -> None:
    async with console(sqlite_url, kind=Watched) as keys:
        await keys.press("3")
        assert isinstance(keys.app, Watched) and keys.app.pane is not None
        before = keys.app.painted
        spend(short, "0.5", provider_id="provider-0")
        keys.app.pane.load()
        await keys.settled()
        assert keys.app.painted > before
        assert "9.00%" in keys.line("provider-0  ")
