"""A tab is painted once, filled: what is held reaches the terminal when it is released, and never stays away."""

from __future__ import annotations

from typing import Any

import pytest

from billing_console.services.ledger import Ledger
from screens import tab_screen
from screens.tab_screen import TabScreen
from screens.widgets.header import TitleBar
from tests.factories import pool
from tests.keyboard import Keyboard, console


def watched(keys: Keyboard, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Textual hands to the terminal from now on."""
    updates: list[Any] = []
    monkeypatch.setattr(keys.app, "_display", lambda _screen, update: updates.append(update))
    return updates


async def test_what_is_held_is_painted_when_every_holder_has_released_it(
    sqlite_ledger: Ledger, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_screen, "HOLD_SECONDS", 3600)
    async with console(sqlite_url, size=(120, 40)) as keys:
        tabs = keys.app.screen
        assert isinstance(tabs, TabScreen)
        updates = watched(keys, monkeypatch)
        tabs.hold("one")
        tabs.hold("other")
        keys.app.query_one(TitleBar).as_of = "23:59:59"
        await keys.settled()
        tabs.release("one")
        await keys.settled()
        assert updates == []
        tabs.release("other")
        await keys.until(lambda: bool(updates))
        assert "23:59:59" in keys.screen


async def test_what_nobody_releases_is_painted_all_the_same(
    sqlite_ledger: Ledger, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_screen, "HOLD_SECONDS", 0.02)
    async with console(sqlite_url) as keys:
        tabs = keys.app.screen
        assert isinstance(tabs, TabScreen)
        updates = watched(keys, monkeypatch)
        tabs.hold("nobody")
        keys.app.query_one(TitleBar).as_of = "23:59:59"
        await keys.until(lambda: bool(updates))


async def test_a_tab_is_painted_once_with_its_records_when_it_is_first_shown(
    sqlite_ledger: Ledger, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_screen, "HOLD_SECONDS", 3600)
    pool(sqlite_ledger, "openai", amount="100")
    async with console(sqlite_url) as keys:
        painted: list[str] = []
        monkeypatch.setattr(keys.app, "_display", lambda _screen, _update: painted.append(keys.screen))
        await keys.press("3")
        await keys.until(lambda: bool(painted))
        assert "openai" in painted[0] and "1 pool" in painted[0]
