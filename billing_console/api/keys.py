"""The Idempotency-Key that every write needs, and the answers of what is done once for it.

A recharge and a grant keep their key for ever, since money must not move twice. What else is changed keeps the key with
its answer for a day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel

from billing_console import wire
from billing_console.api.documents import problems
from billing_console.api.reads import json_answer
from billing_console.api.shapes import Approval
from billing_console.errors import InvalidInput
from billing_console.services.approvals import ApprovalView
from billing_console.services.ledger import Ledger
from billing_console.services.quotas import GrantView
from billing_console.services.recharges import RechargeView
from billing_console.services.request_keys import Answered, Once
from billing_console.text import storable

Result = TypeVar("Result")

REPLAYED = {"Idempotency-Replayed": "true"}
"""Tells that the answer is that of an earlier request; nothing was changed now."""

REPLAYABLE: dict[str, Any] = {
    "headers": {
        "Idempotency-Replayed": {
            "description": "`true` where an earlier request with this key was answered so; nothing was changed now",
            "schema": {"type": "string", "enum": ["true"]},
        }
    }
}

KEY_WORDS = "The same key with the same content answers with the first result and changes nothing."


def required_key(given: Annotated[str, Header(alias="Idempotency-Key", description=KEY_WORDS, min_length=1)]) -> str:
    """Return the key of a write; raise InvalidInput for one of blanks and for one that cannot be stored."""
    return storable(given, "Idempotency-Key")


Key = Annotated[str, Depends(required_key)]


def kept(*failures: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a change whose answer is kept."""
    return {status: REPLAYABLE} | problems(409, *failures)


def once(shape: type[BaseModel], *failures: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers, beside 201, of a change of money."""
    return {
        200: {"model": shape, "description": "Done before with this key; nothing was changed now", **REPLAYABLE},
        202: {
            "model": Approval,
            "description": "More than a limit: a request that another person must approve",
            **REPLAYABLE,
        },
    } | problems(409, 413, *failures)


def booked(done: RechargeView | GrantView | ApprovalView, fields: wire.Fields[Any]) -> Response:
    """Answer 201 for what was done now, 200 for what the key had done before, 202 for what waits for approval."""
    headers = REPLAYED if done.replayed else None
    if isinstance(done, ApprovalView):
        return json_answer({**wire.record(wire.APPROVAL, done), "replayed": done.replayed}, 202, headers)
    status = 200 if done.replayed else 201
    return json_answer({**wire.record(fields, done), "replayed": done.replayed}, status, headers)


_FIELDS = {"key": "Idempotency-Key", "expires": "expiresAt"}


@dataclass(frozen=True, slots=True)
class Write:
    """A request that changes something, by its key."""

    key: str
    method: str
    path: str

    def once(
        self,
        ledger: Ledger,
        body: object,
        change: Callable[[Ledger], Result],
        answer: Callable[[Result], Response],
        *,
        field: str = "",
    ) -> Response:
        """Make a change of one transaction and answer; a repetition is given the same answer for a day.

        `change` returns what its transaction returned, as it is: the answer is kept in that transaction. What fails
        changes nothing and keeps no key; `field` is as in `asked_as`. Raises Conflict for a key that this token sent
        with another request.
        """

        def spell(done: Result) -> tuple[int, str]:
            kept = answer(done)
            return kept.status_code, bytes(kept.body).decode()

        said = json.dumps([self.method, self.path, body], sort_keys=True, default=str)
        fingerprint = hashlib.sha256(said.encode()).hexdigest()
        try:
            done = asked_as(field, lambda: change(replace(ledger, once=Once(self.key, fingerprint, spell))))
        except Answered as before:
            return Response(before.answer, before.status, REPLAYED, "application/json")
        return answer(done)


def _write(request: Request, key: Key) -> Write:
    return Write(key, request.method, request.scope["path"])


Keyed = Annotated[Write, Depends(_write)]


def asked_as(field: str, change: Callable[[], Result]) -> Result:
    """Make a change; name what is wrong as the caller wrote it, and by `field` where the service names none."""
    try:
        return change()
    except InvalidInput as error:
        name = _FIELDS.get(error.field, error.field) or field
        raise InvalidInput(error.message, error.hint, field=name) from None
