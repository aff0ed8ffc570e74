"""Add a price: which model and type, how much for which unit, and from when on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from textual import on
from textual.widgets import Input

from billing_console import clock, money
from billing_console.i18n import N_, _
from billing_console.text import storable
from db.values import PriceUnit, UsageType
from screens import words
from screens.dialogs.catalogue import complete_names
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Choice, Field, required

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.prices import PriceView
    from screens.pricing import PriceRow

PRICES = {
    "input_price": N_("Input price"),
    "output_price": N_("Output price"),
    "cached_input_price": N_("Cached input"),
}


class PriceDialog(ConfirmedForm["PriceView"]):
    """Add a version; prices are never edited."""

    def __init__(self, row: PriceRow | None) -> None:
        """Start from a row of the tab, or from nothing."""
        super().__init__()
        self.row = row

    def heading(self) -> str:
        """Return the title line."""
        return _("Add a price")

    def fields(self) -> Sequence[Field]:
        """Declare what the price is for, how much and from when on."""
        row, price = self.row, self.row.price if self.row else None
        provider, model = (row.provider_id, row.model_id) if row else ("", "")
        usage_type = row.usage_type if row and row.usage_type else UsageType.TEXT_GENERATION
        types = tuple((str(value), _(word)) for value, word in words.USAGE_TYPES.items())
        unit = str(price.unit) if price else ""
        when = _("now, or 2026-12-01 or 2026-12-01T09:30")
        return (
            Field("provider_id", N_("Provider"), partial(_id, "providerId"), provider, _("provider id, known or new")),
            Field("model_id", N_("Model"), partial(_id, "modelId"), model, _("model id, known or new")),
            Field("usage_type", N_("Type"), UsageType, str(usage_type), choices=types),
            Field("unit", N_("Unit"), PriceUnit, unit, choices=_units(usage_type)),
            *(self._price(name, price) for name in PRICES),
            Field("effective_from", N_("Holds from"), self._instant, hint=when),
        )

    def _price(self, name: str, price: PriceView | None) -> Field:
        optional = name == "cached_input_price"
        now: Decimal | None = getattr(price, name, None)
        hint = _("0 or more; empty: as input") if optional else _("0 or more")
        if now is not None:
            hint += " · " + _("now %(price)s") % {"price": money.shown_exact(now, symbol=self.console.symbol)}
        return Field(name, PRICES[name], partial(_price, optional), hint=hint)

    def _instant(self, text: str) -> datetime | None:
        assert self.console.ledger is not None
        return clock.parse_instant(text, self.console.ledger.timezone) if text.strip() else None

    def on_mount(self) -> None:
        """Complete names; begin with the price where the row says what it is for."""
        complete_names(self)
        if self.row is not None:
            first = 2 if self.row.usage_type is None else 4
            self.call_later(self.rows[first].focus_field)

    @on(Choice.Changed)
    def _type_chosen(self) -> None:
        """Offer only the units in which the type can be billed."""
        unit = self.query_one("#unit", Choice)
        units = _units(UsageType(self._chosen("usage_type")))
        if units != unit.choices:
            unit.choices, unit.index = units, 0
            unit.refresh()

    @on(Choice.Changed)
    @on(Input.Changed, "#provider_id, #model_id")
    def _other_price(self) -> None:
        """Take the prices in force out of the hints once the form is about something else."""
        chosen = [self._chosen(name) for name in ("provider_id", "model_id", "usage_type", "unit")]
        row, price = self.row, self.row.price if self.row else None
        same = row and price and [row.provider_id, row.model_id, price.usage_type, price.unit] == chosen
        for name in PRICES:
            self.query_one(f"#{name}", Input).placeholder = self._price(name, price if same else None).hint

    def _chosen(self, name: str) -> str:
        return next(row.text for row in self.rows if row.field.name == name)

    def question(self, values: dict[str, Any]) -> str:
        """Say which price is added and from when on."""
        kind, when = values["usage_type"], values["effective_from"]
        return _("Add a price for %(model)s of %(provider)s, %(type)s, from %(time)s?") % {
            "model": values["model_id"],
            "provider": values["provider_id"],
            "type": _(words.USAGE_TYPES[kind]),
            "time": words.instant(when, self.console.now(), year=True) if when else _("now"),
        }

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Compare with the price that would hold at that time otherwise."""
        identity, bought = (values["provider_id"], values["model_id"], values["usage_type"]), values["unit"]

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.prices import list_prices

            found = list_prices(ledger, *identity, at=values["effective_from"])
            old = found[0] if found else None
            unit = _(words.UNITS[old.unit]) if old else "–"
            lines = [Change(_("Unit"), unit, _(words.UNITS[bought]))]
            for name, label in PRICES.items():
                before = _spelled(getattr(old, name), ledger) if old else "–"
                lines.append(Change(_(label), before, _spelled(values[name], ledger)))
            return lines

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], PriceView]:
        """Add the price."""

        def work(ledger: Ledger) -> PriceView:
            from billing_console.services.prices import NewPrice, set_price

            return set_price(ledger, NewPrice(**values))

        return work


def _units(usage_type: UsageType) -> tuple[tuple[str, str], ...]:
    from billing_console.services.prices import UNITS

    return tuple((str(unit), _(words.UNITS[unit])) for unit in UNITS[usage_type])


def _id(field: str, text: str) -> str:
    return storable(required(text), field)


def _price(optional: bool, text: str) -> Decimal | None:
    from billing_console.services.prices import check_price

    if optional and not text.strip():
        return None
    amount = money.parse_decimal(required(text).lstrip("¥￥"))
    check_price(amount, _("The price"))
    return amount


def _spelled(price: Decimal | None, ledger: Ledger) -> str:
    return _("as input") if price is None else money.shown_exact(price, symbol=ledger.symbol)
