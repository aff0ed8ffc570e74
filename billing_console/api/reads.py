"""The seed's five GET endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from billing_console import wire
from billing_console.api.documents import Alert, DailyCost, Page, Pool, UsagePage, problems
from billing_console.api.holders import Reader
from billing_console.api.parameters import (
    AlertQuery,
    CostQuery,
    NoQuery,
    Paged,
    PathText,
    UsageQuery,
    cost_filter,
    require_cursor,
    usage_filter,
)
from billing_console.services.alerts import alert_page
from billing_console.services.costs import cost_page
from billing_console.services.paging import Part
from billing_console.services.pools import get_pool, list_pools
from billing_console.services.usage import usage_page
from billing_console.services.usage_numbers import place_of, require_known
from billing_console.text import to_json

PREFIX = "/api/admin/billing"
router = APIRouter(prefix=PREFIX, tags=["Monitoring"])


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Spell an answer: money as strings, times in ISO 8601, nothing invisible."""
    return Response(to_json(wire.jsonable(value)), status, headers, "application/json")


def page_answer(fields: wire.Fields[Any], found: Part[Any], asked: Paged) -> Response:
    """Answer with one page of a list."""
    items = records(fields, found.rows)
    return json_answer({"items": items, "page": asked.page, "size": asked.size, "total": found.total})


def cut_answer(fields: wire.Fields[Any], rows: tuple[Any, ...], asked: Paged) -> Response:
    """Answer with one page of a list that is never long and was read whole."""
    return page_answer(fields, Part(rows[asked.before : asked.before + asked.size], len(rows)), asked)


def records(fields: wire.Fields[Any], rows: Iterable[Any]) -> list[dict[str, object]]:
    """Spell rows by their fields' names."""
    return [wire.record(fields, row) for row in rows]


@router.get("/usage/records", response_model=UsagePage, responses=problems(404), summary="List usage records")
def usage_records(ledger: Reader, asked: UsageQuery) -> Response:
    """List usage records, newest first. `total` counts all that match; `cursor` goes on where a page ended."""
    if asked.providerId is not None:
        require_known(ledger, asked.providerId)
    chosen = usage_filter(ledger, asked)
    if asked.cursor is not None:
        require_cursor(asked.cursor)
    before = 0 if asked.cursor else asked.before
    place = place_of(ledger, chosen, before)
    if place.beyond:
        rows, following = [], None
    else:
        after = asked.cursor or place.after
        found = usage_page(ledger, chosen, limit=asked.size, after=after)
        rows, following = records(wire.USAGE, found.rows), found.next
    return json_answer(
        {"items": rows, "page": asked.page, "size": asked.size, "total": place.total, "nextCursor": following}
    )


@router.get("/cost/daily", response_model=Page[DailyCost], responses=problems(404), summary="List daily costs")
def cost_daily(ledger: Reader, asked: CostQuery) -> Response:
    """List the statistics of every business day that the range touches, the newest day first, then the dearest."""
    if asked.providerId is not None:
        require_known(ledger, asked.providerId)
    found = cost_page(ledger, cost_filter(ledger, asked), limit=asked.size, offset=asked.before)
    return page_answer(wire.COST, found, asked)


@router.get("/resource-pool", response_model=Page[Pool], responses=problems(), summary="List resource pools")
def resource_pools(ledger: Reader, _asked: NoQuery) -> Response:
    """List all resource pools as they stand now, on one page."""
    pools = records(wire.POOL, list_pools(ledger))
    return json_answer({"items": pools, "page": 1, "size": len(pools), "total": len(pools)})


@router.get("/resource-pool/alerts", response_model=Page[Alert], responses=problems(404), summary="List alerts")
def alerts(ledger: Reader, asked: AlertQuery) -> Response:
    """List balance alerts: open ones first, critical before warning, then the newest."""
    found = alert_page(
        ledger, resolved=asked.isResolved, provider_id=asked.providerId, limit=asked.size, offset=asked.before
    )
    return page_answer(wire.ALERT, found, asked)


@router.get(
    "/resource-pool/providers/{providerId:path}", response_model=Pool, responses=problems(404), summary="Show one pool"
)
def resource_pool(ledger: Reader, providerId: PathText, _asked: NoQuery) -> Response:
    """Show one provider's resource pool as it stands now; `hasPool` tells whether it has one."""
    return json_answer(wire.record(wire.POOL, get_pool(ledger, providerId)))
