"""The Idempotency-Key that every write needs, and the answers of changes of money that are made once for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header
from fastapi.responses import Response
from pydantic import BaseModel

from billing_console import wire
from billing_console.api.documents import problems
from billing_console.api.problems import Problem, field_error
from billing_console.api.reads import json_answer
from billing_console.api.shapes import Approval
from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.services.approvals import ApprovalView
from billing_console.services.quotas import GrantView
from billing_console.services.recharges import RechargeView

KEY_WORDS = "The same key with the same content answers with the first result and changes nothing."


def required_key(given: Annotated[str, Header(alias="Idempotency-Key", description=KEY_WORDS, min_length=1)]) -> str:
    """Return the key of a write; raise Problem for one of blanks."""
    if not given.strip():
        words = _("%(field)s is required.") % {"field": "Idempotency-Key"}
        raise Problem("invalid", words, errors=[field_error("Idempotency-Key", words)])
    return given


Key = Annotated[str, Depends(required_key)]


def once(shape: type[BaseModel], *failures: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers, beside 201, of a change of money."""
    return {
        200: {"model": shape, "description": "Done before with this key; nothing was changed now"},
        202: {"model": Approval, "description": "More than a limit: a request that another person must approve"},
    } | problems(409, 413, *failures)


def booked(done: RechargeView | GrantView | ApprovalView, fields: wire.Fields[Any]) -> Response:
    """Answer 201 for what was done now, 200 for what the key had done before, 202 for what waits for approval."""
    if isinstance(done, ApprovalView):
        return json_answer({**wire.record(wire.APPROVAL, done), "replayed": done.replayed}, 202)
    return json_answer({**wire.record(fields, done), "replayed": done.replayed}, 200 if done.replayed else 201)


_FIELDS = {"key": "Idempotency-Key", "expires": "expiresAt"}


def asked_as(field: str, change: Callable[[], Any]) -> Any:
    """Make a change; name what is wrong as the caller wrote it, and by `field` where the service names none."""
    try:
        return change()
    except InvalidInput as error:
        name = _FIELDS.get(error.field, error.field) or field
        raise InvalidInput(error.message, error.hint, field=name) from None
