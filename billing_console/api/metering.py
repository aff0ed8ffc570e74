"""Metering for gateways: a call is authorized before it is made, recorded after, once, and then never refused."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from billing_console import wire
from billing_console.api.bodies import documented, read_json, reference, required, take
from billing_console.api.documents import GivenAuthorization, GivenUsage, Hold, Recorded, problems
from billing_console.api.holders import Metering, look_again
from billing_console.api.parameters import instant, named
from billing_console.api.problems import FieldError, Problem, field_error
from billing_console.api.reads import json_answer
from billing_console.api.writer import Writer
from billing_console.errors import InvalidInput, NotPermitted
from billing_console.i18n import _
from billing_console.services.holds import NewHold
from billing_console.services.ledger import Ledger
from billing_console.services.new_usage import NewUsage

PREFIX = "/api/billing"
MOST_RECORDS = 1000
router = APIRouter(prefix=PREFIX, tags=["Metering"])


@router.post(
    "/authorize",
    response_model=Hold,
    responses=problems(402, 409, 413),
    summary="Authorize a call",
    openapi_extra=documented(reference(GivenAuthorization)),
)
async def authorize_call(request: Request, ledger: Metering) -> Response:
    """Set aside what a call may cost, for ten minutes or until it is recorded; the same call again has one hold.

    402 `quota_exceeded`, 409 `model_disabled` and 503 `pool_depleted` mean that the call must not be made.
    """
    given = required(GivenAuthorization, await read_json(request))
    wanted = NewHold(
        request_id=given.requestId,
        user_id=given.userId,
        provider_id=given.providerId,
        model_id=given.modelId,
        usage_type=given.usageType,
        estimated_cost=given.estimatedCost,
    )
    writer: Writer = request.app.state.writer
    try:
        hold = await writer.authorize(ledger, wanted)
    except NotPermitted:
        await look_again(request)
        raise
    return json_answer(wire.record(wire.HOLD, hold))


@router.post(
    "/usage",
    response_model=Recorded,
    responses=problems(409, 413),
    summary="Record calls",
    openapi_extra=documented(
        {
            "anyOf": [
                reference(GivenUsage),
                {"type": "array", "items": reference(GivenUsage), "minItems": 1, "maxItems": MOST_RECORDS},
            ]
        }
    ),
)
async def usage(request: Request, ledger: Metering) -> Response:
    """Record one call, or up to 1,000, all in one transaction; a call that is sent again is counted once.

    What cannot be recorded is named in `errors`, and then nothing of the request is. A request id that stands for
    another call already is a conflict: 409 for one call, listed in `conflicts` among several.
    """
    body = await read_json(request)
    given = body if isinstance(body, list) else [body]
    if not 1 <= len(given) <= MOST_RECORDS:
        words = _("From 1 to %(most)d calls can be sent at once.") % {"most": MOST_RECORDS}
        raise Problem("invalid", words, errors=[field_error("body", words)])
    records = _calls(ledger, given, single=not isinstance(body, list))
    writer: Writer = request.app.state.writer
    try:
        done = await writer.record(ledger, records)
    except NotPermitted:
        await look_again(request)
        raise
    if not isinstance(body, list) and done.conflicts:
        raise Problem("conflict", done.conflicts[0][1])
    conflicts = [
        {"index": index, "requestId": records[index].request_id, "reason": reason} for index, reason in done.conflicts
    ]
    return json_answer(
        {
            "recorded": done.recorded,
            "duplicates": done.duplicates,
            "unpriced": done.unpriced,
            "conflicts": conflicts,
        }
    )


def _calls(ledger: Ledger, given: list[Any], *, single: bool) -> list[NewUsage]:
    """Read all calls; raise Problem that names what is wrong with each that cannot be recorded."""
    records: list[NewUsage] = []
    errors: list[FieldError] = []
    for index, value in enumerate(given):
        prefix = "" if single else f"[{index}]."
        taken, wrong = take(GivenUsage, value, prefix)
        errors += wrong
        if taken is None:
            continue
        try:
            record = _call(ledger, taken)
            record.validate()
        except InvalidInput as error:
            errors.append(field_error(prefix + error.field, error.message))
        else:
            records.append(record)
    if errors:
        raise Problem("invalid", errors[0]["message"], errors=errors[:100])
    return records


def _call(ledger: Ledger, given: GivenUsage) -> NewUsage:
    return NewUsage(
        provider_id=given.providerId,
        model_id=given.modelId,
        usage_type=given.usageType,
        created_at=named("createdAt", lambda: instant(ledger, given.createdAt)),
        request_id=given.requestId,
        user_id=given.userId,
        input_tokens=given.inputTokens,
        cached_input_tokens=given.cachedInputTokens,
        output_tokens=given.outputTokens,
        total_tokens=given.totalTokens,
        quantity=given.quantity,
        cost_amount=given.costAmount,
        status=given.status,
        error_message=given.errorMessage,
    )
