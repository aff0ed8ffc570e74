"""Bodies of requests, read exactly: decimals as they are written, a limit on their size, every mistake by its field."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from billing_console.api.problems import FieldError, Problem, field_error, of_pydantic
from billing_console.exact_json import BadJson, decode
from billing_console.i18n import _

Body = TypeVar("Body", bound=BaseModel)

MOST_BYTES = 4 * 2**20


async def read_json(request: Request) -> Any:
    """Read a body of JSON with exact numbers; raise Problem for one that is too large or no JSON."""
    body = await read_bytes(request, MOST_BYTES)
    try:
        return decode(body.decode())
    except (BadJson, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, BadJson) else _("not UTF-8")
        raise Problem("invalid", reason, errors=[field_error("body", reason)]) from None


async def read_bytes(request: Request, most: int) -> bytes:
    """Read a body; raise Problem for one that is longer than `most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Problem("too_large", _("A body has at most %(most)d bytes.") % {"most": most})
    return bytes(body)


def take(kind: type[Body], value: Any, prefix: str = "") -> tuple[Body | None, list[FieldError]]:
    """Return a value in the shape asked for, or what is wrong with it."""
    if not isinstance(value, dict):
        return None, [field_error(prefix.rstrip(".") or "body", _("A JSON object is expected."))]
    try:
        return kind.model_validate(value), []
    except ValidationError as error:
        return None, of_pydantic(error.errors(), prefix)


def required(kind: type[Body], value: Any) -> Body:
    """Return a value in the shape asked for; raise Problem, naming every field that is wrong."""
    taken, errors = take(kind, value)
    if taken is None:
        raise Problem("invalid", errors[0]["message"], errors=errors)
    return taken


def documented(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a body for the OpenAPI document."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def reference(kind: type[BaseModel]) -> dict[str, str]:
    """Name a shape in the OpenAPI document."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
