"""Price lists from files: read whole, checked row by row, added all or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from billing_console.cells import as_choice, as_decimal, as_instant, as_text, missing, nearest
from billing_console.errors import BillingError, Conflict, InvalidInput
from billing_console.i18n import _
from billing_console.rows import Row
from billing_console.services.conversion import Conversion, conversion_from
from billing_console.services.ledger import Ledger
from billing_console.services.price_cost import UNITS
from billing_console.services.prices import NewPrice, PricesAdded, PriceView, add_prices, list_prices
from billing_console.tabular import form_of, located, open_table
from billing_console.text import one_line
from db.values import PriceUnit, UsageType

FIELDS = (
    "providerId",
    "modelId",
    "usageType",
    "unit",
    "inputPrice",
    "outputPrice",
    "cachedInputPrice",
    "effectiveFrom",
)
"""The columns of a price list; docs/import.md describes them."""

REQUIRED = ("providerId", "modelId", "usageType")

Key = tuple[str, str, UsageType, datetime]


def import_prices(
    ledger: Ledger, path: Path, *, currency: str | None = None, rate: Decimal | None = None
) -> PricesAdded:
    """Add the prices of a CSV, JSON or JSONL file, given in `currency` per unit, converted at `rate`; all or none.

    A row without effectiveFrom holds from now, and changes nothing where the same price is in force already.
    Raises InvalidInput or Conflict, naming file, row and field, and Unavailable for a file that cannot be read.
    """
    conversion = conversion_from(ledger, currency, rate)
    now = ledger.clock()
    lines: dict[Key, int] = {}
    prices: list[NewPrice] = []
    form = form_of(path)
    with open_table(path, form) as table:
        if table.columns is not None:
            _check_columns(table.columns, table.name)
        for row in table.rows:
            try:
                prices.append(_checked(row, ledger, conversion, now, lines))
            except BillingError as error:
                raise located(error, table.name, form, row.line) from None
    new = _not_in_force(ledger, prices, now)
    try:
        done = add_prices(ledger, new, one_line(str(path)))
    except (Conflict, InvalidInput) as error:
        raise type(error)(f"{one_line(str(path))}: {error.message}", error.hint) from None
    return PricesAdded(added=done.added, unchanged=done.unchanged + len(prices) - len(new))


def _check_columns(columns: tuple[str, ...], name: str) -> None:
    missing = [field for field in REQUIRED if field not in columns]
    unknown = [column for column in columns if column not in FIELDS]
    if unknown:
        raise InvalidInput(
            _("%(file)s: there is no field “%(name)s” in a price list.")
            % {"file": name, "name": one_line(unknown[0], 40)},
            nearest(unknown[0], missing or FIELDS),
        )
    if missing:
        raise InvalidInput(
            _("%(file)s: the column %(name)s is missing.") % {"file": name, "name": missing[0]}, field=missing[0]
        )


def _checked(row: Row, ledger: Ledger, conversion: Conversion, now: datetime, lines: dict[Key, int]) -> NewPrice:
    """Read a row, and refuse one whose price another row of the file gives already."""
    if row.problem:
        raise InvalidInput(f"{row.problem}.")
    price = _price(row.values, ledger, conversion)
    price.validate()
    key = (price.provider_id, price.model_id, price.usage_type, price.effective_from or now)
    first = lines.setdefault(key, row.line)
    if first != row.line:
        raise InvalidInput(
            _("this model, usage type and time are there before, at %(line)d.") % {"line": first}, field="effectiveFrom"
        )
    return price


def _price(values: dict[str, Any], ledger: Ledger, conversion: Conversion) -> NewPrice:
    for name in values:
        if name not in FIELDS:
            raise InvalidInput(
                _("there is no field “%(name)s” in a price list.") % {"name": one_line(name, 40)},
                nearest(name, FIELDS),
                field=name,
            )
    usage_type = as_choice(values.get("usageType"), "usageType", UsageType)
    if usage_type is None:
        raise missing("usageType")
    amounts = {name: _amount(values.get(name), name, conversion) for name in ("inputPrice", "outputPrice")}
    if amounts["inputPrice"] is None and amounts["outputPrice"] is None:
        raise InvalidInput(_("inputPrice or outputPrice is required."), field="inputPrice")
    return NewPrice(
        provider_id=_required(values, "providerId"),
        model_id=_required(values, "modelId"),
        usage_type=usage_type,
        unit=as_choice(values.get("unit"), "unit", PriceUnit) or UNITS[usage_type][0],
        input_price=amounts["inputPrice"] or Decimal(0),
        output_price=amounts["outputPrice"] or Decimal(0),
        cached_input_price=_amount(values.get("cachedInputPrice"), "cachedInputPrice", conversion),
        effective_from=as_instant(values.get("effectiveFrom"), "effectiveFrom", ledger.timezone),
        source_currency=conversion.source_currency,
        exchange_rate=conversion.exchange_rate,
    )


def _amount(value: Any, field: str, conversion: Conversion) -> Decimal | None:
    amount = as_decimal(value, field)
    return None if amount is None else conversion.apply(amount, field)


def _required(values: dict[str, Any], field: str) -> str:
    text = as_text(values.get(field), field)
    if text is None:
        raise missing(field)
    return text


def _not_in_force(ledger: Ledger, prices: list[NewPrice], now: datetime) -> list[NewPrice]:
    """Leave out prices that would start now and say what is in force already; give the others one and the same now."""
    current = {
        (view.provider_id, view.model_id, view.usage_type): _content(view) for view in list_prices(ledger, at=now)
    }
    new = []
    for price in prices:
        if price.effective_from is None:
            if current.get((price.provider_id, price.model_id, price.usage_type)) == _content(price):
                continue
            price = replace(price, effective_from=now)
        new.append(price)
    return new


def _content(price: NewPrice | PriceView) -> tuple[object, ...]:
    return price.unit, price.input_price, price.output_price, price.cached_input_price
