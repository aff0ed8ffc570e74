"""Add a price: which model and type, how much for which unit, and from when on; with what it would have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input
from textual.worker import get_current_worker

from billing_console import clock, money
from billing_console.i18n import N_, _
from billing_console.text import storable
from db.values import PriceUnit, UsageType
from screens import price_comparison, words
from screens.console import ask
from screens.dialogs.catalogue import complete_names
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Choice, Field, FormDialog, required
from screens.widgets.line import Line

if TYPE_CHECKING:
    from billing_console.errors import BillingError
    from billing_console.services.ledger import Ledger
    from billing_console.services.price_what_if import WhatIf
    from billing_console.services.prices import PriceView
    from screens.price_rows import PriceRow

PRICES = {
    "input_price": N_("Input price"),
    "output_price": N_("Output price"),
    "cached_input_price": N_("Cached input"),
}


class Stopped(Exception):
    """Nobody waits any more for what a worker adds up."""


def while_wanted(dialog: FormDialog[Any], tell: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Return a progress for a worker of the dialog that tells it how far it is, and ends it when nobody waits."""

    def progress(done: int, whole: int) -> None:
        if get_current_worker().is_cancelled:
            raise Stopped
        dialog.call_later(tell, done, whole)

    return progress


class PriceDialog(ConfirmedForm["PriceView"]):
    """Add a version; prices are never edited."""

    def __init__(self, row: PriceRow | None) -> None:
        """Start from a row of the tab, or from nothing."""
        super().__init__()
        self.row = row
        self._counting = False

    def heading(self) -> str:
        """Return the title line."""
        return _("Add a price")

    def compose_content(self) -> ComposeResult:
        """Lay out the form, the page after it, and below that what the price would have changed."""
        yield from super().compose_content()
        yield Line(id="what-if")

    def fields(self) -> Sequence[Field]:
        """Declare what the price is for, how much and from when on."""
        row, price = self.row, self.row.price if self.row else None
        provider, model = (row.provider_id, row.model_id) if row else ("", "")
        usage_type = row.usage_type if row and row.usage_type else UsageType.TEXT_GENERATION
        types = tuple((str(value), _(word)) for value, word in words.USAGE_TYPES.items())
        unit = str(row.shown.unit) if row and row.shown else ""
        when = _("now, or 2026-12-01 or 2026-12-01T09:30")
        return (
            Field("provider_id", N_("Provider"), partial(_id, "providerId"), provider, _("provider id, known or new")),
            Field("model_id", N_("Model"), partial(_id, "modelId"), model, _("model id, known or new")),
            Field("usage_type", N_("Type"), UsageType, str(usage_type), choices=types),
            Field("unit", N_("Unit"), PriceUnit, unit, choices=unit_choices(usage_type)),
            *(self._price(name, price) for name in PRICES),
            Field("effective_from", N_("Holds from"), self._instant, hint=when),
        )

    def _price(self, name: str, price: PriceView | None) -> Field:
        optional = name == "cached_input_price"
        now: Decimal | None = getattr(price, name, None)
        hint = _("0 or more; empty: as input") if optional else _("0 or more")
        if now is not None:
            hint += " · " + _("now %(price)s") % {"price": money.shown_exact(now, symbol=self.console.symbol)}
        return Field(name, PRICES[name], partial(price_text, optional), hint=hint)

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
        units = unit_choices(UsageType(self._chosen("usage_type")))
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

            start = values["effective_from"]
            found = list_prices(ledger, *identity, at=start, all_versions=True)
            old = next((price for price in found if price.in_force), None)
            later = [price for price in found if price.effective_from > (start or ledger.clock())]
            unit = _(words.UNITS[old.unit]) if old else "–"
            lines = [
                self._from(old, start),
                *self._until(start, later),
                Change(_("Unit"), unit, _(words.UNITS[bought])),
            ]
            for name, label in PRICES.items():
                before = _spelled(getattr(old, name), ledger) if old else "–"
                lines.append(Change(_(label), before, _spelled(values[name], ledger)))
            return lines

        return work

    def _from(self, old: PriceView | None, start: datetime | None) -> Change:
        """Say since when the price that it follows holds, and from when on this one does."""
        now = self.console.now()
        since = words.instant(old.effective_from, now, seconds=False, year=True) if old else "–"
        if start is None:
            return Change(_("Holds from"), since, _("now"))
        after = {"time": words.instant(start, now, seconds=False, year=True), "span": words.span(start - now)}
        if start > now:
            return Change(_("Holds from"), since, _("%(time)s, in %(span)s") % after)
        return Change(_("Holds from"), since, _("%(time)s, past: calls billed since keep their cost") % after)

    def _until(self, start: datetime | None, later: Sequence[PriceView]) -> Iterator[Change]:
        """Say until when both hold, where a price is to follow this one."""
        if later:
            now = self.console.now()
            ends = words.instant(start, now, seconds=False, year=True) if start else _("now")
            following = words.instant(later[-1].effective_from, now, seconds=False, year=True)
            yield Change(_("Holds until"), ends, _("%(time)s, price %(id)d") % {"time": following, "id": later[-1].id})

    def _show_page(self, changes: Sequence[Change]) -> None:
        """Show the page at once, and add what the last 30 days would have cost as soon as it is known."""
        super()._show_page(changes)
        model = self._values["provider_id"], self._values["model_id"], self._values["usage_type"]
        unit, amounts = self._values["unit"], [self._values[name] for name in PRICES]
        progress = while_wanted(self, self._tell)

        def work(ledger: Ledger) -> WhatIf:
            from billing_console.services.price_cost import UnitPrice
            from billing_console.services.price_what_if import what_if

            return what_if(ledger, *model, UnitPrice(unit, *amounts), progress)

        self._counting = True
        self._tell(0, 0)
        ask(self, work, self._show_what_if, self._no_what_if, group="what-if")

    def _turn_to(self, *, confirm: bool) -> None:
        """Show the comparison with the page only; a page that is left needs none."""
        super()._turn_to(confirm=confirm)
        self.query_one("#what-if").display = confirm
        if not confirm:
            self._counting = False
            self.workers.cancel_group(self, "what-if")

    def _tell(self, done: int, whole: int) -> None:
        if self._counting:
            said = _("Adding up the last 30 days…")
            self.query_one("#what-if", Line).say(f"{said} {done}/{whole}" if done else said)

    def _show_what_if(self, found: WhatIf) -> None:
        self._counting = False
        now, symbol = found.now, self.console.symbol
        before = found.usage.billed if now is None else now.cost
        costs = [money.shown_exact(cost, symbol=symbol) for cost in (before, found.other.cost)]
        said = _("The last 30 days under this price: %(before)s → %(after)s, %(difference)s") % {
            "before": costs[0],
            "after": costs[1],
            "difference": price_comparison.difference(found, symbol),
        }
        remarks = price_comparison.remarks(found, symbol, self.console.zone)
        self.query_one("#what-if", Line).say("\n".join(["", said, *remarks]))

    def _no_what_if(self, _error: BillingError) -> None:
        """Say nothing of a model that is not known yet; whatever else is wrong, writing will tell."""
        self._counting = False
        self.query_one("#what-if", Line).say("")

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], PriceView]:
        """Add the price."""

        def work(ledger: Ledger) -> PriceView:
            from billing_console.services.prices import NewPrice, set_price

            return set_price(ledger, NewPrice(**values))

        return work


def unit_choices(usage_type: UsageType) -> tuple[tuple[str, str], ...]:
    """Return the units a type can be billed in, with their words."""
    from billing_console.services.price_cost import UNITS

    return tuple((str(unit), _(words.UNITS[unit])) for unit in UNITS[usage_type])


def _id(field: str, text: str) -> str:
    return storable(required(text), field)


def price_text(optional: bool, text: str) -> Decimal | None:
    """Read a price in yuan; None for an empty optional one."""
    from billing_console.services.price_cost import check_price

    if optional and not text.strip():
        return None
    amount = money.parse_decimal(required(text).lstrip("¥￥"))
    check_price(amount, _("The price"))
    return amount


def _spelled(price: Decimal | None, ledger: Ledger) -> str:
    return _("as input") if price is None else money.shown_exact(price, symbol=ledger.symbol)
