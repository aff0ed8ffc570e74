"""Authorizing calls: what is held and what is used never exceed a quota, however many callers there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from billing_console.services.audit_verify import verify_audit
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.models import set_model_enabled
from billing_console.services.quotas import grant_quota, quota_details
from billing_console.services.reconcile import reconcile
from billing_console.services.tokens import revoke_token
from db.values import Scope
from tests.api import Api
from tests.factories import NOON, at, gateway_insert, pay, pool, query, spend
from tests.test_api import fields_at_fault, problem
from tests.test_api_writes import USAGE, call

AUTHORIZE = "/api/billing/authorize"


@pytest.fixture
def api(ledger: Ledger) -> Api:
    return Api(ledger)


def wanted(number: int | str = 1, cost: object = "1", **changes: Any) -> dict[str, Any]:
    return {
        "requestId": f"r-{number}",
        "userId": "alice",
        "providerId": "openai",
        "modelId": "gpt-4o",
        "usageType": "text_generation",
        "estimatedCost": cost,
    } | changes


def ask(api: Api, *arguments: Any, **changes: Any) -> httpx.Response:
    return api("POST", AUTHORIZE, json=wanted(*arguments, **changes))


def settle(api: Api, number: int | str, cost: str, **changes: Any) -> httpx.Response:
    return api("POST", USAGE, json=call(requestId=f"r-{number}", costAmount=cost, **changes))


def test_quota_that_has_expired_lets_nothing_through_though_no_timer_has_booked_it(ledger: Ledger) -> None:
    early = at(ledger, NOON)
    hour = timedelta(hours=1)
    grant_quota(early, "alice", Decimal(10), reference="r", expires_at=NOON + hour)
    grant_quota(early, "alice", Decimal(3), reference="r")
    api = Api(early)
    assert ask(api, 1, "2").json()["remainingAmount"] == "11.00"
    assert settle(api, 1, "2").json()["recorded"] == 1
    api.serve(at(ledger, NOON + hour))
    problem(ask(api, 2, "3.01"), 402, "quota_exceeded")
    assert ask(api, 2, "3").json()["remainingAmount"] == "0.00"


def test_a_hold_takes_from_what_is_left_until_the_call_is_recorded(ledger: Ledger, api: Api) -> None:
    grant_quota(ledger, "alice", Decimal(10), reference="r")
    first = api("POST", AUTHORIZE, json=wanted(1, "6"), token=api.tokens[Scope.METER])
    assert first.status_code == 200
    assert (first.json()["heldAmount"], first.json()["remainingAmount"]) == ("6.00", "4.00")
    again = ask(api, 1, "6").json()
    assert (again["replayed"], again["remainingAmount"], again["expiresAt"]) == (
        True,
        "4.00",
        first.json()["expiresAt"],
    )
    refused = problem(ask(api, 2, "4.000000001"), 402, "quota_exceeded")
    assert "4.00" in refused["detail"]
    assert ask(api, 2, "4").json()["remainingAmount"] == "0.00"
    problem(ask(api, 3, "0"), 402, "quota_exceeded")
    assert settle(api, 1, "0.5").json()["recorded"] == 1
    assert ask(api, 3, 5.5).json()["remainingAmount"] == "0.00"
    assert settle(api, 2, "0", status="failed").json()["recorded"] == 1
    assert settle(api, 3, "9").json()["recorded"] == 1  # more than was held: a fact is never refused
    assert quota_details(ledger, "alice").quota.remaining_amount == Decimal("0.5")
    assert query(ledger, "SELECT count(*) FROM holds") == [(0,)]
    problem(ask(api, 1, "0.1"), 409, "conflict")  # recorded already
    assert (reconcile(ledger), verify_audit(ledger).findings) == ((), ())


def test_a_hold_expires(ledger: Ledger, api: Api) -> None:
    grant_quota(ledger, "alice", Decimal(1), reference="r")
    api.serve(at(ledger, NOON))
    ask(api, 1)
    problem(ask(api, 2), 402, "quota_exceeded")
    api.serve(at(ledger, NOON + timedelta(minutes=10)))
    assert ask(api, 2).status_code == 200
    problem(ask(api, 1), 402, "quota_exceeded")


def test_the_same_request_id_is_one_call(ledger: Ledger, api: Api) -> None:
    ask(api, 1)
    for changes in ({"cost": "2"}, {"modelId": "o3"}, {"userId": "bob"}, {"usageType": "audio_tts"}):
        problem(ask(api, 1, **changes), 409, "conflict")
    assert ask(api, 1, providerId="azure").json()["replayed"] is False


def test_who_has_no_quota_is_not_limited_unless_the_settings_ask_for_one(ledger: Ledger, api: Api) -> None:
    assert ask(api, 1, "1000000").json()["remainingAmount"] is None
    api.serve(replace(ledger, require_quota=True))
    problem(ask(api, 2), 402, "quota_exceeded")


def test_a_disabled_model_and_a_depleted_pool_have_codes_of_their_own(ledger: Ledger, api: Api) -> None:
    pool(ledger, amount="5")
    spend(ledger, "1")
    set_model_enabled(ledger, "openai", "gpt-4o", False, reason="r")
    problem(ask(api, 1), 409, "model_disabled")
    set_model_enabled(ledger, "openai", "gpt-4o", True, reason="r")
    assert ask(api, 1).status_code == 200
    spend(ledger, "4")
    problem(ask(api, 2), 503, "pool_depleted")
    check_pools(ledger)
    problem(ask(api, 2), 503, "pool_depleted")
    pay(ledger, "5")
    assert ask(api, 2).status_code == 200


def test_what_a_gateway_inserted_by_itself_counts_before_it_is_settled(ledger: Ledger, api: Api) -> None:
    grant_quota(ledger, "alice", Decimal(5), reference="r")
    gateway_insert(ledger, user_id="alice", cost_amount=3 * 10**9)
    problem(ask(api, 1, "2.5"), 402, "quota_exceeded")
    assert ask(api, 1, "2").status_code == 200


def test_exactly_what_the_quota_allows_is_let_through_at_once(ledger: Ledger, api: Api) -> None:
    """Each of 60 calls of 1 yuan at once, against a quota of 17; those let through are recorded at once as well."""
    grant_quota(ledger, "alice", Decimal(17), reference="r")
    answers = api.at_once([("POST", AUTHORIZE, {"json": wanted(number)}) for number in range(60)])
    let_through = [number for number, answer in enumerate(answers) if answer.status_code == 200]
    assert len(let_through) == 17
    assert {answer.status_code for answer in answers} == {200, 402}
    sent: list[tuple[str, str, dict[str, Any]]] = []
    for number in let_through:
        sent.append(("POST", USAGE, {"json": call(requestId=f"r-{number}", costAmount="1")}))
        sent.append(("POST", AUTHORIZE, {"json": wanted(f"more-{number}")}))
    mixed = api.at_once(sent)
    assert [answer.status_code for answer in mixed] == [200, 402] * 17
    assert quota_details(ledger, "alice").quota.remaining_amount == 0
    assert query(ledger, "SELECT count(*) FROM holds") == [(0,)]
    assert reconcile(ledger) == ()


def test_a_call_beyond_the_range_of_the_ledger_does_not_spoil_those_beside_it(ledger: Ledger, api: Api) -> None:
    most = "9000000000"
    sent = [("POST", USAGE, {"json": call(requestId=f"r-{number}", costAmount=most)}) for number in range(4)]
    sent.append(("POST", AUTHORIZE, {"json": wanted("small")}))
    answers = api.at_once(sent)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 409, 409, 409]
    assert answers[-1].status_code == 200
    assert query(ledger, "SELECT count(*) FROM usage_records") == [(1,)]
    assert reconcile(ledger) == ()


def test_a_token_that_was_known_to_hold_is_none_from_its_revocation_on(ledger: Ledger, api: Api) -> None:
    token = api.tokens[Scope.METER]
    assert api("POST", AUTHORIZE, json=wanted(1), token=token).status_code == 200
    revoke_token(ledger, Scope.METER)
    for _again in range(2):
        problem(api("POST", AUTHORIZE, json=wanted(2), token=token), 401, "unauthorized")
    assert query(ledger, "SELECT count(*) FROM holds") == [(1,)]


@pytest.mark.parametrize(
    ("changes", "at_fault"),
    [
        ({"estimatedCost": "-1"}, "estimatedCost"),
        ({"estimatedCost": "0.0000000001"}, "estimatedCost"),
        ({"estimatedCost": "1e400"}, "estimatedCost"),
        ({"estimatedCost": None}, "estimatedCost"),
        ({"userId": ""}, "userId"),
        ({"usageType": "x"}, "usageType"),
        ({"stream": True}, "stream"),
    ],
)
def test_what_cannot_be_held_is_named(sqlite_ledger: Ledger, changes: dict[str, Any], at_fault: str) -> None:
    assert fields_at_fault(Api(sqlite_ledger)("POST", AUTHORIZE, json=wanted() | changes)) == {at_fault}
