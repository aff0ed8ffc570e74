"""Old usage records moved to files: what is left proves itself, and no call is counted twice, on both engines."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from billing_console.errors import BillingError, Conflict, InvalidInput, Refused, Unavailable
from billing_console.services import archive
from billing_console.services.archive import archive_usage
from billing_console.services.archive_units import archivable
from billing_console.services.audit_verify import verify_audit
from billing_console.services.backup import back_up, restore
from billing_console.services.costs import CostFilter, cost_totals
from billing_console.services.holds import NewHold
from billing_console.services.ledger import Ledger
from billing_console.services.maintenance import maintain
from billing_console.services.metering import record_usage
from billing_console.services.metering_batch import authorize
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from billing_console.services.usage import UsageFilter, usage_page
from billing_console.services.usage_totals import usage_totals
from db.values import UsageType
from tests.commands import Commands
from tests.conftest import OpenLedger
from tests.factories import TESTER, at, execute, gateway_insert, pool, query, spend, usage

JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 15, 4, tzinfo=UTC) for month in (1, 2, 3))


@pytest.fixture
def old(ledger: Ledger) -> Ledger:
    """A ledger in March 2026 with calls of three months, in two batches, a gateway's and one more."""
    found = at(ledger, MARCH)
    maintain(found, date(2026, 1, 1))
    pool(found, amount="100")
    calls = [
        usage(
            request_id=f"{name}{number}", created_at=time.replace(day=1 + number), cost_amount=Decimal(1), user_id="bob"
        )
        for number in range(10)
        for name, time in (("jan", JANUARY), ("feb", FEBRUARY), ("mar", MARCH))
    ]
    record_usage(found, calls[:20])
    record_usage(found, calls[20:])
    gateway_insert(found, request_id="g", created_at=JANUARY, cost_amount=1_000_000_000)
    spend(found, "1", request_id="last", created_at=MARCH)
    return found


def proved(ledger: Ledger) -> None:
    assert reconcile(ledger) == ()
    assert verify_audit(ledger).findings == ()


def left(ledger: Ledger) -> list[str]:
    """The months of the records that are there."""
    rows = usage_page(ledger, UsageFilter(), limit=1000).rows
    return sorted({f"{row.created_at:%Y-%m}" for row in rows})


def test_what_is_older_goes_to_files_and_every_balance_stays(old: Ledger, tmp_path: Path) -> None:
    settle(old)
    before = cost_totals(old, CostFilter(date(2026, 1, 1), date(2026, 12, 31)))
    done = archive_usage(old, 1, tmp_path)
    assert [(each.first, each.last, each.calls, each.cost) for each in done] == [
        (date(2026, 1, 1), date(2026, 1, 1), 11, Decimal(11))
    ]
    assert left(old) == ["2026-02", "2026-03"]
    assert get_pool(old, "openai").used_amount == 32
    assert cost_totals(old, CostFilter(date(2026, 1, 1), date(2026, 12, 31))) == before
    assert usage_totals(old, UsageFilter()).calls == 21
    proved(old)
    assert archive_usage(old, 1, tmp_path) == ()


def test_the_file_holds_the_records_as_they_were_and_its_manifest_what_is_in_it(old: Ledger, tmp_path: Path) -> None:
    settle(old)
    rows = {row.request_id: row for row in usage_page(old, UsageFilter(), limit=1000).rows}
    (done,) = archive_usage(old, 1, tmp_path)
    content = (tmp_path / done.file).read_bytes()
    with gzip.open(tmp_path / done.file, "rt", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 11
    for line in found:
        row = rows[line["request_id"]]
        assert (int(line["id"]), line["user_id"] or None, Decimal(line["cost_amount"])) == (
            row.id,
            row.user_id,
            row.cost_amount,
        )
        assert datetime.fromisoformat(line["created_at"]) == row.created_at
    manifest = json.loads((tmp_path / done.file.replace(".csv.gz", ".json")).read_text())
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert (manifest["file"], manifest["calls"], manifest["costAmount"]) == (done.file, 11, "11.00")
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".db")) == [
        done.file,
        manifest["file"].replace(".csv.gz", ".json"),
    ]


def test_a_call_that_is_archived_is_not_counted_again(old: Ledger, tmp_path: Path) -> None:
    archive_usage(old, 1, tmp_path)
    again = usage(request_id="jan3", created_at=JANUARY.replace(day=4), cost_amount=Decimal(1), user_id="bob")
    done = record_usage(old, [again, usage(request_id="new", created_at=JANUARY, cost_amount=Decimal(1))])
    assert (done.recorded, done.duplicates, done.conflicts) == (1, 1, ())
    assert record_usage(old, [usage(request_id="jan4", created_at=MARCH)]).conflicts[0][0] == 0
    wanted = NewHold("jan5", "bob", "openai", "gpt-4o", UsageType.TEXT_GENERATION, Decimal(1))
    with pytest.raises(Conflict, match="recorded already"):
        authorize(old, wanted)
    if old.database.is_sqlite:
        gateway_insert(old, request_id="g", created_at=JANUARY, cost_amount=1)
    else:
        with pytest.raises(DBAPIError, match="uq_usage_records_request"):
            gateway_insert(old, request_id="g", created_at=JANUARY, cost_amount=1)
    assert settle(old).counted == 0
    assert get_pool(old, "openai").used_amount == 33
    proved(old)


def test_what_comes_late_for_an_archived_month_is_archived_next(old: Ledger, tmp_path: Path) -> None:
    archive_usage(old, 1, tmp_path)
    spend(old, "2", created_at=JANUARY, request_id="late")
    spend(old, "1", created_at=MARCH, request_id="after")
    april = at(old, datetime(2026, 4, 15, tzinfo=UTC))
    done = archive_usage(april, 1, tmp_path)
    assert [each.calls for each in done] == [1, 10]
    assert left(old) == ["2026-03"] and len({each.file for each in done}) == 2
    proved(april)


def test_nothing_is_archived_where_a_call_has_no_price_or_the_ledger_does_not_prove_itself(
    old: Ledger, tmp_path: Path
) -> None:
    record_usage(old, [usage(request_id="unpriced", model_id="new", created_at=JANUARY)])
    spend(old, "1", created_at=MARCH, request_id="after")
    with pytest.raises(Refused, match=r"1 calls of these months, most of .*, have no price"):
        archive_usage(old, 1, tmp_path)
    execute(old, "UPDATE resource_pools SET used_amount = used_amount + 1")
    with pytest.raises(Refused, match="does not prove itself"):
        archive_usage(old, 1, tmp_path)
    with pytest.raises(InvalidInput):
        archive_usage(old, 0, tmp_path)
    assert left(old) == ["2026-01", "2026-02", "2026-03"]


def test_the_newest_record_stays_however_old_it_is_since_ids_go_on_from_it(old: Ledger, tmp_path: Path) -> None:
    spend(old, "1", created_at=JANUARY, request_id="newest")
    moved = sum(each.calls for each in archive_usage(old, 1, tmp_path))
    assert moved == 11
    spend(old, "1", created_at=MARCH, request_id="after")
    assert moved + sum(each.calls for each in archive_usage(old, 1, tmp_path)) == 12
    spend(old, "1", created_at=MARCH, request_id="another")
    proved(old)


def test_a_directory_that_is_not_there_changes_nothing(old: Ledger, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        archive_usage(old, 1, tmp_path / "missing")
    assert left(old) == ["2026-01", "2026-02", "2026-03"]
    proved(old)


FAILING = {
    "sqlite": (
        "CREATE TRIGGER fails BEFORE INSERT ON archived_requests WHEN (SELECT count(*) FROM archived_requests) >= {0}"
        " BEGIN SELECT RAISE(ABORT, 'interrupted'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF (SELECT count(*) FROM"
        " archived_requests) >= {0} THEN RAISE EXCEPTION 'interrupted'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER fails BEFORE INSERT ON archived_requests FOR EACH ROW EXECUTE FUNCTION fails()",
    ),
}


def interrupted(ledger: Ledger, directory: Path, rows: int) -> None:
    """Archive until so many requests are noted, and not on."""
    for statement in FAILING["sqlite" if ledger.database.is_sqlite else "postgresql"]:
        execute(ledger, statement.format(rows))
    with pytest.raises((BillingError, DBAPIError)):
        archive_usage(ledger, 1, directory)
    execute(ledger, "DROP TRIGGER fails" + ("" if ledger.database.is_sqlite else " ON archived_requests"))


@pytest.mark.parametrize("rows", [0, 1, 5, 8])
def test_wherever_it_is_interrupted_the_ledger_is_right_and_the_next_run_goes_on(
    old: Ledger, tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BATCH", 4)
    interrupted(old, tmp_path, rows)
    assert get_pool(old, "openai").used_amount == 32
    proved(old)
    spend(old, "1", created_at=JANUARY, request_id="meanwhile")
    spend(old, "1", created_at=MARCH, request_id="after")
    done = archive_usage(old, 1, tmp_path)
    assert sum(each.calls for each in done) == 12
    assert left(old) == ["2026-02", "2026-03"]
    assert get_pool(old, "openai").used_amount == 34
    proved(old)


def unparted(ledger: Ledger) -> Ledger:
    """Old calls that are in no partition of their month on PostgreSQL."""
    for number in range(8):
        spend(ledger, "1", request_id=f"r{number}", created_at=datetime(2020, 1, 2 + number, tzinfo=UTC))
    spend(ledger, "1", request_id="now", created_at=datetime.now(UTC))
    return ledger


def test_a_file_that_was_lost_before_all_its_records_went_stops_the_rest(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = unparted(ledger)
    monkeypatch.setattr(archive, "BATCH", 3)
    interrupted(old, tmp_path, 5)
    assert query(old, "SELECT removed, calls FROM usage_archives") == [(3, 8)]
    (path,) = tmp_path.glob("*.csv.gz")
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(Unavailable, match="not a whole archive"):
        archive_usage(old, 1, tmp_path)
    path.write_bytes(content)
    archive_usage(old, 1, tmp_path)
    assert query(old, "SELECT request_id FROM usage_records") == [("now",)]
    proved(old)


def test_what_stands_for_archived_records_is_vouched_for(old: Ledger, tmp_path: Path) -> None:
    archive_usage(old, 1, tmp_path)
    execute(old, "UPDATE archived_stats SET total_cost = total_cost - 1")
    assert any(finding.where.startswith("archived") for finding in verify_audit(old).findings)
    assert reconcile(old) != ()


def changed(ledger: Ledger, statement: str) -> None:
    """Change a record past the triggers."""
    table = "usage_records"
    if ledger.database.is_sqlite:
        ((kept,),) = query(ledger, "SELECT sql FROM sqlite_master WHERE name = 'usage_records_no_update'")
        execute(ledger, "DROP TRIGGER usage_records_no_update")
        execute(ledger, statement)
        execute(ledger, kept)
    else:
        execute(ledger, f"ALTER TABLE {table} DISABLE TRIGGER USER")
        execute(ledger, statement)
        execute(ledger, f"ALTER TABLE {table} ENABLE TRIGGER USER")


def test_a_record_that_stays_of_a_batch_that_went_in_part_is_still_vouched_for(old: Ledger, tmp_path: Path) -> None:
    archive_usage(old, 1, tmp_path)
    changed(old, "UPDATE usage_records SET model_id = 'other' WHERE request_id = 'feb2'")
    (finding,) = [found for found in verify_audit(old).findings if found.where.startswith("usage_records")]
    assert "was changed" in finding.problem


def test_a_record_that_goes_without_an_archive_is_still_missed(old: Ledger, tmp_path: Path) -> None:
    archive_usage(old, 1, tmp_path)
    with pytest.raises(DBAPIError, match="append-only"):
        execute(old, "DELETE FROM usage_records WHERE request_id = 'feb2'")
    execute(old, "INSERT INTO archived_requests SELECT provider_id, request_id, id, created_at FROM usage_records")
    execute(old, "DELETE FROM usage_records WHERE request_id = 'feb2'")
    assert any("missing" in found.problem for found in verify_audit(old).findings)
    assert reconcile(old) != ()


def test_a_backup_of_an_archived_ledger_restores_to_either_engine(
    old: Ledger, tmp_path: Path, empty_postgres_url: str, opened: OpenLedger
) -> None:
    archive_usage(old, 1, tmp_path)
    back_up(old, tmp_path / "b.db", lambda *_args: None)
    for url in (empty_postgres_url, f"sqlite:///{tmp_path / 'again.db'}"):
        restore(url, tmp_path / "b.db", lambda *_args: None, person=TESTER)
        ledger = at(opened(url), MARCH)
        proved(ledger)
        assert record_usage(ledger, [usage(request_id="jan4", created_at=JANUARY.replace(day=5))]).duplicates == 1
        assert [each.calls for each in archive_usage(at(ledger, datetime(2026, 4, 2, tzinfo=UTC)), 1, tmp_path)] == [10]
        proved(ledger)


def test_a_dry_run_says_what_would_go_and_changes_nothing(
    database_url: str, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spend(ledger, "1.5", created_at=datetime(2024, 2, 3, tzinfo=UTC))
    spend(ledger, "1", created_at=datetime(2024, 3, 3, tzinfo=UTC))
    now = datetime.now(UTC)
    spend(ledger, "1", created_at=now)
    run = Commands(database_url, capsys)
    asked: tuple[Any, ...] = ("maintain", "--keep-months", "3", "--archive", str(tmp_path))
    said = run(*asked, "--dry-run", "--format", "json").json["archived"]
    assert [(each["first"], each["calls"], each["costAmount"]) for each in said] == [
        ("2024-02", 1, "1.50"),
        ("2024-03", 1, "1.00"),
    ]
    assert left(ledger)[:2] == ["2024-02", "2024-03"] and not list(tmp_path.glob("usage-*"))
    assert archivable(ledger, 3)[0].cost == Decimal("1.5")
    assert "Archived: 2024-02 to " in run(*asked).out
    assert left(ledger) == [f"{now:%Y-%m}"] and len(list(tmp_path.glob("usage-*.csv.gz"))) >= 1
    proved(ledger)
    assert run("maintain", "--keep-months", "3").code == 2


def test_a_quota_is_as_it_was(old: Ledger, tmp_path: Path) -> None:
    grant_quota(old, "bob", Decimal(40), reference="r")
    archive_usage(old, 1, tmp_path)
    assert query(old, "SELECT used_amount FROM user_quotas WHERE user_id = 'bob'") == [(30_000_000_000,)]
    proved(old)


def test_two_runs_at_once_move_each_record_once(old: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BATCH", 3)
    unparted(old)
    begun = threading.Barrier(2)

    def run(_number: int) -> None:
        begun.wait()
        with suppress(BillingError):
            archive_usage(old, 1, tmp_path)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, range(2)))
    archive_usage(old, 1, tmp_path)
    assert query(old, "SELECT count(*), sum(calls) FROM usage_archives WHERE removed = calls") == [(2, 19)]
    assert query(old, "SELECT count(*) FROM archived_requests") == [(19,)]
    assert get_pool(old, "openai").used_amount == 41
    proved(old)
