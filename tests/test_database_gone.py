"""A database that goes away under an open console, comes back, or is another one then."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from queue import Queue

import pytest

from billing_console import pool_timer
from billing_console.errors import BillingError, Replaced
from billing_console.pool_timer import PoolTimer
from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool, list_pools
from tests.conftest import OpenLedger
from tests.factories import pay, pool, set_up
from tests.keyboard import Keyboard, console
from tests.relay import relayed


@pytest.fixture
def short_place() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="relay-") as name:
        yield Path(name)


async def half_filled_form(keys: Keyboard) -> None:
    await keys.press("3", "c")
    await keys.type("250")
    await keys.press("enter")
    await keys.type("INV-7")


async def test_a_file_that_is_gone_is_said_and_read_again_once_it_is_back(
    sqlite_ledger: Ledger, sqlite_url: str
) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    pool(sqlite_ledger, "openai", "100")
    async with console(sqlite_url, refresh_seconds=0.05) as keys:
        await half_filled_form(keys)
        away = path.rename(path.with_suffix(".away"))
        await keys.until(lambda: "There is no database at" in keys.screen)
        assert "INV-7" in keys.screen
        away.rename(path)
        await keys.until(lambda: "There is no database at" not in keys.screen)
        await keys.press("enter")
        await keys.until(lambda: "¥100.00 → ¥350.00" in keys.screen)
        await keys.press("y")
        await keys.until(lambda: "openai recharged" in keys.said)
    assert get_pool(sqlite_ledger, "openai").available_balance == Decimal(350)


async def test_another_file_in_its_place_is_noticed_and_opened(
    sqlite_ledger: Ledger, sqlite_url: str, opened: OpenLedger, tmp_path: Path
) -> None:
    pool(sqlite_ledger, "openai", "100")
    other = tmp_path / "other.db"
    set_up(f"sqlite:///{other}", timezone="Europe/Berlin")
    pool(opened(f"sqlite:///{other}"), "mistral", "70")
    async with console(sqlite_url, refresh_seconds=0.05) as keys:
        await keys.press("3")
        os.replace(other, sqlite_url.removeprefix("sqlite:///"))
        await keys.until(lambda: "mistral" in keys.screen)
        assert "openai" not in keys.screen
        assert "Europe/Berlin" in keys.screen
        assert "took the place of the open database" in keys.said


async def test_a_form_filled_in_for_one_file_is_not_booked_into_another_unseen(
    sqlite_ledger: Ledger, sqlite_url: str, opened: OpenLedger, tmp_path: Path
) -> None:
    pool(sqlite_ledger, "openai", "100")
    other = tmp_path / "other.db"
    set_up(f"sqlite:///{other}")
    pool(opened(f"sqlite:///{other}"), "openai", "7")
    async with console(sqlite_url, refresh_seconds=0.05) as keys:
        await half_filled_form(keys)
        await keys.press("enter")
        assert "¥100.00 → ¥350.00" in keys.screen
        os.replace(other, sqlite_url.removeprefix("sqlite:///"))
        await keys.until(lambda: "took the place" in keys.said and keys.app.ledger is not None)
        await keys.press("y")
        await keys.settled()
        assert "¥7.00 → ¥257.00" in keys.screen
        await keys.press("escape", "escape", "c")
        assert "Recharge openai" in keys.screen
    assert get_pool(opened(sqlite_url), "openai").available_balance == Decimal(7)


def test_a_ledger_whose_file_was_replaced_refuses_to_read_and_to_write(
    sqlite_ledger: Ledger, sqlite_url: str, tmp_path: Path
) -> None:
    pool(sqlite_ledger, "openai", "100")
    other = tmp_path / "other.db"
    set_up(f"sqlite:///{other}")
    os.replace(other, sqlite_url.removeprefix("sqlite:///"))
    with pytest.raises(Replaced, match="taken the place"):
        list_pools(sqlite_ledger)
    with pytest.raises(Replaced, match="taken the place"):
        pay(sqlite_ledger, "5")


def test_a_check_that_failed_is_made_again_long_before_the_next_round(
    sqlite_ledger: Ledger, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_timer, "AGAIN", timedelta(seconds=0.1))
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    reports: Queue[BillingError | None] = Queue()
    away = path.rename(path.with_suffix(".away"))
    timer = PoolTimer(sqlite_ledger, timedelta(hours=1), reports.put)
    timer.start()
    try:
        for _round in range(2):
            failed = reports.get(timeout=60)
            assert failed is not None and "There is no database at" in failed.message
        away.rename(path)
        while reports.get(timeout=60) is not None:
            pass
    finally:
        timer.stop()


async def test_a_server_that_is_out_of_reach_is_said_and_asked_again(
    postgres_url: str, opened: OpenLedger, short_place: Path
) -> None:
    pool(opened(postgres_url), "openai", "100")
    with relayed(postgres_url, short_place) as (url, relay):
        async with console(url, refresh_seconds=0.05) as keys:
            await half_filled_form(keys)
            relay.hang_up()
            await keys.until(lambda: "✖" in keys.lines[1])
            assert "INV-7" in keys.screen
            relay.refuse = False
            await keys.until(lambda: "✖" not in keys.lines[1])
            await keys.press("enter")
            await keys.until(lambda: "¥100.00 → ¥350.00" in keys.screen)
