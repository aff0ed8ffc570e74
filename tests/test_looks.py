"""Colours and characters for every terminal: themes, 16 colours, none, and plain ASCII."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from billing_console.app_looks import THEMES
from billing_console.services.ledger import Ledger
from tests.factories import pool
from tests.keyboard import console
from tests.stocked import open_stocked
from tests.terminal import terminal
from tests.tour import WAYS, set_up_tour

SGR = re.compile(rb"\x1b\[([\d;:]*)m")


def colours(raw: bytes) -> set[bytes]:
    """The colour codes sent: 38 and 48 lead beyond the 16 colours, 39 and 49 mean that of the terminal, so none."""
    return {
        code for codes in SGR.findall(raw) for code in codes.split(b";") if re.fullmatch(rb"[34][0-8]|9\d|10\d", code)
    }


@pytest.fixture(scope="module")
def toured_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{Path(tmp_path_factory.mktemp('toured')) / 'ledger.db'}"
    set_up_tour(url)
    return url


@pytest.mark.parametrize("theme", THEMES)
async def test_a_theme_of_the_settings_colours_the_console(sqlite_url: str, theme: str) -> None:
    async with console(sqlite_url, theme=theme) as keys:
        assert keys.app.current_theme.name == THEMES[theme].theme
        for number in "123456":
            await keys.press(number, "question_mark", "escape")


async def test_a_theme_of_the_palette_says_how_it_is_kept(sqlite_url: str) -> None:
    async with console(sqlite_url) as keys:
        await keys.press("colon")
        await keys.type("Colours: light")
        await keys.until(lambda: "theme = “light”" in keys.screen)
        await keys.press("enter")
        await keys.until(lambda: keys.app.current_theme.name == "textual-light")


async def test_plain_ascii_draws_every_screen_without_lines_blocks_and_arrows(toured_url: str) -> None:
    async with console(toured_url, ascii=True, opening=lambda: open_stocked(toured_url)) as keys:
        for way in WAYS.values():
            await keys.press(*way.keys)
            drawn = {
                character
                for line in keys.lines
                for character in line
                if not character.isascii() and unicodedata.category(character) not in ("Lo", "Sc")
            }
            assert drawn == set(), way
            while len(keys.app.screen_stack) > 1:
                await keys.press("escape")


def test_the_option_draws_plain_ascii_too(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    with terminal("--database", sqlite_url, "--ascii") as plain:
        plain.until("No usage has been recorded yet.")
        plain.type("3")
        plain.until("* sufficient")
        plain.type("c")
        assert "+-----" in plain.until("Recharge openai")


def test_a_terminal_of_16_colours_gets_no_others(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    with terminal("--database", sqlite_url, TERM="linux") as few:
        few.until("No usage has been recorded yet.")
        few.type("3")
        few.until("● sufficient")
        assert colours(few.raw)
        assert not colours(few.raw) & {b"38", b"48"}


def test_no_color_sends_no_colour_at_all(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    with terminal("--database", sqlite_url, NO_COLOR="1") as none:
        none.until("No usage has been recorded yet.")
        none.type("3")
        none.until("● sufficient")
        assert colours(none.raw) == set()
