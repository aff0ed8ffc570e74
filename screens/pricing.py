"""Pricing: what each model costs by usage type, since when, and from when on it will cost something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import clock, money
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from billing_console.text import one_line
from screens import words
from screens.dialogs.text_filter import matches
from screens.price_rows import Hold, PriceRow, price_rows, version_rows
from screens.search import SearchPane
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from decimal import Decimal

    from billing_console.services.ledger import Ledger
    from billing_console.services.prices import PriceView


class PricingManagement(SearchPane["tuple[PriceRow, ...]"]):
    """Tab 6 (seed, PricingManagement)."""

    NAME = "pricing"
    SHOWS = N_("This tab shows what each model is billed at, since when, and from when on.")
    EMPTY = N_("No price is known yet.\n\nPress %(add_price)s to add one, or: billing-console prices import FILE")
    FILTER_TITLE = N_("Filter prices")
    EMPTY_NEEDS = Action.PRICE
    NEEDS: ClassVar = {"add_price": Action.PRICE}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "add_price", N_("Add price")),
        Binding("w", "what_if", N_("What if")),
        Binding("v", "versions", N_("Past and future")),
    ]

    def __init__(self) -> None:
        """Start with one row a model and type."""
        super().__init__()
        self.versions = False

    def compose_body(self) -> ComposeResult:
        """Yield the table, grouped by provider."""
        yield RecordTable(self._columns(), key=_key, id="pricing-table")

    def _columns(self) -> Sequence[Column[PriceRow]]:
        return (
            Column("providerId", N_("Provider"), _provider, lambda row: row.provider_id, 0, 8, 20, once=True),
            Column("modelId", N_("Model"), lambda row: words.cell(row.model_id), lambda row: row.model_id, 0, 20, 40),
            Column("usageType", N_("Type"), _type, lambda row: row.usage_type and row.usage_type.value, min_width=16),
            Column("state", N_("State"), lambda row: row.hold.cell, lambda row: row.hold.name, *self._room("state")),
            Column("unit", N_("Unit"), _unit, lambda row: row.shown and row.shown.unit.value, *self._room("unit")),
            self._price("inputPrice", N_("Input"), lambda price: price.input_price, 0),
            self._price("outputPrice", N_("Output"), lambda price: price.output_price, 0),
            self._price("cachedInputPrice", N_("Cached"), lambda price: price.cached_input_price, 1),
            Column("effectiveFrom", N_("Holds from"), lambda r: self._when(r.shown), lambda r: iso(r.shown), 2, 16),
            Column("nextChange", N_("Next change"), lambda r: self._when(r.upcoming), lambda r: iso(r.upcoming), 3, 16),
            Column("source", N_("Source"), lambda row: words.cell(source(row.shown)), lambda row: source(row.shown), 5),
        )

    def _room(self, key: str) -> tuple[int, int]:
        """Return priority and least width of a column; where every version has a row, the state tells them apart."""
        return {"state": (0 if self.versions else 4, 10), "unit": (1 if self.versions else 0, 13)}[key]

    def _price(
        self, key: str, title: str, amount: Callable[[PriceView], Decimal | None], priority: int
    ) -> Column[PriceRow]:
        def value(row: PriceRow) -> Decimal | None:
            return None if row.shown is None else amount(row.shown)

        def cell(row: PriceRow) -> Text:
            if row.shown is None and key == "inputPrice":
                return row.hold.cell
            price = value(row)
            text = "" if price is None else money.shown_exact(price, symbol=self.console.symbol)
            return Text(text, justify="right", no_wrap=True, overflow="ellipsis", end="")

        return Column(key, title, cell, value, priority, right=True)

    def _when(self, price: PriceView | None) -> Text:
        instant = price and words.instant(price.effective_from, self.console.now(), seconds=False, year=True)
        return words.cell(instant or "")

    def question(self) -> Callable[[Ledger], tuple[PriceRow, ...]]:
        """Ask for every version and for the models without any, and keep the rows of the filter."""
        wanted, rows_of = self.wanted, version_rows if self.versions else price_rows

        def work(ledger: Ledger) -> tuple[PriceRow, ...]:
            return tuple(row for row in rows_of(ledger) if _matches(wanted, row))

        return work

    def present(self, data: tuple[PriceRow, ...]) -> None:
        """Draw the prices."""
        self.query_one("#pricing-table", RecordTable).show(data)
        if self.versions:
            counts = Counter(row.hold for row in data)
            self.set_summary(" · ".join(f"{counts[hold]} {_(hold.value[1])}" for hold in Hold if counts[hold]))
            return
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

    def action_versions(self) -> None:
        """Show past and future prices too, each in a row of its own, or only what holds."""
        self.versions = not self.versions
        self.query_one("#pricing-table", RecordTable).use_columns(self._columns())
        self.data = ()  # the same rows must be drawn again
        self.load(asked=True)

    # Try and add a price

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to try a price only where there is a model."""
        if action in ("what_if", "versions") and not self.has_class("-filled"):
            return False
        return super().check_action(action, parameters)

    def action_what_if(self) -> None:
        """Compare what the model under the cursor cost in 30 days with another price."""
        from screens.dialogs.price_what_if import PriceWhatIfDialog

        if self.current is not None:
            self.app.push_screen(PriceWhatIfDialog(self.current))

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


def source(price: PriceView | None) -> str:
    """Say from which currency a price was converted, and at which rate."""
    return f"{price.source_currency} × {price.exchange_rate}" if price and price.source_currency else ""


def iso(price: PriceView | None) -> str | None:
    """Spell for CSV from when a price holds."""
    return None if price is None else clock.iso(price.effective_from)


def _key(row: PriceRow) -> str:
    version = row.version.id if row.version else ""
    return f"{row.provider_id}\n{row.model_id}\n{row.usage_type}\n{version}"


def _provider(row: PriceRow) -> Text:
    return words.cell(row.provider_name, "bold")


def _type(row: PriceRow) -> Text:
    if row.usage_type is None:
        return words.cell("–")
    return words.cell(_(words.USAGE_TYPES[row.usage_type]))


def _unit(row: PriceRow) -> Text:
    price = row.shown or row.upcoming
    return words.cell(_(words.UNITS[price.unit]) if price else "")


def _matches(wanted: str, row: PriceRow) -> bool:
    kind = _(words.USAGE_TYPES[row.usage_type]) if row.usage_type else ""
    hold = _(row.hold.value[1])
    return matches(wanted, row.provider_id, row.provider_name, row.model_id, kind, hold)
