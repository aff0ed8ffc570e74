"""The shapes of requests and answers, for the OpenAPI document; what is sent is spelled by `wire`."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from db.values import AlertLevel, AlertType, BalanceStatus, CallStatus, UsageType

Item = TypeVar("Item")

Money = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+\.\d{2,9}$", "examples": ["12.340000001"]}),
    Field(description="In the ledger's currency, exact."),
]
GivenMoney = Annotated[
    Decimal,
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": r"^\d+(\.\d{1,9})?$"}, {"type": "number"}], "examples": ["12.34"]}
    ),
]


class Document(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")


class Page(Document, Generic[Item]):
    """Some of a list, and how much there is in all."""

    items: list[Item]
    page: int
    size: int
    total: int


class UsageRecord(Document):
    """One AI call."""

    id: int
    requestId: str
    userId: str | None
    providerId: str
    modelId: str
    usageType: UsageType
    inputTokens: int
    cachedInputTokens: int
    outputTokens: int
    totalTokens: int
    quantity: float = Field(description="Images, characters or seconds, by the type.")
    costAmount: Money
    unpriced: bool = Field(description="No price was known, so it costs nothing yet.")
    status: CallStatus
    errorMessage: str | None
    createdAt: datetime
    cursor: str


class UsagePage(Page[UsageRecord]):
    """Usage records, newest first; `nextCursor` leads to the page after this one."""

    nextCursor: str | None


class DailyCost(Document):
    """One business day of one model and usage type."""

    statDate: date
    providerId: str
    modelId: str
    usageType: UsageType
    totalUsage: float = Field(description="Tokens for text, the quantity for the other types.")
    totalCost: Money
    callCount: int
    failedCount: int
    costPerCall: Money | None
    costPerMillionTokens: Money | None = Field(description="Text alone; null for the other types.")


class Pool(Document):
    """A provider's resource pool as it stands now."""

    model_config = ConfigDict(extra="allow")

    providerId: str
    providerName: str
    hasPool: bool
    totalBalance: Money
    usedAmount: Money
    availableBalance: Money
    balancePercentage: float
    isLowBalance: bool
    status: BalanceStatus | None
    lastRechargeDate: datetime | None
    lastCheckDate: datetime | None


class Alert(Document):
    """A balance alert."""

    model_config = ConfigDict(extra="allow")

    id: int
    providerId: str
    alertType: AlertType
    alertLevel: AlertLevel
    balancePercentage: float
    availableBalance: Money
    isResolved: bool
    createdAt: datetime
    updatedAt: datetime
    resolvedAt: datetime | None


class GivenLog(Document):
    """A call as LiteLLM logs it, its StandardLoggingPayload: what is read of it; the rest is passed over."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "id": "chatcmpl-8f1e",
                "call_type": "acompletion",
                "status": "success",
                "custom_llm_provider": "openai",
                "model": "gpt-4o",
                "startTime": 1773115200.0,
                "prompt_tokens": 1234,
                "completion_tokens": 56,
                "total_tokens": 1290,
                "end_user": "alice",
            }
        },
    )


class GivenUsage(Document):
    """One AI call to record. Without `costAmount` it is billed at the price that was in force when it was made."""

    requestId: str
    userId: str | None = None
    providerId: str
    modelId: str
    usageType: UsageType
    inputTokens: int = Field(0, description="The cached tokens included.")
    cachedInputTokens: int = 0
    outputTokens: int = 0
    totalTokens: int | None = None
    quantity: GivenMoney | None = Field(None, description="Images, characters or seconds, by the type.")
    costAmount: GivenMoney | None = None
    status: CallStatus = CallStatus.SUCCESS
    errorMessage: str | None = None
    createdAt: str = Field(
        description="ISO 8601; without a zone in the business time zone. A call that is sent again has the same."
    )
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "requestId": "req-8f1e",
                "userId": "alice",
                "providerId": "openai",
                "modelId": "gpt-4o",
                "usageType": "text_generation",
                "inputTokens": 1234,
                "outputTokens": 56,
                "createdAt": "2026-03-10T12:00:00+08:00",
            }
        },
    )


class GivenAuthorization(Document):
    """A call that is about to be made, and what it may cost at most."""

    requestId: str = Field(examples=["req-8f1e"])
    userId: str
    providerId: str
    modelId: str
    usageType: UsageType
    estimatedCost: GivenMoney


class Hold(Document):
    """What is set aside for a call until it is recorded; `remainingAmount` is null for a user without a quota."""

    requestId: str
    providerId: str
    userId: str
    heldAmount: Money
    remainingAmount: Money | None
    expiresAt: datetime
    replayed: bool


class UsageConflict(Document):
    """A call whose request id was recorded before with other content; the first one stands."""

    index: int
    requestId: str
    reason: str


class Recorded(Document):
    """What became of calls: recorded now, or before; `unpriced` of those recorded now have no price yet."""

    recorded: int
    duplicates: int
    unpriced: int
    conflicts: list[UsageConflict]


class SetAside(Document):
    """A call that was made and cannot be recorded; the audit log keeps it."""

    index: int
    id: str | None = Field(description="LiteLLM's.")
    reason: str


class LoggedCalls(Document):
    """What became of calls that LiteLLM sent; `withoutUser` and `unpriced` are among those recorded."""

    recorded: int
    duplicates: int
    unpriced: int
    withoutUser: int
    skipped: int = Field(description="No call of a model, or failed before a provider had it.")
    setAside: list[SetAside] = Field(description="The first hundred.")


class GivenRecharge(Document):
    """What is paid into a pool."""

    amount: GivenMoney
    reference: str = Field(examples=["BT-2026-0311"])
    note: str = ""


class GivenGrant(Document):
    """What a user may spend more."""

    amount: GivenMoney
    reference: str = Field(examples=["order 1207"])
    expiresAt: str | None = Field(None, description="A day, included, or an instant.", examples=["2026-04-30"])


class Problem(Document):
    """What went wrong (RFC 9457); `code` is stable, the words are in the language of Accept-Language."""

    type: str
    title: str
    status: int = Field(examples=[422])
    detail: str
    code: str = Field(examples=["invalid"])
    requestId: str
    hint: str | None = None
    errors: list[dict[str, str]] = []


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the failures of an endpoint, besides those that every one can end in."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    words = {
        401: "No token, or one that does not hold",
        402: "The user's quota is used up",
        403: "The token does not have the scope, or the ledger is open for reading only",
        404: "There is no such thing",
        409: "In conflict with what is there, or refused by a rule",
        413: "The body is too large",
        422: "A parameter or field is not right; `errors` names it",
        429: "Too many requests without a token that holds",
        500: "An error in the program",
        503: "The ledger cannot answer now, or too many requests at once; see Retry-After",
    }
    chosen = sorted({401, 403, 422, 429, 500, 503, *statuses})
    return {status: {"description": words[status], "content": content} for status in chosen}
