"""How a what-if of prices is laid out for people, in the console and on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from billing_console import money
from billing_console.i18n import N_, _, ngettext
from db.values import PriceUnit, UsageType
from screens import words

if TYPE_CHECKING:
    from datetime import tzinfo

    from billing_console.services.price_what_if import Scenario, WhatIf

Row = tuple[str, str, str, str]
"""What a line is about, the usage, and what stands for the price in force and for the other one."""

TITLES = ("", N_("Usage"), N_("Price now"), N_("Other price"))

PRICES = (
    ("input_price", N_("Input price")),
    ("output_price", N_("Output price")),
    ("cached_input_price", N_("Cached input price")),
)
KINDS = {
    "input": N_("Input, not cached"),
    "cached_input": N_("Input, cached"),
    "output": N_("Output"),
    "quantity": N_("Quantity"),
}
MEASURES = {
    UsageType.IMAGE_GENERATION: N_("Images"),
    UsageType.AUDIO_TTS: N_("Characters"),
    UsageType.AUDIO_STT: N_("Seconds"),
    UsageType.VIDEO_GENERATION: N_("Seconds"),
}


def rows(found: WhatIf, usage_type: UsageType, symbol: str, *, places: int | None = None) -> list[Row]:
    """Lay out prices, usage and costs side by side; costs with every digit that any needs, or so many `places`."""
    sides = (found.now, found.other)
    units = (_(words.UNITS[side.price.unit]) if side else "–" for side in sides)
    laid = [_row(_("Unit"), "", units)]
    tokens = any(side is not None and side.price.unit is PriceUnit.MILLION_TOKENS for side in sides)
    for name, label in PRICES:
        if tokens or name != "cached_input_price":
            laid.append(_row(_(label), "", (_price(side, name, symbol) for side in sides)))
    amounts = [{line.kind: line for line in side.lines} if side else {} for side in sides]
    if places is None:
        costs = [line.amount for side in amounts for line in side.values()]
        places = _places([*costs, *(side.cost for side in sides if side)])
    for kind, label in KINDS.items():
        lines = [side.get(kind) for side in amounts]
        count = next((line.count for line in lines if line is not None), None)
        if count is not None and (count or kind != "cached_input"):
            spelled = ["" if line is None else money.shown(line.amount, places=places, symbol=symbol) for line in lines]
            label = MEASURES.get(usage_type, label) if kind == "quantity" else label
            laid.append(_row(_(label), _count(count), spelled))
    totals = ["–" if side is None else money.shown(side.cost, places=places, symbol=symbol) for side in sides]
    return [*laid, _row(_("Cost"), "", totals)]


def difference(found: WhatIf, symbol: str) -> str:
    """Spell how much more or less the other price comes to, also in percent."""
    sign = "+" if found.difference > 0 else ""
    said = sign + money.shown_exact(found.difference, symbol=symbol)
    percent = found.difference_percent
    return said if percent is None else f"{said} ({percent:+.2f}%)"


def remarks(found: WhatIf, symbol: str, zone: tzinfo | None) -> Iterator[str]:
    """Say which calls it is about, how they were billed, and which of them a price does not bill."""
    usage = found.usage
    period = {"start": f"{usage.start.astimezone(zone):%Y-%m-%d}", "end": f"{usage.end.astimezone(zone):%Y-%m-%d}"}
    calls = ngettext(
        "%(count)s successful call from %(start)s to %(end)s, billed %(amount)s",
        "%(count)s successful calls from %(start)s to %(end)s, billed %(amount)s",
        usage.calls,
    )
    billed = money.shown_exact(usage.billed, symbol=symbol)
    yield calls % {"count": f"{usage.calls:,}", "amount": billed, **period}
    if usage.unpriced:
        said = ngettext("%(count)s of them has no price yet", "%(count)s of them have no price yet", usage.unpriced)
        yield said % {"count": f"{usage.unpriced:,}"}
    if found.other.unmeasured:
        said = ngettext(
            "%(count)s of them is not measured in the other price's unit and would stay unpriced",
            "%(count)s of them are not measured in the other price's unit and would stay unpriced",
            found.other.unmeasured,
        )
        yield said % {"count": f"{found.other.unmeasured:,}"}


def _row(label: str, usage: str, sides: Iterable[str]) -> Row:
    now, other = sides
    return label, usage, now, other


def _price(side: Scenario | None, name: str, symbol: str) -> str:
    if side is None:
        return "–"
    value: Decimal | None = getattr(side.price, name)
    return _("as input") if value is None else money.shown_exact(value, symbol=symbol)


def _count(count: Decimal) -> str:
    return f"{count.normalize():,f}"


def _places(amounts: list[Decimal]) -> int:
    """Return how many decimals, at least two and at most those of the ledger, show every digit of all amounts."""
    return min(9, max(2, *(-int(amount.normalize().as_tuple().exponent) for amount in amounts)))
