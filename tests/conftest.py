"""Fixtures: an isolated environment, a ledger on a real SQLite file and on a real PostgreSQL."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for name in [key for key in os.environ if key.startswith(("TEXTUAL", "BILLING_CONSOLE_", "NO_COLOR", "LC_", "LANG"))]:
    del os.environ[name]
os.environ["LANG"] = "C.UTF-8"

from billing_console import i18n  # noqa: E402
from billing_console.services.ledger import Ledger, open_ledger  # noqa: E402
from billing_console.services.setup import init  # noqa: E402
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
    with running() as server:
        init(server.url("postgres"))
        yield server


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"test_{number}" for number in itertools.count())


@pytest.fixture
def empty_postgres_url(postgres_server: Server, database_names: Iterator[str]) -> Iterator[str]:
    """A PostgreSQL database with nothing in it."""
    yield from _database(postgres_server, next(database_names), "template0")


@pytest.fixture
def postgres_url(postgres_server: Server, database_names: Iterator[str]) -> Iterator[str]:
    """A PostgreSQL database with an empty ledger, copied from one that was migrated once."""
    yield from _database(postgres_server, next(database_names), "postgres")


def _database(server: Server, name: str, template: str) -> Iterator[str]:
    import psycopg

    with psycopg.connect(f"host={server.sockets} user=postgres dbname=template1", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield server.url(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An SQLite file with an empty ledger."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    init(url)
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
        ledgers.append(open_ledger(url, operator="tester", **options))  # type: ignore[arg-type]
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
