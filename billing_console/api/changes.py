"""What moves money, for programs: recharges and their reversal, grants, revocations; and the check of the pools."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response

from billing_console import wire
from billing_console.api import shapes
from billing_console.api.bodies import documented, read_json, reference, required
from billing_console.api.documents import GivenGrant, GivenRecharge, problems
from billing_console.api.holders import Administrator, Operator
from billing_console.api.keys import Key, asked_as, booked, once
from billing_console.api.parameters import NoQuery, PathText, ProviderQuery, instant, named
from billing_console.api.reads import PREFIX, json_answer
from billing_console.errors import Conflict
from billing_console.services.check import check_pools
from billing_console.services.quotas import grant_quota, revoke_quota
from billing_console.services.recharges import recharge, reversal_of, reverse_recharge

router = APIRouter(prefix=PREFIX, tags=["Operations"])

Json = Annotated[Any, Depends(read_json)]
Id = Annotated[int, Path(ge=1, lt=2**63)]


@router.post(
    "/resource-pool/providers/{providerId:path}/recharges",
    status_code=201,
    response_model=shapes.Recharge,
    responses=once(shapes.Recharge, 404),
    summary="Recharge a pool",
    openapi_extra=documented(reference(GivenRecharge)),
)
def recharge_pool(ledger: Operator, providerId: PathText, _asked: NoQuery, key: Key, body: Json) -> Response:
    """Pay into a provider's pool; alert and suspension are lifted at once."""
    given = required(GivenRecharge, body)
    done = asked_as(
        "amount",
        lambda: recharge(ledger, providerId, given.amount, reference=given.reference, key=key, note=given.note),
    )
    return booked(done, wire.RECHARGE)


@router.post(
    "/resource-pool/recharges/{rechargeId}/reversal",
    status_code=201,
    response_model=shapes.Recharge,
    responses=once(shapes.Recharge, 404),
    summary="Reverse a recharge",
    openapi_extra=documented(reference(shapes.GivenReversal)),
)
def reverse(ledger: Administrator, rechargeId: Id, _asked: NoQuery, _key: Key, body: Json) -> Response:
    """Take a recharge back, once: its own id is the key, so the same reason again answers with the first result."""
    given = required(shapes.GivenReversal, body)
    try:
        done = asked_as(
            "reason",
            lambda: reverse_recharge(ledger, rechargeId, reason=given.reason, overdraw=given.overdraw),
        )
    except Conflict:
        before = reversal_of(ledger, rechargeId)
        if before is None or (before.reference, before.operator) != (given.reason.strip(), ledger.operator):
            raise
        done = before
    return booked(done, wire.RECHARGE)


@router.post(
    "/quotas/{userId:path}/grants",
    status_code=201,
    response_model=shapes.Grant,
    responses=once(shapes.Grant, 404),
    summary="Grant quota",
    openapi_extra=documented(reference(GivenGrant)),
)
def grant(ledger: Operator, userId: PathText, _asked: NoQuery, key: Key, body: Json) -> Response:
    """Let a user, known or new, spend more, until a time if one is given."""
    given = required(GivenGrant, body)
    until = given.expiresAt
    expires_at = None if until is None else named("expiresAt", lambda: instant(ledger, until, end=True))
    done = asked_as(
        "amount",
        lambda: grant_quota(ledger, userId, given.amount, reference=given.reference, key=key, expires_at=expires_at),
    )
    return booked(done, wire.GRANT)


@router.post(
    "/quotas/{userId:path}/revocations",
    status_code=201,
    response_model=shapes.Grant,
    responses=once(shapes.Grant, 404),
    summary="Take quota back",
    openapi_extra=documented(reference(shapes.GivenRevocation)),
)
def revoke(ledger: Operator, userId: PathText, _asked: NoQuery, key: Key, body: Json) -> Response:
    """Take back quota that is not used."""
    given = required(shapes.GivenRevocation, body)
    done = asked_as("amount", lambda: revoke_quota(ledger, userId, given.amount, reference=given.reference, key=key))
    return booked(done, wire.GRANT)


@router.post(
    "/resource-pool/check",
    response_model=shapes.Checked,
    responses=problems(404, 409),
    summary="Check the pools now",
)
def check(ledger: Operator, asked: ProviderQuery) -> Response:
    """Check every pool, or one provider's: alerts and suspended models are brought in line with the balances."""
    report = check_pools(ledger, asked.providerId)
    items = [
        wire.record(wire.POOL, found.pool)
        | {"alert": None if found.alert is None else wire.record(wire.ALERT, found.alert), "changed": found.change}
        for found in report.pools
    ]
    return json_answer({"checkedAt": report.checked_at, "items": items, "total": len(items)})
