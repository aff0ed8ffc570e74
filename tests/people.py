"""People other than the one who runs the tests: work done in a child process with another real user id."""

from __future__ import annotations

import io
import json
import os
import pwd
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

import pytest

from billing_console.cli import run
from tests.commands import Answer

NOBODY = pwd.getpwnam("nobody").pw_uid


def as_uid(uid: int, work: Callable[[], int]) -> Answer:
    """Do something with this real, effective and saved user id; only root can become somebody else."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        out, err = io.StringIO(), io.StringIO()
        code = 99
        try:
            os.setresuid(uid, uid, uid)
            with redirect_stdout(out), redirect_stderr(err):
                code = work()
        except BaseException:
            traceback.print_exc(file=err)
        with os.fdopen(writer, "w") as pipe:
            json.dump([code, out.getvalue(), err.getvalue()], pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = Answer(*json.load(pipe))
    os.waitpid(child, 0)
    assert answer.code != 99, answer.err
    return answer


def command_as(uid: int, *arguments: str) -> Answer:
    """Run a command line as this user."""
    sys.stdout.flush()
    return as_uid(uid, lambda: run(list(arguments)))
