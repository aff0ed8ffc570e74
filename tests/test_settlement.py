"""Usage that gateways insert by themselves: counted exactly once, and in the live balance before that."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from billing_console.money import LEDGER_LIMIT
from billing_console.services.catalogue import model_ids
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import get_pool, list_pools
from billing_console.services.quotas import quota_details
from billing_console.services.recharges import preview_recharge
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import Settled, reprice, settle
from billing_console.services.usage import UsageFilter, usage_page
from db.values import CallStatus
from tests.commands import Commands
from tests.conftest import OpenLedger
from tests.factories import (
    NOON,
    TESTER,
    everything,
    execute,
    gateway_insert,
    pay,
    pool,
    price,
    query,
    spend,
    stored,
    unbounded,
    usage,
)

YUAN = 10**9


def waiting(ledger: Ledger) -> int:
    return int(query(ledger, "SELECT count(*) FROM usage_outbox")[0][0])


def test_rows_of_a_gateway_are_counted_exactly_once(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    for number in range(5):
        gateway_insert(ledger, user_id="alice", input_tokens=7, output_tokens=3, cost_amount=number * YUAN)
    gateway_insert(ledger, user_id="alice", status="failed", error_message="boom", cost_amount=0)
    assert waiting(ledger) == 6
    assert settle(ledger) == Settled(counted=6, unpriced=0)
    counted = everything(ledger)
    assert settle(ledger) == Settled(0, 0)
    assert everything(ledger) == counted
    assert waiting(ledger) == 0
    assert get_pool(ledger, "openai").used_amount == 10
    assert quota_details(ledger, "alice").quota.used_amount == 10
    assert query(ledger, "SELECT total_usage, total_cost, call_count, failed_count FROM daily_cost_stats") == [
        (50 * 10**6, 10 * YUAN, 6, 1)
    ]
    assert reconcile(ledger) == ()


def test_what_the_services_record_is_never_in_the_outbox(ledger: Ledger) -> None:
    record_usage(ledger, [usage(), usage()])
    assert waiting(ledger) == 0


def test_a_row_that_is_rolled_back_is_never_counted(ledger: Ledger) -> None:
    insert = (
        "INSERT INTO usage_records (request_id, provider_id, model_id, usage_type, status, created_at, cost_amount)"
        " VALUES ('r', 'openai', 'gpt-4o', 'text_generation', 'success', :at, 1)"
    )
    with pytest.raises(ZeroDivisionError), ledger.database.writing() as session:
        session.connection().execute(text(insert), {"at": stored(NOON, ledger)})
        raise ZeroDivisionError
    assert (settle(ledger).counted, waiting(ledger)) == (0, 0)


def test_live_balances_include_what_is_not_settled(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    pool(ledger, "azure", "100")
    spend(ledger, "1")
    gateway_insert(ledger, cost_amount=41 * YUAN)
    gateway_insert(ledger, cost_amount=2 * YUAN)
    gateway_insert(ledger)  # no cost yet
    assert get_pool(ledger, "openai").available_balance == 56
    assert [view.available_balance for view in list_pools(ledger)] == [100, 56]
    assert preview_recharge(ledger, "openai", Decimal(1)).before == 56
    assert pay(ledger, "1").available_before == 56
    settle(ledger)
    assert [view.available_balance for view in list_pools(ledger)] == [100, 57]


def test_a_row_is_listed_before_it_is_settled(ledger: Ledger) -> None:
    gateway_insert(ledger, provider_id="never seen", model_id="m", request_id="r")
    for chosen in (UsageFilter(), UsageFilter(provider_id="never seen"), UsageFilter(model_id="m")):
        (row,) = usage_page(ledger, chosen).rows
        assert (row.request_id, row.unpriced) == ("r", True)


def test_a_provider_and_model_of_a_gateway_are_registered(ledger: Ledger) -> None:
    gateway_insert(ledger, provider_id="新", model_id="m", cost_amount=YUAN)
    settle(ledger)
    view = get_pool(ledger, "新")
    assert (view.has_pool, view.used_amount) == (False, Decimal(1))
    assert model_ids(ledger, "新") == ("m",)


def test_a_row_without_a_cost_is_billed_when_it_is_settled(ledger: Ledger) -> None:
    price(ledger, effective_from=NOON)
    early = NOON - timedelta(microseconds=1)
    gateway_insert(ledger, request_id="priced", input_tokens=100, cached_input_tokens=10, output_tokens=50)
    gateway_insert(ledger, request_id="failed", input_tokens=100, output_tokens=50, status="failed")
    gateway_insert(ledger, request_id="early", input_tokens=100, output_tokens=50, created_at=early)
    gateway_insert(ledger, request_id="own cost", input_tokens=100, cost_amount=YUAN)
    assert settle(ledger) == Settled(counted=4, unpriced=1)
    rows = {row.request_id: row for row in usage_page(ledger, UsageFilter()).rows}
    assert {name: row.cost_amount for name, row in rows.items()} == {
        "priced": Decimal("0.0025"),
        "failed": 0,
        "early": 0,
        "own cost": 1,
    }
    assert {name for name, row in rows.items() if row.unpriced} == {"early"}
    price(ledger)
    assert reprice(ledger).priced == 1
    assert get_pool(ledger, "openai").used_amount == Decimal("1.005")
    assert reconcile(ledger) == ()


def test_repricing_leaves_to_the_settler_what_is_the_settlers(ledger: Ledger) -> None:
    price(ledger)
    gateway_insert(ledger, input_tokens=100)
    assert reprice(ledger).priced == 0
    assert settle(ledger).unpriced == 0
    assert reprice(ledger).priced == 0
    assert get_pool(ledger, "openai").used_amount == Decimal("0.001")


def test_a_request_that_a_gateway_inserted_is_a_duplicate_for_the_services(ledger: Ledger) -> None:
    gateway_insert(ledger, request_id="r", user_id="alice", input_tokens=100, output_tokens=50, cost_amount=YUAN)
    result = record_usage(ledger, [usage(request_id="r"), usage(request_id="r", user_id="bob")])
    assert (result.recorded, result.duplicates, len(result.conflicts)) == (0, 1, 1)
    settle(ledger)
    assert get_pool(ledger, "openai").used_amount == 1


def test_a_total_left_out_by_a_gateway_stands_for_input_and_output(ledger: Ledger) -> None:
    gateway_insert(ledger, input_tokens=7, output_tokens=3)
    gateway_insert(ledger, input_tokens=7, output_tokens=3, total_tokens=12)
    settle(ledger)
    assert query(ledger, "SELECT total_usage FROM daily_cost_stats") == [(22 * 10**6,)]
    assert reconcile(ledger) == ()


def test_small_batches_settle_everything(ledger: Ledger) -> None:
    insert_many(ledger, 25)
    assert settle(ledger, limit=10).counted == 25
    insert_many(ledger, 20, start=100)
    assert settle(ledger, limit=10).counted == 20
    assert get_pool(ledger, "p0").used_amount + get_pool(ledger, "p1").used_amount == 45


def insert_many(ledger: Ledger, count: int, start: int = 0, cost: int = YUAN) -> None:
    statement = (
        "INSERT INTO usage_records (request_id, user_id, provider_id, model_id, usage_type, status, created_at,"
        " cost_amount) VALUES (:request, :user, :provider, 'm', 'text_generation', 'success', :at, :cost)"
    )
    rows = [
        {
            "request": f"r{start + number}",
            "user": f"u{number % 3}",
            "provider": f"p{number % 2}",
            "at": stored(NOON, ledger),
            "cost": cost,
        }
        for number in range(count)
    ]
    with ledger.database.writing() as session:
        session.connection().execute(text(statement), rows)


def test_thousands_of_models_settle_in_one_batch(ledger: Ledger) -> None:
    statement = (
        "INSERT INTO usage_records (request_id, provider_id, model_id, usage_type, status, created_at)"
        " VALUES (:name, 'p', :name, 'text_generation', 'success', :at)"
    )
    rows = [{"name": f"m{number}", "at": stored(NOON, ledger)} for number in range(2000)]
    with ledger.database.writing() as session:
        session.connection().execute(text(statement), rows)
    assert settle(ledger) == Settled(counted=2000, unpriced=2000)
    assert len(model_ids(ledger, "p")) == 2000


def test_settlers_and_gateways_at_once_count_each_row_once(ledger: Ledger) -> None:
    def insert(batch: int) -> int:
        insert_many(ledger, 30, start=batch * 30)
        return 0

    def count(_number: int) -> int:
        return settle(ledger, limit=7).counted

    with ThreadPoolExecutor(6) as threads:
        work = [threads.submit(task, number) for number in range(6) for task in (insert, count)]
        counted = sum(done.result() for done in work)
    assert counted + settle(ledger).counted == 180
    assert query(ledger, "SELECT sum(used_amount) FROM resource_pools") == [(180 * YUAN,)]
    assert query(ledger, "SELECT sum(used_amount) FROM user_quotas") == [(180 * YUAN,)]
    assert query(ledger, "SELECT sum(call_count) FROM daily_cost_stats") == [(180,)]
    assert reconcile(ledger) == ()


def test_the_database_refuses_a_row_that_makes_no_sense(ledger: Ledger) -> None:
    wrong: list[dict[str, object]] = [
        {"status": "ok"},
        {"usage_type": "text"},
        {"input_tokens": -1},
        {"input_tokens": 1, "cached_input_tokens": 2},
        {"quantity": -1},
        {"cost_amount": -1},
        {"created_at": None},
        {"request_id": None},
    ]
    for changes in wrong:
        with pytest.raises(DBAPIError, match=r"(?i)check|not.null"):
            gateway_insert(ledger, **changes)
    assert waiting(ledger) == 0


@pytest.mark.parametrize(
    "spelling",
    ["2026-03-10 04:00:00", "2026-03-10T04:00:00.000000", "2026-03-10 04:00:00.000000+00:00", "2026-03-10", 1773115200],
)
def test_sqlite_refuses_a_time_in_another_spelling(sqlite_ledger: Ledger, spelling: object) -> None:
    with pytest.raises(DBAPIError, match="CHECK constraint"):
        gateway_insert(sqlite_ledger, created_at=spelling)


def test_sqlite_refuses_a_cost_that_is_a_float(sqlite_ledger: Ledger) -> None:
    with pytest.raises(DBAPIError, match="CHECK constraint"):
        gateway_insert(sqlite_ledger, cost_amount=0.5)


def test_a_gateway_that_says_it_counts_by_itself_is_believed_and_found_out(ledger: Ledger) -> None:
    spend(ledger, "1")
    gateway_insert(ledger, cost_amount=YUAN, counted_by_settler=False)
    assert settle(ledger).counted == 0
    found = {"resource_pools.used_amount", "daily_cost_stats"}
    if not ledger.database.is_sqlite:
        found.add("usage_request_ids")
    assert {finding.what for finding in reconcile(ledger)} == found


def test_a_failed_row_without_a_cost_is_free_once_settled(ledger: Ledger) -> None:
    gateway_insert(ledger, status=CallStatus.FAILED.value)
    settle(ledger)
    assert query(ledger, "SELECT cost_amount FROM usage_records") == [(0,)]


def test_an_outbox_entry_without_a_record_is_dropped(ledger: Ledger) -> None:
    execute(ledger, "INSERT INTO usage_outbox (usage_id) VALUES (4711)")
    gateway_insert(ledger, cost_amount=YUAN)
    settle(ledger)
    assert waiting(ledger) == 0
    assert get_pool(ledger, "openai").used_amount == 1


BIGGEST = 2**63 - 1
BEYOND: dict[str, dict[str, object]] = {
    "tokens": {"input_tokens": 10**12 + 1},
    "a total": {"total_tokens": BIGGEST},
    "sums": {"input_tokens": BIGGEST, "output_tokens": BIGGEST},
    "a quantity": {"usage_type": "image_generation", "quantity": BIGGEST},
    "a cost": {"cost_amount": 10_000_000 * YUAN + 1},
    "the last day": {"created_at": datetime(9999, 12, 31, 23, tzinfo=UTC)},
    "the first day": {"created_at": datetime(1, 1, 1, tzinfo=UTC)},
}


@pytest.mark.parametrize("what", BEYOND)
def test_the_database_refuses_a_record_that_no_call_can_have_made(ledger: Ledger, what: str) -> None:
    with pytest.raises(DBAPIError, match="beyond what a call can have"):
        gateway_insert(ledger, **BEYOND[what])
    assert (waiting(ledger), query(ledger, "SELECT count(*) FROM usage_records")) == (0, [(0,)])


@pytest.mark.parametrize("what", BEYOND)
def test_a_record_that_no_call_can_have_made_keeps_no_other_from_being_counted(ledger: Ledger, what: str) -> None:
    unbounded(ledger)
    gateway_insert(ledger, cost_amount=YUAN)
    gateway_insert(ledger, **BEYOND[what])
    gateway_insert(ledger, cost_amount=YUAN)
    ((beyond,),) = query(ledger, "SELECT max(id) - 1 FROM usage_records")
    assert settle(ledger, limit=1) == Settled(counted=2, unpriced=0, beyond=(beyond,))
    assert settle(ledger) == Settled(counted=0, unpriced=0, beyond=(beyond,))
    assert query(ledger, "SELECT used_amount FROM resource_pools") == [(2 * YUAN,)]
    assert query(ledger, "SELECT usage_id FROM usage_outbox") == [(beyond,)]


@pytest.mark.parametrize(
    "spelling",
    [
        "0000-01-01 00:00:00.000000",
        "2026-13-01 00:00:00.000000",
        "2026-02-31 00:00:00.000000",
        "2026-03-10 24:00:00.000000",
    ],
)
def test_a_time_that_no_calendar_has_is_left_on_sqlite(sqlite_ledger: Ledger, spelling: str) -> None:
    unbounded(sqlite_ledger)
    gateway_insert(sqlite_ledger, created_at=spelling)
    gateway_insert(sqlite_ledger, cost_amount=YUAN)
    assert settle(sqlite_ledger) == Settled(counted=1, unpriced=0, beyond=(1,))


def test_a_time_that_never_comes_is_left_on_postgresql(postgres_url: str, opened: OpenLedger) -> None:
    ledger = opened(postgres_url)
    unbounded(ledger)
    gateway_insert(ledger, created_at="infinity")
    gateway_insert(ledger, created_at="-infinity")
    gateway_insert(ledger, cost_amount=YUAN)
    assert settle(ledger) == Settled(counted=1, unpriced=0, beyond=(1, 2))


def test_the_largest_that_a_call_can_have_is_counted(ledger: Ledger) -> None:
    most = 10**12
    gateway_insert(ledger, input_tokens=most, output_tokens=most, total_tokens=most, cost_amount=10_000_000 * YUAN)
    gateway_insert(ledger, usage_type="image_generation", quantity=10**9 * 10**6)
    gateway_insert(ledger, created_at=datetime(9998, 12, 30, 23, 59, tzinfo=UTC))
    gateway_insert(ledger, created_at=datetime(2, 1, 1, tzinfo=UTC))
    gateway_insert(ledger, created_at=datetime(2028, 2, 29, 23, 59, 59, 999999, tzinfo=UTC))
    assert settle(ledger) == Settled(counted=5, unpriced=4)
    assert reconcile(ledger) == ()


def test_a_counter_without_room_keeps_no_other_from_being_counted(ledger: Ledger) -> None:
    spend(ledger, LEDGER_LIMIT - 1, provider_id="full", user_id="rich")
    for number in range(20):
        gateway_insert(ledger, provider_id="full" if number in (3, 17) else "openai", cost_amount=2 * YUAN)
    beyond = tuple(
        row[0] for row in query(ledger, "SELECT id FROM usage_records WHERE provider_id = 'full' ORDER BY id")
    )[1:]
    assert settle(ledger) == Settled(counted=18, unpriced=0, beyond=beyond)
    assert query(ledger, "SELECT used_amount FROM resource_pools WHERE provider_id = 'openai'") == [(36 * YUAN,)]
    assert waiting(ledger) == 2


def test_a_cost_beyond_the_ledger_waits_for_another_price(ledger: Ledger) -> None:
    price(ledger, input_price=Decimal(10**9))
    gateway_insert(ledger, input_tokens=10**12)
    gateway_insert(ledger, cost_amount=YUAN)
    assert settle(ledger) == Settled(counted=2, unpriced=1)


def test_the_command_says_which_records_it_left(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = Commands(sqlite_url, capsys)
    ledger = open_ledger(sqlite_url, actor=TESTER)
    unbounded(ledger)
    gateway_insert(ledger, input_tokens=BIGGEST)
    gateway_insert(ledger, cost_amount=YUAN)
    ledger.close()
    answer = commands("settle", "--format", "json")
    assert (answer.code, answer.json) == (1, {"counted": 1, "unpriced": 0, "uncountable": [1]})
    assert answer.err.startswith("Not counted, because a number or a time") and answer.err.endswith("records 1.\n")
