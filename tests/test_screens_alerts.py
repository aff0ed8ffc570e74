"""Alerts at the keyboard: who knows of one, and from it to its pool, its models and their failed calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from billing_console.services.alerts import list_alerts
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from db.values import CallStatus, Role
from tests.factories import acting, at, pay, pool, spend
from tests.keyboard import Keyboard, console

NOW = datetime.now(UTC)


@pytest.fixture
def short(ledger: Ledger) -> Ledger:
    """Three providers: one depleted with two models, one of them failing; one low; one that was low yesterday."""
    for provider, spent in (("openai", "95"), ("qwen", "101"), ("zhipu", "95")):
        pool(ledger, provider, amount="100", name=provider.title())
        spend(ledger, spent, provider_id=provider, model_id=f"{provider}-max", created_at=NOW)
    for model, message in (("qwen-max", "429 rate limit"), ("qwen-turbo", "500 oops")):
        failed = {"status": CallStatus.FAILED, "error_message": message, "created_at": NOW}
        spend(ledger, "0", provider_id="qwen", model_id=model, **failed)
    check_pools(at(ledger, NOW - timedelta(hours=27, minutes=5)))
    pay(at(ledger, NOW - timedelta(hours=25)), "900", "zhipu")
    return ledger


def listed(keys: Keyboard, provider: str) -> str:
    """The line of a provider in the dialog, not in the banner behind it."""
    return next(line for line in keys.lines if "│" in line and provider in line)


async def test_an_alert_is_acknowledged_with_a_key_and_everybody_sees_it(short: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        assert "insufficient balance" in keys.line("Qwen")
        await keys.press("a")
        assert "by nobody" in listed(keys, "Qwen") and "1 d 3 h" in listed(keys, "Qwen")
        assert "lasted 2 h 5 min" in listed(keys, "Zhipu")
        await keys.press("space")
        assert "stays open" in keys.screen
        assert "tester" in listed(keys, "Qwen")
        await keys.press("space")
        assert "Only an open alert" in keys.screen
        await keys.press("escape")
        assert "acknowledged" in keys.line("CRITICAL") and "Qwen" in keys.line("CRITICAL")
        assert "acknowledged" not in keys.line("WARNING")
    assert [(alert.provider_id, alert.acknowledged_by) for alert in list_alerts(short, resolved=False)] == [
        ("qwen", "tester"),
        ("openai", None),
    ]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
async def test_the_banner_says_acknowledged_and_cuts_no_number(short: Ledger, database_url: str, width: int) -> None:
    async with console(database_url, size=(width, 24)) as keys:
        await keys.press("a", "space", "escape")
        line = keys.line("CRITICAL")
        assert "Qwen" in line
        if width >= 80:
            assert "-¥1.00" in line and "acknowledged" in line
        assert ("insufficient balance" in line) is (width >= 100)


async def test_alert_pool_models_and_failed_calls_are_three_keys_apart(short: Ledger, database_url: str) -> None:
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press("a", "enter")
        assert keys.app.pane is not None and keys.app.pane.NAME == "pools"
        assert keys.app.pane.table is not None and keys.app.pane.table.current.pool.provider_id == "qwen"  # type: ignore[attr-defined]
        await keys.press("m")
        assert "Filter: provider Qwen" in keys.screen
        assert "openai-max" not in keys.screen
        await keys.press("f")
        assert "429 rate limit" not in keys.line("qwen-max")
        assert "model qwen-max · failed" in keys.line("Filter:")
        assert "qwen-turbo" not in keys.screen and "1 call ·" in keys.screen
        await keys.press("enter")
        assert "429 rate limit" in keys.screen


async def test_the_way_is_the_same_from_the_tabs_it_leads_to(short: Ledger, database_url: str) -> None:
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press("5", "3", "a", "j", "enter")
        assert keys.app.pane is not None and keys.app.pane.table is not None
        assert keys.app.pane.table.current.pool.provider_id == "openai"  # type: ignore[attr-defined]
        await keys.press("m")
        assert "Filter: provider Openai" in keys.screen and "qwen-max" not in keys.screen
        await keys.press("escape")
        assert "Filter:" not in keys.screen and "qwen-max" in keys.screen


async def test_a_viewer_sees_who_acknowledged_and_is_not_offered_to(short: Ledger, database_url: str) -> None:
    acting(short, "vera", Role.VIEWER)
    async with console(database_url, name="vera") as keys:
        await keys.press("a", "space")
        assert "Acknowledge " not in keys.lines[-2] and "by nobody" in listed(keys, "Qwen")
    assert {alert.acknowledged_by for alert in list_alerts(short)} == {None}


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (200, 60)])
async def test_the_whole_way_can_be_gone_at_any_size(short: Ledger, database_url: str, size: tuple[int, int]) -> None:
    async with console(database_url, size=size) as keys:
        await keys.press("a", "space", "enter", "m", "D", "escape", "enter", "escape", "f", "enter", "escape")
        assert "failed" in keys.line("Filter:") or size[0] < 80
        await keys.press("6", "v", "w", "escape", "enter", "escape", "p", "escape")
        assert keys.app.pane is not None and keys.app.pane.NAME == "pricing"
