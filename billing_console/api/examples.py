"""Examples for the OpenAPI document: one value for each name of a field, wherever it stands."""

from __future__ import annotations

from typing import Any

AT = "2026-03-10T04:00:00Z"
CURSOR = "MjAyNi0wMy0xMFQwNDowMDowMCswMDowMHw0Mg"
ID = "7a1f9c52-0c1e-4a55-9a63-6a1f0f5a2d10"

VALUES: dict[str, Any] = {
    "userId": "alice",
    "providerId": "openai",
    "providerName": "OpenAI",
    "modelId": "gpt-4o",
    "modelName": "gpt-4o",
    "requestId": "req-8f1e",
    "operator": "token:backoffice",
    "reference": "BT-2026-0311",
    "reason": "under review",
    "idempotencyKey": ID,
    "approvedBy": None,
    "decidedBy": None,
    "decidedAt": None,
    "reversesId": None,
    "reversedById": None,
    "expiresId": None,
    "resolvedAt": None,
    "suspendedAt": None,
    "disabledAt": None,
    "disabledBy": None,
    "disabledReason": None,
    "sourceCurrency": None,
    "exchangeRate": None,
    "cachedInputPrice": "1.25",
    "inputPrice": "2.50",
    "outputPrice": "10.00",
    "unit": "1m_tokens",
    "balancePercentage": 42.5,
    "subject": "openai",
    "type": "urn:billing-console:problem:invalid",
    "title": "The request is not right",
    "status": "success",
    "detail": "page is too small or too large: ≥ 1.",
    "createdAt": AT,
    "conflicts": [],
    "recent": [],
    "changed": "",
    "note": "",
    "hint": None,
    "errorMessage": None,
    "inputTokens": 1234,
    "cachedInputTokens": 0,
    "outputTokens": 56,
    "totalTokens": 1290,
    "quantity": 0,
    "costAmount": "0.003645",
    "cursor": CURSOR,
    "nextCursor": CURSOR,
    "page": 1,
    "size": 50,
    "total": 1,
    "month": "2026-03-01",
    "statDate": "2026-03-10",
}
"""Values that the shape of a field does not tell."""


def add_examples(schemas: dict[str, Any]) -> None:
    """Give every shape of the document an example, unless it has one."""
    for schema in schemas.values():
        if schema.get("type") == "object":
            schema.setdefault("example", _of(schema, schemas))


def _of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "example" in schema:
        return schema["example"]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    if "default" in schema:
        return schema["default"]
    if "anyOf" in schema:
        return _of(schema["anyOf"][0], schemas)
    if schema.get("type") == "array":
        return [_of(schema["items"], schemas)]
    if schema.get("type") == "object":
        return {name: _field(name, part, schemas) for name, part in schema.get("properties", {}).items()}
    return {"integer": 42, "number": 12.5, "boolean": False}.get(str(schema.get("type")), AT)


def _field(name: str, schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Take the value of this name where the field can hold it: a status, say, is one of those its shape lists."""
    found = _of(schema, schemas)
    if name not in VALUES or "$ref" in schema:
        return found
    value = VALUES[name]
    same_kind = type(value) is type(found) or (value is None and {"type": "null"} in schema.get("anyOf", ()))
    return value if same_kind and not any("$ref" in part for part in schema.get("anyOf", ())) else found
