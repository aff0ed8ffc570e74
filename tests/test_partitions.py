"""Usage records in monthly partitions on PostgreSQL: each request once over all of them, whoever writes it."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

import db.migrations
from billing_console.clock import day_of
from billing_console.errors import BillingError, Conflict, NotPermitted
from billing_console.pool_timer import PoolTimer
from billing_console.services.audit_verify import verify_audit
from billing_console.services.backup import back_up, restore
from billing_console.services.holds import NewHold
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.maintenance import Maintained, is_due, maintain
from billing_console.services.metering import record_usage
from billing_console.services.metering_batch import authorize
from billing_console.services.pools import get_pool
from billing_console.services.reconcile import reconcile
from billing_console.services.session import prepare
from billing_console.services.settlement import reprice, settle
from billing_console.services.setup import upgrade
from billing_console.services.usage import UsageFilter, usage_page
from db.partitions import partitions
from db.revision import HEAD
from db.values import UsageType
from tests.commands import Commands
from tests.conftest import OpenLedger
from tests.factories import NOON, TESTER, at, execute, gateway_insert, pool, price, query, spend, usage
from tests.test_quota_upgrade import old_ledger

MONTHS = [datetime(2026, month, 15, tzinfo=UTC) for month in (1, 2, 3, 4)]


@pytest.fixture
def parted(postgres_url: str, opened: OpenLedger) -> Ledger:
    """A ledger with partitions from January to May 2026, seen in March."""
    ledger = at(opened(postgres_url), NOON)
    maintain(ledger, date(2026, 1, 20))
    return ledger


def after_all(ledger: Ledger) -> datetime:
    """The first instant after all months that have a partition; what there is depends on when it was made."""
    with ledger.database.reading() as session:
        found = partitions(session)[-1].start
    assert found is not None
    return found


def following(ledger: Ledger, *numbers: int) -> tuple[date, ...]:
    """The first days of the months that follow all these, by their numbers from 0 on."""
    first = day_of(after_all(ledger), ledger.timezone)
    return tuple(
        date(first.year + (first.month - 1 + number) // 12, (first.month - 1 + number) % 12 + 1, 1)
        for number in numbers
    )


def places(ledger: Ledger) -> list[tuple[Any, ...]]:
    """In which partition each request is."""
    return query(ledger, "SELECT request_id, tableoid::regclass::text FROM usage_records ORDER BY request_id")


def test_a_new_ledger_has_partitions_for_this_month_and_the_next_two(postgres_url: str, opened: OpenLedger) -> None:
    ledger = opened(postgres_url)
    assert not is_due(ledger)
    (count,) = query(ledger, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage_records'::regclass")[0]
    assert count == 5


def test_months_are_those_of_the_business_time_zone_and_a_record_of_no_month_is_taken(parted: Ledger) -> None:
    newyear = datetime(2025, 12, 31, 16, tzinfo=UTC)
    times = {"a": newyear - timedelta(microseconds=1), "b": newyear, "c": NOON, "d": NOON + timedelta(days=4000)}
    record_usage(
        parted, [usage(request_id=name, created_at=time, cost_amount=Decimal(1)) for name, time in times.items()]
    )
    assert places(parted) == [
        ("a", "usage_records_before"),
        ("b", "usage_records_2026_01"),
        ("c", "usage_records_2026_03"),
        ("d", "usage_records_later"),
    ]
    assert [row.created_at for row in usage_page(parted, UsageFilter()).rows] == sorted(times.values(), reverse=True)
    assert reconcile(parted) == () and verify_audit(parted).findings == ()


def test_partitions_are_made_before_their_month_and_once(parted: Ledger) -> None:
    later, wanted = at(parted, after_all(parted)), following(parted, 0, 1, 2)
    assert is_due(later)
    assert maintain(later).made == wanted
    assert not is_due(later) and maintain(later).made == ()
    (row,) = query(parted, "SELECT after FROM audit_log WHERE action = 'ledger.maintain' ORDER BY id DESC LIMIT 1")
    assert json.loads(row[0]) == {"partitions": [f"{month:%Y-%m}" for month in wanted]}


def test_the_timer_makes_the_next_partition(parted: Ledger) -> None:
    checked: Queue[BillingError | None] = Queue()
    later = at(parted, after_all(parted))
    timer = PoolTimer(later, timedelta(minutes=5), checked.put)
    timer.start()
    try:
        assert checked.get(timeout=60) is None
    finally:
        timer.stop()
    assert not is_due(later)


def test_months_that_have_records_already_share_a_partition_and_what_is_far_ahead_stays_with_the_later(
    parted: Ledger,
) -> None:
    start, wanted = after_all(parted), following(parted, 0, 1, 2)
    for days in (10, 40, 4000):
        spend(parted, "1", created_at=start + timedelta(days=days), request_id=f"r{days}")
    gateway_insert(parted, request_id="g", created_at=start + timedelta(days=5000), cost_amount=1)
    done = maintain(at(parted, start))
    assert (done.made, done.late) == (wanted[2:], wanted[:2])
    shared = f"usage_records_{wanted[0]:%Y_%m}_to_{wanted[1]:%Y_%m}"
    away = "usage_records_later"
    assert dict(places(parted)) == {"r10": shared, "r40": shared, "r4000": away, "g": away}
    spend(parted, "1", created_at=start + timedelta(days=11))
    with pytest.raises(IntegrityError, match="uq_usage_records_request"):
        gateway_insert(parted, request_id="r4000", created_at=start)
    assert settle(parted).counted == 1
    assert reconcile(parted) == () and verify_audit(parted).findings == ()


def test_a_month_that_alone_has_records_gets_its_partition_where_they_lie(parted: Ledger) -> None:
    start, wanted = after_all(parted), following(parted, 0, 1, 2)
    spend(parted, "1", created_at=start + timedelta(days=3), request_id="r")
    done = maintain(at(parted, start))
    assert (done.made, done.late) == (wanted, ())
    assert places(parted) == [("r", f"usage_records_{wanted[0]:%Y_%m}")]


def test_a_request_is_counted_once_over_all_months(parted: Ledger) -> None:
    first = usage(request_id="r", created_at=MONTHS[0], cost_amount=Decimal(1))
    assert record_usage(parted, [first]).recorded == 1
    same = record_usage(parted, [usage(request_id="r", created_at=MONTHS[0], cost_amount=Decimal(1))])
    assert (same.recorded, same.duplicates, same.conflicts) == (0, 1, ())
    other = record_usage(parted, [usage(request_id="r", created_at=MONTHS[1], cost_amount=Decimal(1))])
    assert (other.recorded, len(other.conflicts)) == (0, 1)
    for month in MONTHS:
        with pytest.raises(IntegrityError, match=r"uq_usage_records_request(.|\n)*request_id"):
            gateway_insert(parted, request_id="r", created_at=month, cost_amount=1)
    gateway_insert(parted, request_id="g", created_at=MONTHS[2], cost_amount=1)
    with pytest.raises(IntegrityError, match="uq_usage_records_request"):
        gateway_insert(parted, request_id="g", created_at=MONTHS[3], cost_amount=1)
    assert record_usage(parted, [usage(request_id="g", created_at=MONTHS[3])]).recorded == 0
    settle(parted)
    assert len(places(parted)) == 2 and reconcile(parted) == ()


def test_a_gateway_may_pass_over_a_call_that_it_sends_again(parted: Ledger) -> None:
    """In another month it fails instead: no key of a partition can see it, and the trigger can only fail."""
    insert = (
        "INSERT INTO usage_records (request_id, provider_id, model_id, usage_type, status, created_at, cost_amount)"
        " VALUES ('r', 'openai', 'gpt-4o', 'text_generation', 'success', :at, 5) ON CONFLICT DO NOTHING"
    )
    for hours in range(3):
        execute(parted, insert, {"at": NOON + timedelta(hours=hours)})
    with pytest.raises(IntegrityError, match="uq_usage_records_request"):
        execute(parted, insert, {"at": MONTHS[0]})
    settle(parted)
    spend(parted, "1", request_id="mine", created_at=NOON)
    execute(parted, insert.replace("'r'", "'mine'"), {"at": NOON})
    assert len(places(parted)) == 2 and reconcile(parted) == ()


def test_a_request_that_was_rolled_back_is_free_again(parted: Ledger) -> None:
    insert = (
        "INSERT INTO usage_records (request_id, provider_id, model_id, usage_type, status, created_at)"
        " VALUES ('r', 'openai', 'gpt-4o', 'text_generation', 'success', :at)"
    )
    with parted.database.writing() as session:
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            session.connection().execute(text(insert), {"at": MONTHS[0]})
            raise ZeroDivisionError
        session.connection().execute(text(insert), {"at": MONTHS[1]})
    assert places(parted) == [("r", "usage_records_2026_02")]


def test_of_writers_who_race_for_a_request_one_records_it(parted: Ledger) -> None:
    """Each in another month, where no index of a partition could see the other."""
    together = threading.Barrier(8)

    def write(number: int) -> int:
        month = MONTHS[number % 4]
        together.wait()
        done = 0
        for request in range(20):
            if number < 4:
                call = usage(request_id=f"r{request}", created_at=month, cost_amount=Decimal(1))
                done += record_usage(parted, [call]).recorded
                continue
            try:
                gateway_insert(parted, request_id=f"r{request}", created_at=month, cost_amount=1_000_000_000)
                done += 1
            except IntegrityError:
                pass
        return done

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(write, range(8))) == 20
    settle(parted)
    assert len(places(parted)) == 20 and get_pool(parted, "openai").used_amount == 20
    assert reconcile(parted) == () and verify_audit(parted).findings == ()


def test_partitions_are_made_while_others_write(parted: Ledger) -> None:
    """Records of months whose partition is just being made, or is refused because they came first, are all counted."""
    start = after_all(parted)
    months = [start + timedelta(days=31 * number + 9) for number in range(12)]
    begun = threading.Barrier(4)

    def write(number: int) -> None:
        begun.wait()
        for place, month in enumerate(months):
            for call in range(3):
                name = f"w{number}-{place}-{call}"
                if number % 2:
                    gateway_insert(parted, request_id=name, created_at=month, cost_amount=1_000_000_000)
                else:
                    spend(parted, "1", request_id=name, created_at=month)

    def make() -> Maintained:
        begun.wait()
        return maintain(at(parted, start + timedelta(days=280)))

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, number) for number in range(3)]
        done = threads.submit(make).result()
        for writer in writers:
            writer.result()
    assert done.made or done.late
    settle(parted)
    assert len(places(parted)) == 3 * 36 and get_pool(parted, "openai").used_amount == 3 * 36
    assert reconcile(parted) == () and verify_audit(parted).findings == ()


def test_a_request_whose_record_is_missing_is_no_duplicate(parted: Ledger) -> None:
    """As after a record was taken away past the triggers: the call is not dropped without a word."""
    execute(parted, "INSERT INTO usage_request_ids VALUES ('openai', 'r', 4711, :at)", {"at": NOON})
    done = record_usage(parted, [usage(request_id="r")])
    assert (done.recorded, done.duplicates) == (0, 0)
    assert done.conflicts == ((0, "request id r was already recorded with other content (created_at)"),)


def test_an_id_that_a_writer_chose_is_not_taken_twice(parted: Ledger) -> None:
    """The key of the partitions holds the time, so alone it would let two records of different times have one id."""
    gateway_insert(parted, id=7, request_id="a", created_at=MONTHS[0], cost_amount=1)
    settle(parted)
    with pytest.raises(IntegrityError, match="uq_usage_records_id"):
        gateway_insert(parted, id=7, request_id="b", created_at=MONTHS[1], cost_amount=1)


def test_what_waits_is_counted_and_priced_in_whatever_month_it_is(parted: Ledger) -> None:
    pool(parted, amount="100")
    for number, month in enumerate(MONTHS):
        gateway_insert(parted, request_id=f"c{number}", created_at=month, cost_amount=1_000_000_000)
        gateway_insert(parted, request_id=f"u{number}", created_at=month, input_tokens=1_000_000)
    done = settle(parted)
    assert (done.counted, done.unpriced) == (8, 4)
    price(parted)
    assert reprice(parted).priced == 4
    assert get_pool(parted, "openai").used_amount == 44
    assert reconcile(parted) == () and verify_audit(parted).findings == ()


def test_what_waits_is_counted_also_where_its_request_is_not_known(parted: Ledger) -> None:
    """As after a repair by hand, with the triggers off."""
    execute(parted, "ALTER TABLE usage_records DISABLE TRIGGER usage_records_outbox")
    gateway_insert(parted, request_id="r", created_at=MONTHS[1], cost_amount=1)
    execute(parted, "ALTER TABLE usage_records ENABLE TRIGGER usage_records_outbox")
    execute(parted, "INSERT INTO usage_outbox (usage_id) SELECT id FROM usage_records")
    assert settle(parted).counted == 1
    (found,) = reconcile(parted)
    assert (found.what, found.stored, found.computed) == ("usage_request_ids", "1", "0")
    reconcile(parted, repair=True)
    assert reconcile(parted) == ()
    with pytest.raises(IntegrityError, match="uq_usage_records_request"):
        gateway_insert(parted, request_id="r", created_at=MONTHS[3])


def test_a_partition_by_its_own_name_is_as_closed_as_the_whole(parted: Ledger) -> None:
    spend(parted, "1", created_at=NOON, request_id="r")
    for statement in (
        "UPDATE usage_records_2026_03 SET cost_amount = 0",
        "UPDATE usage_records_2026_03 SET created_at = created_at + interval '31 days'",
        "DELETE FROM usage_records_2026_03",
        "UPDATE usage_request_ids SET request_id = 'other'",
        "DELETE FROM usage_request_ids",
    ):
        with pytest.raises(DBAPIError, match="append-only"):
            execute(parted, statement)
    columns = "request_id, provider_id, model_id, usage_type, status, created_at"
    with pytest.raises(IntegrityError, match="uq_usage_records_request"):
        execute(
            parted,
            f"INSERT INTO usage_records_2026_03 ({columns})"
            " VALUES ('r', 'openai', 'm', 'text_generation', 'success', :at)",
            {"at": NOON},
        )


def test_a_call_that_was_recorded_in_another_month_holds_nothing(parted: Ledger) -> None:
    spend(parted, "1", created_at=MONTHS[0], request_id="r")
    wanted = NewHold("r", "alice", "openai", "gpt-4o", UsageType.TEXT_GENERATION, Decimal(1))
    with pytest.raises(Conflict, match="recorded already"):
        authorize(parted, wanted)


def test_a_restored_ledger_has_its_months_and_knows_its_requests(
    parted: Ledger, empty_postgres_url: str, opened: OpenLedger, tmp_path: Path
) -> None:
    for number, month in enumerate(MONTHS[:2]):
        spend(parted, "1", created_at=month, request_id=f"r{number}")
    gateway_insert(parted, request_id="w", created_at=MONTHS[2], cost_amount=1)
    back_up(parted, tmp_path / "b.db", lambda *_args: None)
    restore(empty_postgres_url, tmp_path / "b.db", lambda *_args: None, person=TESTER)
    ledger = opened(empty_postgres_url)
    assert places(ledger) == places(parted)
    assert record_usage(ledger, [usage(request_id="r0", created_at=MONTHS[3])]).recorded == 0
    with pytest.raises(IntegrityError, match="uq_usage_records_request"):
        gateway_insert(ledger, request_id="w", created_at=MONTHS[3], cost_amount=1)
    assert settle(ledger).counted == 1
    spend(ledger, "1", created_at=MONTHS[3])
    assert reconcile(ledger) == () and verify_audit(ledger).findings == ()


def before_partitions(url: str, gateway: str) -> Any:
    """Make a ledger as the release before partitions left it, with three records, two of which wait to be counted.

    Return the file in which they lie.
    """
    old_ledger(url)
    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__path__[0])))
    database = prepare(url)
    try:
        with database.writing() as session:
            config.attributes["connection"] = session.connection()
            command.upgrade(config, "0004")
            run = session.connection().execute
            for request, time in (("old", NOON), ("waiting", NOON), ("far", datetime(2099, 1, 1, tzinfo=UTC))):
                run(
                    text(
                        "INSERT INTO usage_records (request_id, user_id, provider_id, model_id, usage_type, status,"
                        " created_at, cost_amount)"
                        " VALUES (:id, 'bob', 'openai', 'gpt-4o', 'text_generation', 'success', :at, 5)"
                    ),
                    {"id": request, "at": time},
                )
            run(text(f"CREATE ROLE {gateway}"))
            run(text(f"GRANT INSERT (request_id, provider_id), SELECT ON usage_records TO {gateway}"))
            return run(text("SELECT pg_relation_filenode('usage_records')")).scalar_one()
    finally:
        database.close()


def test_an_older_ledger_keeps_its_records_where_they_lie(empty_postgres_url: str) -> None:
    gateway = f"gateway_{empty_postgres_url[-60:].rpartition('_')[2][:12]}"
    file = before_partitions(empty_postgres_url, gateway)
    assert upgrade(empty_postgres_url, founder=TESTER) == ("0004", HEAD)
    ledger = open_ledger(empty_postgres_url, actor=TESTER)
    try:
        assert query(ledger, "SELECT pg_relation_filenode('usage_records_before')") == [(file,)]
        assert dict(places(ledger)) == {
            "old": "usage_records_before",
            "waiting": "usage_records_before",
            "far": "usage_records_later",
        }
        assert settle(ledger).counted == 3
        for request in ("old", "far"):
            with pytest.raises(IntegrityError, match="uq_usage_records_request"):
                gateway_insert(ledger, request_id=request, created_at=NOON + timedelta(days=40))
        assert record_usage(ledger, [usage(request_id="new", created_at=NOON)]).recorded == 1
        assert reconcile(ledger) == ()
        names = {row[0] for row in query(ledger, "SELECT relname FROM pg_class WHERE relname LIKE 'ix_usage_model_%'")}
        assert {"ix_usage_model_before", "ix_usage_model_later"} <= names and len(names) == 4
        may = f"has_column_privilege('{gateway}', 'usage_records', 'request_id', 'INSERT')"
        may += f", has_table_privilege('{gateway}', 'usage_request_ids', 'INSERT')"
        may += f", has_table_privilege('{gateway}', 'usage_records', 'SELECT')"
        may += f", has_table_privilege('{gateway}', 'usage_records', 'INSERT')"
        assert query(ledger, f"SELECT {may}") == [(True, False, True, False)]
    finally:
        execute(ledger, f"DROP OWNED BY {gateway}")
        execute(ledger, f"DROP ROLE {gateway}")
        ledger.close()


def test_maintain_says_what_it_made_and_what_it_could_not(
    postgres_url: str, opened: OpenLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, run = opened(postgres_url), Commands(postgres_url, capsys)
    spend(ledger, "1", created_at=datetime(2025, 2, 3, tzinfo=UTC))
    answer = run("maintain", "--since", "2025-02")
    assert answer.code == 0 and "2025-01" not in answer.out and "2025-03, 2025-04" in answer.out
    assert answer.err.endswith("before it was made: 2025-02.\n")


def test_a_role_that_does_not_own_the_tables_is_told_and_its_timer_waits(parted: Ledger, opened: OpenLedger) -> None:
    role = f"app_{str(parted.database.url.database)[-12:]}"
    execute(parted, f"CREATE ROLE {role} LOGIN")
    execute(parted, f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
    execute(parted, f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
    try:
        url = parted.database.url.set(username=role).render_as_string(hide_password=False)
        app = at(opened(url), after_all(parted))
        assert not is_due(app)
        with pytest.raises(NotPermitted, match="does not own the tables"):
            maintain(app)
        assert spend(app, "1", created_at=NOON).recorded == 1
    finally:
        execute(parted, f"DROP OWNED BY {role}")
        execute(parted, f"DROP ROLE {role}")
