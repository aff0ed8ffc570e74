"""Keys by other names: the palette over all tabs, and the keys of the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.command import CommandList

from billing_console.app import BillingConsoleApp
from billing_console.app_keys import keymap
from billing_console.errors import Unavailable
from billing_console.services.ledger import Ledger
from billing_console.settings import load_settings
from db.values import Role
from tests.factories import acting, pool, price, spend
from tests.keyboard import Keyboard, console


async def choose(keys: Keyboard, words: str) -> None:
    """Search the palette and take the first hit."""
    await keys.press("colon")
    await keys.type(words)
    await keys.until(lambda: "Key: " in keys.screen)
    await keys.press("enter")
    await keys.settled()


async def test_the_palette_runs_an_action_of_a_tab_that_was_never_shown(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url) as keys:
        await choose(keys, "Resource pools: Recharge")
        await keys.until(lambda: "Recharge openai" in keys.screen)
        await keys.press("escape")
        assert keys.app.pane is not None and keys.app.pane.NAME == "pools"
        await choose(keys, "User quotas: Grant")
        await keys.until(lambda: "Grant quota" in keys.screen)


async def test_the_palette_says_so_where_an_action_has_nothing_to_act_on(sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await choose(keys, "Resource pools: History")
        await keys.until(lambda: "not possible here now" in keys.said)


async def test_page_keys_in_a_palette_that_found_nothing_do_nothing(sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("colon")
        await keys.type("zzzzqqqq")
        await keys.press("pagedown", "pageup", "home", "end", "down", "up", "enter")
        assert keys.app.is_running


async def test_the_palette_tells_without_colour_which_command_is_chosen(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with console(sqlite_url) as keys:

        def look() -> list[tuple[str, bool | None, bool | None]]:
            line = keys.app.screen.query_one(CommandList).render_line(0)
            return [(part.text, part.style.bold, part.style.underline) for part in line if part.style is not None]

        await keys.press("colon")
        await keys.until(lambda: "Key: " in keys.screen)
        chosen = look()
        await keys.press("down")
        assert look() != chosen


async def test_the_palette_offers_a_viewer_nothing_that_writes(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    acting(sqlite_ledger, "li.na", Role.VIEWER)
    async with console(sqlite_url, name="li.na") as keys:
        offered = {command.title for command in keys.app.get_system_commands(keys.app.screen)}
        assert "Resource pools: Filter" not in offered
        assert "Resource pools: History" in offered
        assert not offered & {"Resource pools: Recharge", "User quotas: Grant", "Pricing: Add price"}


async def test_every_binding_of_every_tab_is_in_the_palette(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    spend(sqlite_ledger, "1")
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url) as keys:
        offered = {command.title for command in keys.app.get_system_commands(keys.app.screen)}
    wanted = {"Failed only", "Cost statistics: Group by", "Resource pools: Check now", "User quotas: Take back"}
    assert wanted | {"Models: Enable/disable", "Pricing: Add price", "Audit log", "Colours: light"} <= offered


async def test_keys_of_the_settings_take_the_place_of_the_usual_ones(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    pool(sqlite_ledger, "openai", "100")
    chosen = {"pools-recharge": "R", "table-down": "down,n", "pools-check-now": "N"}
    async with console(sqlite_url, size=(120, 60), keys=chosen) as keys:
        await keys.press("3")
        assert " R Recharge" in keys.lines[-1]
        await keys.press("c")
        assert len(keys.app.screen_stack) == 1
        await keys.press("question_mark")
        assert ["R", "Recharge"] in [line.strip(" │").split() for line in keys.lines]
        await keys.press("escape", "R")
        assert "Recharge openai" in keys.screen


async def test_a_key_of_the_settings_keeps_the_place_of_its_action(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    pool(sqlite_ledger, "openai", "100")
    feet = []
    for chosen in ({}, {"pools-recharge": "R", "table-details": "o", "console-quit": "Q"}):
        async with console(sqlite_url, size=(200, 24), keys=chosen) as keys:
            await keys.press("3")
            feet.append(keys.lines[-1])
    usual, moved = feet
    assert (
        moved
        == usual.replace("c Recharge", "R Recharge")
        .replace("Enter Details", "o Details")
        .replace("q Quit", "Q Quit")
        .ljust(len(moved))[: len(moved)]
    )


async def test_texts_name_the_keys_of_the_settings(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    chosen = {"quotas-grant": "C", "tab-clear-filter": "z"}
    async with console(sqlite_url, size=(120, 40), keys=chosen) as keys:
        await keys.press("4")
        assert "Press C to grant the first quota" in keys.screen
        price(sqlite_ledger)
        await keys.press("5", "slash")
        await keys.type("nobody")
        await keys.press("enter")
        assert "Nothing matches the filter. z clears it." in keys.screen


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ({"pool-recharge": "R"}, "no action. Did you mean “pools-recharge”"),
        ({"pools-recharge": "n"}, "pools-check-now"),
        ({"pools-recharge": "a"}, "console-alerts"),
        ({"table-sort": "enter"}, "table-details"),
        ({"approvals-approve": "x"}, "approvals-reject. Free is “X”"),
        ({"console-quit": "ctrl+shift+hyper"}, "which there is not. Did you mean “ctrl+shift+"),
    ],
)
def test_keys_that_cannot_be_are_refused_with_the_nearest_that_can(chosen: dict[str, str], complaint: str) -> None:
    with pytest.raises(Unavailable) as refused:
        keymap(chosen, BillingConsoleApp)
    assert complaint in str(refused.value)


def test_two_actions_can_swap_their_keys() -> None:
    chosen = {"pools-recharge": "n", "pools-check-now": "c"}
    assert keymap(chosen, BillingConsoleApp) == chosen


def test_the_settings_file_names_keys_in_a_table(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('theme = "light"\n[keys]\npools-recharge = "R"\n')
    settings = load_settings({}, file)
    assert settings.keys == {"pools-recharge": "R"}
    assert settings.theme == "light"
