"""The demo ledger's place: whole or not there, kept while it is used, and no other ledger touched."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from billing_console.demo.build import CALLS, build
from billing_console.demo.place import held
from billing_console.errors import Conflict, NotPermitted
from billing_console.services.ledger import open_ledger
from billing_console.services.quotas import list_quotas
from billing_console.services.reconcile import reconcile
from billing_console.services.setup import init
from billing_console.services.usage import UsageFilter
from billing_console.services.usage_totals import usage_totals
from billing_console.settings import sqlite_url
from tests.commands import PATIENCE_SECONDS, PROGRAM

TINY = 150


def build_tiny(path: Path) -> None:
    build(sqlite_url(path), datetime.now(UTC), count=TINY)


def never(path: Path) -> None:
    raise AssertionError(f"{path} is built again")


def hold(
    path: Path, now: datetime | None = None, how: Callable[[Path], None] | None = build_tiny
) -> AbstractContextManager[None]:
    return held(path, sqlite_url(path), now or datetime.now(UTC), how, lambda: None)


def whole(path: Path) -> bool:
    ledger = open_ledger(sqlite_url(path))
    try:
        return usage_totals(ledger, UsageFilter()).calls > TINY / 2 and reconcile(ledger) == ()
    finally:
        ledger.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a demo belongs, in a directory that is not there yet."""
    return tmp_path / "data" / "demo.db"


def test_a_demo_is_kept_for_a_day_and_then_made_anew(place: Path) -> None:
    with hold(place):
        first = place.stat().st_ino
        assert whole(place)
    assert place.stat().st_mode & 0o777 == 0o600
    with hold(place, how=never), hold(place, datetime.now(UTC) + timedelta(hours=23), how=never):
        pass
    place.with_name("demo.db-journal").write_bytes(b"left by a console that was killed")
    with hold(place, datetime.now(UTC) + timedelta(hours=25)):
        assert place.stat().st_ino != first
        assert whole(place)
    assert sorted(found.name for found in place.parent.iterdir()) == ["demo.db", "demo.lock"]


def test_a_ledger_that_is_no_demo_is_refused_and_left_as_it_is(place: Path) -> None:
    init(sqlite_url(place))
    for content in (place.read_bytes(), b"", b"notes of my own" * 100):
        place.write_bytes(content)
        with pytest.raises(Conflict, match=r"demo\.db is not a demo ledger"), hold(place, how=never):
            pass
        assert place.read_bytes() == content


def test_a_build_that_fails_leaves_the_old_demo_and_nothing_half(place: Path) -> None:
    with hold(place):
        before = place.read_bytes()

    def fail_late(building: Path) -> None:
        build_tiny(building)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), hold(place, datetime.now(UTC) + timedelta(days=2), how=fail_late):
        pass
    assert place.read_bytes() == before
    assert sorted(found.name for found in place.parent.iterdir()) == ["demo.db", "demo.lock"]


def test_a_read_only_session_takes_an_old_demo_and_builds_none(place: Path) -> None:
    with pytest.raises(NotPermitted, match="no demo ledger yet"), hold(place, how=None):
        pass
    assert not place.exists()
    with hold(place):
        pass
    with hold(place, datetime.now(UTC) + timedelta(days=2), how=None):
        assert whole(place)


BUILDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from billing_console.demo.build import build
from billing_console.demo.place import held

def tell(done, whole):
    print(done, flush=True)

path = Path(sys.argv[1])
with held(path, f"sqlite:///{path}", datetime.now(UTC), lambda new: build(
    f"sqlite:///{new}", datetime.now(UTC), count=1500, progress=tell), lambda: None):
    print("whole", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(place: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that builds the demo, says how far it is, and uses it until it is told to end."""
    command = [sys.executable, "-c", BUILDER, str(place)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)


def test_a_killed_build_leaves_no_demo_and_the_next_one_is_whole(place: Path) -> None:
    with another(place) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        process.kill()
        process.wait(timeout=PATIENCE_SECONDS)
    assert not place.exists()
    assert place.with_name("demo.building").stat().st_size > 0
    with hold(place):
        assert whole(place)
    assert sorted(found.name for found in place.parent.iterdir()) == ["demo.db", "demo.lock"]


def test_a_demo_that_another_console_has_open_is_not_replaced(place: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    with another(place) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "whole\n":
            assert process.poll() is None
        used = place.stat().st_ino
        with hold(place, later, how=never):
            assert place.stat().st_ino == used
    with hold(place, later):
        assert place.stat().st_ino != used


Environment = dict[str, str]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A person with a ledger of their own, named by the environment, and settings that do not fit the demo."""
    init(sqlite_url(tmp_path / "billing.db"))
    return {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "BILLING_CONSOLE_DATABASE_URL": sqlite_url(tmp_path / "billing.db"),
        "BILLING_CONSOLE_CURRENCY": "USD",
        "BILLING_CONSOLE_BUSINESS_TIMEZONE": "Europe/Berlin",
    }


def started(environment: Environment, *arguments: str) -> subprocess.Popen[str]:
    """The program, started without a terminal."""
    return subprocess.Popen(
        [PROGRAM, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How the program ended: its exit code and what it said on stdout and stderr."""
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err


def test_two_started_at_once_share_one_demo_and_touch_no_other_ledger(environment: Environment, tmp_path: Path) -> None:
    before = (tmp_path / "billing.db").read_bytes()
    path = tmp_path / "data" / "billing-console" / "demo.db"
    told = [ended(process) for process in [started(environment, "demo", "--no-tui") for _person in range(2)]]
    for code, out, err in told:
        assert (code, out) == (0, "")
        assert err.endswith(f"The demo ledger is {path}\n")
    assert sum("Waiting" in err for _code, _out, err in told) == 1
    assert (tmp_path / "billing.db").read_bytes() == before
    assert sorted(found.name for found in tmp_path.iterdir()) == ["billing.db", "data"]
    assert sorted(found.name for found in path.parent.iterdir()) == ["demo.db", "demo.lock"]
    ledger = open_ledger(sqlite_url(path))
    assert reconcile(ledger) == ()
    assert abs(usage_totals(ledger, UsageFilter()).calls - CALLS) < CALLS / 50
    assert len(list_quotas(ledger)) > 1900
    ledger.close()


@pytest.fixture
def installed(environment: Environment) -> Path:
    """A small demo where this person's demo belongs."""
    path = Path(environment["XDG_DATA_HOME"]) / "billing-console" / "demo.db"
    with hold(path):
        return path


def test_a_fresh_demo_is_used_again(environment: Environment, installed: Path) -> None:
    before = installed.stat()
    for arguments in (("demo", "--no-tui"), ("--read-only", "demo", "--no-tui")):
        assert ended(started(environment, *arguments)) == (0, "", f"The demo ledger is {installed}\n")
    after = installed.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_ledger_named_by_option_is_refused(environment: Environment, tmp_path: Path) -> None:
    code, _out, err = ended(started(environment, "--database", sqlite_url(tmp_path / "mine.db"), "demo", "--no-tui"))
    assert code == 2
    assert "takes no --database" in err
    assert not (tmp_path / "mine.db").exists()


def test_without_a_terminal_nothing_is_built(tmp_path: Path) -> None:
    code, _out, err = ended(started({"HOME": str(tmp_path)}, "demo"))
    assert code == 2
    assert "needs a terminal" in err
    assert list(tmp_path.iterdir()) == []


def test_the_console_opens_on_the_demo_whatever_the_settings_name(environment: Environment, installed: Path) -> None:
    number, terminal = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "demo"],
        env=environment | {"TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "120", "LINES": "40"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        seen = b""
        while b"Moonshot AI" not in seen:
            seen += os.read(number, 65_536)
        os.write(number, b"q")
        with pytest.raises(OSError):
            while os.read(number, 65_536):
                pass
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        os.close(number)
    assert f"The demo ledger is {installed}".encode() in seen


def test_a_demo_of_an_older_schema_is_made_anew(place: Path) -> None:
    with hold(place):
        pass
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    with hold(place):
        assert whole(place)
