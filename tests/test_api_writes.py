"""The HTTP API's writes: calls are recorded once and exactly, money moves once for a key."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from billing_console.services.audit import AuditFilter, list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota, quota_details
from billing_console.services.reconcile import reconcile
from db.values import LimitName, Scope
from tests.api import ADMIN, Api
from tests.conftest import OpenLedger
from tests.factories import booked, everything, pool, price, query, spend
from tests.test_api import fields_at_fault, problem

USAGE = "/api/billing/usage"
RECHARGES = ADMIN + "/resource-pool/providers/openai/recharges"
GRANTS = ADMIN + "/quotas/alice/grants"


@pytest.fixture
def api(ledger: Ledger) -> Api:
    return Api(ledger)


def call(**changes: Any) -> dict[str, Any]:
    return {
        "requestId": "r-1",
        "userId": "alice",
        "providerId": "openai",
        "modelId": "gpt-4o",
        "usageType": "text_generation",
        "inputTokens": 1000,
        "outputTokens": 10,
        "createdAt": "2026-03-10T12:00:00+08:00",
    } | changes


def send(api: Api, body: Any, **options: Any) -> httpx.Response:
    return api("POST", USAGE, json=body, **options)


def test_a_call_is_recorded_once_however_often_it_is_sent(ledger: Ledger, api: Api) -> None:
    price(ledger)
    pool(ledger, amount="1")
    first = send(api, call(), token=api.tokens[Scope.METER])
    assert (first.status_code, first.json()) == (
        200,
        {"recorded": 1, "duplicates": 0, "unpriced": 0, "conflicts": []},
    )
    before = everything(ledger)
    assert send(api, call(createdAt="2026-03-10T04:00:00Z")).json()["duplicates"] == 1
    problem(send(api, call(inputTokens=1)), 409, "conflict")
    assert everything(ledger) == before
    (record,) = api.get("/usage/records").json()["items"]
    assert (record["costAmount"], record["totalTokens"]) == ("0.0103", 1010)
    assert get_pool(ledger, "openai").used_amount == Decimal("0.0103")
    assert list_audit(ledger, AuditFilter(operator="token:meter"))[0].action == "usage.record"
    assert (reconcile(ledger), verify_audit(ledger).findings) == ((), ())


def test_many_calls_are_recorded_together_and_conflicts_told_apart(ledger: Ledger, api: Api) -> None:
    send(api, call(requestId="known", costAmount="1"))
    batch = [call(requestId=f"n-{number}", costAmount="0.000000001") for number in range(998)]
    answer = send(api, [*batch, call(requestId="known", costAmount="1"), call(requestId="known", userId="bob")]).json()
    assert (answer["recorded"], answer["duplicates"]) == (998, 1)
    ((conflict),) = answer["conflicts"]
    assert (conflict["index"], conflict["requestId"]) == (999, "known") and "user_id" in conflict["reason"]
    assert get_pool(ledger, "openai").used_amount == Decimal("1.000000998")
    assert reconcile(ledger) == ()


def test_a_fact_is_never_refused_for_money(ledger: Ledger, api: Api) -> None:
    pool(ledger, amount="1")
    grant_quota(ledger, "alice", Decimal(1), reference="r")
    for number in range(3):
        assert send(api, call(requestId=f"n-{number}", costAmount="2")).json()["recorded"] == 1
    assert quota_details(ledger, "alice").quota.remaining_amount == -5
    assert get_pool(ledger, "openai").available_balance == -5


def test_numbers_are_taken_exactly_as_they_are_written(ledger: Ledger, api: Api) -> None:
    body = """{"requestId": "r", "providerId": "p", "modelId": "m", "usageType": "image_generation",
      "quantity": 0.3, "costAmount": 1234567.123456789, "createdAt": "2026-03-10T12:00:00"}"""
    assert api("POST", USAGE, content=body).status_code == 200
    assert query(ledger, "SELECT quantity, cost_amount FROM usage_records") == [(300_000, 1_234_567_123_456_789)]
    (record,) = api.get("/usage/records").json()["items"]
    assert (record["costAmount"], record["createdAt"]) == ("1234567.123456789", "2026-03-10T04:00:00Z")


WRONG: tuple[tuple[Any, set[str]], ...] = (
    (call(costAmount="-1"), {"costAmount"}),
    (call(costAmount="0.0000000001"), {"costAmount"}),
    (call(costAmount="lots"), {"costAmount"}),
    (call(inputTokens=1.5), {"inputTokens"}),
    (call(inputTokens=-1), {"inputTokens"}),
    (call(usageType="text"), {"usageType"}),
    (call(status="maybe"), {"status"}),
    (call(createdAt="now"), {"createdAt"}),
    (call(requestId=""), {"requestId"}),
    (call(requestId="a\0b"), {"requestId"}),
    (call(tokens=5), {"tokens"}),
    ({"requestId": "r"}, {"providerId", "modelId", "usageType", "createdAt"}),
    ([call(), call(requestId="x", inputTokens=-1)], {"[1].inputTokens"}),
    ([], {"body"}),
    ([call()] * 1001, {"body"}),
    ([7], {"[0]"}),
    ("text", {"body"}),
    (None, {"body"}),
)


@pytest.mark.parametrize(("body", "at_fault"), WRONG)
def test_what_cannot_be_recorded_is_named_and_nothing_is(sqlite_ledger: Ledger, body: Any, at_fault: set[str]) -> None:
    assert fields_at_fault(send(Api(sqlite_ledger), body)) == at_fault
    assert query(sqlite_ledger, "SELECT count(*) FROM usage_records") == [(0,)]


@pytest.mark.parametrize("text", ["", "{", '{"a": NaN}', '{"a": 1, "a": 2}', "\udcff", "[" * 100_000])
def test_a_body_that_is_no_json_is_told_so(sqlite_ledger: Ledger, text: str) -> None:
    body = text.encode("utf-8", "surrogateescape")
    assert fields_at_fault(Api(sqlite_ledger)("POST", USAGE, content=body)) == {"body"}


def test_a_body_that_is_too_large_is_refused(sqlite_ledger: Ledger) -> None:
    problem(Api(sqlite_ledger)("POST", USAGE, content=b" " * (4 * 2**20 + 1)), 413, "too_large")


def test_the_same_calls_at_the_same_time_count_once(ledger: Ledger, api: Api) -> None:
    sent = [("POST", USAGE, {"json": call(requestId=f"n-{number % 6}", costAmount="1")}) for number in range(24)]
    answers = [answer.json() for answer in api.at_once(sent)]
    assert sum(answer["recorded"] for answer in answers) == 6
    assert sum(answer["duplicates"] for answer in answers) == 18
    assert get_pool(ledger, "openai").used_amount == 6
    assert reconcile(ledger) == ()


# What operators do


def key(value: str) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": value}}


def test_a_recharge_is_made_once_for_a_key(ledger: Ledger, api: Api) -> None:
    pool(ledger)
    body = {"amount": "12.50", "reference": "BT-1"}
    made = api("POST", RECHARGES, json=body, token=api.tokens[Scope.OPERATE], **key("k"))
    assert (made.status_code, made.json()["availableAfter"], made.json()["operator"]) == (201, "12.50", "token:operate")
    again = api("POST", RECHARGES, json=body, **key("k"))
    assert (again.status_code, again.json()["id"], again.json()["replayed"]) == (200, made.json()["id"], True)
    problem(api("POST", RECHARGES, json=body | {"amount": "13"}, **key("k")), 409, "conflict")
    assert get_pool(ledger, "openai").total_balance == Decimal("12.5")
    sent = [("POST", RECHARGES, {"json": body, **key("at once")})] * 8
    assert sorted(answer.status_code for answer in api.at_once(sent)) == [200] * 7 + [201]
    assert get_pool(ledger, "openai").total_balance == 25
    assert verify_audit(ledger).findings == ()


def test_a_grant_is_made_once_and_limits_hold_for_tokens_too(ledger: Ledger, api: Api) -> None:
    set_limit(ledger, LimitName.PER_OPERATOR_DAY, Decimal(100))
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(50))
    made = api("POST", GRANTS, json={"amount": 40, "reference": "o"}, **key("a"))
    assert (made.status_code, made.json()["remainingAfter"]) == (201, "40.00")
    waits = api("POST", GRANTS, json={"amount": "55", "reference": "o"}, **key("b"))
    assert (waits.status_code, waits.json()["state"]) == (202, "pending")
    refused = api("POST", GRANTS, json={"amount": "61", "reference": "o"}, **key("c"))
    assert "101" in problem(refused, 409, "refused")["detail"]
    at_once = [("POST", GRANTS, {"json": {"amount": "40", "reference": "o"}, **key(f"k{n}")}) for n in range(6)]
    assert sorted(answer.status_code for answer in api.at_once(at_once)) == [201] + [409] * 5
    assert quota_details(ledger, "alice").quota.granted_amount == 80
    assert booked(grant_quota(ledger, "alice", Decimal(1), reference="r")).granted_after == 81


def test_a_change_wants_a_key_and_names_what_is_wrong(sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger)
    api = Api(sqlite_ledger)
    good = {"amount": "1", "reference": "r"}
    assert fields_at_fault(api("POST", RECHARGES, json=good)) == {"Idempotency-Key"}
    assert fields_at_fault(api("POST", RECHARGES, json=good, **key(" "))) == {"Idempotency-Key"}
    for body, at_fault in (
        ({}, {"amount", "reference"}),
        (good | {"amount": "0"}, {"amount"}),
        (good | {"amount": "0.001"}, {"amount"}),
        (good | {"reference": " "}, {"reference"}),
        (good | {"user": "x"}, {"user"}),
    ):
        assert fields_at_fault(api("POST", RECHARGES, json=body, **key("k"))) == at_fault
    unknown = ADMIN + "/resource-pool/providers/opneai/recharges"
    problem(api("POST", unknown, json=good, **key("k")), 404, "not_found")


def test_a_check_brings_alerts_in_line(ledger: Ledger, api: Api) -> None:
    pool(ledger, amount="10")
    spend(ledger, "10")
    done = api("POST", ADMIN + "/resource-pool/check", token=api.tokens[Scope.OPERATE]).json()
    assert [(item["providerId"], item["status"], item["changed"]) for item in done["items"]] == [
        ("openai", "depleted", "raised")
    ]
    assert api.get("/resource-pool/alerts", isResolved="false").json()["total"] == 1
    problem(api("POST", ADMIN + "/resource-pool/check", params={"providerId": "none"}), 404, "not_found")


def test_a_ledger_that_is_only_read_refuses_every_write(sqlite_ledger: Ledger, opened: OpenLedger) -> None:
    pool(sqlite_ledger)
    api = Api(sqlite_ledger)
    api.serve(opened(sqlite_ledger.database.url.render_as_string(), read_only=True))
    assert api.get("/resource-pool").status_code == 200
    problem(send(api, call()), 403, "forbidden")
    problem(api("POST", RECHARGES, json={"amount": "1", "reference": "r"}, **key("k")), 403, "forbidden")
