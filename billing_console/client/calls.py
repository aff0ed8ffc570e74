"""What is sent and what comes back: calls, holds and what became of records. Money is yuan, exact."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

UsageType = Literal["text_generation", "image_generation", "audio_tts", "audio_stt", "video_generation"]

AUTHORIZE = "/api/billing/authorize"
USAGE = "/api/billing/usage"
MOST_RECORDS = 1000
"""Records that one request takes."""


def _new_id() -> str:
    return str(uuid.uuid4())


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A call that was made. The request id and the time are its own: the same call again has the same.

    `input_tokens` include the cached ones; `quantity` is images, characters or seconds by type. Without `cost_amount`
    the server bills it at the price in force at `created_at`.
    """

    provider_id: str
    model_id: str
    usage_type: UsageType = "text_generation"
    user_id: str | None = None
    request_id: str = field(default_factory=_new_id)
    created_at: datetime = field(default_factory=_now)
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    quantity: Decimal | None = None
    cost_amount: Decimal | None = None
    status: Literal["success", "failed"] = "success"
    error_message: str | None = None

    def body(self) -> dict[str, Any]:
        """Spell it as the server takes it; raise ValueError for a time without a zone, which stands for none."""
        if self.created_at.tzinfo is None:
            raise ValueError("created_at has no time zone")
        values = {
            "requestId": self.request_id,
            "userId": self.user_id,
            "providerId": self.provider_id,
            "modelId": self.model_id,
            "usageType": self.usage_type,
            "inputTokens": self.input_tokens,
            "cachedInputTokens": self.cached_input_tokens,
            "outputTokens": self.output_tokens,
            "quantity": None if self.quantity is None else str(self.quantity),
            "costAmount": None if self.cost_amount is None else str(self.cost_amount),
            "status": self.status,
            "errorMessage": self.error_message,
            "createdAt": self.created_at.isoformat(),
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Hold:
    """What is set aside for a call until it is recorded; `remaining` is None for a user without a quota."""

    request_id: str
    amount: Decimal
    remaining: Decimal | None
    expires_at: datetime
    replayed: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Hold:
        """Read the server's answer."""
        remaining = answer["remainingAmount"]
        return cls(
            request_id=answer["requestId"],
            amount=Decimal(answer["heldAmount"]),
            remaining=None if remaining is None else Decimal(remaining),
            expires_at=datetime.fromisoformat(answer["expiresAt"]),
            replayed=answer["replayed"],
        )


@dataclass(frozen=True, slots=True)
class Conflict:
    """A call whose request id was recorded before with other content; the first one stands."""

    request_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of records: recorded now, or before; `unpriced` of those recorded now have no price yet."""

    recorded: int = 0
    duplicates: int = 0
    unpriced: int = 0
    conflicts: tuple[Conflict, ...] = ()

    def and_also(self, answer: Mapping[str, Any]) -> Recorded:
        """Add what the server answered to another part of the records."""
        return Recorded(
            self.recorded + answer["recorded"],
            self.duplicates + answer["duplicates"],
            self.unpriced + answer["unpriced"],
            self.conflicts + tuple(Conflict(each["requestId"], each["reason"]) for each in answer["conflicts"]),
        )


class Call:
    """A call that was authorized and is being made: tell what it used before the block ends."""

    def __init__(self, usage: Usage, hold: Hold) -> None:
        """Keep what is known of the call before it is made."""
        self.hold = hold
        self._usage = usage
        self._used = False

    @property
    def request_id(self) -> str:
        """Names the call in the ledger."""
        return self._usage.request_id

    def used(
        self,
        *,
        input_tokens: int = 0,
        cached_input_tokens: int = 0,
        output_tokens: int = 0,
        quantity: Decimal | None = None,
        cost_amount: Decimal | None = None,
    ) -> None:
        """Say what the call used, as the provider says it; the last one counts."""
        self._used = True
        self._usage = replace(
            self._usage,
            input_tokens=input_tokens,
            cached_input_tokens=cached_input_tokens,
            output_tokens=output_tokens,
            quantity=quantity,
            cost_amount=cost_amount,
        )

    def ended(self, error: BaseException | None) -> Usage:
        """Return the record of the call: failed where its block was left by an error, or said nothing of its use."""
        if error is None and not self._used:
            return replace(self._usage, status="failed", error_message="the gateway did not say what the call used")
        if error is None:
            return self._usage
        words = f"{type(error).__name__}: {error}"[:4000]
        return replace(self._usage, status="failed", error_message=words)


def authorization(usage: Usage, estimated_cost: Decimal) -> dict[str, Any]:
    """Spell the body that asks for a hold."""
    return {
        "requestId": usage.request_id,
        "userId": usage.user_id,
        "providerId": usage.provider_id,
        "modelId": usage.model_id,
        "usageType": usage.usage_type,
        "estimatedCost": str(estimated_cost),
    }
