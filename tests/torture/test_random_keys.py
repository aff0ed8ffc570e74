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
from tests.tour import WAYS, set_up_tour, touring

KEYS, LONG_KEYS = 300, 20_000
SIZES = [(80, 24), (120, 40)]
SHORT_SEED = "13"
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


async def press_at_random(keys: Keyboard, choose: random.Random, most: int, seen: Counter[str]) -> int:
    """Press up to so many keys, in bursts, from a screen chosen at random; return how many, fewer if they left."""
    way = WAYS[choose.choice(list(WAYS))].keys
    await keys.press(*way)
    pressed = len(way)
    while pressed < most and keys.app.is_running:
        for _number in range(choose.randint(1, BURST)):
            keys.app.post_message(any_key(choose))
            pressed += 1
        if choose.random() < 0.05:
            await keys.pilot.resize_terminal(choose.randint(1, 130), choose.randint(1, 50))
        await keys.settled()
        seen[type(keys.app.screen).__name__] += 1
    return pressed


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_key_crashes_the_console_or_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    set_up_tour(url)
    # The short form goes the same way every time; new ways are for the long one.
    choose = random.Random(f"{chosen_seed('random keys') if is_long() else SHORT_SEED} {size}")
    left, seen = LONG_KEYS if is_long() else KEYS, Counter[str]()
    while left > 0:
        async with touring(url, size) as keys:
            left -= await press_at_random(keys, choose, min(left, 100), seen)
            assert keys.app._exception is None
    ledger = open_stocked(url)
    assert reconcile(ledger) == ()
    ledger.close()
    print(f"random keys {size}: {len(seen)} kinds of screen, {dict(seen.most_common())}")
    assert len(seen) > 3
