"""Backup and restore: one moment of the ledger, whole and checked, on either engine, or nothing at all."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, select
from sqlalchemy.exc import DBAPIError

from billing_console.errors import BillingError, ExitCode, NotPermitted, Refused, Unavailable
from billing_console.services import page_copy
from billing_console.services.audit import list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.backup import back_up, restore
from billing_console.services.backup_check import require_rows, url_of
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.operators import list_operators
from billing_console.services.page_copy import copy_pages
from billing_console.services.recharges import reverse_recharge
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from billing_console.services.table_copy import tables
from db.revision import HEAD, REVISIONS
from db.values import Role
from tests.conftest import OpenLedger
from tests.factories import TESTER, acting, everything, execute, gateway_insert, pay, pool, query, set_up, spend
from tests.stocked import stock
from tests.test_permissions import nobody, reachable  # noqa: F401
from tests.torture.operations import CALLS, PROVIDERS, open_pools, operation, perform, processes


def quiet(done: int, whole: int) -> None:
    """Nobody watches."""


def rows(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table as the program reads it, which is the same on both engines.

    Backups and restores leave a row in the audit log themselves, the one thing in which the two ledgers may differ.
    """
    with ledger.database.reading() as session:
        found = {
            table.name: [tuple(row) for row in session.connection().execute(select(table).order_by(*table.primary_key))]
            for table in tables()
        }
    log = [row for row in found["audit_log"] if not {"ledger.backup", "ledger.restore"} & set(map(str, row))]
    return found | {"audit_log": log} | {"alembic_version": query(ledger, "SELECT version_num FROM alembic_version")}


def furnish(ledger: Ledger) -> None:
    """Something of everything, with a reversal and usage that waits in the outbox between usage that does not."""
    stock(ledger)
    twice = pay(ledger, "7.5")
    reverse_recharge(ledger, twice.id, reason="booked twice")
    gateway_insert(ledger, user_id="alice", cost_amount=5)
    gateway_insert(ledger, user_id=None, provider_id="never seen", error_message="\x1b[2J'; DROP TABLE prices --")
    spend(ledger, "0.000000001")


def refusal(work: Callable[[], object]) -> BillingError:
    """What a call is refused with: one line that says what to do."""
    with pytest.raises(BillingError) as caught:
        work()
    error = caught.value
    assert error.hint and "\n" not in str(error) and "SELECT" not in str(error) and ".tmp" not in str(error)
    return error


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A directory for backups, with nothing else in it."""
    place = tmp_path / "copies"
    place.mkdir()
    return place


@pytest.fixture(params=["sqlite", "postgresql"])
def free_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a restored ledger, on each engine in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'restored.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
def backup(sqlite_ledger: Ledger, copies: Path) -> Path:
    """A backup of a ledger with something in it."""
    furnish(sqlite_ledger)
    back_up(sqlite_ledger, copies / "backup.db", quiet)
    return copies / "backup.db"


# What is in a backup, and comes back


def test_every_row_comes_back_on_either_engine(
    ledger: Ledger, copies: Path, free_url: str, opened: OpenLedger, tmp_path: Path
) -> None:
    furnish(ledger)
    before, waiting = rows(ledger), query(ledger, "SELECT usage_id FROM usage_outbox ORDER BY usage_id")
    assert len(waiting) == 2
    made = back_up(ledger, copies / "backup.db", quiet)
    counts = {name: len(found) for name, found in before.items() if name != "alembic_version"}
    assert made.rows == counts | {"audit_log": counts["audit_log"] + 1}
    assert made.size == made.path.stat().st_size
    put = restore(free_url, made.path, quiet)
    assert put.rows == made.rows
    restored = opened(free_url)
    assert rows(restored) == before
    assert query(restored, "SELECT usage_id FROM usage_outbox ORDER BY usage_id") == waiting
    if restored.database.is_sqlite == ledger.database.is_sqlite:
        assert everything(restored) == everything(ledger)
    again = opened(url_of(made.path), read_only=True)
    assert rows(again) == before
    assert (reconcile(restored), reconcile(again)) == ((), ())
    assert [path.name for path in copies.iterdir()] == ["backup.db"]
    assert rows(ledger) == before


def test_a_restored_ledger_goes_on_as_the_old_one_would(
    ledger: Ledger, copies: Path, free_url: str, opened: OpenLedger
) -> None:
    furnish(ledger)
    restore(free_url, back_up(ledger, copies / "backup.db", quiet).path, quiet)
    restored = opened(free_url)
    for numbered in ("recharges", "quota_grants", "usage_records"):
        assert query(restored, f"SELECT max(id) FROM {numbered}") == query(ledger, f"SELECT max(id) FROM {numbered}")
    assert pay(restored, "10").id == pay(ledger, "10").id
    assert spend(restored, "1").recorded == 1
    gateway_insert(restored, cost_amount=7)
    assert settle(restored).counted == 3
    assert reconcile(restored) == ()
    for change in ("UPDATE recharges SET amount = 1", "DELETE FROM usage_records", "DELETE FROM prices"):
        with pytest.raises(DBAPIError, match="append-only"):
            execute(restored, change)


def test_a_ledger_without_rows_comes_back(ledger: Ledger, copies: Path, free_url: str, opened: OpenLedger) -> None:
    made = back_up(ledger, copies / "backup.db", quiet)
    assert made.rows["usage_records"] + made.rows["recharges"] == 0
    restore(free_url, made.path, quiet)
    restored = opened(free_url)
    assert rows(restored) == rows(ledger)
    pool(restored, amount="5")


def test_zone_and_currency_are_those_of_the_old_ledger(
    copies: Path, free_url: str, opened: OpenLedger, tmp_path: Path
) -> None:
    set_up(f"sqlite:///{tmp_path / 'euro.db'}", timezone="Europe/Berlin", currency="EUR")
    ledger = opened(f"sqlite:///{tmp_path / 'euro.db'}")
    restore(free_url, back_up(ledger, copies / "backup.db", quiet).path, quiet)
    restored = opened(free_url)
    assert (str(restored.timezone), restored.currency) == ("Europe/Berlin", "EUR")


def test_a_backup_is_one_file_for_its_owner_alone(ledger: Ledger, copies: Path, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        back_up(ledger, copies / "backup.db", quiet)
        restore(f"sqlite:///{tmp_path / 'restored.db'}", copies / "backup.db", quiet)
    finally:
        os.umask(mask)
    for path in (copies / "backup.db", tmp_path / "restored.db"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in copies.iterdir()] == ["backup.db"]


@pytest.mark.parametrize("name", ["a b.db", "a?mode=ro#x.db", "100%41.db", "账本.db", "-x.db", "'; --.db"])
def test_a_backup_may_have_any_name(sqlite_ledger: Ledger, copies: Path, name: str, opened: OpenLedger) -> None:
    back_up(sqlite_ledger, copies / name, quiet)
    restore(url_of(copies / f"{name}2"), copies / name, quiet)
    assert sorted(path.name for path in copies.iterdir()) == sorted([name, f"{name}2"])


def test_a_ledger_with_a_write_ahead_log_becomes_one_file(
    sqlite_ledger: Ledger, copies: Path, opened: OpenLedger
) -> None:
    furnish(sqlite_ledger)
    before = rows(sqlite_ledger)
    sqlite_ledger.close()
    with closing(sqlite3.connect(str(sqlite_ledger.database.url.database))) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute(
            "INSERT INTO providers (provider_id, name, created_at) SELECT 'x', 'x', '2026-03-10 04:00:00.000000'"
        )
        writer.commit()  # into the log, beside the file
        source = opened(url_of(Path(sqlite_ledger.label)), read_only=True).database
        (copies / "backup.db").touch()
        copy_pages(source, copies / "backup.db", copies / "backup.db", quiet)
    assert (copies / "backup.db").read_bytes()[18:20] == b"\x01\x01"
    found = rows(opened(url_of(copies / "backup.db"), read_only=True))
    assert len(found["providers"]) == len(before["providers"]) + 1


# While others write


def _write(url: str, number: int, acknowledge: Connection) -> None:
    """Write without end: recharges, grants, batches of usage and a gateway's rows."""
    ledger = open_ledger(url)
    for position in count():
        gateway = "gateway-" if position % 4 == 3 else ""
        perform(ledger, operation("backup", f"{gateway}{number}-{position}"))
        os.write(acknowledge.fileno(), b".")


def test_a_backup_while_others_write_is_one_moment(
    database_url: str, ledger: Ledger, copies: Path, opened: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_copy, "PAGES", 4)
    open_pools(ledger)
    context = processes()
    receiver, sender = context.Pipe(duplex=False)
    writers = [context.Process(target=_write, args=(database_url, number, sender), daemon=True) for number in range(3)]
    for writer in writers:
        writer.start()
    sender.close()
    try:
        for number in range(3):
            for _write_number in range(12):
                assert os.read(receiver.fileno(), 1) == b"."
            least = {table: found for table, found in rows(ledger).items() if table in ("usage_records", "recharges")}
            back_up(ledger, copies / f"{number}.db", quiet)
            most = {table: found for table, found in rows(ledger).items() if table in least}
            copy = opened(url_of(copies / f"{number}.db"), read_only=True)
            assert reconcile(copy) == ()
            for table, held in ((table, set(found)) for table, found in rows(copy).items() if table in least):
                assert set(least[table]) <= held <= set(most[table])
            batches = query(
                copy,
                "SELECT substr(request_id, 1, instr(request_id, '/')), count(*) FROM usage_records"
                " WHERE request_id LIKE '%/%' GROUP BY 1",
            )
            assert {size for _batch, size in batches} <= {CALLS}
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
        receiver.close()
    assert set(PROVIDERS) <= {row[0] for row in rows(ledger)["providers"]}


def test_writers_that_always_come_first_have_to_wait_in_the_end(
    sqlite_url: str, sqlite_ledger: Ledger, copies: Path, opened: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_copy, "PAGES", 4)
    furnish(sqlite_ledger)
    other = opened(sqlite_url)
    written: list[int] = []

    def interfere(done: int, whole: int) -> None:
        if len(written) < page_copy.RESTARTS:
            written.append(pay(other, "1").id)

    back_up(sqlite_ledger, copies / "backup.db", interfere)
    assert len(written) == page_copy.RESTARTS
    assert rows(opened(url_of(copies / "backup.db"), read_only=True)) == rows(sqlite_ledger)


# A backup that does not come to its end


KILLED = """
import os, signal, sys
from pathlib import Path
from billing_console.services.backup import back_up, restore
from billing_console.services.ledger import open_ledger
def die(done, whole):
    os.kill(os.getpid(), signal.SIGKILL)
what, url, path = sys.argv[1:]
back_up(open_ledger(url), Path(path), die) if what == "backup" else restore(url, Path(path), die)
"""


def killed(what: str, url: str, path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, what, url, str(path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_backup_that_is_killed_has_no_name(database_url: str, ledger: Ledger, copies: Path) -> None:
    furnish(ledger)
    killed("backup", database_url, copies / "backup.db")
    assert [path.name for path in copies.iterdir() if not path.name.startswith(".backup.db.")] == []
    back_up(ledger, copies / "backup.db", quiet)


def test_a_restore_that_is_killed_leaves_room_for_another(backup: Path, free_url: str, opened: OpenLedger) -> None:
    before = rows(opened(url_of(backup), read_only=True))
    killed("restore", free_url, backup)
    restore(free_url, backup, quiet)
    assert rows(opened(free_url)) == before


class Stopped(Exception):
    """What ends a copy in its middle."""


def stop(done: int, whole: int) -> None:
    raise Stopped


def test_a_copy_that_fails_leaves_nothing(ledger: Ledger, copies: Path, free_url: str, tmp_path: Path) -> None:
    furnish(ledger)
    with pytest.raises(Stopped):
        back_up(ledger, copies / "backup.db", stop)
    assert list(copies.iterdir()) == []
    back_up(ledger, copies / "backup.db", quiet)
    with pytest.raises(Stopped):
        restore(free_url, copies / "backup.db", stop)
    assert not list((tmp_path / "new").glob("**/*"))
    restore(free_url, copies / "backup.db", quiet)


# Names that are taken, places that cannot be used


def test_a_file_that_is_there_is_never_overwritten(ledger: Ledger, copies: Path) -> None:
    (copies / "file").write_text("mine")
    (copies / "directory").mkdir()
    (copies / "link").symlink_to("nowhere")
    for name in ("file", "directory", "link"):
        error = refusal(lambda: back_up(ledger, copies / name, quiet))  # noqa: B023
        assert isinstance(error, Refused) and "there already" in error.message and "another name" in error.hint
    assert (copies / "file").read_text() == "mine"
    assert sorted(path.name for path in copies.iterdir()) == ["directory", "file", "link"]


@pytest.mark.parametrize("links", [True, False], ids=["with hard links", "without hard links"])
def test_a_file_that_appears_meanwhile_is_not_overwritten_either(
    sqlite_ledger: Ledger, copies: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)  # as on FAT
    back_up(sqlite_ledger, copies / "first.db", quiet)

    def appear(done: int, whole: int) -> None:
        (copies / "second.db").write_text("mine")

    error = refusal(lambda: back_up(sqlite_ledger, copies / "second.db", appear))
    assert isinstance(error, Refused)
    assert (copies / "second.db").read_text() == "mine"
    assert sorted(path.name for path in copies.iterdir()) == ["first.db", "second.db"]


def test_a_place_that_is_missing_or_cannot_be_written_says_so(
    ledger: Ledger,
    copies: Path,
    reachable: Path,  # noqa: F811
) -> None:
    error = refusal(lambda: back_up(ledger, copies / "none" / "backup.db", quiet))
    assert error.exit_code is ExitCode.UNKNOWN and "No such file or directory" in error.message
    reachable.chmod(0o555)
    with nobody():
        error = refusal(lambda: back_up(ledger, reachable / "backup.db", quiet))
    assert error.exit_code is ExitCode.UNKNOWN and "Permission denied" in error.message
    assert list(reachable.iterdir()) == []


def test_a_restore_needs_a_place_of_its_own(backup: Path, ledger: Ledger, database_url: str) -> None:
    before = rows(ledger)
    error = refusal(lambda: restore(database_url, backup, quiet))
    assert isinstance(error, Refused) and "Move the old one away" in error.hint
    assert rows(ledger) == before


def test_tables_of_another_program_are_in_the_way_too(backup: Path, empty_postgres_url: str) -> None:
    dsn = make_url(empty_postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE theirs (x int)")
        assert "holds tables" in refusal(lambda: restore(empty_postgres_url, backup, quiet)).message
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert found == [("theirs",)]


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_what_another_database_left_beside_the_place_is_refused(backup: Path, tmp_path: Path, suffix: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    left = place / f"billing.db{suffix}"
    left.write_bytes(b"left behind")
    error = refusal(lambda: restore(f"sqlite:///{place / 'billing.db'}", backup, quiet))
    assert isinstance(error, Refused) and left.name in error.message and "Move it" in error.hint
    assert [path.name for path in place.iterdir()] == [left.name]
    assert left.read_bytes() == b"left behind"


def test_a_backup_with_a_journal_beside_it_is_refused(backup: Path, tmp_path: Path) -> None:
    backup.with_name("backup.db-journal").write_bytes(b"left behind")
    error = refusal(lambda: restore(f"sqlite:///{tmp_path / 'restored.db'}", backup, quiet))
    assert isinstance(error, Refused) and "backup.db-journal" in error.message
    assert not (tmp_path / "restored.db").exists()


# Files that are no backup


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00garbage\x1b[2J" * 1000)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def a_page_lost(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-4096] + bytes(4096))


def somebody_elses(path: Path) -> None:
    path.unlink()
    sql(path, "CREATE TABLE notes (x)")


def without_facts(path: Path) -> None:
    sql(path, "DELETE FROM ledger_info")


def without_a_table(path: Path) -> None:
    sql(path, "DROP TABLE balance_alerts")


def newer(path: Path) -> None:
    sql(path, "UPDATE alembic_version SET version_num = '9999'")


def orphaned(path: Path) -> None:
    sql(path, "DELETE FROM user_quotas")


def unbalanced(path: Path) -> None:
    sql(path, "UPDATE resource_pools SET used_amount = used_amount + 1")


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        (garbage, 3, "is damaged or not a database. Use another backup."),
        (nothing, 3, "is no backup of a ledger. Use another backup."),
        (missing, 3, "There is no file"),
        (truncated, 3, "damaged"),
        (a_page_lost, 3, "damaged"),
        (somebody_elses, 3, "is no backup of a ledger."),
        (without_facts, 3, "is no backup of a ledger."),
        (without_a_table, 3, "Use another backup."),
        (newer, 3, "(9999) is newer than this program"),
        (orphaned, 3, "is damaged: foreign key quota_grants → user_quotas."),
        (unbalanced, 1, "values in"),
    ],
)
def test_a_file_that_is_no_sound_backup_is_refused(
    backup: Path, free_url: str, tmp_path: Path, damage: Callable[[Path], None], code: int, said: str
) -> None:
    good = tmp_path / "good.db"
    shutil.copy(backup, good)
    damage(backup)
    error = refusal(lambda: restore(free_url, backup, quiet))
    assert (error.exit_code, said in str(error)) == (code, True), str(error)
    assert not (tmp_path / "new").exists()
    restore(free_url, good, quiet)


def test_an_older_backup_is_upgraded_as_a_copy(backup: Path, free_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_console.services.backup_check.REVISIONS", (*REVISIONS, "next"))
    monkeypatch.setattr("billing_console.services.backup_check.HEAD", "next")
    error = refusal(lambda: restore(free_url, backup, quiet))
    assert f"({HEAD}) is older" in error.message and "COPY upgrade" in error.hint


def test_a_directory_is_no_backup(copies: Path, free_url: str) -> None:
    assert "There is no file" in refusal(lambda: restore(free_url, copies, quiet)).message


def test_a_text_that_postgresql_cannot_store_is_said_to_be_one(
    sqlite_ledger: Ledger, copies: Path, empty_postgres_url: str
) -> None:
    gateway_insert(sqlite_ledger, error_message="a\0b")
    back_up(sqlite_ledger, copies / "backup.db", quiet)
    error = refusal(lambda: restore(empty_postgres_url, copies / "backup.db", quiet))
    assert "usage_records" in error.message and "SQLite file" in error.hint
    restore(f"sqlite:///{copies / 'restored.db'}", copies / "backup.db", quiet)


# Ledgers that cannot be backed up


def test_a_ledger_that_reconcile_finds_wrong_is_backed_up_as_it_is_and_not_restored_before_it_is_mended(
    ledger: Ledger, copies: Path, opened: OpenLedger
) -> None:
    furnish(ledger)
    execute(ledger, "UPDATE resource_pools SET used_amount = used_amount + 1 WHERE provider_id = 'openai'")
    made = back_up(ledger, copies / "backup.db", quiet)
    assert made.wrong == 1
    again = f"sqlite:///{copies / 'restored.db'}"
    error = refusal(lambda: restore(again, made.path, quiet))
    assert isinstance(error, Refused) and "reconcile --repair" in error.hint
    assert "1 value in" in error.message and str(made.path) in error.message
    copy = opened(url_of(made.path))
    reconcile(copy, repair=True)
    copy.close()
    restore(again, made.path, quiet)


def test_only_an_admin_of_the_backup_or_root_restores_it(ledger: Ledger, copies: Path, opened: OpenLedger) -> None:
    furnish(ledger)
    back_up(ledger, copies / "backup.db", quiet)
    somebody = replace(TESTER, name="somebody", uid=4711, account="somebody")
    url = f"sqlite:///{copies / 'restored.db'}"
    error = refusal(lambda: restore(url, copies / "backup.db", quiet, person=somebody))
    assert isinstance(error, NotPermitted) and "tester" in error.hint
    assert [path.name for path in copies.iterdir()] == ["backup.db"]
    root = replace(somebody, name="root-of-another-host", uid=0)
    restore(url, copies / "backup.db", quiet, person=root)
    restored = opened(url)
    assert {view.name: view.role for view in list_operators(restored)}["root-of-another-host"] is Role.ADMIN
    assert list_audit(restored)[0].action == "ledger.restore"
    assert verify_audit(restored).findings == ()


def test_only_an_admin_backs_a_ledger_up_and_the_log_says_so(ledger: Ledger, copies: Path) -> None:
    other = acting(ledger, "zhang.min", Role.OPERATOR)
    assert isinstance(refusal(lambda: back_up(other, copies / "backup.db", quiet)), NotPermitted)
    assert list(copies.iterdir()) == []
    assert list_audit(ledger)[0].action == "ledger.backup"


def test_a_damaged_ledger_is_found_by_its_backup(sqlite_ledger: Ledger, copies: Path, opened: OpenLedger) -> None:
    furnish(sqlite_ledger)
    sqlite_ledger.close()
    a_page_lost(Path(sqlite_ledger.label))
    error = refusal(lambda: back_up(opened(url_of(Path(sqlite_ledger.label))), copies / "backup.db", quiet))
    assert isinstance(error, Unavailable) and "damaged" in error.message and "backup" in error.hint
    assert list(copies.iterdir()) == []


def test_a_copy_with_other_rows_is_not_kept() -> None:
    require_rows({"a": 1, "b": 0}, {"a": 1, "b": 0}, "it")
    assert "0 rows in b instead of 2" in refusal(lambda: require_rows({"a": 1, "b": 0}, {"a": 1, "b": 2}, "it")).message
