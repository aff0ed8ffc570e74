"""Exact money and percentages: parse what people type, and show what the ledger holds, in yuan."""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, localcontext

from billing_console.errors import InvalidInput
from billing_console.i18n import _

NANO = Decimal("0.000000001")
"""The ledger's smallest amount, 1e-9 yuan (DESIGN.md, section 4)."""

CENT = Decimal("0.01")
LEDGER_LIMIT = Decimal(2**63 - 1) * NANO
"""The largest amount a signed 64-bit count of nano-yuan holds: 9,223,372,036.854775807 yuan."""

EXACT = Context(prec=60)
"""Wide enough that no product of a token count and a price is rounded before `to_nano`."""

CURRENCY_SYMBOLS = {"CNY": "¥", "JPY": "¥", "USD": "$", "EUR": "€", "GBP": "£", "KRW": "₩", "INR": "₹"}

_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")


def parse_decimal(text: str) -> Decimal:
    """Read a plain decimal number, thousands separators allowed, exponents, NaN and infinities not.

    Raises InvalidInput for anything else.
    """
    stripped = text.strip()
    if _GROUPED.fullmatch(stripped):
        stripped = stripped.replace(",", "")
    if len(stripped) > 40 or not stripped.isascii() or not _PLAIN.fullmatch(stripped):
        raise InvalidInput(_("“%(text)s” is not a number like 1234.50.") % {"text": text[:40]})
    return Decimal(stripped)


def parse_count(text: str) -> int:
    """Read a whole number, thousands separators allowed; raise InvalidInput for anything else."""
    number = parse_decimal(text)
    if number != int(number):
        raise InvalidInput(_("“%(text)s” is not a whole number.") % {"text": text[:40]})
    return int(number)


def parse_amount(text: str, *, places: int = 9) -> Decimal:
    """Read an amount in yuan that must be positive, within the ledger's range and exact to `places` decimals."""
    amount = parse_decimal(text.strip().lstrip("¥￥"))
    check_amount(amount, places=places)
    return amount


def check_amount(amount: Decimal, *, places: int = 9) -> None:
    """Refuse an amount that is not positive, finer than `places` decimals or beyond the ledger's range."""
    if not amount.is_finite() or amount <= 0:
        raise InvalidInput(_("The amount must be greater than 0."))
    if amount > LEDGER_LIMIT:
        raise InvalidInput(
            _("The amount is more than the ledger can hold (%(limit)s).") % {"limit": plain(LEDGER_LIMIT)}
        )
    exponent = amount.normalize(EXACT).as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places:
        raise InvalidInput(_("The amount has more than %(places)d decimals.") % {"places": places})


def to_nano(amount: Decimal) -> Decimal:
    """Round half to even to whole nano-yuan; raise InvalidInput beyond the ledger's range."""
    rounded = amount.quantize(NANO, rounding=ROUND_HALF_EVEN, context=EXACT)
    if abs(rounded) > LEDGER_LIMIT:
        raise InvalidInput(
            _("The amount is more than the ledger can hold (%(limit)s).") % {"limit": plain(LEDGER_LIMIT)}
        )
    return rounded


def exact_sum(amounts: list[Decimal]) -> Decimal:
    """Add amounts without rounding, however many there are."""
    with localcontext(EXACT):
        return sum(amounts, Decimal(0))


def plain(amount: Decimal) -> str:
    """Spell an amount for machines: every digit that counts, at least two decimals, never an exponent."""
    if not amount:
        return "0.00"
    digits = str(amount)
    whole, _dot, fraction = (f"{amount:f}" if "E" in digits else digits).partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def shown(amount: Decimal, *, places: int = 2, symbol: str = "¥") -> str:
    """Spell an amount for people: symbol, thousands separators, `places` decimals.

    A non-zero amount too small for `places` keeps its first digits that count, so that no cost looks free.
    """
    quantized = amount.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN, context=EXACT)
    if not quantized and amount:
        places = min(9, -amount.adjusted() + 1)
        quantized = amount.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN, context=EXACT)
    sign = "-" if quantized < 0 else ""
    return f"{sign}{symbol}{abs(quantized):,.{places}f}"


def shown_exact(amount: Decimal, *, symbol: str = "¥") -> str:
    """Spell an amount for people with every digit that counts."""
    sign = "-" if amount < 0 else ""
    whole, _dot, fraction = plain(abs(amount)).partition(".")
    return f"{sign}{symbol}{int(whole):,}.{fraction}"


def percentage(part: Decimal, whole: Decimal) -> Decimal:
    """Share of `part` in `whole` in percent, 0 for an empty whole, rounded down so that 9.999 never reads as 10."""
    if whole <= 0:
        return Decimal("0.00")
    return (part * 100 / whole).quantize(CENT, rounding=ROUND_FLOOR, context=EXACT)
