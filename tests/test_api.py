"""The HTTP API's reads: the seed's paths, parameters and fields, exact totals, and every mistake as a problem."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, TypeAdapter

from billing_console.api import documents
from billing_console.api.frame import language
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.settlement import settle
from billing_console.services.tokens import create_token, revoke_token
from db.values import CallStatus, Scope, UsageType
from tests.api import ADMIN, Api
from tests.factories import NOON, at, execute, gateway_insert, pay, pool, spend, usage

SEED = json.loads((Path(__file__).parent / "data" / "seed_api.json").read_text())
ENDPOINTS = {endpoint["path"]: endpoint for endpoint in SEED["endpoints"]}
DAY = timedelta(days=1)


@pytest.fixture
def api(ledger: Ledger) -> Api:
    return Api(at(ledger, NOON + DAY))


def problem(response: httpx.Response, status: int, code: str) -> Any:
    """The problem document of a failure."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    documents.Problem.model_validate(body)
    assert (body["status"], body["code"]) == (status, code)
    assert body["requestId"] == response.headers["x-request-id"]
    return body


def fields_at_fault(response: httpx.Response) -> set[str]:
    """The fields that a 422 names."""
    return {error["field"] for error in problem(response, 422, "invalid")["errors"]}


def something_of_everything(ledger: Ledger) -> None:
    """Two pools, one depleted, with calls of several days, users and models."""
    pool(ledger, amount="100")
    pool(ledger, "anthropic", "5")
    for day in range(4):
        for number in range(5):
            user = "alice" if number % 2 else "bob"
            spend(ledger, "1.5", created_at=NOON - DAY * day + timedelta(minutes=number), user_id=user)
        spend(ledger, "1.25", created_at=NOON - DAY * day, provider_id="anthropic", model_id="opus")
    check_pools(ledger)


def test_the_seeds_endpoints_are_there_with_its_parameters_and_fields(ledger: Ledger, api: Api) -> None:
    something_of_everything(ledger)
    documented = api("GET", "/openapi.json").json()["paths"]
    values = {
        "userId": "alice",
        "providerId": "openai",
        "modelId": "gpt-4o",
        "startDate": "2026-03-01",
        "endDate": "2026-03-10",
        "page": 1,
        "size": 10,
        "isResolved": "false",
    }
    assert len(ENDPOINTS) == 5
    for path, endpoint in ENDPOINTS.items():
        names = {parameter["name"] for parameter in documented[path]["get"].get("parameters", ())}
        assert set(endpoint["parameters"]) <= names
        query = {name: values[name] for name in endpoint["parameters"] if f"{{{name}}}" not in path}
        if path.endswith("/alerts"):
            query["providerId"] = "anthropic"
        answer = api("GET", path.format(providerId="openai"), params=query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        for item in [body] if "{" in path else body["items"]:
            assert set(endpoint["fields"]) <= set(item)
        if "{" not in path:
            assert body["total"] == len(body["items"]) > 0
            assert {"items", "page", "size", "total"} <= set(body)


SHAPES: dict[str, type[BaseModel]] = {
    "/usage/records": documents.UsagePage,
    "/cost/daily": documents.Page[documents.DailyCost],
    "/resource-pool": documents.Page[documents.Pool],
    "/resource-pool/alerts": documents.Page[documents.Alert],
    "/resource-pool/providers/openai": documents.Pool,
}


def test_answers_have_the_shapes_that_the_document_tells(ledger: Ledger, api: Api) -> None:
    something_of_everything(ledger)
    for path, shape in SHAPES.items():
        body = api.get(path).text
        TypeAdapter(shape).validate_json(body)
        assert "E-" not in body and "e-" not in body.replace("sse-", "")


def test_money_is_exact_text_and_times_have_a_zone(ledger: Ledger, api: Api) -> None:
    spend(ledger, "0.000000001")
    pool(ledger, amount="10")
    (record,) = api.get("/usage/records").json()["items"]
    assert (record["costAmount"], record["createdAt"]) == ("0.000000001", "2026-03-10T04:00:00Z")
    assert api.get("/resource-pool/providers/openai").json()["availableBalance"] == "9.999999999"
    assert api.get("/cost/daily").json()["items"][0]["totalCost"] == "0.000000001"


FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"providerId": "openai"},
    {"modelId": "opus"},
    {"providerId": "anthropic", "modelId": "opus"},
    {"userId": "alice"},
    {"userId": "alice", "providerId": "openai"},
    {"startDate": "2026-03-08", "endDate": "2026-03-09"},
    {"endDate": "2026-03-08T04:02:00Z"},
    {"startDate": "2026-03-08T04:02:00Z", "endDate": "2026-03-10T12:01:00+08:00", "providerId": "openai"},
    {"startDate": "2026-03-09", "userId": "bob"},
    {"startDate": "2027-01-01"},
)


@pytest.mark.parametrize("waiting", [False, True], ids=["counted", "in the outbox"])
def test_pages_by_number_and_by_cursor_are_all_of_the_list(ledger: Ledger, api: Api, waiting: bool) -> None:
    something_of_everything(ledger)
    if waiting:
        for day in range(3):
            gateway_insert(ledger, created_at=NOON - DAY * day + timedelta(seconds=30), user_id="alice")
    for chosen in FILTERS:
        whole = api.get("/usage/records", **chosen, size=1000).json()
        every = [record["id"] for record in whole["items"]]
        assert (whole["total"], whole["nextCursor"]) == (len(every), None)
        for size in (1, 4, 7):
            numbered, followed, cursor = [], [], None
            pages = -(-len(every) // size) or 1
            for page in range(1, pages + 1):
                asked: dict[str, object] = {**chosen, "size": size}
                by_number = api.get("/usage/records", **asked, page=page).json()
                by_cursor = api.get("/usage/records", **asked, **({"cursor": cursor} if cursor else {})).json()
                numbered += [record["id"] for record in by_number["items"]]
                followed += [record["id"] for record in by_cursor["items"]]
                assert by_number["total"] == by_cursor["total"] == len(every)
                assert (by_number["page"], by_number["size"]) == (page, size)
                cursor = by_cursor["nextCursor"]
            assert numbered == followed == every
            assert cursor is None
            beyond = api.get("/usage/records", **chosen, size=size, page=pages + 1).json()
            assert (beyond["items"], beyond["total"], beyond["nextCursor"]) == ([], len(every), None)
    if waiting:
        before = api.get("/usage/records").json()["total"]
        settle(ledger)
        assert api.get("/usage/records").json()["total"] == before


def test_ranges_are_half_open_and_days_are_those_of_the_business_time_zone(ledger: Ledger, api: Api) -> None:
    midnight = datetime(2026, 3, 9, 16, tzinfo=UTC)  # the 10th begins in Asia/Shanghai
    micro = timedelta(microseconds=1)
    for name, moment in (("last", midnight - micro), ("first", midnight), ("end", midnight + DAY - micro)):
        spend(ledger, "1", created_at=moment, request_id=name)
    spend(ledger, "1", created_at=midnight + DAY, request_id="next")

    def found(**asked: str) -> set[str]:
        return {record["requestId"] for record in api.get("/usage/records", **asked).json()["items"]}

    assert found(startDate="2026-03-10", endDate="2026-03-10") == {"first", "end"}
    assert found(startDate="2026-03-09T16:00:00Z", endDate="2026-03-10T16:00:00Z") == {"first", "end"}
    assert found(startDate="2026-03-10T00:00:00", endDate="2026-03-11T00:00:00+08:00") == {"first", "end"}
    assert found(endDate="2026-03-09") == {"last"}
    assert found(startDate="2026-03-11") == {"next"}
    days = api.get("/cost/daily", startDate="2026-03-10", endDate="2026-03-10").json()["items"]
    assert [(day["statDate"], day["callCount"]) for day in days] == [("2026-03-10", 2)]
    ended = api.get("/cost/daily", startDate="2026-03-10", endDate="2026-03-10T16:00:00Z").json()["items"]
    assert [day["statDate"] for day in ended] == ["2026-03-10"]


def test_costs_are_those_of_the_last_30_days_unless_asked(ledger: Ledger, api: Api) -> None:
    # The clock of the fixture stands at the 11th of March.
    for number, day in enumerate((0, 28, 29)):
        record_usage(
            ledger,
            [
                usage(created_at=NOON - DAY * day, cost_amount=Decimal(number + 1)),
                usage(
                    created_at=NOON - DAY * day,
                    usage_type=UsageType.IMAGE_GENERATION,
                    quantity=Decimal(3),
                    status=CallStatus.FAILED,
                ),
            ],
        )
    found = api.get("/cost/daily").json()
    assert {item["statDate"] for item in found["items"]} == {"2026-03-10", "2026-02-10"}
    images = [item for item in found["items"] if item["usageType"] == "image_generation"]
    assert [(item["totalUsage"], item["failedCount"]) for item in images] == [(3, 1), (3, 1)]
    assert api.get("/cost/daily", startDate="2026-02-09").json()["total"] == 6
    assert api.get("/cost/daily", endDate="2026-02-09").json()["total"] == 2
    second = api.get("/cost/daily", size=3, page=2).json()
    assert (len(second["items"]), second["total"]) == (1, 4)


def test_alerts_are_chosen_by_state_and_provider(ledger: Ledger, api: Api) -> None:
    something_of_everything(ledger)
    (open_one,) = api.get("/resource-pool/alerts", isResolved="false").json()["items"]
    assert (open_one["providerId"], open_one["alertLevel"], open_one["isResolved"]) == ("anthropic", "critical", False)
    assert api.get("/resource-pool/alerts", isResolved="true").json()["items"] == []
    assert api.get("/resource-pool/alerts", providerId="openai").json()["total"] == 0
    pay(ledger, "100", "anthropic")
    assert api.get("/resource-pool/alerts", isResolved="true", providerId="anthropic").json()["total"] == 1


WRONG: tuple[tuple[str, dict[str, str], set[str]], ...] = (
    ("/usage/records", {"page": "0"}, {"page"}),
    ("/usage/records", {"page": "one", "size": "0"}, {"page", "size"}),
    ("/usage/records", {"size": "1001"}, {"size"}),
    ("/usage/records", {"userId": ""}, {"userId"}),
    ("/usage/records", {"startDate": "yesterday"}, {"startDate"}),
    ("/usage/records", {"endDate": "2026-02-30"}, {"endDate"}),
    ("/usage/records", {"endDate": "9999-12-31"}, {"endDate"}),
    ("/usage/records", {"startDate": "2026-03-11", "endDate": "2026-03-10"}, {"startDate"}),
    ("/usage/records", {"cursor": "nonsense"}, {"cursor"}),
    ("/usage/records", {"user_id": "alice"}, {"user_id"}),
    ("/usage/records", {"type": "text_generation"}, {"type"}),
    ("/cost/daily", {"startDate": "1"}, {"startDate"}),
    ("/cost/daily", {"groupBy": "day"}, {"groupBy"}),
    ("/resource-pool", {"page": "1"}, {"page"}),
    ("/resource-pool/providers/openai", {"x": "1"}, {"x"}),
    ("/resource-pool/alerts", {"isResolved": "perhaps"}, {"isResolved"}),
)


@pytest.mark.parametrize(("path", "parameters", "at_fault"), WRONG)
def test_a_wrong_parameter_is_named(
    sqlite_ledger: Ledger, path: str, parameters: dict[str, str], at_fault: set[str]
) -> None:
    pool(sqlite_ledger)
    api = Api(sqlite_ledger)
    assert fields_at_fault(api.get(path, **parameters)) == at_fault
    chinese = api("GET", ADMIN + path, params=parameters, headers={"Accept-Language": "zh-CN"})
    assert fields_at_fault(chinese) == at_fault


def test_an_unknown_provider_is_not_found_whatever_is_asked(ledger: Ledger, api: Api) -> None:
    pool(ledger)
    for path, query in (
        ("/usage/records", {"providerId": "opneai"}),
        ("/cost/daily", {"providerId": "opneai"}),
        ("/resource-pool/alerts", {"providerId": "opneai"}),
        ("/resource-pool/providers/opneai", {}),
    ):
        body = problem(api.get(path, **query), 404, "not_found")
        assert "opneai" in body["detail"] and "openai" in body["hint"]
    problem(api("GET", "/api/admin/billing/nothing"), 404, "not_found")
    problem(api("DELETE", ADMIN + "/resource-pool"), 405, "method_not_allowed")


def test_a_provider_without_a_pool_says_so(ledger: Ledger, api: Api) -> None:
    spend(ledger, "1", provider_id="a/b")
    body = api.get("/resource-pool/providers/a%2Fb").json()
    assert (body["providerId"], body["hasPool"], body["status"]) == ("a/b", False, None)
    assert api.get("/resource-pool").json()["items"] == []


# Who may


def test_every_endpoint_of_the_document_wants_a_token_and_its_scope(sqlite_ledger: Ledger) -> None:
    api = Api(sqlite_ledger)
    document = api("GET", "/openapi.json", token=None).json()
    open_to_all = {"/healthz", "/readyz", "/metrics"}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            place = path.format(providerId="openai", userId="alice", rechargeId=1, alertId=1)
            api.serve(sqlite_ledger)  # one that has seen no failure yet
            if path in open_to_all:
                assert api(method, place, token=None).status_code == 200
                continue
            assert described["security"] == [{"HTTPBearer": []}]
            assert {"401", "403", "422", "503"} <= set(described["responses"])
            api.serve(sqlite_ledger)  # An app of its own for each, which knows of no failures yet.
            challenge = api(method, place, token=None)
            problem(challenge, 401, "unauthorized")
            assert challenge.headers["www-authenticate"] == "Bearer"
            problem(api(method, place, token="bct_wrong"), 401, "unauthorized")
            allowed = [scope for scope in Scope if api(method, place, token=api.tokens[scope]).status_code != 403]
            assert len(allowed) == 1
            for scope in set(Scope) - set(allowed):
                problem(api(method, place, token=api.tokens[scope]), 403, "forbidden")


def test_a_token_that_is_revoked_or_past_its_time_is_none(ledger: Ledger) -> None:
    api = Api(ledger)
    _made, old = create_token(at(ledger, NOON - DAY * 900), "old", [Scope.READ], days=1)
    problem(api("GET", ADMIN + "/resource-pool", token=old), 401, "unauthorized")
    assert api("GET", ADMIN + "/resource-pool", token=api.tokens[Scope.READ]).status_code == 200
    revoke_token(ledger, "read")
    problem(api("GET", ADMIN + "/resource-pool", token=api.tokens[Scope.READ]), 401, "unauthorized")


def test_an_address_that_keeps_failing_must_wait_and_a_good_token_need_not(sqlite_ledger: Ledger) -> None:
    api = Api(sqlite_ledger)
    found = [api("GET", ADMIN + "/resource-pool", token="bct_wrong").status_code for _number in range(30)]
    assert found == [401] * 20 + [429] * 10
    waiting = api("GET", ADMIN + "/resource-pool", token=None)
    problem(waiting, 429, "too_many_failures")
    assert 1 <= int(waiting.headers["retry-after"]) <= 60
    assert api("GET", ADMIN + "/resource-pool").status_code == 200


# How it answers


def test_problems_are_in_the_language_that_is_asked_for(sqlite_ledger: Ledger) -> None:
    api = Api(sqlite_ledger)
    asked = [
        ("GET", ADMIN + "/resource-pool/providers/x", {"headers": {"Accept-Language": lang}}) for lang in ("zh", "en")
    ]
    chinese, english = api.at_once(asked * 10)[-2:]
    assert "没有供应商" in problem(chinese, 404, "not_found")["detail"]
    assert "There is no provider" in problem(english, 404, "not_found")["detail"]
    for header, expected in (
        ("", "en"),
        ("zh", "zh"),
        ("zh-TW,en;q=0.5", "zh"),
        ("en-GB,zh;q=0.9", "en"),
        ("fr,zh;q=0.1", "zh"),
        ("en;q=0,zh;q=0.0", "en"),
        (";q=x,,,zh;q=", "zh"),
        ("*", "en"),
    ):
        assert language(header, "en") == expected


def test_a_request_id_is_given_back_and_a_bad_one_replaced(sqlite_ledger: Ledger) -> None:
    api = Api(sqlite_ledger)
    assert api("GET", "/healthz", headers={"X-Request-Id": "abc-1.2:3"}).headers["x-request-id"] == "abc-1.2:3"
    for bad in ("x" * 65, "a b", '"}{', ""):
        given = api("GET", "/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert given != bad and len(given) == 32


def test_readiness_is_about_the_database_and_health_is_not(sqlite_ledger: Ledger) -> None:
    api = Api(sqlite_ledger)
    assert api("GET", "/readyz", token=None).json() == {"status": "ready"}
    execute(sqlite_ledger, "UPDATE alembic_version SET version_num = '0001'")
    problem(api("GET", "/readyz", token=None), 503, "unavailable")
    assert api("GET", "/healthz", token=None).status_code == 200


def test_metrics_count_requests_and_show_pools_to_who_may_read(ledger: Ledger, api: Api) -> None:
    pool(ledger, amount="12.5")
    api.get("/resource-pool")
    api("GET", "/made/up", token=None)
    open_to_all = api("GET", "/metrics", token=None).text
    route = 'method="GET",route="/api/admin/billing/resource-pool",status="200"'
    assert f"billing_api_requests_total{{{route}}} 1.0" in open_to_all
    assert "made/up" not in open_to_all and "billing_pool" not in open_to_all
    shown = api("GET", "/metrics", token=api.tokens[Scope.READ]).text
    assert 'billing_pool_available_balance{provider="openai"} 12.5' in shown
    assert 'billing_pool_state{provider="openai",state="sufficient"} 1.0' in shown
    problem(api("GET", "/metrics", token=api.tokens[Scope.METER]), 403, "forbidden")
    problem(api("GET", "/metrics", token="wrong"), 401, "unauthorized")


def test_more_at_once_than_there_is_room_for_are_told_so_at_once(sqlite_ledger: Ledger) -> None:
    api = Api(sqlite_ledger, most_at_once=3)
    answers = api.at_once([("GET", ADMIN + "/resource-pool", {})] * 20 + [("GET", "/healthz", {})])
    codes = [answer.status_code for answer in answers]
    assert codes.count(200) == 4 and codes[-1] == 200 and codes.count(503) == 17
    refused = next(answer for answer in answers if answer.status_code == 503)
    problem(refused, 503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert api.get("/resource-pool").status_code == 200


def test_an_error_in_the_program_tells_nothing_of_it(sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(sqlite_ledger)

    def broken(*_arguments: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("billing_console.api.reads.list_pools", broken)
    answer = api.get("/resource-pool")
    problem(answer, 500, "internal")
    assert "secret" not in answer.text
