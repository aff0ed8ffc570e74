"""What operators look at, for programs: quotas, grants, recharges, approvals, models, prices and budgets."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field

from billing_console import wire
from billing_console.api import shapes
from billing_console.api.documents import Page, problems
from billing_console.api.holders import Reader
from billing_console.api.parameters import NoQuery, Paged, PagedQuery, PathText, Text
from billing_console.api.reads import PREFIX, cut_answer, json_answer, page_answer
from billing_console.services.approvals import list_approvals
from billing_console.services.budgets import list_budgets
from billing_console.services.ledger import Ledger
from billing_console.services.models import list_models
from billing_console.services.paging import Part
from billing_console.services.prices import PriceView, list_prices
from billing_console.services.quotas import QuotaOrder, QuotaSort, grant_page, quota_details, quota_page
from billing_console.services.recharges import recharge_page
from billing_console.services.usage_numbers import require_known
from db.values import UsageType

router = APIRouter(prefix=PREFIX, tags=["Operations"])

QUOTA: wire.Fields[Any] = {**wire.QUOTA, "isBlocked": lambda quota: quota.is_blocked}


class QuotaParameters(Paged):
    """Which users, in which order."""

    search: Text | None = Field(None, description="A part of the user's id.")
    onlyBlocked: bool = False
    sort: QuotaSort = QuotaSort.REMAINING
    descending: bool = False


class ProviderPaged(Paged):
    """A page, of one provider or of all."""

    providerId: Text | None = None


class ApprovalParameters(Paged):
    """Which requests."""

    onlyPending: bool = False


class When(StrEnum):
    """Which versions of prices: those that hold, will hold, held, or every one."""

    CURRENT = "current"
    FUTURE = "future"
    PAST = "past"
    ALL = "all"


class PriceParameters(ProviderPaged):
    """Which prices."""

    modelId: Text | None = None
    usageType: UsageType | None = None
    when: When = When.CURRENT


@router.get("/quotas", response_model=Page[shapes.Quota], responses=problems(), summary="List user quotas")
def quotas(ledger: Reader, asked: Annotated[QuotaParameters, Query()]) -> Response:
    """List users, by default those with the least left first and those who are not limited last."""
    order = QuotaOrder(asked.sort, asked.descending)
    found = quota_page(
        ledger,
        search=asked.search or "",
        only_blocked=asked.onlyBlocked,
        order=order,
        limit=asked.size,
        offset=asked.before,
    )
    return page_answer(QUOTA, Part(found.rows, found.users), asked)


@router.get(
    "/quotas/{userId:path}/grants",
    response_model=Page[shapes.Grant],
    responses=problems(404),
    summary="List a user's grants",
)
def grants(ledger: Reader, userId: PathText, asked: PagedQuery) -> Response:
    """List what a user was granted, what was taken back and what expired, newest first."""
    return page_answer(wire.GRANT, grant_page(ledger, userId, limit=asked.size, offset=asked.before), asked)


@router.get(
    "/quotas/{userId:path}", response_model=shapes.QuotaDetails, responses=problems(404), summary="Show one user"
)
def quota(ledger: Reader, userId: PathText, _asked: NoQuery) -> Response:
    """Show a user's quota with its grants, its periodic quota and the newest calls."""
    details = quota_details(ledger, userId)
    return json_answer(wire.quota_details(details) | {"isBlocked": details.quota.is_blocked})


@router.get(
    "/resource-pool/recharges",
    response_model=Page[shapes.Recharge],
    responses=problems(404),
    summary="List recharges",
)
def recharges(ledger: Reader, asked: Annotated[ProviderPaged, Query()]) -> Response:
    """List recharges and reversals, of one provider or all, newest first."""
    return page_answer(
        wire.RECHARGE, recharge_page(ledger, asked.providerId, limit=asked.size, offset=asked.before), asked
    )


@router.get(
    "/resource-pool/providers/{providerId:path}/recharges",
    response_model=Page[shapes.Recharge],
    responses=problems(404),
    summary="List a pool's recharges",
)
def recharges_of(ledger: Reader, providerId: PathText, asked: PagedQuery) -> Response:
    """List what was paid into one pool and taken back, newest first."""
    return page_answer(wire.RECHARGE, recharge_page(ledger, providerId, limit=asked.size, offset=asked.before), asked)


@router.get("/approvals", response_model=Page[shapes.Approval], responses=problems(), summary="List approvals")
def approvals(ledger: Reader, asked: Annotated[ApprovalParameters, Query()]) -> Response:
    """List the changes of money that wait for another person, and what became of those before, newest first."""
    return cut_answer(wire.APPROVAL, list_approvals(ledger, only_pending=asked.onlyPending, limit=None), asked)


@router.get("/models", response_model=Page[shapes.Model], responses=problems(404), summary="List models")
def models(ledger: Reader, asked: Annotated[ProviderPaged, Query()]) -> Response:
    """List models by provider and id, each with why it cannot be called."""
    return cut_answer(wire.MODEL, list_models(ledger, asked.providerId), asked)


@router.get("/prices", response_model=Page[shapes.Price], responses=problems(404), summary="List prices")
def prices(ledger: Reader, asked: Annotated[PriceParameters, Query()]) -> Response:
    """List the prices that hold now, or will, or held, by provider, model and type, newest first."""
    if asked.providerId is not None:
        require_known(ledger, asked.providerId)
    found = list_prices(
        ledger, asked.providerId, asked.modelId, asked.usageType, all_versions=asked.when is not When.CURRENT
    )
    return cut_answer(wire.PRICE, tuple(price for price in found if _is(ledger, price, asked.when)), asked)


@router.get("/budgets", response_model=Page[shapes.Budget], responses=problems(), summary="List monthly budgets")
def budgets(ledger: Reader, asked: PagedQuery) -> Response:
    """List the month of all providers together, and then of each, with its budget or without."""
    return cut_answer(wire.BUDGET, list_budgets(ledger), asked)


def _is(ledger: Ledger, price: PriceView, when: When) -> bool:
    future = price.effective_from > ledger.clock()
    return {
        When.CURRENT: price.in_force,
        When.FUTURE: future,
        When.PAST: not future and not price.in_force,
        When.ALL: True,
    }[when]
