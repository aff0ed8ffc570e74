"""Try a price, or another model's, on the usage of the last 30 days; nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import ComposeResult
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Input

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.text import clean, one_line
from db.values import PriceUnit, UsageType
from screens import price_comparison, words
from screens.console import ask
from screens.dialogs.details import FRAME, GAP, grid
from screens.dialogs.form import Field, FieldRow, FormDialog
from screens.dialogs.price_form import PRICES, price_text, unit_choices, while_wanted
from screens.widgets.keybar import with_keys
from screens.widgets.line import Line

if TYPE_CHECKING:
    from billing_console.errors import BillingError
    from billing_console.services.ledger import Ledger
    from billing_console.services.price_cost import Rates
    from billing_console.services.price_what_if import WhatIf
    from screens.price_rows import PriceRow

WIDEST = 100
"""Columns of the dialog where the terminal has them: three columns of amounts with nine decimals."""


class PriceWhatIfDialog(FormDialog[None]):
    """Enter on a model's name, or on the last field, compares; the answer stays until the next one."""

    def __init__(self, row: PriceRow) -> None:
        """Keep what is priced in the row of the tab."""
        super().__init__()
        self.row = row
        self.usage_type = row.usage_type or UsageType.TEXT_GENERATION
        self._counting = False

    def heading(self) -> str:
        """Return the title line."""
        return _("What if %(model)s had another price (%(type)s)?") % {
            "model": one_line(self.row.model_id, 60),
            "type": _(words.USAGE_TYPES[self.usage_type]),
        }

    def fields(self) -> Sequence[Field]:
        """Declare another model, or prices."""
        price = self.row.price
        unit = str(price.unit) if price else ""
        return (
            Field("like", N_("As model"), str.strip, hint=_("provider/model; or type prices below")),
            *(Field(name, label, partial(price_text, True), hint=self._hint(name)) for name, label in PRICES.items()),
            Field("unit", N_("Unit"), PriceUnit, unit, choices=unit_choices(self.usage_type)),
        )

    def _hint(self, name: str) -> str:
        now: Decimal | None = getattr(self.row.price, name, None)
        return "" if now is None else _("now %(price)s") % {"price": money.shown_exact(now, symbol=self.console.symbol)}

    def compose_content(self) -> ComposeResult:
        """Lay out the form, and the answer below it."""
        yield from super().compose_content()
        yield Line(id="what-if")

    def on_mount(self) -> None:
        """Complete the names of models that have a price of this type."""
        self.query_one(".dialog").add_class("-wide")
        self.query_one("#form").add_class("-dense")  # the answer needs the room
        usage_type = self.usage_type

        def work(ledger: Ledger) -> list[str]:
            from billing_console.services.prices import list_prices

            return [f"{price.provider_id}/{price.model_id}" for price in list_prices(ledger, usage_type=usage_type)]

        def suggest(names: list[str]) -> None:
            self.query_one("#like", Input).suggester = SuggestFromList(names, case_sensitive=False)

        ask(self, work, suggest, lambda _error: None, group="catalogue")

    def enter(self, row: FieldRow) -> None:
        """Compare with the model that was named; its prices need not be typed."""
        if row.field.name == "like" and row.text.strip():
            self.action_accept()
        else:
            super().enter(row)

    def accept(self, values: dict[str, Any]) -> None:
        """Add up 30 days in a thread; a newer question ends an older one."""
        if not values["like"] and values["input_price"] is None and values["output_price"] is None:
            self.rows[1].fault(_("Type a price, or name a model above."))
            self.rows[1].focus_field()
            return
        self._counting = True
        self.query_one("#what-if", Line).say("")
        self._tell(0, 0)
        ask(self, self._question(values), self._show, self._failed, group="what-if")

    def _question(self, values: dict[str, Any]) -> Callable[[Ledger], WhatIf]:
        model, usage_type = (self.row.provider_id, self.row.model_id), self.usage_type
        progress = while_wanted(self, self._tell)

        def work(ledger: Ledger) -> WhatIf:
            from billing_console.services.price_what_if import price_like, typed_price, what_if

            if values["like"]:
                other: Rates = price_like(ledger, values["like"], usage_type)
            else:
                into, out = (values[name] or Decimal(0) for name in ("input_price", "output_price"))
                other = typed_price(usage_type, values["unit"], into, out, values["cached_input_price"])
            return what_if(ledger, *model, usage_type, other, progress)

        return work

    def _tell(self, done: int, whole: int) -> None:
        if self._counting:
            said = with_keys(self, _("Adding up the last 30 days… %(close)s stops."))
            self.say(f"{said} {done}/{whole}" if done else said)

    def _show(self, found: WhatIf) -> None:
        self._counting = False
        self.say("")
        self.query_one("#what-if", Line).say(self._answer(found))

    def _failed(self, error: BillingError) -> None:
        self._counting = False
        self.say("")
        self.refused(error)

    def _answer(self, found: WhatIf) -> Content:
        """Lay out the comparison; where its decimals have no room, to the cent, and the difference whole below it."""
        from billing_console.services.price_what_if import METHOD

        symbol = self.console.symbol
        room = min(WIDEST, self.app.size.width) - FRAME
        rows = price_comparison.rows(found, self.usage_type, symbol)
        if _width(rows) > room:
            rows = price_comparison.rows(found, self.usage_type, symbol, places=2)
        titles = tuple(_(title) if title else "" for title in price_comparison.TITLES)
        table = grid(_("The last 30 days"), [titles, *rows], room=room, numbers=(1, 2, 3))
        more = _("Difference") + GAP + price_comparison.difference(found, symbol)
        remarks = price_comparison.remarks(found, symbol, self.console.zone)
        last = Content("\n".join(clean(text) for text in (*remarks, _(METHOD))))
        return Content("\n").join([Content(""), table, Content.assemble((clean(more), "bold")), last])

    def action_close(self) -> None:
        """Stop adding up, or leave."""
        if self._counting:
            self._counting = False
            self.workers.cancel_group(self, "what-if")
            self.say(_("Stopped."))
        else:
            self.dismiss(None)


def _width(rows: list[price_comparison.Row]) -> int:
    columns = zip(*rows, strict=True)
    return len(GAP) + sum(max(Text(cell).cell_len for cell in column) + len(GAP) for column in columns)
