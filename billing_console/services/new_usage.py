"""One AI call as it is to be recorded, and what no call can be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.money import EXACT, LEDGER_LIMIT, NANO
from billing_console.text import storable
from db.values import CallStatus, UsageType

MOST_TOKENS = 10**12
"""The most tokens one call can carry; far beyond any model, and far from where a day's sum would overflow."""

MOST_QUANTITY = Decimal(10**9)
QUANTITY_STEP = Decimal("0.000001")


@dataclass(slots=True)
class NewUsage:
    """One AI call to record; money in yuan, `quantity` in images, characters or seconds by type.

    `input_tokens` include `cached_input_tokens`. Without `cost_amount` the call is billed at the price in force when it
    was made; a failed call then costs nothing. A price in a unit that the call is not measured in leaves it unpriced.
    """

    provider_id: str
    model_id: str
    usage_type: UsageType
    created_at: datetime
    request_id: str
    user_id: str | None = None
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int | None = None
    quantity: Decimal | None = None
    cost_amount: Decimal | None = None
    status: CallStatus = CallStatus.SUCCESS
    error_message: str | None = None

    def validate(self) -> None:
        """Trim the ids; raise InvalidInput, naming the field, for a call that cannot be recorded."""
        self.provider_id = storable(self.provider_id, "providerId")
        self.model_id = storable(self.model_id, "modelId")
        self.request_id = storable(self.request_id, "requestId")
        if self.user_id is not None:
            self.user_id = storable(self.user_id, "userId")
        check_tokens(self.input_tokens, "inputTokens")
        check_tokens(self.cached_input_tokens, "cachedInputTokens")
        check_tokens(self.output_tokens, "outputTokens")
        check_tokens(self.total_tokens or 0, "totalTokens")
        self.check_cached()
        if self.quantity is not None:
            check_quantity(self.quantity)
        self.check_measured()
        if self.cost_amount is not None:
            check_cost(self.cost_amount)
        if self.created_at.tzinfo is None:
            raise InvalidInput(_("createdAt has no time zone."), field="createdAt")

    def check_cached(self) -> None:
        """Raise InvalidInput for more cached tokens than input tokens, of which they are part."""
        if self.cached_input_tokens > self.input_tokens:
            raise InvalidInput(
                _("cachedInputTokens are part of inputTokens and cannot be more."),
                _("Add the cached tokens to inputTokens where a provider leaves them out."),
                field="cachedInputTokens",
            )

    def check_measured(self) -> None:
        """Raise InvalidInput for a successful call that is to be priced and has nothing that a price could bill."""
        if (
            self.usage_type == UsageType.TEXT_GENERATION
            or self.quantity is not None
            or self.cost_amount is not None
            or self.total_tokens
            or self.input_tokens
            or self.output_tokens
            or self.status != CallStatus.SUCCESS
        ):
            return
        raise InvalidInput(
            _("quantity is required: %(type)s is not billed by tokens.") % {"type": self.usage_type}, field="quantity"
        )


def check_tokens(tokens: int, field: str) -> None:
    """Raise InvalidInput for a number of tokens that no call can have."""
    if not 0 <= tokens <= MOST_TOKENS:
        raise InvalidInput(
            _("%(field)s must be between 0 and %(most)d.") % {"field": field, "most": MOST_TOKENS}, field=field
        )


def check_quantity(quantity: Decimal) -> None:
    """Raise InvalidInput for a quantity that no call can have, or that is finer than the ledger's step."""
    if not (
        quantity.is_finite()
        and 0 <= quantity <= MOST_QUANTITY
        and quantity == quantity.quantize(QUANTITY_STEP, context=EXACT)
    ):
        raise InvalidInput(_("quantity must be 0 or more, with at most 6 decimals."), field="quantity")


def check_cost(cost: Decimal) -> None:
    """Raise InvalidInput for a cost in yuan that the ledger cannot hold to the last digit."""
    if not cost.is_finite() or cost < 0 or cost > LEDGER_LIMIT:
        raise InvalidInput(_("costAmount must be 0 or more."), field="costAmount")
    if cost != cost.quantize(NANO, context=EXACT):
        raise InvalidInput(_("costAmount has more than 9 decimals."), field="costAmount")
