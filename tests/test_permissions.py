"""Databases that may be read and not written, or not even read: said in one line, and nothing half done."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from billing_console.errors import Unavailable
from billing_console.services.ledger import open_ledger
from billing_console.services.pools import get_pool
from billing_console.services.setup import init
from db.engine import parse_url
from tests.conftest import OpenLedger
from tests.factories import execute, pool, set_up
from tests.postgres_server import Server, open_to_everyone
from tests.test_setup import path_of, refused


@contextmanager
def nobody() -> Iterator[None]:
    """Act as an unprivileged user; root may do everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that an unprivileged user can enter."""
    place = Path(tempfile.mkdtemp(prefix="billing-setup-", dir=open_to_everyone()))
    place.chmod(0o755)
    yield place
    place.chmod(0o755)
    shutil.rmtree(place)


@pytest.fixture
def somebody_elses(reachable: Path, opened: OpenLedger) -> str:
    """A ledger that everybody may read, and opened once, so that everything is imported."""
    url = f"sqlite:///{reachable / 'ledger.db'}"
    set_up(url)
    pool(opened(url), amount="5")
    (reachable / "ledger.db").chmod(0o444)
    return url


def test_a_file_that_cannot_be_written_can_be_read_and_says_so(somebody_elses: str, opened: OpenLedger) -> None:
    before = path_of(somebody_elses).read_bytes()
    with nobody():
        ledger = opened(somebody_elses)
        assert get_pool(ledger, "openai").total_balance == 5
        error = refused(lambda: pool(ledger, "azure"))
        ledger.close()
        only_reading = opened(somebody_elses, read_only=True)
        assert get_pool(only_reading, "openai").total_balance == 5
        only_reading.close()
    assert "cannot be written" in error.message and "permissions" in error.hint
    assert path_of(somebody_elses).read_bytes() == before


def test_a_directory_that_cannot_be_written_says_so(somebody_elses: str, opened: OpenLedger) -> None:
    """A writable file in it is of no use: SQLite keeps its journal beside the file."""
    path_of(somebody_elses).chmod(0o666)
    path_of(somebody_elses).parent.chmod(0o555)
    with nobody():
        ledger = opened(somebody_elses)
        error = refused(lambda: pool(ledger, "azure"))
        ledger.close()
    assert isinstance(error, Unavailable)
    assert str(path_of(somebody_elses)) in error.message and "permissions" in error.hint


def test_a_file_that_cannot_be_read_says_so(somebody_elses: str) -> None:
    path_of(somebody_elses).chmod(0)
    with nobody():
        error = refused(lambda: open_ledger(somebody_elses))
    assert "cannot be opened" in error.message and "permissions" in error.hint


def test_a_place_where_no_file_can_be_made_says_so(reachable: Path) -> None:
    reachable.chmod(0o555)
    with nobody():
        for name in ("ledger.db", "a/b/ledger.db"):
            error = refused(lambda: init(f"sqlite:///{reachable / name}"))  # noqa: B023
            assert "cannot be created" in error.message and "--database" in error.hint
    assert list(reachable.iterdir()) == []


def test_a_role_that_may_only_read_says_so(postgres_server: Server, postgres_url: str, opened: OpenLedger) -> None:
    ledger = opened(postgres_url)
    role = f"reader_{ledger.database.url.database}"
    execute(ledger, f'CREATE ROLE "{role}" LOGIN')
    execute(ledger, f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"')
    try:
        reader = opened(parse_url(postgres_url).set(username=role).render_as_string(hide_password=False))
        pool(ledger, amount="5")
        assert get_pool(reader, "openai").total_balance == 5
        assert "cannot be written" in refused(lambda: pool(reader, "azure")).message
    finally:
        execute(ledger, f'DROP OWNED BY "{role}"')
        reader.close()
        execute(ledger, f'DROP ROLE "{role}"')
