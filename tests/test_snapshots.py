"""How the screens look: six tabs on two terminal sizes in two languages, and what lies over them.

A picture that changed is looked at before it is accepted: pytest tests/test_snapshots.py --snapshot-update
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest
from textual.app import App
from textual.pilot import Pilot

from billing_console import i18n
from billing_console.app import TABS, BillingConsoleApp
from billing_console.errors import Unavailable
from billing_console.services.ledger import Ledger
from billing_console.terminal import ConsoleOptions
from tests.factories import set_up
from tests.keyboard import Keyboard
from tests.stocked import open_stocked, stock

SIZES = [(80, 24), (120, 40)]
LANGUAGES = ["en", "zh"]


class Compare(Protocol):
    """The fixture of pytest-textual-snapshot."""

    def __call__(
        self,
        app: App[int],
        *,
        terminal_size: tuple[int, int],
        run_before: Callable[[Pilot[int]], Awaitable[None]],
    ) -> bool: ...


@pytest.fixture(scope="module")
def stocked_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger with something of everything; the snapshots only look at it."""

    url = f"sqlite:///{tmp_path_factory.mktemp('stocked') / 'ledger.db'}"
    set_up(url)
    ledger = open_stocked(url)
    stock(ledger)
    ledger.close()
    return url


def console_on(url: str, *, read_only: bool = False) -> BillingConsoleApp:
    return BillingConsoleApp(ConsoleOptions(lambda: open_stocked(url), "ledger.db", read_only=read_only))


def pressing(app: BillingConsoleApp, *keys: str) -> Callable[[Pilot[int]], Awaitable[None]]:
    async def press(pilot: Pilot[int]) -> None:
        keyboard = Keyboard(app, pilot)
        await keyboard.settled()
        await keyboard.press(*keys)

    return press


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("tab", [tab.id for tab in TABS])
def test_tab(stocked_url: str, snap_compare: Compare, tab: str, size: tuple[int, int], lang: str) -> None:
    i18n.use_language(lang)
    app = console_on(stocked_url)
    number = [one.id for one in TABS].index(tab) + 1
    assert snap_compare(app, terminal_size=size, run_before=pressing(app, str(number)))


OVERLAYS = {
    "usage-details": ("j", "j", "j", "j", "enter"),
    "usage-filter": ("slash",),
    "recharge": ("3", "c"),
    "recharge-confirm": ("3", "c", "5", "0", "0", "enter", "B", "T", "enter"),
    "recharge-history": ("3", "H"),
    "pool-details": ("3", "enter"),
    "grant": ("4", "c"),
    "quota-details": ("4", "enter"),
    "model-toggle": ("5", "space"),
    "price-form": ("6", "p"),
    "price-history": ("6", "enter"),
    "alerts": ("a",),
    "help": ("3", "question_mark"),
}
"""Dialogs, and the keys that open them."""


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_dialog(stocked_url: str, snap_compare: Compare, overlay: str, lang: str) -> None:
    i18n.use_language(lang)
    app = console_on(stocked_url)
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing(app, *OVERLAYS[overlay]))


def test_a_read_only_console_says_so(stocked_url: str, snap_compare: Compare) -> None:
    app = console_on(stocked_url, read_only=True)
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing(app, "3"))


def test_an_empty_ledger_says_what_to_do(sqlite_ledger: Ledger, sqlite_url: str, snap_compare: Compare) -> None:
    app = console_on(sqlite_url)
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing(app, "6"))


def test_a_database_that_cannot_be_opened_is_explained(snap_compare: Compare) -> None:
    def fail() -> Ledger:
        raise Unavailable("There is no database at /srv/billing.db.", "Run: billing-console init")

    async def opened(pilot: Pilot[int]) -> None:
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()

    app = BillingConsoleApp(ConsoleOptions(fail, "/srv/billing.db"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=opened)


def test_without_colours_states_are_words_and_symbols(
    stocked_url: str, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = console_on(stocked_url)
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing(app, "3"))
