"""The least a FastAPI program can do with the same bodies: take them apart, insert them as rows, commit each request.

    BARE_URL=sqlite:////tmp/bare.db uvicorn bench.api_bare:app

It uses the console's tables, with their indexes and triggers, and its engine, so the durability is the same.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from db.engine import Database, parse_url
from db.schema import Hold, UsageRecord
from db.statements import table_of

app = FastAPI()
database = Database(parse_url(os.environ["BARE_URL"]))
records, holds = table_of(UsageRecord), table_of(Hold)


class Usage(BaseModel):
    requestId: str
    userId: str
    providerId: str
    modelId: str
    usageType: str
    inputTokens: int
    outputTokens: int
    createdAt: datetime


class Authorization(BaseModel):
    requestId: str
    userId: str
    providerId: str
    modelId: str
    usageType: str
    estimatedCost: Decimal


def usage(given: Usage | list[Usage]) -> dict[str, int]:
    rows = [_row(each) for each in (given if isinstance(given, list) else [given])]
    with database.writing() as session:
        session.connection().execute(records.insert(), rows)
    return {"recorded": len(rows)}


def authorize(given: Authorization) -> dict[str, str]:
    row = {
        "request_id": given.requestId,
        "user_id": given.userId,
        "provider_id": given.providerId,
        "model_id": given.modelId,
        "usage_type": given.usageType,
        "amount": given.estimatedCost,
        "expires_at": datetime.now().astimezone() + timedelta(minutes=10),
    }
    with database.writing() as session:
        session.connection().execute(holds.insert(), [row])
    return {"requestId": given.requestId}


def _row(given: Usage) -> dict[str, Any]:
    return {
        "request_id": given.requestId,
        "user_id": given.userId,
        "provider_id": given.providerId,
        "model_id": given.modelId,
        "usage_type": given.usageType,
        "input_tokens": given.inputTokens,
        "cached_input_tokens": 0,
        "output_tokens": given.outputTokens,
        "total_tokens": given.inputTokens + given.outputTokens,
        "quantity": Decimal(0),
        "cost_amount": Decimal("0.001"),
        "status": "success",
        "created_at": given.createdAt,
        "counted_by_settler": False,
    }


async def usage_inline(given: Usage | list[Usage]) -> dict[str, int]:
    return usage(given)


async def authorize_inline(given: Authorization) -> dict[str, str]:
    return authorize(given)


inline = database.is_sqlite
"""SQLite lets one writer in, so threads would only wait for each other: in the event loop it is faster."""

app.post("/api/billing/usage")(usage_inline if inline else usage)
app.post("/api/billing/authorize")(authorize_inline if inline else authorize)
