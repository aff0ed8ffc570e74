"""Recording usage: each request once, at the price of its time, with every counter equal to the facts."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from billing_console.errors import InvalidInput
from billing_console.services.audit_verify import verify_audit
from billing_console.services.catalogue import model_ids, providers
from billing_console.services.ledger import Ledger
from billing_console.services.metering import RecordResult, record_usage
from billing_console.services.models import get_model
from billing_console.services.pools import get_pool
from billing_console.services.quotas import quota_details
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import reprice, settle
from billing_console.services.usage import UsageFilter, UsageRow, usage_details, usage_page
from db.values import CallStatus, ModelStatus, PriceUnit, UsageType
from tests.factories import NANO, NOON, everything, gateway_insert, pool, price, query, usage
from tests.naughty import naughty

TEXT, IMAGE, TTS, STT, VIDEO = UsageType
SECOND = timedelta(seconds=1)
MICRO = timedelta(microseconds=1)


def rows(ledger: Ledger) -> dict[str, UsageRow]:
    return {row.request_id: row for row in usage_page(ledger, UsageFilter(), limit=1000).rows}


def one(ledger: Ledger, **changes: Any) -> UsageRow:
    """Record one call and read it back."""
    call = usage(**changes)
    assert record_usage(ledger, [call]).recorded == 1
    return rows(ledger)[call.request_id]


def stat(ledger: Ledger) -> list[tuple[Any, ...]]:
    columns = "provider_id, model_id, usage_type, total_usage, total_cost, call_count, failed_count"
    return query(ledger, f"SELECT {columns} FROM daily_cost_stats ORDER BY stat_date, 1, 2, 3")


def test_a_call_is_kept_whole_and_counted_everywhere(ledger: Ledger) -> None:
    price(ledger)
    pool(ledger, amount="1")
    moment = datetime(2026, 3, 10, 23, 59, 59, 123456, timezone(timedelta(hours=8)))
    row = one(ledger, created_at=moment, input_tokens=1234, output_tokens=56, request_id="请求-1", user_id="用户")
    assert (row.request_id, row.user_id, row.provider_id, row.model_id) == ("请求-1", "用户", "openai", "gpt-4o")
    assert (row.input_tokens, row.output_tokens, row.total_tokens) == (1234, 56, 1290)
    assert (row.created_at, row.created_at.tzinfo) == (moment, UTC)
    assert (row.cost_amount, row.unpriced, row.status) == (Decimal("0.01402"), False, CallStatus.SUCCESS)
    assert get_pool(ledger, "openai").used_amount == row.cost_amount
    assert quota_details(ledger, "用户").quota.used_amount == row.cost_amount
    assert stat(ledger) == [("openai", "gpt-4o", TEXT, 1290 * 10**6, 14_020_000, 1, 0)]
    assert reconcile(ledger) == ()


def test_a_batch_is_recorded_in_one_go(ledger: Ledger) -> None:
    calls = [usage(request_id=f"r{number}", cost_amount=NANO * number) for number in range(500)]
    assert record_usage(ledger, calls) == RecordResult(500, 0, (), 0)
    assert get_pool(ledger, "openai").used_amount == NANO * sum(range(500))
    assert record_usage(ledger, []) == RecordResult(0, 0, (), 0)
    assert reconcile(ledger) == ()


def test_the_same_request_is_counted_once_within_a_batch_and_across(ledger: Ledger) -> None:
    call = usage(cost_amount=Decimal(1))
    other = replace(call, provider_id="azure")  # a request id is unique per provider
    assert record_usage(ledger, [call, replace(call), other]) == RecordResult(2, 1, (), 0)
    before = everything(ledger)
    assert record_usage(ledger, [call, other, replace(call)]) == RecordResult(0, 3, (), 0)
    assert everything(ledger) == before
    assert get_pool(ledger, "openai").used_amount == 1


def test_a_repeated_request_may_cost_something_else_by_now(ledger: Ledger) -> None:
    call = usage(cost_amount=Decimal(1))
    record_usage(ledger, [call])
    assert (
        record_usage(ledger, [replace(call, cost_amount=None), replace(call, cost_amount=Decimal(2))]).duplicates == 2
    )
    assert get_pool(ledger, "openai").used_amount == 1


CHANGES = [
    ("user_id", "bob"),
    ("user_id", None),
    ("model_id", "o3"),
    ("usage_type", VIDEO),
    ("input_tokens", 101),
    ("output_tokens", 0),
    ("quantity", Decimal("0.000001")),
    ("status", CallStatus.FAILED),
    ("created_at", NOON + MICRO),
]


def test_the_same_request_with_other_content_is_a_conflict(ledger: Ledger) -> None:
    for number, (column, value) in enumerate(CHANGES):
        call = usage(cost_amount=Decimal(1), request_id=f"twice-{number}")
        changed = replace(call, **{column: value})  # type: ignore[arg-type]
        inside = record_usage(ledger, [usage(), call, changed])
        across = record_usage(ledger, [changed, usage()])
        assert (inside.recorded, inside.duplicates, across.recorded, across.duplicates) == (2, 0, 1, 0)
        assert [position for position, _reason in inside.conflicts] == [2]
        assert [position for position, _reason in across.conflicts] == [0]
        assert call.request_id in across.conflicts[0][1] and column in across.conflicts[0][1]
    assert query(ledger, "SELECT count(*) FROM usage_records") == [(3 * len(CHANGES),)]
    assert get_pool(ledger, "openai").used_amount == len(CHANGES)
    assert reconcile(ledger) == ()


def test_a_failed_call_counts_and_costs_nothing_unless_it_says_so(ledger: Ledger) -> None:
    price(ledger)
    free = one(ledger, status=CallStatus.FAILED, error_message="429 Too Many Requests: \x1b[31m slow down\n")
    dear = one(ledger, status=CallStatus.FAILED, cost_amount=Decimal("0.5"))
    assert (free.cost_amount, free.unpriced, free.status) == (Decimal(0), False, CallStatus.FAILED)
    assert free.error_message == "429 Too Many Requests: \x1b[31m slow down\n"
    assert dear.cost_amount == Decimal("0.5")
    assert [row[-2:] for row in stat(ledger)] == [(2, 2)]
    assert get_pool(ledger, "openai").used_amount == Decimal("0.5")


def test_a_message_that_no_database_can_hold_is_kept_as_far_as_it_can_be(ledger: Ledger) -> None:
    row = one(ledger, status=CallStatus.FAILED, error_message="a\0b\udfff" + "x" * 5000)
    assert row.error_message is not None
    assert row.error_message.startswith("a\ufffdb\ufffdxxx") and len(row.error_message) == 4000


def test_a_call_without_a_price_is_kept_unpriced_and_repriced_later(ledger: Ledger) -> None:
    call = usage()
    assert record_usage(ledger, [call, usage(model_id="other")]).unpriced == 2
    row = rows(ledger)[call.request_id]
    assert (row.cost_amount, row.unpriced) == (Decimal(0), True)
    price(ledger, effective_from=NOON + MICRO)
    done = reprice(ledger)
    assert (done.priced, done.still_unpriced) == (0, 2)  # not yet in force when it was made

    added = price(ledger, effective_from=NOON)
    done = reprice(ledger)
    assert (done.priced, done.still_unpriced, done.cost) == (1, 1, Decimal("0.0025"))
    assert rows(ledger)[call.request_id].cost_amount == Decimal("0.0025")
    details = usage_details(ledger, row.id)
    assert details.price is not None and details.price.id == added.id
    assert get_pool(ledger, "openai").used_amount == Decimal("0.0025")
    assert quota_details(ledger, "alice").quota.used_amount == Decimal("0.0025")
    assert [row[3:] for row in stat(ledger)] == [(150 * 10**6, 2_500_000, 1, 0), (150 * 10**6, 0, 1, 0)]
    before = everything(ledger)
    assert reprice(ledger).priced == 0
    assert everything(ledger) == before
    assert reconcile(ledger) == ()


def test_repricing_takes_only_what_is_asked_for(ledger: Ledger) -> None:
    for provider, model in (("a", "m"), ("a", "n"), ("b", "m")):
        record_usage(ledger, [usage(provider_id=provider, model_id=model)])
        price(ledger, provider_id=provider, model_id=model)
    assert (reprice(ledger, "a", "m").priced, reprice(ledger).priced) == (1, 2)
    assert reprice(ledger, "nobody") == reprice(ledger, "b")


def test_many_repricings_at_once_bill_each_call_once(ledger: Ledger) -> None:
    record_usage(ledger, [usage() for _ in range(60)])
    price(ledger)
    with ThreadPoolExecutor(4) as threads:
        assert sum(done.priced for done in threads.map(lambda _: reprice(ledger), range(4))) == 60
    assert get_pool(ledger, "openai").used_amount == 60 * Decimal("0.0025")
    assert reconcile(ledger) == ()


def test_cached_tokens_are_part_of_the_input(ledger: Ledger) -> None:
    tokens = {"input_tokens": 1000, "cached_input_tokens": 400, "output_tokens": 10}
    price(ledger, cached_input_price=Decimal(1))
    price(ledger, model_id="o3")
    assert one(ledger, **tokens).cost_amount == Decimal("0.0067")  # 600 at 10, 400 at 1, 10 at 30, per million
    assert one(ledger, **tokens, model_id="o3").cost_amount == Decimal("0.0103")
    assert one(ledger, **tokens).total_tokens == 1010


UNITS: list[tuple[UsageType, PriceUnit, dict[str, Any], str, str]] = [
    (TEXT, PriceUnit.MILLION_TOKENS, {"input_tokens": 3, "output_tokens": 1}, "0.00006", "4"),
    (IMAGE, PriceUnit.IMAGE, {"quantity": Decimal(3)}, "120", "3"),
    (IMAGE, PriceUnit.MILLION_TOKENS, {"quantity": Decimal(2), "output_tokens": 100}, "0.003", "2"),
    (TTS, PriceUnit.THOUSAND_CHARACTERS, {"quantity": Decimal(1234)}, "49.36", "1234"),
    (STT, PriceUnit.SECOND, {"quantity": Decimal("1.5")}, "60", "1.5"),
    (STT, PriceUnit.MINUTE, {"quantity": Decimal("0.5")}, "0.333333333", "0.5"),
    (VIDEO, PriceUnit.SECOND, {"quantity": Decimal("0.000001")}, "0.00004", "0.000001"),
    (VIDEO, PriceUnit.MINUTE, {"quantity": Decimal(90)}, "60", "90"),
]


def test_every_usage_type_is_billed_in_its_own_unit(ledger: Ledger) -> None:
    for number, (usage_type, unit, measure, cost, total_usage) in enumerate(UNITS):
        model: dict[str, Any] = {"model_id": f"m{number}", "usage_type": usage_type}
        price(ledger, unit=unit, **model)  # 10 in, 30 out
        row = one(ledger, **{"input_tokens": 0, "output_tokens": 0} | model | measure)
        assert (row.cost_amount, row.usage) == (Decimal(cost), Decimal(total_usage))
    totals = [row[3] for row in stat(ledger)]
    assert totals == [int(Decimal(total_usage) * 10**6) for *_rest, total_usage in UNITS]
    assert reconcile(ledger) == ()


@pytest.mark.parametrize(
    ("unit", "measure"),
    [(PriceUnit.IMAGE, {"output_tokens": 100}), (PriceUnit.MILLION_TOKENS, {"quantity": Decimal(2)})],
)
def test_a_call_measured_otherwise_than_its_price_is_unpriced_and_not_free(
    ledger: Ledger, unit: PriceUnit, measure: dict[str, Any]
) -> None:
    price(ledger, unit=unit, usage_type=IMAGE)
    row = one(ledger, **{"usage_type": IMAGE, "input_tokens": 0, "output_tokens": 0} | measure)
    assert row.unpriced
    done = reprice(ledger)
    assert (done.priced, done.still_unpriced) == (0, 1)


def test_ids_are_kept_without_the_spaces_around_them(ledger: Ledger) -> None:
    row = one(ledger, provider_id=" openai ", model_id="gpt-4o ", user_id=" alice")
    assert (row.provider_id, row.model_id, row.user_id) == ("openai", "gpt-4o", "alice")


QUOTED = ("NULL", "null", "{}", "{a,b}", "\\", "\\\\", '"', '\\"', "a,b", "a\nb", "a\tb", "%s", "?", ":a", "$1", "\\N")
"""What an array, a row or a statement would mean by itself."""


@pytest.mark.parametrize("together", [1, 500], ids=["one by one", "at once"])
def test_whatever_a_call_holds_is_kept_as_it_was_sent(ledger: Ledger, together: int) -> None:
    """What databases and drivers quote, break at or take for nothing, and users and messages that are not there."""
    calls = [
        usage(
            request_id=text,
            user_id=None if number % 3 == 0 else text,
            status=CallStatus.FAILED,
            error_message=None if number % 2 else f" {text}\n",
            created_at=NOON + number * MICRO,
        )
        for number, text in enumerate(dict.fromkeys((*naughty(), *QUOTED)))
    ]
    sent = {call.request_id: (call.user_id, call.error_message, call.created_at) for call in calls}
    for start in range(0, len(calls), together):
        chunk = calls[start : start + together]
        assert record_usage(ledger, chunk).recorded == len(chunk)
    assert {row.request_id: (row.user_id, row.error_message, row.created_at) for row in rows(ledger).values()} == sent
    assert reconcile(ledger) == () and verify_audit(ledger).findings == ()


def test_the_price_in_force_at_the_instant_of_the_call_holds(ledger: Ledger) -> None:
    price(ledger, input_price=Decimal(1), output_price=Decimal(0), effective_from=NOON)
    price(ledger, input_price=Decimal(2), output_price=Decimal(0), effective_from=NOON + SECOND)
    moments = (NOON - MICRO, NOON, NOON + SECOND - MICRO, NOON + SECOND, NOON + timedelta(days=400))
    found = [one(ledger, created_at=moment, input_tokens=10**6) for moment in moments]
    assert [row.unpriced for row in found] == [True, False, False, False, False]
    assert [row.cost_amount for row in found] == [0, 1, 1, 2, 2]


def test_the_cost_that_a_record_brings_stands(ledger: Ledger) -> None:
    price(ledger)
    row = one(ledger, cost_amount=Decimal("0.000000001"))
    assert row.cost_amount == NANO
    assert usage_details(ledger, row.id).price is None
    assert one(ledger, cost_amount=Decimal(0)).unpriced is False


def test_a_call_of_nobody_is_counted_with_nobody(ledger: Ledger) -> None:
    assert one(ledger, user_id=None, cost_amount=Decimal(1)).user_id is None
    assert query(ledger, "SELECT count(*) FROM user_quotas") == [(0,)]
    assert get_pool(ledger, "openai").used_amount == 1
    assert reconcile(ledger) == ()


def test_provider_and_model_seen_first_are_registered(ledger: Ledger) -> None:
    record_usage(ledger, [usage(provider_id="new", model_id="m"), usage(provider_id="new", model_id="n")])
    assert [view.provider_id for view in providers(ledger)] == ["new"]
    assert model_ids(ledger, "new") == ("m", "n")
    assert get_model(ledger, "new", "m").status is ModelStatus.ENABLED
    assert not get_pool(ledger, "new").has_pool


def test_a_batch_may_name_thousands_of_models(ledger: Ledger) -> None:
    calls = [usage(provider_id=f"p{number % 7}", model_id=f"m{number}", cost_amount=NANO) for number in range(2000)]
    assert record_usage(ledger, calls).recorded == 2000
    assert record_usage(ledger, calls).duplicates == 2000
    assert len(model_ids(ledger)) == 2000


BAD = [
    ({"provider_id": ""}, "providerId"),
    ({"provider_id": "p" * 201}, "providerId"),
    ({"model_id": " "}, "modelId"),
    ({"model_id": "a\0"}, "modelId"),
    ({"request_id": ""}, "requestId"),
    ({"request_id": "\ud800"}, "requestId"),
    ({"user_id": ""}, "userId"),
    ({"input_tokens": -1}, "inputTokens"),
    ({"input_tokens": 10**12 + 1}, "inputTokens"),
    ({"cached_input_tokens": -1}, "cachedInputTokens"),
    ({"cached_input_tokens": 101}, "cachedInputTokens"),
    ({"output_tokens": -1}, "outputTokens"),
    ({"total_tokens": -1}, "totalTokens"),
    ({"total_tokens": 2**63}, "totalTokens"),
    ({"quantity": Decimal("-1")}, "quantity"),
    ({"quantity": Decimal("1E-7")}, "quantity"),
    ({"quantity": Decimal("NaN")}, "quantity"),
    ({"quantity": Decimal("1E+10")}, "quantity"),
    ({"usage_type": IMAGE, "input_tokens": 0, "output_tokens": 0}, "quantity"),
    ({"cost_amount": Decimal("-0.000000001")}, "costAmount"),
    ({"cost_amount": Decimal("1E-10")}, "costAmount"),
    ({"cost_amount": Decimal("Infinity")}, "costAmount"),
    ({"cost_amount": Decimal("9223372036.854775808")}, "costAmount"),
    ({"created_at": NOON.replace(tzinfo=None)}, "createdAt"),
]


@pytest.mark.parametrize(("changes", "field"), BAD, ids=[f"{field}-{number}" for number, (_, field) in enumerate(BAD)])
def test_a_call_that_cannot_be_recorded_is_refused_by_name_and_nothing_is_written(
    changes: dict[str, Any], field: str, sqlite_ledger: Ledger
) -> None:
    with pytest.raises(InvalidInput) as refused:
        record_usage(sqlite_ledger, [usage(), usage(**changes)])
    assert refused.value.field == field
    assert field in refused.value.message
    assert query(sqlite_ledger, "SELECT count(*) FROM usage_records") == [(0,)]
    assert query(sqlite_ledger, "SELECT count(*) FROM providers") == [(0,)]


def test_many_writers_of_the_same_requests_count_each_once(ledger: Ledger) -> None:
    calls = [usage(user_id=f"u{number % 5}", cost_amount=NANO, provider_id=f"p{number % 3}") for number in range(40)]

    def write(seed: int) -> int:
        mine = random.Random(seed).sample(calls, len(calls))
        return record_usage(ledger, mine[:20]).recorded + record_usage(ledger, mine[20:]).recorded

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(write, range(6))) == 40
    assert query(ledger, "SELECT sum(used_amount) FROM resource_pools") == [(40,)]
    assert reconcile(ledger) == ()


def test_calls_are_recorded_also_after_the_largest_id_there_is(sqlite_ledger: Ledger) -> None:
    """A gateway that chooses ids by hand can take the last one; SQLite then takes any that is free."""
    gateway_insert(sqlite_ledger, id=2**63 - 1)
    calls = [usage(request_id=f"r-{number}", cost_amount=Decimal(1)) for number in range(3)]
    assert record_usage(sqlite_ledger, calls[:2]).recorded == 2
    again = record_usage(sqlite_ledger, calls)
    assert (again.recorded, again.duplicates) == (1, 2)
    assert get_pool(sqlite_ledger, "openai").used_amount == 3
    settle(sqlite_ledger)
    assert (reconcile(sqlite_ledger), verify_audit(sqlite_ledger).findings) == ((), ())


def test_calls_get_ids_in_their_order_however_many_there_are(ledger: Ledger) -> None:
    numbers = [*range(1500), *range(0, 1500, 7), *range(1500, 2345)]
    recorded = record_usage(ledger, [usage(request_id=f"r{number:04d}", cost_amount=NANO) for number in numbers])
    assert recorded == RecordResult(2345, 215, (), 0)
    again = [usage(request_id=f"r{number:04d}", cost_amount=NANO) for number in range(2300, 2411)]
    assert record_usage(ledger, again) == RecordResult(66, 45, (), 0)
    ids = query(ledger, "SELECT request_id FROM usage_records ORDER BY id")
    assert [request_id for (request_id,) in ids] == [f"r{number:04d}" for number in range(2411)]
    assert reconcile(ledger) == ()
    assert verify_audit(ledger).findings == ()
