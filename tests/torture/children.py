"""Command lines run as an unprivileged user on a ledger that something is wrong with; root is never refused anything.

The child is forked with everything imported, because that user may not be able to read Python or the product.
"""

from __future__ import annotations

import ctypes
import logging.handlers  # noqa: F401  (what a crash imports, which a child then says)
import os
import pwd
import re
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import db.migrations
from billing_console.cli import run
from billing_console.cli.streams import prepare, release
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.operators import add_operator
from billing_console.services.reconcile import reconcile
from db.values import Role
from tests.commands import PATIENCE_SECONDS, Answer
from tests.factories import TESTER, everything, gateway_insert, query, set_up
from tests.postgres_server import open_to_everyone
from tests.stocked import NOW, stock

NOBODY = pwd.getpwnam("nobody")
IS_ROOT = os.geteuid() == 0
CLONE_NEWNS = 0x20000
CRASHED = 99
"""What a child ends with that failed outside the product."""

USAGE = """requestId,userId,providerId,modelId,usageType,inputTokens,outputTokens,createdAt
fault-1,u-00042,openai,gpt-4o,text_generation,812,240,2026-03-10T09:30:00+08:00
fault-2,u-00007,deepseek,deepseek-chat,text_generation,81,24,2026-03-10T09:31:00+08:00
fault-3,,openai,new-model,text_generation,8,2,2026-03-10T09:32:00+08:00
"""

Content = dict[str, list[tuple[Any, ...]]]
"""The rows of every table."""

_libc = ctypes.CDLL(None, use_errno=True)


# The ledger: the one place where it is opened and made ready for the child


def open_one(url: str, **options: Any) -> Ledger:
    """Open a ledger as the tests do."""
    return open_ledger(url, actor=TESTER, **options)


def make_ledger(url: str) -> None:
    """Set up a ledger with something of everything, usage that waits for the settler included, for the child's user."""
    set_up(url)
    ledger = open_one(url)
    add_operator(ledger, NOBODY.pw_name, Role.ADMIN)
    stock(ledger)
    for number in range(3):
        gateway_insert(ledger, request_id=f"waiting-{number}", created_at=NOW, cost_amount=10**9, user_id="u-00042")
    ledger.close()


def held(url: str) -> Content:
    """Everything the ledger holds, after making sure that it is sound."""
    ledger = open_one(url)
    try:
        if ledger.database.is_sqlite:
            assert query(ledger, "PRAGMA quick_check") == [("ok",)]
        assert reconcile(ledger) == ()
        return everything(ledger)
    finally:
        ledger.close()


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(\+\d\d:\d\d)?|[0-9a-f]{64}")


def alike(content: Content, start: str) -> Content:
    """What a ledger holds, without the instants after `start` and the hashes, which differ from run to run."""

    def masked(value: Any) -> Any:
        found = str(value)
        return "then" if _MOMENT.fullmatch(found) and found > start else value

    return {
        table: sorted((tuple(masked(value) for value in row) for row in rows), key=repr)
        for table, rows in content.items()
    }


# The place


@dataclass
class Place:
    """A directory that the child's user can enter; `mount` names the process that has a file system of its own there.

    `path` is where the child finds the directory, `seen` where the test does.
    """

    path: Path
    home: Path
    mount: subprocess.Popen[str] | None = None

    @property
    def seen(self) -> Path:
        return self.path if self.mount is None else Path(f"/proc/{self.mount.pid}/root{self.path}")

    @property
    def url(self) -> str:
        """The ledger as the child names it."""
        return f"sqlite:///{self.path / 'ledger.db'}"

    @property
    def file(self) -> Path:
        """The ledger's file as the test reaches it."""
        return self.seen / "ledger.db"

    @property
    def usage(self) -> Path:
        """A usage file that the child can read."""
        return self.home / "usage.csv"

    def put(self, content: bytes) -> None:
        """Lay a ledger there that is the child's own, whatever there was."""
        clear(self.file)
        for name in ("ledger.db-journal", "ledger.db-wal", "ledger.db-shm"):
            (self.seen / name).unlink(missing_ok=True)
        self.file.write_bytes(content)
        self.file.chmod(0o600)
        own(self.file)

    def held(self) -> Content:
        """What the ledger there holds, read from a copy: SQLite cannot follow a path through /proc."""
        with tempfile.TemporaryDirectory() as directory:
            for path in self.seen.glob("ledger.db*"):
                shutil.copyfile(path, Path(directory, path.name))
            return held(f"sqlite:///{directory}/ledger.db")

    def shell(self, command: str) -> None:
        """Run a command inside the file system of its own."""
        assert self.mount is not None and self.mount.stdin is not None and self.mount.stdout is not None
        self.mount.stdin.write(f"{command} && echo done || echo failed\n")
        self.mount.stdin.flush()
        assert self.mount.stdout.readline() == "done\n", command


def clear(path: Path) -> None:
    """Remove whatever is there."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def own(path: Path) -> None:
    """Let a file be the child's."""
    if IS_ROOT:
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)


@contextmanager
def a_place() -> Iterator[Place]:
    """A directory of its own, on the file system of the other temporary files."""
    with _top() as top:
        place = Place(top / "place", top / "home")
        place.path.mkdir(mode=0o755)
        own(place.path)
        try:
            yield place
        finally:
            place.path.chmod(0o755)


@contextmanager
def a_file_system(size: str) -> Iterator[Place]:
    """A small file system in memory, which only the children of this place see beside the test."""
    with _top() as top:
        inside = top / "place"
        inside.mkdir()
        holder = subprocess.Popen(
            ["unshare", "--mount", "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        place = Place(inside, top / "home", holder)
        try:
            owner = f"uid={NOBODY.pw_uid},gid={NOBODY.pw_gid},mode=755"
            place.shell(f"mount -t tmpfs -o size={size},{owner} tmpfs {inside}")
            yield place
        finally:
            holder.communicate()


def can_mount() -> bool:
    """Whether this machine lets us have a file system of our own; a container's root often may not."""
    script = "mount -t tmpfs tmpfs /mnt"
    return shutil.which("unshare") is not None and subprocess.call(
        ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) == 0 and IS_ROOT  # fmt: skip


@contextmanager
def _top() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="billing-fault-", dir=open_to_everyone()))
    top.chmod(0o755)
    home = top / "home"
    home.mkdir()
    (home / "usage.csv").write_text(USAGE)
    # The migrations are read anew each time they run, from a place that the child's user may not be able to enter.
    shutil.copytree(db.migrations.__path__[0], home / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (home, *home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        own(path)
    try:
        yield top
    finally:
        shutil.rmtree(top)


# The child


@dataclass
class Child:
    """A command line that is running; whoever started it asks for its answer."""

    arguments: Sequence[str]
    pid: int
    out: int
    err: int
    unread: set[int] = field(default_factory=set)
    read: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unread = {self.out, self.err}

    def answer(self) -> Answer:
        """Wait for the end; a child that hangs is killed, and fails the test."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.ended(deadline - time.monotonic()):
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"hangs: {self.arguments}")
        _pid, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        out, err = (self.read.get(each, b"").decode() for each in (self.out, self.err))
        assert code != CRASHED and code >= 0, f"{code}: {err}"
        return Answer(code, out, err)

    def ended(self, within: float) -> bool:
        """Take in what it writes for so many seconds at most; tell whether it has closed its streams."""
        deadline = time.monotonic() + within
        with selectors.DefaultSelector() as selector:
            for descriptor in self.unread:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    return False
                for key, _events in ready:
                    data = os.read(key.fd, 1 << 16)
                    self.read[key.fd] = self.read.get(key.fd, b"") + data
                    if not data:
                        selector.unregister(key.fd)
                        self.unread.remove(key.fd)
                        os.close(key.fd)
        return True


def start(place: Place, *arguments: str, url: str | None = None, largest_file: int | None = None) -> Child:
    """Start a command line on the place's ledger, or another; no file it writes can grow beyond `largest_file`."""
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = CRASHED
        try:
            os.dup2(out_end, 1)
            os.dup2(err_end, 2)
            for descriptor in (out, out_end, err, err_end):
                os.close(descriptor)
            code = _be_the_child(place, ("--database", url or place.url, *arguments), largest_file)
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            os._exit(code)
    os.close(out_end)
    os.close(err_end)
    return Child(arguments, pid, out, err)


def ask(place: Place, *arguments: str, url: str | None = None, largest_file: int | None = None) -> Answer:
    """Run a command line to its end."""
    return start(place, *arguments, url=url, largest_file=largest_file).answer()


def _be_the_child(place: Place, arguments: Sequence[str], largest_file: int | None) -> int:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w")))
    if place.mount is not None:
        _enter(place.mount.pid)
    os.chdir("/")
    if IS_ROOT:
        os.setgroups([])
        os.setresgid(NOBODY.pw_gid, NOBODY.pw_gid, NOBODY.pw_gid)
        os.setresuid(NOBODY.pw_uid, NOBODY.pw_uid, NOBODY.pw_uid)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(place.home)
    db.migrations.__path__ = [str(place.home / "migrations")]
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    prepare()
    code = run(arguments)
    release()
    return code


def _enter(pid: int) -> None:
    """Go to where a process has its file systems; os.setns is newer than our oldest Python."""
    descriptor = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    if _libc.setns(descriptor, CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(descriptor)


# What stands in the way


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"BEGIN {sys.argv[2]}")
print("locked", flush=True)
sys.stdin.readline()
connection.rollback()
"""


@contextmanager
def locked(path: Path, kind: str) -> Iterator[None]:
    """Have another process hold a lock on an SQLite file: IMMEDIATE keeps writers out, EXCLUSIVE readers too."""
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(path), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        yield
    finally:
        # A line, because children that were started meanwhile hold the pipe's end too, which keeps it from ending.
        holder.communicate("over\n")
        assert holder.returncode == 0
