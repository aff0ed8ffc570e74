"""Usage in the wire form of LiteLLM's generic API callback: what can be recorded is, and nothing is lost unseen."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_console.api import litellm
from billing_console.services.audit import AuditFilter, list_audit
from billing_console.services.ledger import Ledger
from billing_console.services.reconcile import reconcile
from billing_console.services.usage import UsageFilter, UsageRow, usage_page
from db.values import CallStatus, Scope, UsageType
from tests.api import Api
from tests.factories import NOON, price, query

PATH = "/api/billing/usage/litellm"


@pytest.fixture
def api(sqlite_ledger: Ledger) -> Api:
    return Api(sqlite_ledger)


def logged(usage: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A call as LiteLLM logs it, without the fields that nobody reads."""
    return {
        "id": "chatcmpl-1",
        "call_type": "acompletion",
        "cache_hit": False,
        "status": "success",
        "custom_llm_provider": "openai",
        "startTime": NOON.timestamp() + 0.123456,
        "model": "gpt-4o",
        "metadata": {"user_api_key_user_id": "alice", "usage_object": usage or {}} | (metadata or {}),
        "response_cost": 0.1,
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "messages": "s3cret",
    } | changes


def send(api: Api, body: Any, query: str = "", **options: Any) -> dict[str, Any]:
    answer = api("POST", PATH + query, json=body, **options)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def recorded(api: Api, ledger: Ledger, body: Any, query: str = "") -> UsageRow:
    """The one record that comes of a body."""
    assert send(api, body, query)["recorded"] == 1
    return usage_page(ledger, UsageFilter()).rows[0]


def test_one_call_that_cannot_be_recorded_keeps_no_other_out(ledger: Ledger) -> None:
    api = Api(ledger)
    price(ledger)
    body = [
        logged(id="1"),
        logged(id="2", model="", messages="s3cret"),
        None,
        logged(id="3", startTime="yesterday"),
        logged(id="4", call_type="arerank", prompt_tokens=0, completion_tokens=0, response_cost=0.002),
        logged(id="5", call_type="aspeech", prompt_tokens=0, completion_tokens=0),
        logged(id="6", call_type="afile_list", prompt_tokens=0, completion_tokens=0, response_cost=0),
        logged(id="7", custom_llm_provider=None, status="failure", error_str="no such model"),
        logged(id="8", metadata={"user_api_key_user_id": None}),
    ]
    found = send(api, body, token=api.tokens[Scope.METER])
    counts = {name: found[name] for name in ("recorded", "duplicates", "unpriced", "withoutUser", "skipped")}
    assert counts == {"recorded": 2, "duplicates": 0, "unpriced": 0, "withoutUser": 1, "skipped": 2}
    assert [(aside["index"], aside["id"]) for aside in found["setAside"]] == [
        (1, "2"),
        (2, None),
        (3, "3"),
        (4, "4"),
        (5, "5"),
    ]
    (row,) = list_audit(ledger, AuditFilter(action="usage.set_aside"))
    assert (row.operator, row.target) == ("token:meter", "LiteLLM")
    kept = json.loads(row.after or "")["calls"]
    assert [call.get("id") for call in kept] == ["2", None, "3", "4", "5"]
    assert kept[0] == {
        "id": "2",
        "call_type": "acompletion",
        "custom_llm_provider": "openai",
        "model": "",
        "startTime": str(NOON.timestamp() + 0.123456),
        "prompt_tokens": "10",
        "completion_tokens": "20",
        "userId": "alice",
        "reason": "model is required.",
    }
    assert "s3cret" not in repr(query(ledger, "SELECT * FROM audit_log"))
    metrics = api("GET", "/metrics", token=None).text
    assert 'billing_litellm_calls_total{outcome="set_aside"} 5.0' in metrics
    assert 'billing_litellm_calls_total{outcome="without_user"} 1.0' in metrics
    assert reconcile(ledger) == ()


def test_the_same_id_with_other_content_is_set_aside_and_another_attempt_is_not(
    sqlite_ledger: Ledger, api: Api
) -> None:
    failed: dict[str, Any] = {"status": "failure", "prompt_tokens": 0, "completion_tokens": 0, "error_str": "timeout"}
    attempts = [
        logged(**failed),
        logged(startTime=NOON.timestamp() + 1, **failed),
        logged(startTime=NOON.timestamp() + 2),
    ]
    assert send(api, attempts)["recorded"] == 3
    again = send(api, [logged(**failed), logged(completion_tokens=21, status="failure")])
    assert (again["duplicates"], [aside["index"] for aside in again["setAside"]]) == (1, [1])
    assert [row.status for row in usage_page(sqlite_ledger, UsageFilter()).rows] == [
        CallStatus.SUCCESS,
        CallStatus.FAILED,
        CallStatus.FAILED,
    ]


@pytest.mark.parametrize(
    ("asked", "changes", "user"),
    [
        ("", {}, "alice"),
        ("", {"end_user": "mallory"}, "alice"),
        ("", {"end_user": "bob", "metadata": {"user_api_key_user_id": None}}, "bob"),
        ("?chargeBy=end_user", {"end_user": "bob"}, "bob"),
        ("?chargeBy=end_user", {}, "alice"),
        ("?chargeBy=team", {"metadata": {"user_api_key_team_id": "team 7"}}, "team 7"),
        ("?chargeBy=team", {}, None),
    ],
)
def test_who_pays_is_chosen_by_the_address(
    sqlite_ledger: Ledger, api: Api, asked: str, changes: dict[str, Any], user: str | None
) -> None:
    assert recorded(api, sqlite_ledger, logged(**changes), asked).user_id == user


@pytest.mark.parametrize(
    ("asked", "provider", "model", "expected"),
    [
        ("", "bedrock", "bedrock/us.claude", ("bedrock", "us.claude")),
        ("", "openrouter", "anthropic/claude", ("openrouter", "anthropic/claude")),
        ("?rename=azure=azure-east", "azure", "prod", ("azure-east", "prod")),
        ("?rename=azure=azure-east&rename=azure/prod=azure-west/gpt-4o", "azure", "prod", ("azure-west", "gpt-4o")),
        ("?rename=azure/prod=azure-west", "azure", "prod", ("azure-west", "prod")),
        ("?rename=azure/prod=azure-west", "azure", "test", ("azure", "test")),
    ],
)
def test_names_are_the_ledgers(
    sqlite_ledger: Ledger, api: Api, asked: str, provider: str, model: str, expected: tuple[str, str]
) -> None:
    row = recorded(api, sqlite_ledger, logged(custom_llm_provider=provider, model=model), asked)
    assert (row.provider_id, row.model_id) == expected


@pytest.mark.parametrize(
    "wrong", ["", "azure", "=x", "azure=", "azure=azure-east/gpt-4o", "azure/x=/y", "azure/x=y/", "a=b=c"]
)
def test_a_name_that_cannot_be_changed_so_is_refused(api: Api, wrong: str) -> None:
    answer = api("POST", PATH, json=[], params={"rename": wrong})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "rename.0")


def test_cached_tokens_and_cached_answers_cost_what_they_cost(sqlite_ledger: Ledger, api: Api) -> None:
    price(sqlite_ledger, input_price=Decimal(10), cached_input_price=Decimal(1), output_price=Decimal(0))
    usage = {"prompt_tokens_details": {"cached_tokens": 4}}
    part = recorded(api, sqlite_ledger, logged(usage, id="part"))
    assert (part.input_tokens, part.cached_input_tokens, part.cost_amount) == (10, 4, Decimal("0.000064"))
    # A provider that leaves the cached tokens out of the others.
    apart = recorded(
        api, sqlite_ledger, logged({"cache_read_input_tokens": 100}, id="apart", startTime=NOON.timestamp() + 1)
    )
    assert (apart.input_tokens, apart.cached_input_tokens) == (110, 100)
    hit = recorded(api, sqlite_ledger, logged(id="hit", cache_hit=True, startTime=NOON.timestamp() + 2))
    assert hit.input_tokens == 10 and hit.cost_amount == 0 and not hit.unpriced


@pytest.mark.parametrize(
    ("call_type", "usage", "changes", "expected", "quantity"),
    [
        ("aimage_generation", {"output_image_count": 2}, {}, UsageType.IMAGE_GENERATION, "2"),
        ("atranscription", {"seconds": 3.25}, {}, UsageType.AUDIO_STT, "3.25"),
        ("atranscription", {}, {"response": {"duration": 9.5}}, UsageType.AUDIO_STT, "9.5"),
        ("speech", {}, {"messages": [{"role": "user", "content": "hello world"}]}, UsageType.AUDIO_TTS, "11"),
        ("acreate_video", {"duration_seconds": 8.0}, {}, UsageType.VIDEO_GENERATION, "8"),
        ("_arealtime", {}, {}, UsageType.TEXT_GENERATION, "0"),
        ("aresponses", {}, {}, UsageType.TEXT_GENERATION, "0"),
    ],
)
def test_each_kind_of_call_has_its_type_and_measure(
    sqlite_ledger: Ledger,
    api: Api,
    call_type: str,
    usage: dict[str, Any],
    changes: dict[str, Any],
    expected: UsageType,
    quantity: str,
) -> None:
    row = recorded(api, sqlite_ledger, logged(usage, call_type=call_type, **changes))
    assert (row.usage_type, row.quantity) == (expected, Decimal(quantity))


def test_speech_whose_text_litellm_keeps_to_itself_is_set_aside(api: Api) -> None:
    redacted = [{"role": "user", "content": "redacted-by-litellm"}]
    call = logged(call_type="aspeech", prompt_tokens=0, completion_tokens=0, messages=redacted)
    assert len(send(api, call)["setAside"]) == 1


def test_all_that_gathered_while_nobody_answered_comes_in_one_body(sqlite_ledger: Ledger, api: Api) -> None:
    found = send(api, [logged(id=str(number)) for number in range(2500)])
    assert (found["recorded"], found["setAside"]) == (2500, [])
    assert query(sqlite_ledger, "SELECT count(*) FROM usage_records") == [(2500,)]


def test_a_call_that_the_ledger_has_no_room_for_is_set_aside_alone(sqlite_ledger: Ledger, api: Api) -> None:
    price(sqlite_ledger, input_price=Decimal(10**9))
    body = [logged(id=str(number), prompt_tokens=10**12 if number == 13 else 1) for number in range(40)]
    found = send(api, body)
    assert (found["recorded"], [aside["index"] for aside in found["setAside"]]) == (39, [13])
    assert reconcile(sqlite_ledger) == ()


def test_a_number_that_is_none_does_not_keep_a_body_out(api: Api) -> None:
    body = json.dumps([logged(response_time=float("nan"))])
    assert api("POST", PATH, content=body).json()["recorded"] == 1


def test_what_is_no_body_of_litellms_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(content: str | bytes) -> tuple[int, str]:
        answer = api("POST", PATH, content=content)
        return answer.status_code, answer.json()["code"]

    for content in ("", "3", '"x"', "null", "{", "[" * 100_000, b"\xff"):
        assert refused(content) == (422, "invalid")
    monkeypatch.setattr(litellm, "MOST_BYTES", 100)
    assert refused(json.dumps([logged()])) == (413, "too_large")


def test_only_a_token_that_may_meter_can_send(api: Api) -> None:
    assert api("POST", PATH, json=[logged()], token=None).status_code == 401
    assert api("POST", PATH, json=[logged()], token=api.tokens[Scope.READ]).status_code == 403


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["a\0b", "\ud800", "x" * 300]),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts, max_size=3),
    max_leaves=6,
)


def test_whatever_a_field_holds_the_body_is_taken(sqlite_ledger: Ledger, api: Api) -> None:
    numbers = iter(range(10**6))

    def take(changes: dict[str, Any], inside: dict[str, Any]) -> None:
        good, odd = (logged(inside, id=f"{name}-{next(numbers)}") for name in ("good", "odd"))
        good["metadata"]["usage_object"] = {}
        answer: httpx.Response = api("POST", PATH, content=json.dumps([odd | changes, good]))
        assert answer.status_code == 200 and answer.json()["recorded"] >= 1, answer.text

    fields = sorted(
        set(logged()) - {"id"} | {"end_user", "error_str", "model_parameters", "litellm_call_id", "response"}
    )
    measures = ["prompt_tokens_details", "cache_read_input_tokens", "output_image_count", "seconds"]
    settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(
            st.dictionaries(st.sampled_from(fields), JSON, max_size=3),
            st.dictionaries(st.sampled_from(measures), JSON, max_size=2),
        )(take)
    )()
    assert reconcile(sqlite_ledger) == ()
