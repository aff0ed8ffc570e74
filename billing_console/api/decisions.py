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
from billing_console.api.documents import Alert, Pool, problems
from billing_console.api.holders import Administrator, Operator
from billing_console.api.keys import Key, asked_as
from billing_console.api.parameters import NoQuery, PathText, instant, named
from billing_console.api.reads import PREFIX, json_answer, records
from billing_console.services.alerts import acknowledge_alert
from billing_console.services.budgets import ALL, set_budget
from billing_console.services.ledger import Ledger
from billing_console.services.models import set_model_enabled, set_provider_enabled
from billing_console.services.periodic_quotas import PeriodicSet, set_periodic
from billing_console.services.pools import open_pool, set_thresholds
from billing_console.services.prices import NewPrice, set_price
from billing_console.services.thresholds import NewThresholds

router = APIRouter(prefix=PREFIX, tags=["Operations"])

FAILURES = problems(404, 409, 413)


@router.post(
    "/models/enable",
    response_model=shapes.Models,
    responses=FAILURES,
    summary="Enable models",
    openapi_extra=documented(reference(shapes.GivenModel)),
)
def enable(ledger: Operator, _asked: NoQuery, _key: Key, body: Json) -> Response:
    """Enable a model, or all of a provider; what an empty pool suspends stays suspended."""
    return _switched(ledger, body, enabled=True)


@router.post(
    "/models/disable",
    response_model=shapes.Models,
    responses=FAILURES,
    summary="Disable models",
    openapi_extra=documented(reference(shapes.GivenModel)),
)
def disable(ledger: Operator, _asked: NoQuery, _key: Key, body: Json) -> Response:
    """Disable a model, or all of a provider, until somebody enables it again."""
    return _switched(ledger, body, enabled=False)


def _switched(ledger: Ledger, body: Any, *, enabled: bool) -> Response:
    given = required(shapes.GivenModel, body)
    model = given.modelId
    if model is None:
        done = asked_as(
            "providerId", lambda: set_provider_enabled(ledger, given.providerId, enabled, reason=given.reason)
        )
    else:
        done = (
            asked_as(
                "modelId", lambda: set_model_enabled(ledger, given.providerId, model, enabled, reason=given.reason)
            ),
        )
    return json_answer({"items": records(wire.MODEL, done), "total": len(done)})


@router.post(
    "/prices",
    response_model=shapes.Price,
    responses=FAILURES,
    summary="Set a price",
    openapi_extra=documented(reference(shapes.GivenPrice)),
)
def price(ledger: Administrator, _asked: NoQuery, _key: Key, body: Json) -> Response:
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
    return json_answer(wire.record(wire.PRICE, asked_as("inputPrice", lambda: set_price(ledger, new))))


@router.post(
    "/resource-pool/providers",
    status_code=201,
    response_model=Pool,
    responses=problems(409, 413),
    summary="Open a pool",
    openapi_extra=documented(reference(shapes.GivenPool)),
)
def add_pool(ledger: Operator, _asked: NoQuery, _key: Key, body: Json) -> Response:
    """Give a provider, known or new, a pool with nothing in it; 409 where it has one."""
    given = required(shapes.GivenPool, body)
    done = asked_as("providerId", lambda: open_pool(ledger, given.providerId, name=given.name))
    return json_answer(wire.record(wire.POOL, done), 201)


@router.put(
    "/resource-pool/providers/{providerId:path}/thresholds",
    response_model=Pool,
    responses=FAILURES,
    summary="Set below what a pool is low",
    openapi_extra=documented(reference(shapes.GivenThresholds)),
)
def thresholds(ledger: Administrator, providerId: PathText, _asked: NoQuery, _key: Key, body: Json) -> Response:
    """Set the thresholds that are named, and check the pool at once; one that is crossed is enough."""
    given = required(shapes.GivenThresholds, body)
    wanted: NewThresholds = {}
    if "lowThreshold" in given.model_fields_set:
        wanted["percent"] = given.lowThreshold
    if "lowAmount" in given.model_fields_set:
        wanted["amount"] = given.lowAmount
    if "lowDays" in given.model_fields_set:
        wanted["days"] = given.lowDays
    return json_answer(wire.record(wire.POOL, set_thresholds(ledger, providerId, wanted)))


@router.post(
    "/resource-pool/alerts/{alertId}/acknowledgement",
    response_model=Alert,
    responses=problems(404, 409),
    summary="Acknowledge an alert",
)
def acknowledge(ledger: Operator, alertId: Id, _asked: NoQuery, _key: Key) -> Response:
    """Record that somebody has taken notice of an open alert; only a check resolves it."""
    return json_answer(wire.record(wire.ALERT, acknowledge_alert(ledger, alertId)))


@router.put(
    "/quotas/{userId:path}/periodic",
    response_model=shapes.PeriodicSet,
    responses=FAILURES,
    summary="Set a periodic quota",
    openapi_extra=documented(reference(shapes.GivenPeriodic)),
)
def periodic(ledger: Administrator, userId: PathText, _asked: NoQuery, _key: Key, body: Json) -> Response:
    """Give a user so much anew in every period, the current one at once."""
    given = required(shapes.GivenPeriodic, body)
    return _periodic(asked_as("amount", lambda: set_periodic(ledger, userId, given.period, given.amount)))


@router.delete(
    "/quotas/{userId:path}/periodic",
    response_model=shapes.PeriodicSet,
    responses=problems(404, 409),
    summary="Turn a periodic quota off",
)
def no_periodic(ledger: Administrator, userId: PathText, _asked: NoQuery, _key: Key) -> Response:
    """Give a user nothing anew any more; what was given stays until its period ends."""
    return _periodic(asked_as("userId", lambda: set_periodic(ledger, userId, None, None)))


def _periodic(done: PeriodicSet) -> Response:
    standing = None if done.periodic is None else wire.record(wire.PERIODIC, done.periodic)
    return json_answer({"periodic": standing, "givenAmount": done.given, "remainingAmount": done.remaining})


@router.put(
    "/budgets",
    response_model=shapes.BudgetSet,
    responses=FAILURES,
    summary="Set a monthly budget",
    openapi_extra=documented(reference(shapes.GivenBudget)),
)
def budget(ledger: Administrator, _asked: NoQuery, _key: Key, body: Json) -> Response:
    """Set what may be spent in a month, or take that away; a budget warns and refuses nothing."""
    given = required(shapes.GivenBudget, body)
    done = asked_as("amount", lambda: set_budget(ledger, given.providerId or ALL, given.amount))
    return json_answer({"providerId": given.providerId or None, "budgetAmount": done})
