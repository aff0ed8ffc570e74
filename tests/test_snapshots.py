"""How the screens look: every screen and dialog of the tour, every state of tests/pictured.py, and a few conditions.

A picture that changed is looked at before it is accepted: pytest tests/test_snapshots.py --snapshot-update
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from textual.app import App
from textual.pilot import Pilot

from billing_console import i18n
from billing_console.app import BillingConsoleApp
from billing_console.errors import BillingError, NotPermitted, Unavailable
from billing_console.services.ledger import Ledger
from billing_console.services.setup import init
from billing_console.terminal import ConsoleOptions
from tests.factories import TESTER
from tests.keyboard import Keyboard
from tests.pictured import STATES
from tests.stocked import SOMEBODY, open_stocked
from tests.tour import WAYS, set_up_tour

SMALL, LARGE = (80, 24), (120, 40)
GONE = Unavailable("There is no database at /srv/billing.db.", "Run: billing-console init")


class Compare(Protocol):
    """The fixture of pytest-textual-snapshot."""

    def __call__(
        self,
        app: App[int],
        *,
        terminal_size: tuple[int, int],
        run_before: Callable[[Pilot[int]], Awaitable[None]],
    ) -> bool: ...


class Pictured(BillingConsoleApp):
    """The console, in pictures that are the same each time: hashes of the audit log begin with the time of day."""

    def export_screenshot(self, **options: Any) -> str:
        return re.sub(r"\b[0-9a-f]{64}\b", "0" * 64, super().export_screenshot(**options))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The ledger of the tour and an empty one, each made once."""

    places = {name: tmp_path_factory.mktemp(name) / "ledger.db" for name in ("tour", "empty")}
    set_up_tour(f"sqlite:///{places['tour']}")
    init(f"sqlite:///{places['empty']}", founder=SOMEBODY)
    return places


Open = Callable[..., Pictured]


@pytest.fixture
def opening(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """A function that returns the console on a ledger of its own, in a directory that has the same name everywhere."""
    monkeypatch.chdir("/")

    def open_one(name: str = "tour", *, person: str = TESTER.name, read_only: bool = False) -> Pictured:
        place = shutil.copy(made[name], tmp_path)
        options = ConsoleOptions(lambda: open_stocked(f"sqlite:///{place}", person), "ledger.db", read_only=read_only)
        return Pictured(options)

    return open_one


def pressing(app: App[int], keys: tuple[str, ...], top: str, says: str = "") -> Callable[[Pilot[int]], Awaitable[None]]:
    """Press the keys, and be sure that they led where the picture is to be taken."""

    async def press(pilot: Pilot[int]) -> None:
        assert isinstance(app, BillingConsoleApp)
        keyboard = Keyboard(app, pilot)
        await keyboard.settled()
        for part in (keys[:1], keys[1:]):  # a dialog is drawn over a tab that has all it shows
            await keyboard.press(*part)
            for _round in range(8):  # what is asked for once an answer has been drawn, as the use of the users in view
                await keyboard.settled()
        assert type(app.screen).__name__ == top
        assert says in f"{keyboard.screen}\n{keyboard.said}", keyboard.screen

    return press


LOOKS = {
    "80x24-en": (SMALL, "en", False),
    "80x24-zh": (SMALL, "zh", False),
    "120x40-en": (LARGE, "en", False),
    "120x40-zh": (LARGE, "zh", False),
    "80x24-en-no-color": (SMALL, "en", True),
}
"""Size of the terminal, language, and whether NO_COLOR is set."""


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("way", WAYS)
def test_screen(opening: Open, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, way: str, look: str) -> None:
    size, lang, colourless = LOOKS[look]
    i18n.use_language(lang)
    if colourless:
        monkeypatch.setenv("NO_COLOR", "1")
    app = opening()
    assert snap_compare(app, terminal_size=size, run_before=pressing(app, WAYS[way].keys, WAYS[way].top))


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("state", STATES)
def test_state(opening: Open, snap_compare: Compare, state: str, lang: str) -> None:
    i18n.use_language(lang)
    one = STATES[state]
    app = opening(one.ledger)
    there = pressing(app, one.keys, one.top, one.says if lang == "en" else "")
    assert snap_compare(app, terminal_size=SMALL, run_before=there)


def test_a_viewers_console_offers_what_a_viewer_may(opening: Open, snap_compare: Compare) -> None:
    app = opening(person="li.na")
    assert snap_compare(app, terminal_size=SMALL, run_before=pressing(app, ("3",), "TabScreen", "li.na · viewer"))


def test_a_read_only_console_says_so(opening: Open, snap_compare: Compare) -> None:
    app = opening(read_only=True)
    assert snap_compare(app, terminal_size=SMALL, run_before=pressing(app, ("3",), "TabScreen", "READ-ONLY"))


def test_a_database_that_is_gone_is_said_above_a_form_that_stays(opening: Open, snap_compare: Compare) -> None:
    app = opening()

    async def fill_in(pilot: Pilot[int]) -> None:
        await pressing(app, ("3", "c", *"250", "enter", *"INV-7"), "RechargeDialog")(pilot)
        app.report("check", GONE)
        await pilot.pause()

    assert snap_compare(app, terminal_size=SMALL, run_before=fill_in)


@pytest.mark.parametrize(
    "reason",
    [GONE, NotPermitted("zhang.san (uid 1007) is no operator of this ledger.", "Ask an admin of this ledger: li.na.")],
    ids=["no-database", "no-operator"],
)
def test_a_ledger_that_cannot_be_opened_is_explained(snap_compare: Compare, reason: BillingError) -> None:
    def fail() -> Ledger:
        raise reason

    async def opened(pilot: Pilot[int]) -> None:
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()

    app = Pictured(ConsoleOptions(fail, "/srv/billing.db"))
    assert snap_compare(app, terminal_size=SMALL, run_before=opened)
