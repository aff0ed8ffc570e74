"""What operators do, for programs: recharge, grant and check; each change of money once, by its Idempotency-Key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.responses import Response

from billing_console import wire
from billing_console.api.bodies import documented, read_json, reference, required
from billing_console.api.documents import GivenGrant, GivenRecharge, problems
from billing_console.api.holders import Operator
from billing_console.api.parameters import NoQuery, PathText, ProviderQuery, named
from billing_console.api.problems import Problem, field_error
from billing_console.api.reads import PREFIX, json_answer
from billing_console.i18n import _
from billing_console.services.approvals import ApprovalView
from billing_console.services.check import check_pools
from billing_console.services.quotas import GrantView, grant_quota
from billing_console.services.recharges import RechargeView, recharge

router = APIRouter(prefix=PREFIX, tags=["Operations"])

Json = Annotated[Any, Depends(read_json)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Required. The same key with the same content answers with the first result and changes nothing.",
    ),
]
BOOKED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Done before with this key; nothing was changed now"},
    202: {"description": "More than a limit: a request that another person must approve"},
}


@router.post(
    "/resource-pool/providers/{providerId:path}/recharges",
    status_code=201,
    responses=BOOKED | problems(404, 409, 413),
    summary="Recharge a pool",
    openapi_extra=documented(reference(GivenRecharge)),
)
def recharge_pool(ledger: Operator, providerId: PathText, _asked: NoQuery, body: Json, key: Key = None) -> Response:
    """Pay into a provider's pool; alert and suspension are lifted at once."""
    key = _required(key)
    given = required(GivenRecharge, body)
    done = named(
        "amount",
        lambda: recharge(ledger, providerId, given.amount, reference=given.reference, key=key, note=given.note),
    )
    return _booked(done, wire.RECHARGE)


@router.post(
    "/quotas/{userId:path}/grants",
    status_code=201,
    responses=BOOKED | problems(409, 413),
    summary="Grant quota",
    openapi_extra=documented(reference(GivenGrant)),
)
def grant(ledger: Operator, userId: PathText, _asked: NoQuery, body: Json, key: Key = None) -> Response:
    """Let a user, known or new, spend more."""
    key = _required(key)
    given = required(GivenGrant, body)
    done = named("amount", lambda: grant_quota(ledger, userId, given.amount, reference=given.reference, key=key))
    return _booked(done, wire.GRANT)


@router.post("/resource-pool/check", responses=problems(404, 409), summary="Check the pools now")
def check(ledger: Operator, asked: ProviderQuery) -> Response:
    """Check every pool, or one provider's: alerts and suspended models are brought in line with the balances."""
    report = check_pools(ledger, asked.providerId)
    items = [
        wire.record(wire.POOL, found.pool)
        | {"alert": None if found.alert is None else wire.record(wire.ALERT, found.alert), "changed": found.change}
        for found in report.pools
    ]
    return json_answer({"checkedAt": report.checked_at, "items": items, "total": len(items)})


def _required(key: str | None) -> str:
    if not key or not key.strip():
        words = _("%(field)s is required.") % {"field": "Idempotency-Key"}
        raise Problem("invalid", words, errors=[field_error("Idempotency-Key", words)])
    return key


def _booked(done: RechargeView | GrantView | ApprovalView, fields: wire.Fields[Any]) -> Response:
    """Answer 201 for what was done now, 200 for what the key had done before, 202 for what waits for approval."""
    if isinstance(done, ApprovalView):
        return json_answer({**wire.record(wire.APPROVAL, done), "replayed": done.replayed}, 202)
    return json_answer({**wire.record(fields, done), "replayed": done.replayed}, 200 if done.replayed else 201)
