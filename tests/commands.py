"""The command line as cron, a gateway's script or a person's shell runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from billing_console.cli import run

PROGRAM = str(Path(sys.executable).with_name("billing-console"))
PATIENCE_SECONDS = 120
"""After this a process hangs, and the test fails."""

NO_ENVIRONMENT: Mapping[str, str] = {}
"""As `env -i` leaves it: no PATH, no HOME, no locale, no TERM."""


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer as JSON."""
        return json.loads(self.out)

    @property
    def jsonl(self) -> list[Any]:
        """The answer as one JSON value a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(*arguments: str, environment: Mapping[str, str] | None = None, given: str = "") -> Answer:
    """Run the installed program, with `given` on its stdin, which is no terminal."""
    done = subprocess.run(
        [PROGRAM, *arguments],
        input=given.encode(),
        capture_output=True,
        env=None if environment is None else dict(environment),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def shell(script: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Answer:
    """Run a script of a shell, for its redirections; in it "$@" is the program with its arguments."""
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=dict(os.environ if environment is None else environment),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


class Commands:
    """Runs command lines on one ledger inside the test's process, which is faster and otherwise the same."""

    def __init__(self, url: str, captured: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._captured = captured

    def __call__(self, *arguments: str) -> Answer:
        self._captured.readouterr()
        code = run(["--database", self.url, *arguments])
        out, err = self._captured.readouterr()
        return Answer(code, out, err)
