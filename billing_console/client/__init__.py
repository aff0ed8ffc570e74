"""A client of the HTTP API for gateways: authorize a call, make it, record it (extra `client`)."""

from billing_console.client.asynchronous import AsyncClient
from billing_console.client.calls import Call, Conflict, Hold, Recorded, Usage, UsageType
from billing_console.client.errors import (
    ApiError,
    CallRefused,
    ModelDisabled,
    NotRecorded,
    PoolDepleted,
    QuotaExceeded,
)
from billing_console.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "Call",
    "CallRefused",
    "Client",
    "Conflict",
    "Hold",
    "ModelDisabled",
    "NotRecorded",
    "PoolDepleted",
    "QuotaExceeded",
    "Recorded",
    "Usage",
    "UsageType",
]
