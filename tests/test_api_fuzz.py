"""Whatever a caller sends, the answer is one that the document tells of, and never an error in the program."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_console.services.ledger import Ledger
from tests.api import Api
from tests.factories import pool, spend
from tests.test_api_holds import wanted
from tests.test_api_writes import call

ODD = st.sampled_from(
    ("", " ", "\0", "a\0b", "0", "-1", "1", "9" * 30, "1e400", "NaN", "true", "openai", "\U0001f4a9", "'; --", "%")
)
TIMES = st.sampled_from(
    ("0001-01-01", "0001-01-01T00:00:00Z", "0002-01-01", "9998-12-31", "9999-12-31T23:59:59-23:59", "2026-03-10T24:00")
)
ANY = st.one_of(
    ODD, TIMES, st.text(max_size=20), st.integers(-10, 10**20), st.none(), st.booleans(), st.lists(st.just(1))
)
NAMES = ("userId", "providerId", "modelId", "startDate", "endDate", "page", "size", "cursor", "isResolved", "other")


def documented(api: Api) -> list[tuple[str, str, set[int]]]:
    """Method, path and documented statuses of every endpoint."""
    paths = api("GET", "/openapi.json", token=None).json()["paths"]
    return [
        (method.upper(), path, {int(status) for status in found["responses"]})
        for path, methods in paths.items()
        for method, found in methods.items()
    ]


def test_no_request_ends_in_an_error_of_the_program(ledger: Ledger) -> None:
    pool(ledger, amount="5")
    spend(ledger, "1")
    api = Api(ledger)
    endpoints = documented(api)
    assert len(endpoints) == 14

    def send(data: st.DataObject) -> None:
        method, path, statuses = data.draw(st.sampled_from(endpoints))
        for name in ("providerId", "userId"):
            path = path.replace(
                f"{{{name}}}", data.draw(st.sampled_from(["openai", "%00", "a%2Fb", "%F0%9F", "recharges"]))
            )
        query = data.draw(st.dictionaries(st.sampled_from(NAMES), ODD | TIMES, max_size=3))
        options: dict[str, Any] = {"params": query}
        if method == "POST":
            whole = {"amount": "1", "reference": "r"} if "admin" in path else call() if "usage" in path else wanted()
            changed = data.draw(st.dictionaries(st.sampled_from(sorted(whole)), ANY, max_size=2))
            options |= {"json": whole | changed, "headers": {"Idempotency-Key": data.draw(st.sampled_from("ab"))}}
        answer = api(method, path, **options)
        # A path that is none of ours has no document of its own.
        assert answer.status_code in statuses | {404} and answer.status_code < 500, (method, path, options, answer.text)

    settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(st.data())(send)
    )()
