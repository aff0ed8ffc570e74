"""How `prices what-if` answers a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from billing_console import wire
from billing_console.cli.output import Column, say
from billing_console.i18n import _
from billing_console.services.price_what_if import METHOD
from screens import price_comparison

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.price_cost import UnitPrice
    from billing_console.services.price_what_if import Scenario, WhatIf
    from billing_console.wire import Fields
    from db.values import UsageType

COLUMNS: tuple[Column[price_comparison.Row], ...] = (
    Column(price_comparison.TITLES[0], lambda row: row[0]),
    Column(price_comparison.TITLES[1], lambda row: row[1], right=True),
    Column(price_comparison.TITLES[2], lambda row: row[2], right=True),
    Column(price_comparison.TITLES[3], lambda row: row[3], right=True),
)


UNIT_PRICE: Fields[UnitPrice] = {
    "unit": lambda price: price.unit,
    "inputPrice": lambda price: price.input_price,
    "outputPrice": lambda price: price.output_price,
    "cachedInputPrice": lambda price: price.cached_input_price,
}


def what_if_record(found: WhatIf) -> dict[str, object]:
    """Return the usage of a model, and what it costs under the price in force and under another one."""
    usage = found.usage
    return {
        "from": usage.start,
        "to": usage.end,
        "callCount": usage.calls,
        "unpricedCount": usage.unpriced,
        "inputTokens": usage.input_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "outputTokens": usage.output_tokens,
        "quantity": wire.number(usage.quantity),
        "billedAmount": usage.billed,
        "now": None if found.now is None else _scenario(found.now),
        "other": _scenario(found.other),
        "difference": found.difference,
        "differencePercent": wire.number(found.difference_percent),
    }


def _scenario(found: Scenario) -> dict[str, object]:
    return wire.record(UNIT_PRICE, found.price) | {"costAmount": found.cost, "unbilledCount": found.unmeasured}


def draw_what_if(found: WhatIf, usage_type: UsageType, ledger: Ledger) -> None:
    """Draw both prices side by side; to stderr goes what the numbers are about and how they came about."""
    from billing_console.cli.table import draw

    rows = price_comparison.rows(found, usage_type, ledger.symbol)
    last = (_("Difference"), "", "", price_comparison.difference(found, ledger.symbol))
    draw([*rows, last], COLUMNS, ledger)
    for remark in price_comparison.remarks(found, ledger.symbol, ledger.timezone):
        say(remark)
    say(_(METHOD))
