"""Whatever a caller sends, the answer is one that the OpenAPI document tells of, and never an error in the program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema_rs import Draft202012Validator
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from tests.api import Api
from tests.factories import NOON, at, pool, price, spend

TOLD = [status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12
FIRST = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_every_answer_is_told_of_in_the_document_and_none_is_an_error(ledger: Ledger) -> None:
    price(ledger)
    pool(ledger, amount="500")
    pool(ledger, "empty")
    spend(ledger, "1", provider_id="empty")
    check_pools(ledger)
    api = Api(at(ledger, NOON + timedelta(days=1)))
    schema = schemathesis.openapi.from_asgi("/openapi.json", api.app)
    statuses: Counter[int] = Counter()

    def send(case: schemathesis.Case[Any]) -> None:
        case.headers["Authorization"] = f"Bearer {api.everything}"
        answer = case.call()
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (answer.status_code, answer.text, case.as_curl_command())
        case.validate_response(answer, checks=TOLD)

    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        FIRST(given(found.ok().as_strategy())(send))()
        tried += 1
    assert tried >= 33
    assert {200, 201, 404, 422} <= set(statuses)


def shown(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The shape of every body and of every answer in JSON, each with where it stands."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts = {"body": operation.get("requestBody", {}), **operation["responses"]}
            for name, part in parts.items():
                for media, content in part.get("content", {}).items():
                    if "json" in media and not path.endswith("z"):
                        yield f"{method} {path} {name}", content["schema"]


def test_every_body_and_answer_has_an_example_that_fits(sqlite_ledger: Ledger) -> None:
    document = Api(sqlite_ledger)("GET", "/openapi.json", token=None).json()
    schemas = document["components"]["schemas"]
    count = 0
    for place, schema in shown(document):
        names = [part["$ref"] for part in schema.get("anyOf", [schema]) if "$ref" in part]
        assert names, place
        for name in names:
            shape = schemas[name.rpartition("/")[2]]
            rules = {"$ref": name, "components": document["components"]}
            assert not list(Draft202012Validator(rules).iter_errors(shape["example"])), (place, shape["example"])
            count += 1
    assert count > 100
