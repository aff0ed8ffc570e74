"""What people decide and can decide again, for programs: models, prices, pools, budgets, alerts, periodic quotas.

Each sets how something stands, so that the same request again changes nothing.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from billing_console import wire
from billing_console.api import shapes
from billing_console.api.bodies import documented, reference, required
from billing_console.api.changes import Id, Json
from billing_console.api.documents import Alert, Pool
from billing_console.api.holders import Administrator, Operator
from billing_console.api.keys import Keyed, Write, kept
from billing_console.api.parameters import NoQuery, PathText, instant, named
from billing_console.api.reads import PREFIX, json_answer, records
from billing_console.services.alerts import acknowledge_alert
from billing_console.services.budgets import ALL, set_budget
from billing_console.services.ledger import Ledger
from billing_console.services.models import ModelView, set_model_enabled, set_provider_enabled
from billing_console.services.periodic_quotas import PeriodicSet, set_periodic
from billing_console.services.pools import open_pool, set_thresholds
from billing_console.services.prices import NewPrice, set_price
from billing_console.services.thresholds import NewThresholds

router = APIRouter(prefix=PREFIX, tags=["Operations"])

ANSWERS = kept(404, 413)


@router.post(
    "/models/enable",
    response_model=shapes.Models,
    responses=ANSWERS,
    summary="Enable models",
    openapi_extra=documented(reference(shapes.GivenModel)),
)
def enable(ledger: Operator, _asked: NoQuery, write: Keyed, body: Json) -> Response:
    """Enable a model, or all of a provider; what an empty pool suspends stays suspended."""
    return _switched(ledger, write, body, enabled=True)


@router.post(
    "/models/disable",
    response_model=shapes.Models,
    responses=ANSWERS,
    summary="Disable models",
    openapi_extra=documented(reference(shapes.GivenModel)),
)
def disable(ledger: Operator, _asked: NoQuery, write: Keyed, body: Json) -> Response:
    """Disable a model, or all of a provider, until somebody enables it again."""
    return _switched(ledger, write, body, enabled=False)


def _switched(ledger: Ledger, write: Write, body: Any, *, enabled: bool) -> Response:
    given = required(shapes.GivenModel, body)
    provider, model = given.providerId, given.modelId

    def answer(done: tuple[ModelView, ...]) -> Response:
        return json_answer({"items": records(wire.MODEL, done), "total": len(done)})

    if model is None:
        return write.once(
            ledger,
            body,
            lambda it: set_provider_enabled(it, provider, enabled, reason=given.reason),
            answer,
            field="providerId",
        )
    return write.once(
        ledger,
        body,
        lambda it: set_model_enabled(it, provider, model, enabled, reason=given.reason),
        lambda done: answer((done,)),
        field="modelId",
    )


@router.post(
    "/prices",
    response_model=shapes.Price,
    responses=ANSWERS,
    summary="Set a price",
    openapi_extra=documented(reference(shapes.GivenPrice)),
)
def price(ledger: Administrator, _asked: NoQuery, write: Keyed, body: Json) -> Response:
    """Add a price from an instant on, by default now; one that stands already is answered as it is."""
    given = required(shapes.GivenPrice, body)
    since = given.effectiveFrom
    new = NewPrice(
        provider_id=given.providerId,
        model_id=given.modelId,
        usage_type=given.usageType,
        unit=given.unit,
        input_price=given.inputPrice,
        output_price=given.outputPrice,
        cached_input_price=given.cachedInputPrice,
        effective_from=None if since is None else named("effectiveFrom", lambda: instant(ledger, since)),
    )
    return write.once(
        ledger,
        body,
        lambda it: set_price(it, new),
        lambda done: json_answer(wire.record(wire.PRICE, done)),
        field="inputPrice",
    )


@router.post(
    "/resource-pool/providers",
    status_code=201,
    response_model=Pool,
    responses=kept(413, status=201),
    summary="Open a pool",
    openapi_extra=documented(reference(shapes.GivenPool)),
)
def add_pool(ledger: Operator, _asked: NoQuery, write: Keyed, body: Json) -> Response:
    """Give a provider, known or new, a pool with nothing in it; 409 where it has one."""
    given = required(shapes.GivenPool, body)
    return write.once(
        ledger,
        body,
        lambda it: open_pool(it, given.providerId, name=given.name),
        lambda done: json_answer(wire.record(wire.POOL, done), 201),
        field="providerId",
    )


@router.put(
    "/resource-pool/providers/{providerId:path}/thresholds",
    response_model=Pool,
    responses=ANSWERS,
    summary="Set below what a pool is low",
    openapi_extra=documented(reference(shapes.GivenThresholds)),
)
def thresholds(ledger: Administrator, providerId: PathText, _asked: NoQuery, write: Keyed, body: Json) -> Response:
    """Set the thresholds that are named, and check the pool at once; one that is crossed is enough."""
    given = required(shapes.GivenThresholds, body)
    wanted: NewThresholds = {}
    if "lowThreshold" in given.model_fields_set:
        wanted["percent"] = given.lowThreshold
    if "lowAmount" in given.model_fields_set:
        wanted["amount"] = given.lowAmount
    if "lowDays" in given.model_fields_set:
        wanted["days"] = given.lowDays
    return write.once(
        ledger,
        body,
        lambda it: set_thresholds(it, providerId, wanted),
        lambda done: json_answer(wire.record(wire.POOL, done)),
    )


@router.post(
    "/resource-pool/alerts/{alertId}/acknowledgement",
    response_model=Alert,
    responses=kept(404),
    summary="Acknowledge an alert",
)
def acknowledge(ledger: Operator, alertId: Id, _asked: NoQuery, write: Keyed) -> Response:
    """Record that somebody has taken notice of an open alert; only a check resolves it."""
    return write.once(
        ledger, None, lambda it: acknowledge_alert(it, alertId), lambda done: json_answer(wire.record(wire.ALERT, done))
    )


@router.put(
    "/quotas/{userId:path}/periodic",
    response_model=shapes.PeriodicSet,
    responses=ANSWERS,
    summary="Set a periodic quota",
    openapi_extra=documented(reference(shapes.GivenPeriodic)),
)
def periodic(ledger: Administrator, userId: PathText, _asked: NoQuery, write: Keyed, body: Json) -> Response:
    """Give a user so much anew in every period, the current one at once."""
    given = required(shapes.GivenPeriodic, body)
    return write.once(
        ledger, body, lambda it: set_periodic(it, userId, given.period, given.amount), _periodic, field="amount"
    )


@router.delete(
    "/quotas/{userId:path}/periodic",
    response_model=shapes.PeriodicSet,
    responses=kept(404),
    summary="Turn a periodic quota off",
)
def no_periodic(ledger: Administrator, userId: PathText, _asked: NoQuery, write: Keyed) -> Response:
    """Give a user nothing anew any more; what was given stays until its period ends."""
    return write.once(ledger, None, lambda it: set_periodic(it, userId, None, None), _periodic, field="userId")


def _periodic(done: PeriodicSet) -> Response:
    standing = None if done.periodic is None else wire.record(wire.PERIODIC, done.periodic)
    return json_answer({"periodic": standing, "givenAmount": done.given, "remainingAmount": done.remaining})


@router.put(
    "/budgets",
    response_model=shapes.BudgetSet,
    responses=ANSWERS,
    summary="Set a monthly budget",
    openapi_extra=documented(reference(shapes.GivenBudget)),
)
def budget(ledger: Administrator, _asked: NoQuery, write: Keyed, body: Json) -> Response:
    """Set what may be spent in a month, or take that away; a budget warns and refuses nothing."""
    given = required(shapes.GivenBudget, body)
    return write.once(
        ledger,
        body,
        lambda it: set_budget(it, given.providerId or ALL, given.amount),
        lambda done: json_answer({"providerId": given.providerId or None, "budgetAmount": done}),
        field="amount",
    )
