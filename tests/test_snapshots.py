"""How the screens look: six tabs on two terminal sizes in two languages, and what lies over them.

A picture that changed is looked at before it is accepted: pytest tests/test_snapshots.py --snapshot-update
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Protocol

import pytest
from textual.app import App
from textual.pilot import Pilot

from billing_console import i18n
from billing_console.app import TABS, BillingConsoleApp
from billing_console.errors import NotPermitted, Unavailable
from billing_console.services.decisions import reject
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.quotas import grant_quota
from billing_console.services.recharges import recharge
from billing_console.terminal import ConsoleOptions
from db.values import LimitName, Role
from tests.factories import TESTER, acting, set_up
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


@pytest.fixture(scope="module")
def asked_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same ledger, with requests that wait for the tester's approval, a decided one, a refusal and a viewer."""

    url = f"sqlite:///{tmp_path_factory.mktemp('asked') / 'ledger.db'}"
    set_up(url)
    ledger = open_stocked(url)
    stock(ledger)
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(500))
    asker, viewer = acting(ledger, "wang.fang"), acting(ledger, "li.na", Role.VIEWER)
    grant_quota(asker, "东京团队", Decimal("700.5"), reference="TICKET-9", key="k-1")
    recharge(asker, "openai", Decimal(90000), reference="INV-20260310", note="first quarter", key="k-2")
    recharge(asker, "deepseek", Decimal(600), reference="INV-20260311", key="k-3")
    reject(ledger, 3, reason="the invoice names another account")
    with pytest.raises(NotPermitted):
        grant_quota(viewer, "u-00007", Decimal(5), reference="TICKET-10")
    ledger.close()
    return url


def console_on(url: str, *, read_only: bool = False, name: str = TESTER.name) -> BillingConsoleApp:
    return BillingConsoleApp(ConsoleOptions(lambda: open_stocked(url, name), "ledger.db", read_only=read_only))


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


FOUR_EYES = {
    "asked": ("3",),
    "approvals": ("A",),
    "approve": ("A", "j", "a"),
    "request": ("A", "j", "j", "enter"),
    "overdraft": ("3", "H", "v", "x", "enter"),
    "audit": ("L", "slash", *"tester", "enter"),
    "audit-filter": ("L", "slash", *"tester", "enter", "slash"),
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("screen", FOUR_EYES)
def test_four_eyes_and_audit(asked_url: str, snap_compare: Compare, screen: str, size: tuple[int, int]) -> None:
    app = console_on(asked_url)
    assert snap_compare(app, terminal_size=size, run_before=pressing(app, *FOUR_EYES[screen]))


def test_a_viewers_console_offers_what_a_viewer_may(asked_url: str, snap_compare: Compare) -> None:
    app = console_on(asked_url, name="li.na")
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing(app, "3"))


def test_somebody_who_is_no_operator_is_told_whom_to_ask(asked_url: str, snap_compare: Compare) -> None:
    def refuse() -> Ledger:
        raise NotPermitted("zhang.san (uid 1007) is no operator of this ledger.", "Ask an admin of this ledger: li.na.")

    async def opened(pilot: Pilot[int]) -> None:
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()

    app = BillingConsoleApp(ConsoleOptions(refuse, "/srv/billing.db"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=opened)


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
