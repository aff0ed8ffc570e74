"""The shapes of what operators look at and change, for the OpenAPI document; those of the seed are in `documents`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import ConfigDict, Field

from billing_console.api.documents import Alert, Document, GivenMoney, Money, Pool
from billing_console.services.approvals import ApprovalState
from billing_console.services.budgets import BudgetStatus
from db.values import ApprovalKind, ModelStatus, Period, PriceUnit, UsageType


class Listed(Document):
    """A record of a list; fields may be added to it."""

    model_config = ConfigDict(extra="allow")


class Recharge(Listed):
    """What was paid into a pool, or taken back (negative, naming the recharge that it reverses)."""

    id: int
    providerId: str
    amount: Money
    availableBefore: Money
    availableAfter: Money
    totalAfter: Money
    reference: str
    note: str
    idempotencyKey: str
    reversesId: int | None
    reversedById: int | None
    operator: str
    approvedBy: str | None
    createdAt: datetime


class Grant(Listed):
    """Quota given to a user, taken back, or expired (negative)."""

    id: int
    userId: str
    amount: Money
    remainingBefore: Money
    remainingAfter: Money
    grantedAfter: Money
    reference: str
    idempotencyKey: str
    operator: str
    approvedBy: str | None
    createdAt: datetime
    expiresAt: datetime | None
    expiresId: int | None


class Approval(Listed):
    """A change of money that waits for another person, or what became of it."""

    requestId: int
    kind: ApprovalKind
    subject: str
    amount: Money
    reference: str
    operator: str
    createdAt: datetime
    expiresAt: datetime
    state: ApprovalState
    decidedBy: str | None
    decidedAt: datetime | None


class Quota(Listed):
    """What a user may spend; granted and remaining are null for a user without a quota."""

    userId: str
    hasQuota: bool
    grantedAmount: Money | None
    usedAmount: Money
    remainingAmount: Money | None
    isBlocked: bool = Field(description="The next call is refused.")
    updatedAt: datetime


class PeriodicQuota(Document):
    """What a user is given anew in every period."""

    userId: str
    period: Period
    amount: Money
    operator: str
    createdAt: datetime


class QuotaDetails(Quota):
    """A user's quota, what is used of it a day, what is left of each grant, and the newest calls."""

    costPerDay: Money | None
    daysLeft: float | None
    periodic: PeriodicQuota | None
    grants: list[Grant]
    recent: list[dict[str, Any]]


class PeriodicSet(Document):
    """A periodic quota as it stands now, null for none, what was given at once and what remains."""

    periodic: PeriodicQuota | None
    givenAmount: Money
    remainingAmount: Money


class Model(Listed):
    """A model; disabled by a person and suspended with its provider's pool are two facts."""

    providerId: str
    modelId: str
    modelName: str
    status: ModelStatus
    disabledAt: datetime | None
    disabledBy: str | None
    disabledReason: str | None
    suspendedAt: datetime | None


class Models(Document):
    """The models of a change, as they stand after it."""

    items: list[Model]
    total: int


class Price(Listed):
    """A price per unit, from an instant on."""

    id: int
    providerId: str
    modelId: str
    usageType: UsageType
    unit: PriceUnit
    inputPrice: Money
    outputPrice: Money
    cachedInputPrice: Money | None
    effectiveFrom: datetime
    inForce: bool
    sourceCurrency: str | None
    exchangeRate: str | None
    operator: str
    createdAt: datetime


class Budget(Listed):
    """The current month of a provider, or of all together where `providerId` is null."""

    providerId: str | None
    month: date
    budgetAmount: Money | None
    monthToDate: Money
    remainingAmount: Money | None
    projectedCost: Money | None
    budgetStatus: BudgetStatus


class BudgetSet(Document):
    """A monthly budget as it stands now, null for none."""

    providerId: str | None
    budgetAmount: Money | None


class CheckedPool(Pool):
    """A pool after a check, its open alert, and what the check changed."""

    alert: Alert | None
    changed: str


class Checked(Document):
    """What a check found."""

    checkedAt: datetime
    items: list[CheckedPool]
    total: int


class Given(Document):
    """A body of a request; a field that is not known is refused."""


class GivenRevocation(Given):
    """What is taken back of a user's unused quota."""

    amount: GivenMoney
    reference: str = Field(examples=["order 1207 cancelled"])


class GivenPeriodic(Given):
    """What a user is given anew in every period; the rest expires with it."""

    period: Period
    amount: GivenMoney


class GivenReversal(Given):
    """Why a recharge is taken back. With `overdraw` one that is used already waits for a person's approval."""

    reason: str = Field(examples=["paid into the wrong pool"])
    overdraw: bool = False


class GivenPool(Given):
    """A provider that gets a pool, and its name for people."""

    providerId: str = Field(examples=["deepseek"])
    name: str | None = Field(None, examples=["DeepSeek"])


class GivenThresholds(Given):
    """Below what a pool is low; what is left out stays as it is.

    `lowThreshold` in percent, null for that of the settings; `lowAmount` and `lowDays` null for none.
    """

    lowThreshold: GivenMoney | None = None
    lowAmount: GivenMoney | None = None
    lowDays: int | None = None
    model_config = ConfigDict(json_schema_extra={"example": {"lowThreshold": "15", "lowAmount": "500"}})


class GivenModel(Given):
    """A model, or all of a provider's where `modelId` is left out, and why it is enabled or disabled."""

    providerId: str = Field(examples=["openai"])
    modelId: str | None = Field(None, examples=["gpt-4o"])
    reason: str = Field(examples=["under review"])


class GivenPrice(Given):
    """A price per unit; without `unit` the type's own, without `effectiveFrom` from now on."""

    providerId: str = Field(examples=["openai"])
    modelId: str = Field(examples=["gpt-4o"])
    usageType: UsageType
    unit: PriceUnit | None = None
    inputPrice: GivenMoney
    outputPrice: GivenMoney = Field(default=0, validate_default=True)
    cachedInputPrice: GivenMoney | None = None
    effectiveFrom: str | None = Field(None, examples=["2026-04-01", "2026-04-01T00:00:00+08:00"])


class GivenBudget(Given):
    """What may be spent in a month at a provider, or at all together without one; null takes the budget away."""

    providerId: str | None = Field(None, examples=["openai"])
    amount: GivenMoney | None = Field(examples=["5000"])


GIVEN = (
    GivenRevocation,
    GivenPeriodic,
    GivenReversal,
    GivenPool,
    GivenThresholds,
    GivenModel,
    GivenPrice,
    GivenBudget,
    Approval,
)
"""Shapes that no signature names, so that the document has to be told of them."""
