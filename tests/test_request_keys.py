"""Keys of changes over HTTP: a repetition gets the answer of the first time, for a day, and changes nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from billing_console.services import request_keys
from billing_console.services.audit import AuditFilter, list_audit
from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool, set_thresholds
from billing_console.services.tokens import create_token
from db.values import Scope
from tests.api import ADMIN, Api
from tests.factories import NOON, at, everything, pool, price, query
from tests.test_api import problem

THRESHOLDS = ADMIN + "/resource-pool/providers/openai/thresholds"


@pytest.fixture
def api(ledger: Ledger) -> Api:
    pool(ledger)
    price(ledger)
    return Api(ledger)


def put(api: Api, percent: str, key: str = "k", **options: Any) -> httpx.Response:
    return api("PUT", THRESHOLDS, json={"lowThreshold": percent}, headers={"Idempotency-Key": key}, **options)


def test_a_repetition_gets_the_first_answer_also_where_it_is_no_longer_so(ledger: Ledger, api: Api) -> None:
    first = put(api, "20")
    assert first.status_code == 200 and "Idempotency-Replayed" not in first.headers
    set_thresholds(ledger, "openai", {"percent": Decimal(30)})
    before = everything(ledger)
    again = put(api, "20")
    assert (again.status_code, again.content, again.headers["Idempotency-Replayed"]) == (200, first.content, "true")
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert everything(ledger) == before
    assert get_pool(ledger, "openai").low_threshold == 30


WRITES: tuple[tuple[str, str, dict[str, Any] | None, int], ...] = (
    ("POST", "/models/disable", {"providerId": "openai", "modelId": "gpt-4o", "reason": "r"}, 200),
    ("POST", "/models/enable", {"providerId": "openai", "reason": "r"}, 200),
    ("POST", "/prices", {"providerId": "p", "modelId": "m", "usageType": "text_generation", "inputPrice": "1"}, 200),
    ("POST", "/resource-pool/providers", {"providerId": "new"}, 201),
    ("PUT", "/quotas/alice/periodic", {"period": "day", "amount": "1"}, 200),
    ("DELETE", "/quotas/alice/periodic", None, 200),
    ("PUT", "/budgets", {"amount": "1"}, 200),
)


@pytest.mark.parametrize(("method", "path", "body", "status"), WRITES)
def test_every_change_is_made_once_for_a_key(
    ledger: Ledger, api: Api, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    options: dict[str, Any] = {} if body is None else {"json": body}
    first = api(method, ADMIN + path, headers={"Idempotency-Key": "k"}, **options)
    assert first.status_code == status, first.text
    before = everything(ledger)
    again = api(method, ADMIN + path, headers={"Idempotency-Key": "k"}, **options)
    assert (again.status_code, again.content, again.headers["Idempotency-Replayed"]) == (status, first.content, "true")
    assert everything(ledger) == before


def test_a_key_stands_for_one_request_of_one_token(ledger: Ledger, api: Api) -> None:
    assert put(api, "20").status_code == 200
    before = everything(ledger)
    problem(put(api, "21"), 409, "conflict")
    other_path = THRESHOLDS.replace("openai", "google")
    problem(api("PUT", other_path, json={"lowThreshold": "20"}, headers={"Idempotency-Key": "k"}), 409, "conflict")
    assert everything(ledger) == before
    _view, other = create_token(ledger, "another", [Scope.ADMINISTER])
    answer = put(api, "21", token=other)
    assert answer.status_code == 200 and answer.json()["lowThreshold"] == 21


def test_what_failed_keeps_no_key(ledger: Ledger, api: Api) -> None:
    problem(put(api, "101"), 422, "invalid")
    path = ADMIN + "/resource-pool/providers/nowhere/thresholds"
    problem(api("PUT", path, json={"lowThreshold": "20"}, headers={"Idempotency-Key": "k"}), 404, "not_found")
    assert query(ledger, "SELECT count(*) FROM request_keys") == [(0,)]
    assert put(api, "20").status_code == 200


def test_the_same_request_at_the_same_time_is_made_once(ledger: Ledger, api: Api) -> None:
    wanted = {"json": {"lowThreshold": "20"}, "headers": {"Idempotency-Key": "k"}}
    answers = api.at_once([("PUT", THRESHOLDS, dict(wanted)) for _number in range(8)])
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert len(list_audit(ledger, AuditFilter(action="pools.threshold"))) == 1


def test_another_server_on_the_ledger_knows_the_key(ledger: Ledger, api: Api) -> None:
    """As after a crash between the commit and the answer."""
    put(api, "20")
    api.serve(ledger)
    assert put(api, "20").headers["Idempotency-Replayed"] == "true"


def test_after_a_day_a_key_is_forgotten(ledger: Ledger) -> None:
    pool(ledger)
    api = Api(at(ledger, NOON))
    put(api, "20")
    api.serve(at(ledger, NOON + request_keys.KEPT_FOR - timedelta(seconds=1)))
    assert put(api, "20").headers["Idempotency-Replayed"] == "true"
    api.serve(at(ledger, NOON + request_keys.KEPT_FOR))
    assert "Idempotency-Replayed" not in put(api, "25").headers
    assert query(ledger, "SELECT count(*) FROM request_keys") == [(1,)]
