"""Setting a ledger up and opening it: what is wrong with the database is said in one line with the next step."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from billing_console.errors import BillingError, Conflict, ExitCode, InvalidInput
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.pools import get_pool
from billing_console.services.setup import init, upgrade
from db.engine import Database, parse_url
from db.revision import HEAD, REVISIONS
from tests.factories import everything, execute, pool, query
from tests.postgres_server import Server


def refused(work: Callable[[], Any]) -> BillingError:
    """The error that a call ends with: one line, and the exit code for what cannot be known."""
    with pytest.raises(BillingError) as caught:
        work()
    error = caught.value
    assert "\n" not in str(error) and "SELECT" not in str(error)
    assert isinstance(error, Conflict) or error.exit_code is ExitCode.UNKNOWN
    return error


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_ledger_is_set_up_once(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    fresh = f"sqlite:///{tmp_path / 'a' / 'b' / 'new.db'}"
    url = fresh if engine == "sqlite" else request.getfixturevalue("empty_postgres_url")
    init(url, timezone="Europe/Berlin", currency="EUR")
    ledger = open_ledger(url)
    try:
        assert (str(ledger.timezone), ledger.currency, ledger.symbol) == ("Europe/Berlin", "EUR", "€")
        pool(ledger, amount="5")
        before = everything(ledger)
        assert "already set up" in str(refused(lambda: init(url)))
        assert everything(ledger) == before
        assert upgrade(url) == (HEAD, HEAD)
        assert everything(ledger) == before
    finally:
        ledger.close()


def test_a_new_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        init(f"sqlite:///{tmp_path / 'ledger.db'}")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode) == 0o600


def test_a_time_zone_that_is_none_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Mars/Olympus"):
        init(f"sqlite:///{tmp_path / 'ledger.db'}", timezone="Mars/Olympus")
    assert list(tmp_path.iterdir()) == []


def test_settings_that_contradict_the_ledger_are_refused(sqlite_url: str) -> None:
    assert "Asia/Shanghai" in str(refused(lambda: open_ledger(sqlite_url, timezone="UTC")))
    assert "CNY" in str(refused(lambda: open_ledger(sqlite_url, currency="USD")))
    open_ledger(sqlite_url, timezone="Asia/Shanghai", currency="CNY").close()


# What may be wrong with a database


def test_a_missing_file_is_not_made_by_looking(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    for work in (open_ledger, upgrade):
        error = refused(lambda: work(url))  # noqa: B023
        assert "none.db" in error.message and "billing-console init" in error.hint
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_not_set_up_and_can_be(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    path_of(url).touch()
    assert "billing-console init" in refused(lambda: open_ledger(url)).hint
    assert "billing-console init" in refused(lambda: upgrade(url)).hint
    init(url)
    open_ledger(url).close()


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00garbage\x1b[2J" * 1000)


def broken_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"SQLite format 4\0" + content[16:])


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def scrambled(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


@pytest.mark.parametrize("damage", [garbage, broken_header, truncated, scrambled])
def test_a_damaged_file_is_said_to_be_one(sqlite_url: str, damage: Callable[[Path], None]) -> None:
    damage(path_of(sqlite_url))
    before = path_of(sqlite_url).read_bytes()
    for work in (open_ledger, init, upgrade):
        error = refused(lambda: work(sqlite_url))  # noqa: B023
        assert "damaged or not a database" in error.message and "backup" in error.hint
    assert path_of(sqlite_url).read_bytes() == before


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    for work in (open_ledger, init):
        assert str(tmp_path) in str(refused(lambda: work(f"sqlite:///{tmp_path}")))  # noqa: B023


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "mysql://host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "oracle:///x",
        "://",
        "sqlite+pysqlite:///x",
    ],
)
def test_a_url_that_is_none_says_which_are(url: str) -> None:
    for work in (open_ledger, init, upgrade):
        error = refused(lambda: work(url))  # noqa: B023
        assert "sqlite:////path/to/billing.db or postgresql://user@host/name" in error.hint


def test_a_relative_path_and_one_in_the_home_directory_are_understood(tmp_path: Path) -> None:
    assert parse_url("sqlite:///~/x.db").database == str(Path.home() / "x.db")
    assert parse_url("sqlite:///x.db").database == str(Path.cwd() / "x.db")


@pytest.mark.parametrize("name", ["a b.db", "a?mode=ro#x.db", "100%41.db", "账本.db"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    database = Database(parse_url("sqlite:////x").set(database=str(tmp_path / name)), create=True)
    with database.writing() as session:
        session.connection().exec_driver_sql("CREATE TABLE t (x)")
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_server_that_is_not_there_says_so_without_the_password(tmp_path: Path) -> None:
    url = f"postgresql://me:secret@/ledger?host={tmp_path}"
    for work in (open_ledger, init, upgrade):
        error = refused(lambda: work(url))  # noqa: B023
        assert "did not answer" in error.message and "server runs" in error.hint
        assert "secret" not in str(error)


def test_a_database_that_the_server_does_not_have_says_so(postgres_server: Server) -> None:
    error = refused(lambda: open_ledger(postgres_server.url("no_such_database")))
    assert "no_such_database" in error.message


def test_an_empty_postgresql_database_is_not_set_up(empty_postgres_url: str) -> None:
    assert "billing-console init" in refused(lambda: open_ledger(empty_postgres_url)).hint


def set_revision(ledger: Ledger, revision: str) -> None:
    execute(ledger, "UPDATE alembic_version SET version_num = :revision", {"revision": revision})


def test_a_newer_schema_is_left_alone(ledger: Ledger) -> None:
    set_revision(ledger, "9999")
    url = ledger.database.url.render_as_string(hide_password=False)
    for work in (open_ledger, upgrade):
        error = refused(lambda: work(url))  # noqa: B023
        assert "9999" in error.message and "newer" in error.message and "Install" in error.hint
    assert "already set up" in str(refused(lambda: init(url)))
    assert query(ledger, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_an_older_schema_is_refused_with_the_command_that_upgrades_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing_console.services.session.REVISIONS", (*REVISIONS, "next"))
    monkeypatch.setattr("billing_console.services.session.HEAD", "next")
    error = refused(lambda: open_ledger(database_url))
    assert f"({HEAD}) is older" in error.message and "billing-console upgrade" in error.hint


def test_missing_tables_are_no_traceback(sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai")
    execute(sqlite_ledger, "DROP TABLE balance_alerts")
    execute(sqlite_ledger, "DROP TABLE resource_pools")
    for work in (lambda: pool(sqlite_ledger), lambda: get_pool(sqlite_ledger, "openai")):
        assert "expected tables" in refused(work).message


def test_an_interrupted_set_up_leaves_nothing_half_done(tmp_path: Path) -> None:
    """A table in the way stops the migration in its middle; what came before it is not there either."""
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE user_quotas (x)")
    connection.close()
    refused(lambda: init(f"sqlite:///{path}"))
    with sqlite3.connect(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    connection.close()
    assert tables == ["user_quotas"]
