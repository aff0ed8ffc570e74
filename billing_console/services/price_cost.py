"""How the cost of usage comes about: units, prices per unit, and costs line by line, exact to 1e-9 yuan."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.money import EXACT, LEDGER_LIMIT, NANO, to_nano
from db.values import PriceUnit, UsageType

UNITS: dict[UsageType, tuple[PriceUnit, ...]] = {
    UsageType.TEXT_GENERATION: (PriceUnit.MILLION_TOKENS,),
    UsageType.IMAGE_GENERATION: (PriceUnit.IMAGE, PriceUnit.MILLION_TOKENS),
    UsageType.AUDIO_TTS: (PriceUnit.THOUSAND_CHARACTERS, PriceUnit.MILLION_TOKENS),
    UsageType.AUDIO_STT: (PriceUnit.SECOND, PriceUnit.MINUTE, PriceUnit.MILLION_TOKENS),
    UsageType.VIDEO_GENERATION: (PriceUnit.SECOND, PriceUnit.MINUTE, PriceUnit.MILLION_TOKENS),
}
"""The units each usage type can be billed in, its own first (DESIGN.md, section 4)."""

PER_UNIT: dict[str, Decimal] = {
    PriceUnit.MILLION_TOKENS: Decimal(1_000_000),
    PriceUnit.IMAGE: Decimal(1),
    PriceUnit.THOUSAND_CHARACTERS: Decimal(1000),
    PriceUnit.SECOND: Decimal(1),
    PriceUnit.MINUTE: Decimal(60),
}
"""How much of a record's own measure (tokens, images, characters, seconds) one price buys."""


def unit_for(usage_type: UsageType, unit: PriceUnit | None) -> PriceUnit:
    """Return the unit a type is billed in, without one the type's own; raise InvalidInput for one that it is not."""
    units = UNITS[usage_type]
    if unit is not None and unit not in units:
        raise InvalidInput(
            _("%(type)s is not billed per %(unit)s.") % {"type": usage_type, "unit": unit},
            _("Use one of: %(units)s.") % {"units": ", ".join(units)},
            field="unit",
        )
    return unit or units[0]


class Rates(Protocol):
    """What a cost is worked out from: a stored price, a view of one, or one that is only being considered."""

    @property
    def unit(self) -> str:
        """What one price buys."""

    @property
    def input_price(self) -> Decimal:
        """Yuan per unit of input, or of the quantity."""

    @property
    def output_price(self) -> Decimal:
        """Yuan per unit of output."""

    @property
    def cached_input_price(self) -> Decimal | None:
        """Yuan per unit of cached input; None: as other input."""


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """A price in yuan per unit that belongs to no model yet."""

    unit: PriceUnit
    input_price: Decimal
    output_price: Decimal
    cached_input_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CostLine:
    """One line of the explanation of a cost: `count` of `kind` at `unit_price` yuan per unit makes `amount` yuan."""

    kind: str
    count: Decimal
    unit: PriceUnit
    unit_price: Decimal
    amount: Decimal


def cost_lines(
    price: Rates, input_tokens: int, cached_input_tokens: int, output_tokens: int, quantity: Decimal
) -> tuple[CostLine, ...]:
    """Explain a cost line by line, unrounded.

    Input tokens include the cached ones; cached tokens without a price of their own cost as much as the others. A unit
    that is not tokens has one measure, the quantity, so its input and output price add up.
    """
    unit = PriceUnit(price.unit)
    parts = _parts(price, input_tokens, cached_input_tokens, output_tokens, quantity)
    return tuple(
        CostLine(kind, Decimal(count), unit, each, EXACT.divide(EXACT.multiply(count, each), PER_UNIT[unit]))
        for kind, count, each in parts
    )


def _parts(
    price: Rates, input_tokens: int, cached_input_tokens: int, output_tokens: int, quantity: Decimal
) -> tuple[tuple[str, int | Decimal, Decimal], ...]:
    """Return kind, count and price of what a call is billed for."""
    if price.unit != PriceUnit.MILLION_TOKENS:
        return (("quantity", quantity, price.input_price + price.output_price),)
    cached_price = price.input_price if price.cached_input_price is None else price.cached_input_price
    return (
        ("input", input_tokens - cached_input_tokens, price.input_price),
        ("cached_input", cached_input_tokens, cached_price),
        ("output", output_tokens, price.output_price),
    )


def cost_of(
    price: Rates, input_tokens: int, cached_input_tokens: int, output_tokens: int, quantity: Decimal
) -> Decimal:
    """Return what a call costs in yuan, rounded once, half to even, to 1e-9."""
    total = Decimal(0)
    for _kind, count, each in _parts(price, input_tokens, cached_input_tokens, output_tokens, quantity):
        if count:
            total = EXACT.fma(count, each, total)
    return to_nano(EXACT.divide(total, PER_UNIT[price.unit]))


def bills(price: Rates, input_tokens: int, output_tokens: int, quantity: Decimal) -> bool:
    """Tell whether a price bills what a record measures; a call measured only otherwise would cost nothing, unseen."""
    tokens = input_tokens > 0 or output_tokens > 0
    if price.unit == PriceUnit.MILLION_TOKENS:
        return tokens or quantity == 0
    return quantity > 0 or not tokens


def check_price(amount: Decimal, field: str) -> None:
    """Refuse a unit price that is negative, finer than 1e-9 yuan or beyond the ledger's range."""
    if not amount.is_finite() or amount < 0 or amount > LEDGER_LIMIT:
        raise InvalidInput(_("%(field)s must be 0 or more.") % {"field": field}, field=field)
    if amount != amount.quantize(NANO, context=EXACT):
        raise InvalidInput(_("%(field)s has more than 9 decimals.") % {"field": field}, field=field)
