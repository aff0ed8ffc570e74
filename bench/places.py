"""Where the ledgers to measure are: files and databases of a server of our own, built once and kept."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.ledger import build
from tests.postgres_server import Server, open_to_everyone, running


class Places:
    """Hands out ledgers by engine and size."""

    def __init__(self, home: Path, server: Server | None) -> None:
        """Keep SQLite files in `home`, and PostgreSQL's databases on the server while it runs."""
        self.home = home
        self.server = server
        self._made: set[str] = set()

    def engines(self) -> tuple[str, ...]:
        """Name the engines there are."""
        return ("SQLite",) if self.server is None else ("SQLite", "PostgreSQL")

    def ledger(self, engine: str, rows: int) -> str:
        """Return the URL of a ledger with so many calls, which is built where there is none yet."""
        name = f"bench_{rows}"
        path = self.home / f"{name}.db"
        if engine == "SQLite" and path.exists():
            return self.empty(engine, name, anew=False)
        if name not in self._made:
            print(f"building {rows:,} calls on {engine}", flush=True)
            build(self.empty(engine, f"{name}_partly" if engine == "SQLite" else name), rows)
            if engine == "SQLite":
                (self.home / f"{name}_partly.db").rename(path)
            else:
                self._made.add(name)
        return self.empty(engine, name, anew=False)

    def empty(self, engine: str, name: str, *, anew: bool = True) -> str:
        """Return the URL of a database of this name, emptied if it is to be made `anew`."""
        if engine == "SQLite":
            path = self.home / f"{name}.db"
            if anew:
                for suffix in ("", "-wal", "-shm", "-journal"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
            return f"sqlite:///{path}"
        if self.server is None:
            raise ValueError("there is no PostgreSQL server")
        if anew:
            with self.server.connect() as connection:
                connection.execute(f'DROP DATABASE IF EXISTS "{name}"'.encode())
                connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.server.url(name)

    def version(self) -> str:
        """Return the server's version, empty without one."""
        if self.server is None:
            return ""
        with self.server.connect() as connection:
            return str(connection.info.parameter_status("server_version"))


SLOW_FLUSH = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int fdatasync(int file)
{
    int (*flush)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    usleep(%d);
    return flush(file);
}
"""


@contextmanager
def with_a_slow_disk(home: Path, milliseconds: int) -> Iterator[Places]:
    """Open places on a PostgreSQL of their own, each flush of which takes so much longer; needs a C compiler."""
    with tempfile.TemporaryDirectory(dir=open_to_everyone()) as name:
        source, library = Path(name, "slow_flush.c"), Path(name, "slow_flush.so")
        source.write_text(SLOW_FLUSH % (milliseconds * 1000))
        subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
        # The server runs as another user.
        Path(name).chmod(0o755)
        with running(private=True, environment={"LD_PRELOAD": str(library)}) as server:
            yield Places(home, server)


@contextmanager
def places(home: Path, *, postgresql: bool) -> Iterator[Places]:
    """Open the places for measurements; a PostgreSQL server is started as the tests do."""
    home.mkdir(parents=True, exist_ok=True)
    if not postgresql:
        yield Places(home, None)
        return
    with running() as server:
        yield Places(home, server)
