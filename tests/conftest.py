"""Fixtures: an isolated environment, a ledger on a real SQLite file and on a real PostgreSQL."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Before anything of the product or of Textual is imported: both read some of these as they are imported.
OUTSIDE = ("TEXTUAL", "BILLING_CONSOLE_", "NO_COLOR", "LC_", "LANG")
for name in [key for key in os.environ if key.startswith(OUTSIDE) and not key.startswith("TEXTUAL_SNAPSHOT_")]:
    del os.environ[name]
os.environ["LANG"] = "C.UTF-8"

from billing_console import i18n  # noqa: E402
from billing_console.services.ledger import Ledger, open_ledger  # noqa: E402
from tests.factories import TESTER, set_up  # noqa: E402
from tests.postgres_server import Server, running  # noqa: E402


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep every test away from the files of the person who runs it, and in English."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    i18n.use_language("en")
    yield
    i18n.use_language("en")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A real PostgreSQL; a test that needs it fails with the reason where there is none."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_database(postgres_server: Server) -> Iterator[str]:
    """The name of a PostgreSQL database with an empty ledger, which is only ever copied: migrating is slow."""
    with _database(postgres_server, "template0") as name:
        set_up(postgres_server.url(name))
        yield name


@pytest.fixture
def empty_postgres_url(postgres_server: Server) -> Iterator[str]:
    """A PostgreSQL database with nothing in it."""
    with _database(postgres_server, "template0") as name:
        yield postgres_server.url(name)


@pytest.fixture
def postgres_url(postgres_server: Server, migrated_database: str) -> Iterator[str]:
    """A PostgreSQL database with an empty ledger."""
    with _database(postgres_server, migrated_database) as name:
        yield postgres_server.url(name)


@contextmanager
def _database(server: Server, template: str) -> Iterator[str]:
    """A database that no other test run has, even where they share a server."""
    name = f"billing_test_{uuid.uuid4().hex}"
    with server.connect() as connection:
        # Copying files is faster for a small database than writing every page to the log, where the server can.
        strategy = "STRATEGY FILE_COPY" if connection.info.server_version >= 150000 else ""
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}".encode())
    try:
        yield name
    finally:
        with server.connect() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An SQLite file with an empty ledger."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    set_up(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with an empty ledger, on each engine in turn."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


OpenLedger = Callable[..., Ledger]


@pytest.fixture
def opened() -> Iterator[OpenLedger]:
    """A function that opens a ledger and closes it after the test."""
    ledgers = []

    def open_one(url: str, **options: object) -> Ledger:
        ledgers.append(open_ledger(url, actor=TESTER, **options))  # type: ignore[arg-type]
        return ledgers[-1]

    yield open_one
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def ledger(database_url: str, opened: OpenLedger) -> Ledger:
    """An empty ledger, on each engine in turn."""
    return opened(database_url)


@pytest.fixture
def sqlite_ledger(sqlite_url: str, opened: OpenLedger) -> Ledger:
    """An empty ledger in an SQLite file."""
    return opened(sqlite_url)
