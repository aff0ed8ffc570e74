from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import psycopg
import pytest

from tests.postgres_server import NAMED_SERVER, Server, open_to_everyone, running


@pytest.mark.parametrize("from_wheel", [False, True])
def test_the_launcher_runs_a_server_as_nobody_special_and_leaves_nothing(
    from_wheel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NAMED_SERVER, raising=False)
    accounts = [entry.pw_name for entry in pwd.getpwall()]
    with running(from_wheel=from_wheel) as server:
        assert server.process is not None
        home = Path(str(server.maintenance.query["host"]))
        owner = (home / "data" / "postmaster.pid").stat().st_uid
        with server.connect() as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert owner != 0
    assert server.process.returncode == 0
    assert not home.exists()
    assert [entry.pw_name for entry in pwd.getpwall()] == accounts


def test_a_strict_umask_and_a_private_temporary_directory_do_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are what root often has, and would keep the unprivileged user out of its own data."""
    monkeypatch.delenv(NAMED_SERVER, raising=False)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    umask = os.umask(0o077)
    try:
        with running(from_wheel=True) as server, server.connect() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        os.umask(umask)


def test_a_named_server_is_used_and_left_running(postgres_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAMED_SERVER, postgres_server.url("postgres").replace("+psycopg", ""))
    with running() as server:
        assert server == Server(postgres_server.maintenance.set(database="postgres"))
    with postgres_server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_cannot_start_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAMED_SERVER, raising=False)
    with tempfile.TemporaryDirectory(dir=open_to_everyone()) as name:
        place = Path(name)
        place.chmod(0o755)
        for command in (place / "initdb", place / "postgres"):
            command.write_text("#!/bin/sh\necho no room on this disk >&2\nexit 1\n")
            command.chmod(0o755)
        monkeypatch.setenv("PATH", name, prepend=os.pathsep)
        with pytest.raises(RuntimeError, match="no room on this disk"), running():
            pass


def test_every_test_gets_an_empty_database_of_its_own(
    postgres_server: Server, postgres_url: str, empty_postgres_url: str
) -> None:
    for url, tables in ((postgres_url, True), (empty_postgres_url, False)):
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            found = connection.execute("SELECT count(*) > 0 FROM pg_tables WHERE schemaname = 'public'").fetchone()
            assert found == (tables,)
