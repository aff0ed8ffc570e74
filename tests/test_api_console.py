"""What operators look at and change, through the HTTP API: every write once, by the rules of the console."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import BaseModel, TypeAdapter

from billing_console.api import oversight, shapes
from billing_console.api.documents import Page
from billing_console.services.audit import list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.quotas import grant_quota
from billing_console.services.recharges import recharge
from billing_console.services.reconcile import reconcile
from db.values import LimitName, Scope
from tests.api import ADMIN, Api
from tests.factories import NOON, at, pay, pool, price, spend
from tests.stocked import NOW, stock
from tests.test_api import fields_at_fault, problem

DAY = timedelta(days=1)


@pytest.fixture
def api(ledger: Ledger) -> Api:
    return Api(at(ledger, NOON + DAY))


def send(api: Api, method: str, path: str, body: Any = None, key: str = "") -> httpx.Response:
    """A write with a key of its own, unless one is given."""
    options: dict[str, Any] = {} if body is None else {"json": body}
    headers = {"Idempotency-Key": key or str(uuid4())}
    return api(method, ADMIN + path, headers=headers, **options)


LISTS: dict[str, type[BaseModel]] = {
    "/quotas": Page[shapes.Quota],
    "/quotas/u-00042": shapes.QuotaDetails,
    "/quotas/u-00042/grants": Page[shapes.Grant],
    "/resource-pool/recharges": Page[shapes.Recharge],
    "/resource-pool/providers/openai/recharges": Page[shapes.Recharge],
    "/approvals": Page[shapes.Approval],
    "/models": Page[shapes.Model],
    "/prices": Page[shapes.Price],
    "/budgets": Page[shapes.Budget],
    "/operators": Page[oversight.Operator],
    "/limits": Page[oversight.Limit],
}


def test_lists_have_the_shapes_that_the_document_tells_and_their_pages_are_all_of_them(ledger: Ledger) -> None:
    stock(ledger)
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(5000))
    recharge(ledger, "openai", Decimal(6000), reference="r")
    api = Api(at(ledger, NOW))
    for path, shape in LISTS.items():
        answer = api.get(path)
        TypeAdapter(shape).validate_json(answer.text)
        if "items" not in (whole := answer.json()):
            continue
        every = whole["items"]
        assert 0 < whole["total"] == len(every)
        paged = [api.get(path, size=2, page=page).json()["items"] for page in range(1, len(every) // 2 + 2)]
        assert [item for page in paged for item in page] == every
        assert api.get(path, page=len(every) + 1, size=1).json()["items"] == []
        assert fields_at_fault(api.get(path, nothing="x")) == {"nothing"}


def test_the_audit_log_is_read_page_by_page_and_narrowed(ledger: Ledger, api: Api) -> None:
    pool(ledger)
    for amount in ("1", "2", "3"):
        pay(ledger, amount)
    problem(send(api, "PUT", "/resource-pool/providers/nowhere/thresholds", {"lowDays": 7}), 404, "not_found")
    every: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = api.get("/audit", size=2, **cursor)
        page = TypeAdapter(oversight.AuditPage).validate_json(answer.text)
        every += answer.json()["items"]
        if page.nextCursor is None:
            break
        cursor = {"cursor": page.nextCursor}
    assert [row["id"] for row in every] == [entry.id for entry in list_audit(ledger, limit=None)]
    paid = api.get("/audit", action="pools.recharge", target="openai").json()
    assert [row["action"] for row in paid["items"]] == ["pools.recharge"] * 3 and paid["nextCursor"] is None
    assert api.get("/audit", operator="token:everything", outcome="done").json()["items"] == []
    assert api.get("/audit", endDate="2020-01-01").json()["items"] == []
    assert fields_at_fault(api.get("/audit", startDate="2026-03-02", endDate="2026-03-01")) == {"startDate"}
    assert fields_at_fault(api.get("/audit", cursor="x")) == {"cursor"}
    problem(api("GET", ADMIN + "/audit", token=api.tokens[Scope.METER]), 403, "forbidden")


def test_lists_are_narrowed(ledger: Ledger, api: Api) -> None:
    for provider in ("openai", "empty"):
        pool(ledger, provider, "10")
    grant_quota(ledger, "alice", Decimal(1), reference="r")
    spend(ledger, "2")
    spend(ledger, "1", user_id="bob")
    price(ledger)
    price(ledger, input_price=Decimal(11), effective_from=NOON)
    price(ledger, input_price=Decimal(12), effective_from=NOON + DAY * 2)
    assert [user["userId"] for user in api.get("/quotas", onlyBlocked="true").json()["items"]] == ["alice"]
    assert [user["userId"] for user in api.get("/quotas", search="BO").json()["items"]] == ["bob"]
    order = api.get("/quotas", sort="user", descending="true").json()["items"]
    assert [user["userId"] for user in order] == ["bob", "alice"]
    for when, found in (("current", [11]), ("future", [12]), ("past", [10]), ("all", [12, 11, 10])):
        prices = api.get("/prices", when=when, providerId="openai", usageType="text_generation").json()["items"]
        assert [Decimal(one["inputPrice"]) for one in prices] == found
    assert api.get("/resource-pool/recharges", providerId="empty").json()["total"] == 1
    for path in ("/models", "/prices", "/resource-pool/recharges"):
        problem(api.get(path, providerId="opneai"), 404, "not_found")
    problem(api.get("/quotas/nobody"), 404, "not_found")
    problem(api.get("/quotas/nobody/grants"), 404, "not_found")
    assert fields_at_fault(api.get("/prices", when="never")) == {"when"}


def test_a_recharge_is_reversed_once(ledger: Ledger, api: Api) -> None:
    pool(ledger)
    paid = pay(ledger, "10").id
    path = f"/resource-pool/recharges/{paid}/reversal"
    done = send(api, "POST", path, {"reason": "wrong pool"})
    assert (done.status_code, done.json()["amount"], done.json()["operator"]) == (201, "-10.00", "token:everything")
    again = send(api, "POST", path, {"reason": "wrong pool"})
    assert (again.status_code, again.json()["id"], again.json()["replayed"]) == (200, done.json()["id"], True)
    problem(send(api, "POST", path, {"reason": "another"}), 409, "conflict")
    problem(send(api, "POST", "/resource-pool/recharges/999/reversal", {"reason": "r"}), 404, "not_found")
    used = pay(ledger, "5").id
    spend(ledger, "3")
    problem(send(api, "POST", f"/resource-pool/recharges/{used}/reversal", {"reason": "r"}), 409, "refused")
    waits = send(api, "POST", f"/resource-pool/recharges/{used}/reversal", {"reason": "r", "overdraw": True})
    assert (waits.status_code, waits.json()["state"]) == (202, "pending")
    assert (reconcile(ledger), verify_audit(ledger).findings) == ((), ())


def test_quota_is_given_for_a_time_and_anew_and_taken_back(ledger: Ledger, api: Api) -> None:
    grants, revocations, periodic = (f"/quotas/alice/{name}" for name in ("grants", "revocations", "periodic"))
    body = {"amount": "10", "reference": "r", "expiresAt": "2026-03-31"}
    made = send(api, "POST", grants, body, "g")
    assert (made.status_code, made.json()["expiresAt"]) == (201, "2026-03-31T16:00:00Z")
    again = send(api, "POST", grants, body, "g")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert fields_at_fault(send(api, "POST", grants, body | {"expiresAt": "2020-01-01"}, "o")) == {"expiresAt"}
    assert fields_at_fault(send(api, "POST", grants, body, "period:x")) == {"Idempotency-Key"}
    taken = send(api, "POST", revocations, {"amount": "4", "reference": "r"}, "t")
    assert (taken.status_code, taken.json()["remainingAfter"]) == (201, "6.00")
    assert send(api, "POST", revocations, {"amount": "4", "reference": "r"}, "t").status_code == 200
    problem(send(api, "POST", revocations, {"amount": "7", "reference": "r"}, "u"), 409, "refused")
    for given in ("5.00", "0.00"):
        answer = send(api, "PUT", periodic, {"period": "month", "amount": "5"})
        assert (answer.status_code, answer.json()["givenAmount"]) == (200, given)
    assert api.get("/quotas/alice").json()["periodic"]["period"] == "month"
    assert send(api, "DELETE", periodic).json()["periodic"] is None
    assert (reconcile(ledger), verify_audit(ledger).findings) == ((), ())


def test_what_is_decided_stands_and_the_same_again_changes_nothing(ledger: Ledger, api: Api) -> None:
    opened = send(api, "POST", "/resource-pool/providers", {"providerId": "openai", "name": "OpenAI"})
    assert (opened.status_code, opened.json()["providerName"]) == (201, "OpenAI")
    problem(send(api, "POST", "/resource-pool/providers", {"providerId": "openai"}), 409, "conflict")
    new = {"providerId": "openai", "modelId": "gpt-4o", "usageType": "text_generation", "inputPrice": "2.5"}
    first, second = (send(api, "POST", "/prices", new).json() for _time in range(2))
    assert first["id"] == second["id"] and first["inForce"]
    later = send(api, "POST", "/prices", new | {"outputPrice": 10, "effectiveFrom": "2026-04-01"}).json()
    assert (later["effectiveFrom"], later["inForce"]) == ("2026-03-31T16:00:00Z", False)
    problem(send(api, "POST", "/prices", new | {"effectiveFrom": "2026-04-01"}), 409, "conflict")
    one = {"providerId": "openai", "modelId": "gpt-4o", "reason": "review"}
    for body in (one, {"providerId": "openai", "reason": "review"}):
        assert send(api, "POST", "/models/disable", body).json()["items"][0]["status"] == "disabled"
        assert send(api, "POST", "/models/enable", body).json()["items"][0]["status"] == "enabled"
    problem(send(api, "POST", "/models/disable", one | {"modelId": "gpt"}), 404, "not_found")
    path = "/resource-pool/providers/openai/thresholds"
    assert send(api, "PUT", path, {"lowThreshold": "20", "lowAmount": "100"}).json()["lowAmount"] == "100.00"
    assert send(api, "PUT", path, {"lowAmount": None}).json()["lowThreshold"] == 20
    assert fields_at_fault(send(api, "PUT", path, {"lowThreshold": "101"})) == {"lowThreshold"}
    for provider in (None, "openai"):
        assert send(api, "PUT", "/budgets", {"providerId": provider, "amount": "50"}).json()["budgetAmount"] == "50.00"
    assert [month["budgetAmount"] for month in api.get("/budgets").json()["items"]] == ["50.00", "50.00"]
    assert send(api, "PUT", "/budgets", {"amount": None}).json()["budgetAmount"] is None
    assert verify_audit(ledger).findings == ()


def test_an_alert_is_acknowledged_and_stays_open(ledger: Ledger, api: Api) -> None:
    pool(ledger)
    send(api, "POST", "/resource-pool/check")
    (alert,) = api.get("/resource-pool/alerts", isResolved="false").json()["items"]
    path = f"/resource-pool/alerts/{alert['id']}/acknowledgement"
    seen = send(api, "POST", path).json()
    assert (seen["acknowledgedBy"], seen["isResolved"]) == ("token:everything", False)
    assert send(api, "POST", path).json() == seen
    pay(ledger, "10")
    problem(send(api, "POST", path), 409, "refused")
    problem(send(api, "POST", "/resource-pool/alerts/999/acknowledgement"), 404, "not_found")


WRITES = (
    ("POST", "/resource-pool/recharges/1/reversal", {"reason": "r"}),
    ("POST", "/quotas/alice/revocations", {"amount": "1", "reference": "r"}),
    ("PUT", "/quotas/alice/periodic", {"period": "day", "amount": "1"}),
    ("DELETE", "/quotas/alice/periodic", None),
    ("POST", "/models/disable", {"providerId": "openai", "reason": "r"}),
    ("POST", "/models/enable", {"providerId": "openai", "reason": "r"}),
    ("POST", "/prices", {"providerId": "p", "modelId": "m", "usageType": "text_generation", "inputPrice": "1"}),
    ("POST", "/resource-pool/providers", {"providerId": "new"}),
    ("PUT", "/resource-pool/providers/openai/thresholds", {"lowDays": 7}),
    ("POST", "/resource-pool/alerts/1/acknowledgement", None),
    ("PUT", "/budgets", {"amount": "1"}),
)


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_every_write_wants_a_key_and_knows_its_fields(
    sqlite_ledger: Ledger, method: str, path: str, body: dict[str, Any] | None
) -> None:
    pool(sqlite_ledger)
    api = Api(sqlite_ledger)
    options: dict[str, Any] = {} if body is None else {"json": body}
    assert fields_at_fault(api(method, ADMIN + path, **options)) == {"Idempotency-Key"}
    assert fields_at_fault(api(method, ADMIN + path, headers={"Idempotency-Key": " "}, **options)) == {
        "Idempotency-Key"
    }
    if body is not None:
        assert fields_at_fault(send(api, method, path, body | {"other": 1})) == {"other"}
