"""Who did what, who may, and how much, for programs that watch over people; all of it can only be read here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field

from billing_console import wire
from billing_console.api.documents import Document, Money, Page, problems
from billing_console.api.holders import Reader
from billing_console.api.parameters import DEFAULT_SIZE, MOST, Day, PagedQuery, Parameters, Text, between
from billing_console.api.reads import PREFIX, cut_answer, json_answer, records
from billing_console.api.shapes import Listed
from billing_console.services.audit import AuditFilter, list_audit
from billing_console.services.limits import list_limits
from billing_console.services.operators import list_operators
from db.values import LimitName, Outcome, Role

router = APIRouter(prefix=PREFIX, tags=["Oversight"])


class AuditEntry(Listed):
    """A change, or a refusal; `before` and `after` are JSON, `loginUid` to `host` what the process claims."""

    id: int
    createdAt: datetime
    operator: str
    uid: int
    account: str
    action: str
    target: str
    outcome: Outcome
    reason: str
    before: str | None
    after: str | None
    loginUid: int | None
    tty: str | None
    sshClient: str | None
    host: str
    hash: str


class AuditPage(Document):
    """Rows of the audit log, newest first; `nextCursor` leads to older ones."""

    items: list[AuditEntry]
    size: int
    nextCursor: int | None


class Operator(Listed):
    """Who may work with the ledger; `uid` is null for a name that only a forced command gives."""

    name: str
    uid: int | None
    role: Role
    addedBy: str
    addedAt: datetime


class Limit(Listed):
    """A limit on recharges and grants; `amount` is null for one that is off."""

    name: LimitName
    amount: Money | None


class AuditParameters(Parameters):
    """Which rows of the audit log."""

    operator: Text | None = None
    action: Text | None = Field(None, description="As pools.recharge, or pools for all that begins so.")
    target: Text | None = Field(None, description="A part of what was changed.")
    outcome: Outcome | None = None
    startDate: Day | None = None
    endDate: Day | None = None
    size: int = Field(DEFAULT_SIZE, ge=1, le=MOST)
    cursor: int | None = Field(None, ge=1, lt=2**63, description="The nextCursor of the page before.")


@router.get("/audit", response_model=AuditPage, responses=problems(), summary="List the audit log")
def audit(ledger: Reader, asked: Annotated[AuditParameters, Query()]) -> Response:
    """List changes and refusals, newest first; `nextCursor` goes on where a page ended, null on the last one."""
    start, end = between(ledger, asked.startDate, asked.endDate)
    wanted = AuditFilter(asked.operator, asked.action, asked.target, asked.outcome, start, end)
    found = list_audit(ledger, wanted, limit=asked.size + 1, before_id=asked.cursor)
    rows = found[: asked.size]
    following = rows[-1].id if len(found) > asked.size else None
    return json_answer({"items": records(wire.AUDIT, rows), "size": asked.size, "nextCursor": following})


@router.get("/operators", response_model=Page[Operator], responses=problems(), summary="List operators")
def operators(ledger: Reader, asked: PagedQuery) -> Response:
    """List the people who may work with the ledger, by name, with their roles."""
    return cut_answer(wire.OPERATOR, list_operators(ledger), asked)


@router.get("/limits", response_model=Page[Limit], responses=problems(), summary="List limits")
def limits(ledger: Reader, asked: PagedQuery) -> Response:
    """List the limits on recharges and grants; null is one that is off."""
    return cut_answer(wire.LIMIT, list_limits(ledger), asked)
