from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from billing_console.services.ledger import Ledger
from billing_console.services.quotas import grant_quota
from tests.factories import NOON, at, gateway_insert

REPORT = """
import json, sys
def loaded():
    return sorted({name.partition(".")[0] for name in sys.modules})
"""
RUN = """
from billing_console.cli import run
code = run(sys.argv[1:])
print("\\n" + json.dumps([code, loaded()]))
"""
ROUND = """
from billing_console.cli import run
code = run(sys.argv[1:])
settling = {f"billing_console.services.{name}" for name in ("settlement", "quota_due")}
print("\\n" + json.dumps([code, sorted(settling & set(sys.modules))]))
"""
CONSOLE = """
import asyncio
from billing_console.cli import setup
from billing_console import terminal
from billing_console.app import BillingConsoleApp
from billing_console.errors import Unavailable
found = []
def open_ledger():
    painted = app.screen._compositor.render_strips()
    assert any("Usage" in strip.text for strip in painted)
    found.append(loaded())
    raise Unavailable("seen")
terminal._prepare_environment()
app = BillingConsoleApp(terminal.ConsoleOptions(open=open_ledger, label=""))
async def until_it_opens():
    async with app.run_test() as pilot:
        while not found:
            await pilot.pause()
asyncio.run(until_it_opens())
print("\\n" + json.dumps([0, found[0]]))
"""
"""The console up to the moment when it opens the ledger, which is after its first frame."""

API = {"fastapi", "starlette", "uvicorn", "prometheus_client", "anyio"}
"""What the HTTP API brings along, and nothing else needs."""

DATABASE = {"sqlmodel", "sqlalchemy", "alembic", "apscheduler"}


def packages(script: str, *arguments: str) -> tuple[int, set[str]]:
    """The exit code a command line gave and the top-level packages that were imported by its end."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT + script, *arguments], capture_output=True, text=True, check=True
    )
    code, found = json.loads(done.stdout.splitlines()[-1])
    return code, set(found)


@pytest.mark.parametrize("form", ["text", "json", "nagios", "prometheus"])
def test_check_pools_imports_nothing_of_a_terminal_a_server_or_migrations(sqlite_url: str, form: str) -> None:
    code, loaded = packages(RUN, "--database", sqlite_url, "check-pools", "--format", form)
    assert code == 0
    assert "sqlmodel" in loaded
    assert not loaded & ({"textual", "alembic", "apscheduler", "rich"} | API)


def test_check_pools_imports_what_settles_and_books_only_where_there_is_something_to_do(sqlite_ledger: Ledger) -> None:
    line = ("--database", f"sqlite:///{sqlite_ledger.database.url.database}", "check-pools")
    assert packages(ROUND, *line) == (0, set())
    gateway_insert(sqlite_ledger)
    assert packages(ROUND, *line) == (0, {"billing_console.services.settlement"})
    ended = NOON + timedelta(hours=1)
    grant_quota(at(sqlite_ledger, NOON), "alice", Decimal(1), reference="one", expires_at=ended)
    assert packages(ROUND, *line) == (0, {"billing_console.services.quota_due"})


def test_check_pools_imports_as_little_when_it_fails(tmp_path: Path) -> None:
    code, loaded = packages(RUN, "--database", f"sqlite:///{tmp_path / 'none.db'}", "check-pools")
    assert code == 3
    assert not loaded & ({"textual", "alembic", "apscheduler", "rich"} | API)


def test_help_imports_neither_the_screens_nor_the_database(tmp_path: Path) -> None:
    code, loaded = packages(RUN, "--help")
    assert code == 0
    assert "typer" in loaded
    assert not loaded & (DATABASE | API | {"textual", "msgspec"})


def test_the_console_paints_its_first_frame_before_the_database_is_imported() -> None:
    _code, loaded = packages(CONSOLE)
    assert "textual" in loaded
    assert not loaded & (DATABASE | API | {"pydantic", "tenacity", "psycopg", "plotext", "textual_plotext"})
