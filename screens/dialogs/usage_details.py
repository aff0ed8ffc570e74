"""One usage record, whole: why it failed, what it cost and how that comes about."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.content import Content

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.text import clean
from db.values import UsageType
from screens import words
from screens.console import ask
from screens.dialogs.base import Body, Dialog
from screens.widgets.line import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from billing_console.services.ledger import Ledger
    from billing_console.services.usage import UsageDetails, UsageRow

KINDS = {
    "input": N_("input tokens"),
    "cached_input": N_("cached input tokens"),
    "output": N_("output tokens"),
    "quantity": N_("quantity"),
}


class UsageDetailsDialog(Dialog[None]):
    """Everything the ledger knows about one call."""

    def __init__(self, record_id: int) -> None:
        """Keep the record to show."""
        super().__init__()
        self.record_id = record_id

    def heading(self) -> str:
        """Return the title line."""
        return _("Usage record %(id)d") % {"id": self.record_id}

    def compose_content(self) -> ComposeResult:
        """Yield the text, filled once it is loaded."""
        yield Line(_("Loading…"), classes="details")

    def on_mount(self) -> None:
        """Load the record."""
        self.query_one(Body).focus()
        ask(self, partial(_details, record_id=self.record_id), self._show, lambda error: self.say(f"✖ {error}"))

    def _show(self, details: UsageDetails) -> None:
        facts = list(self._facts(details.row))
        width = max(Text(label).cell_len for label, _value in facts)
        parts: list[str | tuple[str, str]] = []
        for label, value in facts:
            parts += [label + " " * (width - Text(label).cell_len) + "  ", (clean(value), "bold"), "\n"]
        self.query_one(".details", Line).say(Content.assemble(*parts, "\n", "\n".join(self._cost(details))))

    def _facts(self, row: UsageRow) -> Iterator[tuple[str, str]]:
        yield _("Time"), words.instant(row.created_at, self.console.zone, year=True)
        yield _("Status"), words.state(row.status).plain
        if row.error_message:
            yield _("Failure reason"), row.error_message
        yield _("User"), row.user_id or _("unknown")
        yield (
            _("Provider"),
            row.provider_name if row.provider_name == row.provider_id else f"{row.provider_name} ({row.provider_id})",
        )
        yield _("Model"), row.model_id
        yield _("Type"), _(words.USAGE_TYPES[row.usage_type])
        yield _("Request"), row.request_id
        if row.usage_type is UsageType.TEXT_GENERATION or row.total_tokens:
            yield from self._tokens(row)
        if row.quantity:
            yield _("Quantity"), f"{row.quantity.normalize():,f}"

    def _tokens(self, row: UsageRow) -> Iterator[tuple[str, str]]:
        yield (
            _("Input tokens"),
            _("%(count)s, of which cached %(cached)s")
            % {"count": f"{row.input_tokens:,}", "cached": f"{row.cached_input_tokens:,}"},
        )
        yield _("Output tokens"), f"{row.output_tokens:,}"
        yield _("Total tokens"), f"{row.total_tokens:,}"

    def _cost(self, details: UsageDetails) -> Iterator[str]:
        row, price = details.row, details.price
        if row.unpriced:
            yield _("Unpriced: the model had no price when the call was made.")
            yield _("Add one on the Pricing tab, then run: billing-console prices reprice")
        elif price is None:
            yield _("Cost %(amount)s, as recorded; no price was applied.") % {"amount": self._exact(row.cost_amount)}
        else:
            since = words.instant(price.effective_from, self.console.zone, year=True)
            yield _("Billed at price %(id)d, in force since %(since)s") % {"id": price.id, "since": since}
            yield from self._calculation(details)
            if price.source_currency:
                yield _("The price was converted from %(currency)s at %(rate)s.") % {
                    "currency": price.source_currency,
                    "rate": price.exchange_rate,
                }
        if details.import_file:
            yield _("Imported from %(file)s") % {"file": clean(details.import_file)}
        if details.import_currency:
            yield _("The cost was converted from %(currency)s at %(rate)s.") % {
                "currency": details.import_currency,
                "rate": details.import_rate,
            }

    def _calculation(self, details: UsageDetails) -> Iterator[str]:
        rows = [
            (
                f"{line.count.normalize():,f}",
                _(KINDS[line.kind]),
                f"× {self._exact(line.unit_price)} / {_(words.UNITS[line.unit])}",
                f"= {self._exact(line.amount)}",
            )
            for line in details.lines
        ]
        rows.append(("", _("Cost"), "", f"= {self._exact(details.row.cost_amount)}"))
        widths = [max(Text(row[index]).cell_len for row in rows) for index in range(4)]
        for row in rows:
            cells = [" " * (width - Text(text).cell_len) for text, width in zip(row, widths, strict=True)]
            yield f"  {cells[0]}{row[0]}  {row[1]}{cells[1]}  {row[2]}{cells[2]}  {row[3]}"

    def _exact(self, value: Decimal) -> str:
        symbol = self.console.ledger.symbol if self.console.ledger else ""
        return money.shown_exact(value, symbol=symbol)


def _details(ledger: Ledger, *, record_id: int) -> UsageDetails:
    from billing_console.services.usage import usage_details

    return usage_details(ledger, record_id)
