"""Amounts in another currency, converted once, at import, at a stated rate (DESIGN.md, section 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.money import EXACT, LEDGER_LIMIT, to_nano
from billing_console.services.ledger import Ledger

HIGHEST_RATE = Decimal(1_000_000)
RATE_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Conversion:
    """How amounts become the ledger's; `source_currency` and `exchange_rate` are None where nothing is converted."""

    rate: Decimal = Decimal(1)
    source_currency: str | None = None
    exchange_rate: str | None = None

    def apply(self, amount: Decimal, field: str) -> Decimal:
        """Convert an amount, rounded once, half to even, to 1e-9; raise InvalidInput for one out of range."""
        if amount < 0:
            raise InvalidInput(_("%(field)s must be 0 or more.") % {"field": field}, field=field)
        # Compared by magnitude first: rounding a number that is far too large is an error of its own.
        converted = None if amount.adjusted() > 20 else EXACT.multiply(amount, self.rate)
        if converted is None or converted > LEDGER_LIMIT:
            raise InvalidInput(_("%(field)s is more than the ledger can hold.") % {"field": field}, field=field)
        return to_nano(converted).copy_abs()


def conversion_from(ledger: Ledger, currency: str | None, rate: Decimal | None) -> Conversion:
    """Return how to convert from `currency` at `rate` units of the ledger's currency for one of it.

    Raises InvalidInput for another currency without a rate, and for a rate without one.
    """
    if currency is not None and not re.fullmatch("[A-Z]{3}", currency):
        raise InvalidInput(_("A currency is a code like USD."), field="currency")
    if currency is None or currency == ledger.currency:
        if rate is not None:
            raise InvalidInput(
                _("A rate is for amounts in another currency than %(own)s.") % {"own": ledger.currency},
                _("Name the currency of the file with --currency."),
                field="rate",
            )
        return Conversion()
    if rate is None:
        raise InvalidInput(
            _("Amounts in %(currency)s need the rate at which they become %(own)s.")
            % {"currency": currency, "own": ledger.currency},
            _("Add --rate, as in: --rate 7.1"),
            field="rate",
        )
    if not rate.is_finite() or not 0 < rate <= HIGHEST_RATE or len(rate.as_tuple().digits) > RATE_DIGITS:
        raise InvalidInput(_("A rate is more than 0, at most a million, and has at most 18 digits."), field="rate")
    return Conversion(rate=rate, source_currency=currency, exchange_rate=f"{rate:f}")
