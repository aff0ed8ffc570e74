"""Whatever is typed, on every screen and dialog, at every size: no crash, and the books still balance."""

from __future__ import annotations

import random
import string
from collections import Counter
from pathlib import Path

import pytest
from textual import events

from billing_console.services.reconcile import reconcile
from tests.keyboard import Keyboard
from tests.stocked import open_stocked
from tests.torture.operations import chosen_seed, is_long
from tests.tour import WAYS, every_screen, set_up_tour, touring

KEYS, LONG_KEYS = 300, 20_000
LONG_SEEDS = 3
SHORT_SEED = "13"
SIZES = [(80, 24), (120, 40)]
TOUR = 100
"""Keys until the console is opened anew."""

BURST = 8
"""Keys that arrive at once, at most."""

COMMANDS = "123456[]aALrestfgGjkhlyYcnvbpHxmi/?: -+!"
TYPED = string.digits + string.ascii_letters + ".:-#%' é东\u202e\x7f"
SPECIAL = [
    *(
        "enter",
        "enter",
        *["escape"] * 5,
        "tab",
        "shift+tab",
        "up",
        "down",
        "left",
        "right",
        "home",
        "end",
        "pageup",
        "pagedown",
    ),
    *("space", "backspace", "delete", "f1", "ctrl+p", "ctrl+c", "ctrl+u", "ctrl+w", "ctrl+a", "ctrl+home", "ctrl+z"),
]
NAMES = {
    "[": "left_square_bracket",
    "]": "right_square_bracket",
    "/": "slash",
    "?": "question_mark",
    ":": "colon",
    " ": "space",
    "-": "minus",
    "+": "plus",
    "!": "exclamation_mark",
    ".": "full_stop",
    "#": "number_sign",
    "%": "percent_sign",
    "'": "apostrophe",
}


def any_key(choose: random.Random) -> events.Key:
    """A command, a key that moves or accepts, or text."""
    kind = choose.random()
    if kind < 0.35:
        return events.Key(choose.choice(SPECIAL), None)
    character = choose.choice(COMMANDS if kind < 0.75 else TYPED)
    return events.Key(NAMES.get(character, character), character)


async def press_at_random(keys: Keyboard, choose: random.Random, way: str, most: int, seen: Counter[str]) -> int:
    """Press up to so many keys, in bursts, from where a way leads; return how many, fewer if they left."""
    keys_there = WAYS[way].keys
    await keys.press(*keys_there)
    pressed = len(keys_there)
    seen[type(keys.app.screen).__name__] += 1
    while pressed < most and keys.app.is_running:
        for _number in range(choose.randint(1, BURST)):
            keys.app.post_message(any_key(choose))
            pressed += 1
        if choose.random() < 0.05:
            await keys.pilot.resize_terminal(choose.randint(1, 130), choose.randint(1, 50))
        await keys.settled()
        seen[type(keys.app.screen).__name__] += 1
    return pressed


async def tour_at_random(url: str, size: tuple[int, int], seed: str, most: int) -> Counter[str]:
    """Press so many keys, in tours that begin at every screen and dialog in turn; return what was seen."""
    choose = random.Random(f"{seed} {size}")
    ways: list[str] = []
    seen = Counter[str]()
    while most > 0:
        ways = ways or choose.sample(list(WAYS), len(WAYS))
        way = ways.pop()
        try:
            async with touring(url, size) as keys:
                most -= await press_at_random(keys, choose, way, min(most, TOUR), seen)
                assert keys.app._exception is None
        except BaseException:
            print(f"{seed=} {size=}: ended on the tour from {way}, with {most} keys left")
            raise
    return seen


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it, on each engine in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("number", range(LONG_SEEDS if is_long() else 1), ids=lambda number: f"seed{number}")
async def test_no_key_crashes_the_console_or_the_books(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    set_up_tour(empty_url)
    # The short form goes the same way every time; new ways are for the long one.
    seed = f"{chosen_seed('random keys')} {number}" if is_long() else SHORT_SEED
    seen = await tour_at_random(empty_url, size, seed, LONG_KEYS if is_long() else KEYS)
    ledger = open_stocked(empty_url)
    assert reconcile(ledger) == ()
    ledger.close()
    print(f"random keys {size}: {len(seen)} kinds of screen, {dict(seen.most_common())}")
    never = {kind.__name__ for kind in every_screen()} - set(seen)
    assert not (is_long() and never), f"never reached: {never}"
