"""Pricing: what each model costs by usage type, since when, and from when on it will cost something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import clock, money
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from billing_console.text import one_line
from db.values import UsageType
from screens import words
from screens.dialogs.text_filter import matches
from screens.search import SearchPane
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from decimal import Decimal

    from billing_console.services.ledger import Ledger
    from billing_console.services.prices import PriceView


@dataclass(frozen=True, slots=True)
class PriceRow:
    """What a model costs for one usage type, of which there is none for a model never called and never priced."""

    provider_id: str
    provider_name: str
    model_id: str
    usage_type: UsageType | None
    price: PriceView | None
    """The price in force; None where the first one is still to come."""

    upcoming: PriceView | None
    """The next price that will hold, if it is known already."""

    @property
    def is_missing(self) -> bool:
        """Tell whether calls are recorded without a price."""
        return self.price is None and self.upcoming is None


class PricingManagement(SearchPane["tuple[PriceRow, ...]"]):
    """Tab 6 (seed, PricingManagement)."""

    NAME = "pricing"
    SHOWS = N_("This tab shows what each model is billed at, since when, and from when on.")
    EMPTY = N_("No price is known yet.\n\nPress p to add one, or: billing-console prices import FILE")
    FILTER_TITLE = N_("Filter prices")
    EMPTY_NEEDS = Action.PRICE
    NEEDS: ClassVar = {"add_price": Action.PRICE}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "add_price", N_("Add price")),
    ]

    def compose_body(self) -> ComposeResult:
        """Yield the table, grouped by provider."""
        yield RecordTable(self._columns(), key=_key, id="pricing-table")

    def _columns(self) -> Sequence[Column[PriceRow]]:
        return (
            Column("providerId", N_("Provider"), _provider, lambda row: row.provider_id, 0, 8, 20, once=True),
            Column("modelId", N_("Model"), lambda row: words.cell(row.model_id), lambda row: row.model_id, 0, 20, 40),
            Column("usageType", N_("Type"), _type, lambda row: row.usage_type and row.usage_type.value, min_width=16),
            Column("unit", N_("Unit"), _unit, lambda row: row.price and row.price.unit.value, min_width=13),
            self._price("inputPrice", N_("Input"), lambda price: price.input_price, 0),
            self._price("outputPrice", N_("Output"), lambda price: price.output_price, 0),
            self._price("cachedInputPrice", N_("Cached"), lambda price: price.cached_input_price, 1),
            Column("effectiveFrom", N_("Holds from"), lambda r: self._when(r.price), lambda r: iso(r.price), 2, 16),
            Column("nextChange", N_("Next change"), lambda r: self._when(r.upcoming), lambda r: iso(r.upcoming), 3, 16),
            Column("source", N_("Source"), lambda row: words.cell(source(row.price)), lambda row: source(row.price), 4),
        )

    def _price(
        self, key: str, title: str, amount: Callable[[PriceView], Decimal | None], priority: int
    ) -> Column[PriceRow]:
        def value(row: PriceRow) -> Decimal | None:
            return None if row.price is None else amount(row.price)

        def cell(row: PriceRow) -> Text:
            if row.price is None and key == "inputPrice":
                style, said = (words.WARN, _("no price")) if row.is_missing else (words.DIM, _("to come"))
                return words.cell(f"{words.MARKS[style]} {said}", style)
            price = value(row)
            text = "" if price is None else money.shown_exact(price, symbol=self.console.symbol)
            return Text(text, justify="right", no_wrap=True, overflow="ellipsis", end="")

        return Column(key, title, cell, value, priority, right=True)

    def _when(self, price: PriceView | None) -> Text:
        instant = price and words.instant(price.effective_from, self.console.now(), seconds=False, year=True)
        return words.cell(instant or "")

    def question(self) -> Callable[[Ledger], tuple[PriceRow, ...]]:
        """Ask for every version and for the models without any, and keep the rows of the filter."""
        wanted = self.wanted

        def work(ledger: Ledger) -> tuple[PriceRow, ...]:
            return tuple(row for row in price_rows(ledger) if _matches(wanted, row))

        return work

    def present(self, data: tuple[PriceRow, ...]) -> None:
        """Draw the prices."""
        self.query_one("#pricing-table", RecordTable).show(data)
        priced = sum(row.price is not None for row in data)
        parts = [ngettext("%(count)d price", "%(count)d prices", priced) % {"count": priced}]
        missing = len({(row.provider_id, row.model_id) for row in data if row.is_missing})
        if missing:
            said = ngettext("%(count)d model without a price", "%(count)d models without a price", missing)
            parts.append(f"{words.MARKS[words.WARN]} " + said % {"count": missing})
        coming = sum(row.upcoming is not None for row in data)
        if coming:
            parts.append(ngettext("%(count)d change to come", "%(count)d changes to come", coming) % {"count": coming})
        self.set_summary(" · ".join(parts))

    # Filter, history

    @on(RecordTable.Chosen)
    def _show_history(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.price_history import PriceHistoryDialog

        row: PriceRow = event.item
        self.app.push_screen(PriceHistoryDialog(row.provider_id, row.model_id, row.usage_type))

    # Add a price

    @property
    def current(self) -> PriceRow | None:
        """The row under the cursor."""
        row: PriceRow | None = self.query_one("#pricing-table", RecordTable).current
        return row

    def action_add_price(self) -> None:
        """Add a price for the model and type under the cursor, or for others typed into the form."""
        from screens.dialogs.price_form import PriceDialog

        row = self.current if self.has_class("-filled") else None
        self.app.push_screen(PriceDialog(row), partial(self._added, row))

    def _added(self, row: PriceRow | None, price: PriceView | None) -> None:
        if price is None:
            return
        self.load(asked=True)
        said = _("Price %(id)d of %(model)s, %(type)s, holds from %(time)s") % {
            "id": price.id,
            "model": one_line(price.model_id, 60),
            "type": _(words.USAGE_TYPES[price.usage_type]),
            "time": words.instant(price.effective_from, self.console.now(), year=True),
        }
        if row is not None and row.is_missing:
            said += "\n" + _("Bill earlier calls with: billing-console usage reprice")
        self.app.notify(said, markup=False)


def price_rows(ledger: Ledger) -> list[PriceRow]:
    """Put the versions of each model and type into one row, by provider name, and add calls without a price."""
    from billing_console.services.costs import usage_types_seen
    from billing_console.services.models import list_models
    from billing_console.services.prices import list_prices

    rows = []
    for (provider_id, model_id, usage_type), group in groupby(list_prices(ledger, all_versions=True), _identity):
        versions = list(group)
        at = next((index for index, price in enumerate(versions) if price.in_force), len(versions))
        price = versions[at] if at < len(versions) else None
        upcoming = versions[at - 1] if at > 0 else None
        rows.append(PriceRow(provider_id, versions[0].provider_name, model_id, usage_type, price, upcoming))
    priced = {(row.provider_id, row.model_id, row.usage_type) for row in rows}
    known = {(provider_id, model_id) for provider_id, model_id, _kind in priced}
    called = usage_types_seen(ledger)
    for model in list_models(ledger):
        pair = model.provider_id, model.model_id
        unpriced = [kind for kind in UsageType if (*pair, kind) in called and (*pair, kind) not in priced]
        kinds: list[UsageType | None] = [*unpriced] or ([] if pair in known else [None])
        for kind in kinds:
            rows.append(PriceRow(model.provider_id, model.provider_name, model.model_id, kind, None, None))
    return sorted(rows, key=lambda row: (row.provider_name.casefold(), row.provider_id, row.model_id))


def source(price: PriceView | None) -> str:
    """Say from which currency a price was converted, and at which rate."""
    return f"{price.source_currency} × {price.exchange_rate}" if price and price.source_currency else ""


def iso(price: PriceView | None) -> str | None:
    """Spell for CSV from when a price holds."""
    return None if price is None else clock.iso(price.effective_from)


def _identity(price: PriceView) -> tuple[str, str, UsageType]:
    return price.provider_id, price.model_id, price.usage_type


def _key(row: PriceRow) -> str:
    return f"{row.provider_id}\n{row.model_id}\n{row.usage_type}"


def _provider(row: PriceRow) -> Text:
    return words.cell(row.provider_name, "bold")


def _type(row: PriceRow) -> Text:
    if row.usage_type is None:
        return words.cell("–")
    return words.cell(_(words.USAGE_TYPES[row.usage_type]))


def _unit(row: PriceRow) -> Text:
    price = row.price or row.upcoming
    return words.cell(_(words.UNITS[price.unit]) if price else "")


def _matches(wanted: str, row: PriceRow) -> bool:
    kind = _(words.USAGE_TYPES[row.usage_type]) if row.usage_type else ""
    missing = _("no price") if row.is_missing else ""
    return matches(wanted, row.provider_id, row.provider_name, row.model_id, kind, missing)
