"""Every command of docs/recovery.md does what the page says, section by section, in a shell."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.core import TyperGroup

from billing_console.cli.program import command as command_line
from billing_console.services.backup import back_up
from tests.commands import PATIENCE_SECONDS, PROGRAM
from tests.conftest import OpenLedger
from tests.factories import pay
from tests.stocked import stock

PAGE = (Path(__file__).parents[1] / "docs" / "recovery.md").read_text()
SERVER = "postgresql://billing@db/billing"
MADE_THERE = ("Backups",)
"""Sections whose commands make the backup that the others use."""

TWICE = 5
"""The recharge that is reversed there."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections() -> Iterator[tuple[str, str]]:
    for section in PAGE.split("\n## ")[1:]:
        title, _newline, words = section.partition("\n")
        if FENCE.search(words):
            yield title, words


@dataclass(frozen=True)
class Host:
    """A machine with a ledger where the page has it, and a shell on it."""

    root: Path
    server: str

    def run(self, line: str) -> int:
        """Run one line as the page has it, and return its exit code."""
        there = line.replace(SERVER, self.server).replace("/srv/", f"{self.root}/srv/")
        there = there.replace("/opt/billing-console/.venv/bin/billing-console", PROGRAM)
        done = subprocess.run(
            ["/bin/sh", "-c", there],
            env={
                **os.environ,
                "PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}",
                "BILLING_CONSOLE_DATABASE_URL": f"sqlite:///{self.root}/srv/billing/billing.db",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        print(f"{line}\n{done.stdout}{done.stderr}")
        return done.returncode


@pytest.fixture
def host(tmp_path: Path, sqlite_url: str, opened: OpenLedger, empty_postgres_url: str) -> Host:
    for name in ("billing", "backup"):
        (tmp_path / "srv" / name).mkdir(parents=True)
    place = tmp_path / "srv" / "billing" / "billing.db"
    (tmp_path / "ledger.db").rename(place)
    ledger = opened(f"sqlite:///{place}")
    stock(ledger)
    assert pay(ledger, "900", reference="BT-20260301").id == TWICE
    ledger.close()
    return Host(tmp_path, empty_postgres_url)


@pytest.mark.parametrize(("title", "words"), sections(), ids=lambda value: value if len(value) < 60 else "")
def test_the_commands_of_a_section_work(host: Host, opened: OpenLedger, title: str, words: str) -> None:
    if title not in MADE_THERE:
        ledger = opened(f"sqlite:///{host.root}/srv/billing/billing.db")
        back_up(ledger, host.root / "srv" / "backup" / "billing.db", lambda done, whole: None)
        ledger.close()
    lines = [line for kind, block in FENCE.findall(words) if not kind for line in block.splitlines()]
    assert lines
    for line in lines:
        # The stocked ledger has a low and a depleted pool.
        assert host.run(line) == (2 if "check-pools" in line else 0), line


def test_the_cron_lines_work(host: Host) -> None:
    ((_kind, block),) = [found for found in FENCE.findall(PAGE) if found[0] == "cron"]
    for line in block.splitlines()[1:]:
        _minute, _hour, _day, _month, _weekday, _user, command = line.split(maxsplit=6)
        assert host.run(command.replace(r"\%", "%")) == 0
    (backup,) = (host.root / "srv" / "backup").iterdir()
    assert re.fullmatch(r"billing-\d{8}-\d{4}\.db", backup.name)


def test_every_command_that_the_page_names_exists() -> None:
    command = command_line()
    known = {*command.commands, *app_options(command)}
    named = re.findall(r"billing-console((?: --database \S+)?(?: --read-only)?) ([a-z-]+)", PAGE)
    assert named and {name for _options, name in named} <= known
    assert {"backup", "restore", "reconcile"} <= {name for _options, name in named}


def app_options(command: TyperGroup) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}
