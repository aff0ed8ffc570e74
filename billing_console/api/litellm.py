"""What LiteLLM's own generic API callback sends, taken as it is: its callers cannot be told to send it otherwise."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

from anyio import from_thread
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import Field

from billing_console.api.bodies import documented, read_bytes, reference
from billing_console.api.documents import GivenLog, LoggedCalls, problems
from billing_console.api.holders import Meter
from billing_console.api.litellm_calls import ChargeBy, call_of, payer_of
from billing_console.api.metering import MOST_RECORDS, PREFIX
from billing_console.api.parameters import Parameters
from billing_console.api.problems import Problem, field_error
from billing_console.api.reads import json_answer
from billing_console.api.writer import Writer
from billing_console.errors import InvalidInput, Refused
from billing_console.i18n import _
from billing_console.services.ledger import Ledger
from billing_console.services.metering import RecordResult
from billing_console.services.new_usage import NewUsage
from billing_console.services.set_aside import set_aside
from billing_console.text import clean, one_line

MOST_BYTES = 64 * 2**20
"""LiteLLM sends all that has gathered while nobody answered in one body, and drops it where that is refused."""

MOST_NAMED = 100
"""Calls that an answer names; the audit log has all."""

log = logging.getLogger("billing_console.api")
router = APIRouter(prefix=PREFIX, tags=["Metering"])


_PROVIDER, _MODEL = r"[^=/\x00]+", r"[^=\x00]*[^=/\x00]"
Renaming = Annotated[
    str,
    Field(max_length=400, pattern=f"^({_PROVIDER}={_PROVIDER}|{_PROVIDER}/{_MODEL}={_PROVIDER}(/{_MODEL})?)$"),
]


class LiteLLMParameters(Parameters):
    """How LiteLLM's names are to be read."""

    chargeBy: ChargeBy = Field(
        ChargeBy.KEY_USER,
        description="Who pays: key_user is whose the LiteLLM key is, and the end user for calls without a key;"
        " end_user whom the caller names, and else the key's user; team the key's team.",
    )
    rename: list[Renaming] = Field(
        [],
        max_length=100,
        description="FROM=TO, repeated; each is a provider, or a provider and a model as provider/model.",
        examples=[["azure=azure-east", "azure/prod-chat=azure-east/gpt-4o"]],
    )


@dataclass(slots=True)
class _Read:
    """What was sent, sorted: calls to record and their positions, and what cannot be recorded with the reason."""

    calls: list[NewUsage] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    aside: list[tuple[int, str]] = field(default_factory=list)
    skipped: int = 0


async def logged(request: Request) -> list[Any]:
    """Read one logged call, or many; numbers that are none stand for nothing, as LiteLLM may write them."""
    body = await read_bytes(request, MOST_BYTES)
    try:
        value = await run_sync(lambda: json.loads(body, parse_float=Decimal, parse_constant=lambda _name: None))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, (list, dict)):
        words = _("A JSON object is expected, or an array of them.")
        raise Problem("invalid", words, errors=[field_error("body", words)])
    return value if isinstance(value, list) else [value]


@router.post(
    "/usage/litellm",
    response_model=LoggedCalls,
    responses=problems(413),
    summary="Record calls that LiteLLM logs",
    openapi_extra=documented({"anyOf": [reference(GivenLog), {"type": "array", "items": reference(GivenLog)}]}),
)
def litellm_usage(
    ledger: Meter,
    request: Request,
    asked: Annotated[LiteLLMParameters, Query()],
    body: Annotated[list[Any], Depends(logged)],
) -> Response:
    """Record what LiteLLM's generic API callback sends, as JSON array or single object; each call once.

    A call that cannot be recorded does not keep the others out: LiteLLM would drop them all. It is named in `setAside`
    and kept in the audit log (`usage.set_aside`). What was no call of a model, or failed before it reached a provider,
    is skipped.
    """
    read = _read(body, asked.chargeBy, dict(_parted(text) for text in asked.rename))
    recorded = duplicates = unpriced = 0
    for start, done in _record(request.app.state.writer, ledger, read):
        recorded += done.recorded
        duplicates += done.duplicates
        unpriced += done.unpriced
        read.aside += [(read.positions[start + index], reason) for index, reason in done.conflicts]
    without_user = sum(call.user_id is None for call in read.calls)
    _keep_aside(ledger, request, [_kept(body[index], asked.chargeBy, reason) for index, reason in sorted(read.aside)])
    outcomes = {"recorded": recorded, "duplicate": duplicates, "skipped": read.skipped, "set_aside": len(read.aside)}
    outcomes |= {"without_user": without_user, "unpriced": unpriced}
    request.app.state.metrics.from_litellm(outcomes)
    named = [
        {"index": index, "id": _id(body[index]), "reason": reason} for index, reason in sorted(read.aside)[:MOST_NAMED]
    ]
    return json_answer(
        {
            "recorded": recorded,
            "duplicates": duplicates,
            "unpriced": unpriced,
            "withoutUser": without_user,
            "skipped": read.skipped,
            "setAside": named,
        }
    )


def _parted(renaming: str) -> tuple[str, str]:
    old, _sign, new = renaming.partition("=")
    return old, new


def _read(body: Sequence[Any], charge_by: ChargeBy, renamed: Mapping[str, str]) -> _Read:
    read = _Read()
    for index, payload in enumerate(body):
        try:
            call = call_of(payload, charge_by, renamed)
        except InvalidInput as error:
            read.aside.append((index, error.message))
            continue
        if call is None:
            read.skipped += 1
        else:
            read.calls.append(call)
            read.positions.append(index)
    return read


def _record(writer: Writer, ledger: Ledger, read: _Read) -> Iterator[tuple[int, RecordResult]]:
    """Record the calls a thousand a transaction; one that the ledger has no room for is found and set aside."""
    parts = [
        range(start, min(start + MOST_RECORDS, len(read.calls))) for start in range(0, len(read.calls), MOST_RECORDS)
    ]
    while parts:
        part = parts.pop(0)
        try:
            yield part.start, from_thread.run(writer.record, ledger, read.calls[part.start : part.stop])
        except (InvalidInput, Refused) as refusal:
            if len(part) == 1:
                read.aside.append((read.positions[part.start], refusal.message))
            else:
                middle = (part.start + part.stop) // 2
                parts[:0] = [range(part.start, middle), range(middle, part.stop)]


_KEPT = ("id", "call_type", "custom_llm_provider", "model", "startTime", "prompt_tokens", "completion_tokens")


def _kept(payload: Any, charge_by: ChargeBy, reason: str) -> dict[str, object]:
    """Return what is needed to record a call by hand, and no word of what was asked and answered."""
    if not isinstance(payload, Mapping):
        return {"reason": reason}
    values: dict[str, object] = {name: one_line(str(payload[name])) for name in _KEPT if payload.get(name) is not None}
    return values | {"userId": one_line(payer_of(payload, charge_by) or "") or None, "reason": one_line(reason)}


def _keep_aside(ledger: Ledger, request: Request, kept: Sequence[Mapping[str, object]]) -> None:
    if kept:
        set_aside(ledger, "LiteLLM", kept)
        fields = {"requestId": request.state.request_id, "count": len(kept)}
        log.warning("calls of LiteLLM were set aside; see the audit log", extra={"fields": fields})


def _id(payload: Any) -> str | None:
    given = payload.get("id") if isinstance(payload, Mapping) else None
    return clean(given[:200]) if isinstance(given, str) else None
