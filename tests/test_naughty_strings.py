"""Naughty strings in every text column: nothing runs, no control byte reaches the terminal, columns stay aligned."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from wcwidth import wcwidth

from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.metering import record_usage
from billing_console.services.models import set_model_enabled
from billing_console.services.operators import add_operator
from billing_console.services.quotas import grant_quota
from billing_console.services.reconcile import reconcile
from db.values import CallStatus, Role
from tests.factories import TESTER, pay, pool, price, set_up, usage
from tests.keyboard import Keyboard, console
from tests.naughty import naughty
from tests.terminal import terminal

SEQUENCE = re.compile(r"\x1b(?:\[[0-9;:?<>=]*\$?[@-~]|\]22;default\x07)")
"""What Textual itself sends: CSI sequences and the shape of the pointer, nothing that sets a title or the clipboard."""

WAYS = (
    *("1", "2", "3", "4", "5", "6", "a", "L"),
    *(
        ("1", "enter"),
        ("3", "enter"),
        ("3", "H"),
        ("3", "c"),
        ("4", "enter"),
        ("4", "c"),
        ("5", "enter"),
        ("6", "enter"),
    ),
)


@pytest.fixture(scope="module")
def naughty_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger whose every text came from the worst of outsides."""
    url = f"sqlite:///{Path(tmp_path_factory.mktemp('naughty')) / 'ledger.db'}"
    set_up(url)
    with _opened(url) as ledger:
        for number, text in enumerate(naughty()):
            call = {"user_id": text, "provider_id": text, "model_id": text, "request_id": f"{number} {text}"[:200]}
            failed = {"status": CallStatus.FAILED, "error_message": text} if number % 2 else {}
            record_usage(ledger, [usage(**call, **failed, cost_amount=Decimal(number + 1))])
        for text in naughty()[::7]:
            pool(ledger, text, name=text)
            pay(ledger, "7", text, reference=text, note=text)
            grant_quota(ledger, text, Decimal(3), reference=text, key=text)
            price(ledger, provider_id=text, model_id=text)
            set_model_enabled(ledger, text, text, False, reason=text)
            add_operator(ledger, text[:90].strip() or "x", Role.VIEWER)
    return url


@contextmanager
def _opened(url: str) -> Iterator[Ledger]:
    ledger = open_ledger(url, actor=TESTER)
    try:
        yield ledger
    finally:
        ledger.close()


def assert_inert(keys: Keyboard, width: int) -> None:
    """Every line is printable, and exactly as wide as the terminal, however terminals count."""
    for line in keys.lines:
        odd = [hex(ord(c)) for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
        assert odd == [], repr(line)
        assert sum(max(wcwidth(character), 0) for character in line) == width, repr(line)


@pytest.mark.parametrize("way", WAYS, ids="-".join)
async def test_every_screen_shows_them_inert_and_aligned(naughty_url: str, way: str | tuple[str, ...]) -> None:
    async with console(naughty_url, size=(120, 40)) as keys:
        await keys.press(*way)
        assert_inert(keys, 120)
        for _page in range(len(naughty()) // 40 + 1):
            await keys.press("pagedown")
            assert_inert(keys, 120)
        assert keys.app.is_running


def test_no_control_byte_of_theirs_reaches_a_real_terminal(naughty_url: str) -> None:
    with terminal("--database", naughty_url, size=(200, 60)) as real:
        real.until("newest first")
        for number in "23456":
            real.type(number)
            real.until(f"{number} ")
        real.type("1" + "\x1b[6~" * 12 + "G" + "L")
        assert "─" * 190 in real.until("Audit log")
        real.type("\x1b[6~" * 6 + "\x1b")
        real.until_gone("Audit log")
        real.type("q")
        assert real.end() == 0
        sent = SEQUENCE.sub("", real.raw.decode())
        assert re.findall(r".{0,30}[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f].{0,30}", sent) == []


def test_the_books_of_a_naughty_ledger_balance(naughty_url: str) -> None:
    with _opened(naughty_url) as ledger:
        assert reconcile(ledger) == ()
