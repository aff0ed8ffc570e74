"""Keys that arrive all at once, as over a slow line: each reaches what the one before it opened."""

from __future__ import annotations

from decimal import Decimal

from billing_console.services.ledger import Ledger
from billing_console.services.pools import list_pools
from billing_console.services.quotas import list_quotas
from tests.factories import pool, spend
from tests.keyboard import console
from tests.terminal import terminal


def test_a_recharge_typed_in_one_burst_waits_for_a_yes_to_what_was_seen(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    with terminal("--database", sqlite_url) as typed:
        typed.until("No usage has been recorded yet.")
        typed.type("3c500\rBT-7\ry")
        typed.until("¥100.00 → ¥600.00")
        assert [one.available_balance for one in list_pools(sqlite_ledger)] == [Decimal(100)]
        typed.type("y")
        typed.until("openai recharged by ¥500.00")
        typed.type("q")
        assert typed.end() == 0
    assert [one.available_balance for one in list_pools(sqlite_ledger)] == [Decimal(600)]


def test_keys_typed_before_the_database_is_open_wait_for_it(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    with terminal("--database", sqlite_url) as typed:
        typed.until("1 Usage")
        typed.type("3c20\rBT-8\r")
        typed.until("¥100.00 → ¥120.00")


async def test_a_burst_over_two_tabs_reaches_each_in_turn(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    for user in ("alice", "bob"):
        spend(sqlite_ledger, "3", user_id=user)
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url) as keys:
        await keys.burst(*"3c20", "escape", "4", "slash", *"bob", "enter", *"c70", "enter", *"T-9", "enter")
        await keys.press("y")
        await keys.until(lambda: "bob" in keys.said)
        assert keys.app.pane is not None and keys.app.pane.NAME == "quotas"
    granted = {one.user_id: one.granted_amount for one in list_quotas(sqlite_ledger)}
    assert granted["bob"] == Decimal(70)
    assert not granted["alice"]
    assert [one.available_balance for one in list_pools(sqlite_ledger)] == [Decimal(94)]


async def test_a_command_typed_in_one_burst_is_the_one_that_runs(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    async with console(sqlite_url) as keys:
        for name, dialog in (("audit", "AuditDialog"), ("approvals", "ApprovalsDialog"), ("alerts", "AlertsDialog")):
            await keys.burst("colon", *name, "enter")
            await keys.until(lambda dialog=dialog: type(keys.app.screen).__name__ == dialog)  # type: ignore[misc]
            await keys.press("escape")


async def test_details_and_the_layer_below_get_their_own_keys(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    for name in ("anthropic", "openai"):
        pool(sqlite_ledger, name, "100")
    async with console(sqlite_url) as keys:
        await keys.burst("3", "j", "enter", "j", "k", "escape", "H", "v", *"wrong", "enter")
        await keys.until(lambda: "¥100.00 → ¥0.00" in keys.screen)
        assert "openai" in keys.screen
