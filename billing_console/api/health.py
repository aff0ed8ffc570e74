"""Whether the server lives, whether it can answer, and what Prometheus is told; for machines, outside the prefix."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from billing_console.api.documents import problems
from billing_console.api.holders import Given, caller
from billing_console.api.metrics import Metrics
from billing_console.api.problems import Problem
from billing_console.i18n import _
from billing_console.services.ledger import Ledger
from billing_console.services.pools import PoolView, list_pools
from billing_console.services.session import require_schema
from db.values import Scope

FAILURES: dict[int | str, dict[str, Any]] = {status: problems()[status] for status in (500, 503)}

router = APIRouter(tags=["Health"])


@router.get("/healthz", summary="Tell that the server lives")
async def healthz() -> JSONResponse:
    """Answer without a look at the database, and also when there are too many requests."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", summary="Tell whether the server can answer", responses=FAILURES)
def readyz(request: Request) -> JSONResponse:
    """Look whether the database answers and has the schema that this program knows."""
    ledger: Ledger = request.app.state.ledger
    require_schema(ledger.database)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses=problems())
def metrics(request: Request, given: Given) -> Response:
    """Tell the server's metrics, and to a token with the scope read also how the pools stand."""
    found: Metrics = request.app.state.metrics
    pools: tuple[PoolView, ...] = ()
    if given is not None:
        ledger = caller(request, given)
        if Scope.READ not in ledger.actor.scopes:
            raise Problem("forbidden", _("The token does not have the scope “%(scope)s”.") % {"scope": Scope.READ})
        pools = list_pools(ledger)
    return Response(found.spelled(pools), media_type=CONTENT_TYPE_PLAIN_0_0_4)
