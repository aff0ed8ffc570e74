"""Roles at the keyboard: what somebody may not do is not offered, and its keys change nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from billing_console.app import TABS, BillingConsoleApp
from billing_console.errors import NotPermitted
from billing_console.services.actions import Action
from billing_console.services.audit import list_audit
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.operators import add_operator, remove_operator, role_now
from billing_console.terminal import ConsoleOptions
from db.values import Outcome, Role
from screens.widgets.keybar import bindings_in_order
from tests.factories import TESTER, acting, everything, pool, price, query, spend
from tests.keyboard import Keyboard, console

NAME = "zhang.min"

WRITES = {"recharge", "check_now", "grant", "revoke", "switch_model", "add_price"}
"""Everything on the tabs that changes the ledger."""

OPERATORS = WRITES - {"add_price"}
"""What of it an operator is offered."""

KEYS = {"3": "cn", "4": "cv", "5": " ", "6": "p"}
"""The keys of those, by tab."""


@pytest.fixture
def stocked(ledger: Ledger) -> Ledger:
    """A ledger in which every tab has a row to work on, and every pool was checked a moment ago."""
    pool(ledger, "openai", "100")
    price(ledger)
    spend(ledger, "5")
    acting(ledger, NAME, Role.VIEWER)
    return ledger


def as_viewer(url: str) -> AbstractAsyncContextManager[Keyboard]:
    return console(url, name=NAME, size=(120, 40))


def read_only(url: str) -> AbstractAsyncContextManager[Keyboard]:
    return console(url, read_only=True, size=(120, 40))


def offered(keys: Keyboard) -> set[str]:
    """The actions of keys, help and palette, which are all made from the same bindings."""
    return {active.binding.action for active in bindings_in_order(keys.app.screen)}


def in_palette(keys: Keyboard) -> set[str]:
    return {command.title for command in keys.app.get_system_commands(keys.app.screen)}


async def tour(keys: Keyboard) -> set[str]:
    """What is offered on all the tabs together."""
    found = set()
    for number in range(1, len(TABS) + 1):
        await keys.press(str(number))
        found |= offered(keys)
    return found & WRITES


@pytest.mark.parametrize("session", [as_viewer, read_only])
async def test_who_only_reads_is_offered_no_change_and_makes_none(
    stocked: Ledger, database_url: str, session: Callable[[str], AbstractAsyncContextManager[Keyboard]]
) -> None:
    before, rows = everything(stocked), len(list_audit(stocked))
    async with session(database_url) as keys:
        assert await tour(keys) == set()
        for number, pressed in KEYS.items():
            await keys.press(number)
            words = {"Recharge", "Check now", "Grant", "Take back", "Enable/disable", "Add price"}
            assert not words & in_palette(keys)
            for key in pressed:
                await keys.press("space" if key == " " else key)
                assert len(keys.app.screen_stack) == 1
            await keys.press("question_mark")
            assert not any(word in keys.screen for word in words)
            await keys.press("escape")
        await keys.press("3", "H", "v")
        assert "Recharge history" in keys.screen and "Reverse" not in keys.screen
        await keys.press("escape", "A", "a", "x")
        assert "Approvals" in keys.screen
        await keys.press("escape")
    assert everything(stocked) == before
    assert len(list_audit(stocked)) == rows


async def test_an_operator_recharges_grants_and_toggles_but_sets_no_price_and_reverses_nothing(
    stocked: Ledger, database_url: str
) -> None:
    add_operator(stocked, NAME, Role.OPERATOR)
    async with console(database_url, name=NAME, size=(120, 40)) as keys:
        assert await tour(keys) == OPERATORS
        await keys.press("6", "p")
        assert len(keys.app.screen_stack) == 1
        await keys.press("3", "H", "v")
        assert "Reverse" not in keys.screen
        await keys.press("escape", "c", "7", "enter", "r", "enter", "y")
    assert query(stocked, "SELECT operator FROM recharges ORDER BY id DESC LIMIT 1") == [(NAME,)]


async def test_an_admin_is_offered_everything(stocked: Ledger, database_url: str) -> None:
    async with console(database_url, size=(120, 40)) as keys:
        assert await tour(keys) == WRITES
        await keys.press("3", "H")
        assert "v Reverse" in keys.screen


@pytest.mark.parametrize("width", [80, 120])
async def test_the_title_says_who_works_and_as_what(stocked: Ledger, database_url: str, width: int) -> None:
    async with console(database_url, name=NAME, size=(width, 24)) as keys:
        assert f"{NAME} · viewer" in keys.lines[0]
        assert "Asia/Shanghai" in keys.lines[0]


async def test_the_name_of_the_database_gives_way_to_the_person(stocked: Ledger, database_url: str) -> None:
    add_operator(stocked, "n" * 90, Role.VIEWER)
    async with console(database_url, name="n" * 90, read_only=True) as keys:
        title = keys.lines[0]
        assert "a ledger" in title and "… · viewer" in title
        assert "READ-ONLY" in title and "Asia/Shanghai" in title


async def test_a_viewers_console_checks_no_pool(stocked: Ledger, database_url: str) -> None:
    """Nor does it leave rows of refusals while it stands open."""
    with stocked.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE resource_pools SET last_check_at = NULL")
    rows = len(list_audit(stocked))
    async with as_viewer(database_url) as keys:
        assert keys.app._pool_timer is None
        await keys.press("3", "r", "r")
    assert query(stocked, "SELECT last_check_at FROM resource_pools") == [(None,)]
    assert len(list_audit(stocked)) == rows


async def test_empty_tabs_advise_only_what_somebody_may_do(ledger: Ledger, database_url: str) -> None:
    acting(ledger, NAME, Role.VIEWER)
    async with as_viewer(database_url) as keys:
        for number in ("1", "3", "4", "5", "6"):
            await keys.press(number)
            assert "known yet." in keys.screen or "recorded yet." in keys.screen
            assert "billing-console " not in keys.screen and "Press " not in keys.screen


# A role that changes while the console is open


async def test_a_role_that_was_taken_refuses_the_form_that_is_open(stocked: Ledger, database_url: str) -> None:
    add_operator(stocked, NAME, Role.OPERATOR)
    async with console(database_url, name=NAME) as keys:
        await keys.press("3", "c", "7", "enter", "r", "enter")
        add_operator(stocked, NAME, Role.VIEWER)
        await keys.press("y")
        shown = " ".join(keys.screen.replace("│", " ").split())
        assert "has the role “viewer”" in shown and "nothing was changed" in shown
        assert "Ask an admin of this ledger" in shown
    assert query(stocked, "SELECT COUNT(*) FROM recharges") == [(1,)]
    refusal = list_audit(stocked, limit=1)[0]
    assert (refusal.operator, refusal.action, refusal.outcome) == (NAME, Action.RECHARGE, Outcome.REFUSED)


async def test_another_role_is_noticed_without_a_key(stocked: Ledger, database_url: str) -> None:
    add_operator(stocked, NAME, Role.OPERATOR)
    async with console(database_url, name=NAME, size=(120, 24), refresh_seconds=0.05) as keys:
        await keys.press("3")
        assert "Recharge" in keys.lines[-1] and keys.app._pool_timer is not None
        add_operator(stocked, NAME, Role.VIEWER)
        await keys.until(lambda: "· viewer" in keys.lines[0] and "Recharge" not in keys.lines[-1])
        assert keys.app._pool_timer is None
        add_operator(stocked, NAME, Role.ADMIN)
        await keys.until(lambda: "· admin" in keys.lines[0] and "Recharge" in keys.lines[-1])
        assert keys.app._pool_timer is not None
        assert "p Add price" not in keys.lines[-1]


@pytest.mark.parametrize("under", [(), ("c",), ("H",), ("question_mark",), ("colon",)])
async def test_somebody_removed_sees_why_instead_of_data(
    stocked: Ledger, database_url: str, under: tuple[str, ...]
) -> None:
    add_operator(stocked, NAME, Role.OPERATOR)
    async with console(database_url, name=NAME, size=(120, 24), refresh_seconds=0.05) as keys:
        await keys.press("3")
        assert "¥95.00" in keys.screen
        for key in under:
            await keys.pilot.press(key)
        remove_operator(stocked, NAME)
        rows = len(list_audit(stocked))
        await keys.until(lambda: f"{NAME} (uid" in keys.screen)
        for _round in range(20):
            await keys.pilot.pause(0.02)
        assert "is no operator of this ledger" in keys.screen
        assert "Ask an admin of this ledger: " in keys.screen and "r tries again." in keys.screen
        assert "¥" not in keys.screen and NAME not in keys.lines[0]
        assert keys.app.ledger is None and len(keys.app.screen_stack) == 1
        assert len(list_audit(stocked)) == rows
        for key in ("1", "2", "4", "3", "c", "a", "A", "L", "e"):
            await keys.pilot.press(key)
            await keys.pilot.pause()
            assert "¥" not in keys.screen and len(keys.app.screen_stack) == 1

        await keys.pilot.press("r")
        await keys.until(lambda: len(list_audit(stocked)) == rows + 1)
        refusal = list_audit(stocked, limit=1)[0]
        assert (refusal.operator, refusal.action, refusal.outcome) == (NAME, Action.OPEN, Outcome.REFUSED)

        add_operator(stocked, NAME, Role.VIEWER)
        await keys.pilot.press("r")
        await keys.until(lambda: "¥95.00" in keys.screen and "· viewer" in keys.lines[0])


async def test_a_stranger_is_told_whom_to_ask_and_audited_once(stocked: Ledger, database_url: str) -> None:
    rows = len(list_audit(stocked))
    options = ConsoleOptions(lambda: _opened_by("li.na", database_url), "a ledger", refresh_seconds=0.02)
    app = BillingConsoleApp(options)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        keys = Keyboard(app, pilot)
        await keys.until(lambda: "li.na (uid" in keys.screen)
        for _round in range(20):
            await pilot.pause(0.02)
        assert "Ask an admin of this ledger: " in keys.screen and "r tries again." in keys.screen
        assert len(list_audit(stocked)) == rows + 1
        await pilot.press("r")
        await keys.until(lambda: len(list_audit(stocked)) == rows + 2)


def _opened_by(name: str, url: str) -> Ledger:
    return open_ledger(url, actor=replace(TESTER, name=name))


def test_the_role_now_is_asked_of_the_ledger(ledger: Ledger) -> None:
    somebody = acting(ledger, NAME, Role.OPERATOR)
    assert role_now(somebody) is Role.OPERATOR
    add_operator(ledger, NAME, Role.VIEWER)
    assert role_now(somebody) is Role.VIEWER
    remove_operator(ledger, NAME)
    with pytest.raises(NotPermitted, match="is no operator"):
        role_now(somebody)
