from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from billing_console.services.ledger import Ledger
from tests.commands import command, shell
from tests.factories import pool, spend
from tests.terminal import Terminal, terminal

ALTERNATE_SCREEN = 1049
MOUSE = {9, 1000, 1001, 1002, 1003, 1005, 1006, 1015, 1016}
SOON = 2
"""Seconds in which the console ends, whatever it is doing."""

EMPTY = "No usage has been recorded yet."


def restored(console: Terminal) -> bool:
    """Whether the terminal is as it was, whatever the program did to it meanwhile."""
    return console.modes_left_on() == set() and console.attributes == console.before


def test_q_leaves_and_gives_the_terminal_back(sqlite_url: str) -> None:
    with terminal("--database", sqlite_url) as console:
        console.until(EMPTY)
        assert ALTERNATE_SCREEN in console.modes_used()
        assert not MOUSE & console.modes_used()
        assert not restored(console)
        console.type("q")
        assert console.end() == 0
        assert restored(console)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_console_at_once_and_gives_the_terminal_back(sqlite_url: str, number: signal.Signals) -> None:
    with terminal("--database", sqlite_url) as console:
        console.until(EMPTY)
        console.process.send_signal(number)
        assert console.end(SOON) == 128 + number
        assert restored(console)


def test_sighup_ends_the_console_also_while_it_waits_for_a_database(tmp_path: Path) -> None:
    with terminal("--database", f"sqlite:///{tmp_path / 'none.db'}") as console:
        console.until("There is no database")
        console.process.send_signal(signal.SIGHUP)
        assert console.end(SOON) == 128 + signal.SIGHUP
        assert restored(console)


def test_sigterm_does_not_wait_for_a_lock_that_somebody_else_holds(sqlite_url: str) -> None:
    with terminal("--database", sqlite_url, BILLING_CONSOLE_REFRESH_SECONDS="1") as console:
        console.until(EMPTY)
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        console.until("waiting for the database")
        console.process.send_signal(signal.SIGTERM)
        assert console.end(SOON) == 128 + signal.SIGTERM
        assert restored(console)
        other.close()


@pytest.mark.parametrize("controlling", [True, False], ids=["told", "not told"])
def test_a_lost_connection_leaves_no_process(sqlite_url: str, controlling: bool) -> None:
    with terminal("--database", sqlite_url, controlling=controlling) as console:
        console.until(EMPTY)
        console.hang_up()
        assert console.process.wait(SOON) != 0
        with pytest.raises(ProcessLookupError):
            os.killpg(console.process.pid, 0)


def test_without_a_terminal_the_commands_are_named(sqlite_url: str) -> None:
    answer = command("--database", sqlite_url)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "billing-console: the console needs a terminal. Without one, use the commands; see: billing-console --help\n"
    )


@pytest.mark.parametrize("redirection", ['"$@" </dev/null', '"$@" >&-', '"$@" 2>&-'])
def test_a_stream_that_is_no_terminal_is_enough_to_refuse(sqlite_url: str, redirection: str) -> None:
    assert shell(redirection, "--database", sqlite_url).code == 2


@pytest.mark.parametrize("name", ["dumb", ""])
def test_a_terminal_that_cannot_draw_is_refused_before_anything_is_sent_to_it(sqlite_url: str, name: str) -> None:
    with terminal("--database", sqlite_url, TERM=name) as console:
        assert console.end() == 2
        assert b"\x1b" not in console.raw
        assert "the console needs a terminal" in console.screen


def test_a_missing_database_is_said_in_the_console_and_awaited(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'later.db'}"
    with terminal("--database", url, BILLING_CONSOLE_REFRESH_SECONDS="1") as console:
        screen = console.until("Trying again every 1 s")
        assert "There is no database at" in screen
        assert "billing-console init" in screen
        assert command("--database", url, "init").code == 0
        screen = console.until(EMPTY)
        assert "There is no database" not in screen
        console.type("q")
        assert console.end() == 0


def test_settings_that_cannot_be_used_are_said_before_the_screen_changes(tmp_path: Path) -> None:
    with terminal(size=(200, 24), BILLING_CONSOLE_REFRESH_SECONDS="often") as console:
        assert console.end() == 3
        assert b"\x1b" not in console.raw
        assert "BILLING_CONSOLE_REFRESH_SECONDS does not have a value it can take." in console.screen


def test_an_alert_raised_elsewhere_appears_without_a_key_and_goes(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    with terminal("--database", sqlite_url, BILLING_CONSOLE_REFRESH_SECONDS="1") as console:
        console.until(EMPTY)
        spend(sqlite_ledger, "95")
        assert command("--database", sqlite_url, "check-pools").code == 1
        assert "available ¥5.00" in console.until("5.00%")
        done = command("--database", sqlite_url, "pools", "recharge", "openai", "900", "--reference", "r", "--yes")
        assert done.code == 0
        console.until_gone("5.00%")


def test_a_size_that_a_shell_left_behind_is_not_believed(sqlite_url: str) -> None:
    with terminal("--database", sqlite_url, size=(120, 30), COLUMNS="80", LINES="24") as console:
        console.until(EMPTY)
        console.type("L")
        assert "─" * 118 in console.until("Audit log")


def test_a_large_chinese_terminal_is_given_back_too(sqlite_url: str) -> None:
    with terminal("--database", sqlite_url, size=(200, 50), LANG="zh_CN.UTF-8") as console:
        console.until("Asia/Shanghai")
        console.type("q")
        assert console.end() == 0
        assert restored(console)
