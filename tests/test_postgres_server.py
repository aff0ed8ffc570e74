from __future__ import annotations

import os
import pwd

import psycopg
import pytest

from tests.postgres_server import running


@pytest.mark.parametrize("from_wheel", [False, True])
def test_the_launcher_runs_a_server_as_nobody_special_and_leaves_nothing(from_wheel: bool) -> None:
    accounts = [entry.pw_name for entry in pwd.getpwall()]
    with running(from_wheel=from_wheel) as server:
        owner = os.stat(f"/proc/{server.process.pid}").st_uid
        with psycopg.connect(f"host={server.sockets} user=postgres dbname=postgres") as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert owner != 0
    assert not server.sockets.exists()
    assert server.process.returncode == 0
    assert [entry.pw_name for entry in pwd.getpwall()] == accounts
