"""One usage record, whole: why it failed, what it cost and how that comes about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.services.actions import Action
from billing_console.text import clean
from db.values import CallStatus, PriceUnit, UsageType
from screens import words
from screens.base import DataPane
from screens.dialogs.details import DetailsDialog, facts, grid, named
from screens.search import SearchPane

if TYPE_CHECKING:
    from decimal import Decimal

    from billing_console.services.ledger import Ledger
    from billing_console.services.prices import PriceView
    from billing_console.services.usage import UsageDetails, UsageRow

KINDS = {
    "input": N_("input tokens"),
    "cached_input": N_("cached input tokens"),
    "output": N_("output tokens"),
}
"""The parts a cost in tokens is made of, for people."""

MEASURES = {
    UsageType.IMAGE_GENERATION: N_("images"),
    UsageType.AUDIO_TTS: N_("characters"),
    UsageType.AUDIO_STT: N_("seconds"),
    UsageType.VIDEO_GENERATION: N_("seconds"),
}
"""What the quantity of a type counts."""


class UsageDetailsDialog(DetailsDialog["UsageDetails"]):
    """Everything the ledger knows about one call, and the ways to what it was charged to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("3", "pool", N_("Pool")),
        Binding("4", "quota", N_("Quota")),
        Binding("5", "model", N_("Model")),
    ]

    def __init__(self, row: UsageRow) -> None:
        """Keep the record to show."""
        super().__init__()
        self.row = row
        self.record_id = row.id

    def heading(self) -> str:
        """Return the title line."""
        return _("Usage record %(id)d") % {"id": self.record_id}

    def work(self) -> Callable[[Ledger], UsageDetails]:
        """Ask for the record."""
        record_id = self.record_id

        def work(ledger: Ledger) -> UsageDetails:
            from billing_console.services.usage import usage_details

            return usage_details(ledger, record_id)

        return work

    def parts(self, answer: UsageDetails) -> Iterator[Content]:
        """Show the record, then how its cost comes about, then where it comes from."""
        yield facts(self._facts(answer.row), room=self.room)
        yield self._cost(answer)
        origin = [clean(line) for line in self._origin(answer)]
        if origin:
            yield Content("\n".join(origin))

    # Ways on, by the numbers of the tabs

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the quota of a user who is known."""
        return self.row.user_id is not None if action == "quota" else True

    def action_pool(self) -> None:
        """Go to the pool of the call's provider."""
        self._leave("pools", self.row.provider_id)

    def action_quota(self) -> None:
        """Go to the quota of the call's user, among all the others that the filter leaves."""
        if self.row.user_id is not None:
            self._leave("quotas", self.row.user_id, wanted=self.row.user_id)

    def action_model(self) -> None:
        """Go to the call's model."""
        self._leave("models", f"{self.row.provider_id}\n{self.row.model_id}")

    def _leave(self, tab: str, key: str, wanted: str = "") -> None:
        """Close, and put the cursor of another tab on a row; a filter there gives way."""

        def look(pane: DataPane[Any]) -> None:
            pane.reset_filter()
            if wanted and isinstance(pane, SearchPane):
                pane.wanted = wanted
            if pane.table is not None:
                pane.table.select(key)
            pane.load(asked=True)

        console = self.console
        self.dismiss(None)
        console.show_tab(tab, look)

    # What is said

    def _facts(self, row: UsageRow) -> Iterator[tuple[str, str]]:
        yield _("Time"), words.instant(row.created_at, self.console.now(), year=True)
        yield _("Status"), words.state(row.status).plain
        if row.error_message:
            yield _("Failure reason"), row.error_message
        yield _("User"), row.user_id or _("unknown")
        yield _("Provider"), named(row.provider_name, row.provider_id)
        yield _("Model"), row.model_id
        yield _("Type"), _(words.USAGE_TYPES[row.usage_type])
        yield _("Request"), row.request_id
        if row.usage_type is UsageType.TEXT_GENERATION or row.total_tokens:
            yield from self._tokens(row)
        if row.quantity:
            yield _("Quantity"), f"{row.quantity.normalize():,f}"

    def _tokens(self, row: UsageRow) -> Iterator[tuple[str, str]]:
        cached = {"count": f"{row.input_tokens:,}", "cached": f"{row.cached_input_tokens:,}"}
        yield _("Input tokens"), _("%(count)s, of which cached %(cached)s") % cached
        yield _("Output tokens"), f"{row.output_tokens:,}"
        yield _("Total tokens"), f"{row.total_tokens:,}"

    def _cost(self, answer: UsageDetails) -> Content:
        row, price = answer.row, answer.price
        if row.unpriced:
            said = _("Unpriced: the model had no price when the call was made.")
            if self.console.may(Action.PRICE):
                said += "\n" + _("Add one on the Pricing tab, then run: billing-console usage reprice")
            return Content(said)
        if price is None:
            cost = {"amount": self._exact(row.cost_amount)}
            if row.status is CallStatus.FAILED and not row.cost_amount:
                return Content(_("Cost %(amount)s: a failed call costs nothing unless its record names a cost.") % cost)
            return Content(_("Cost %(amount)s, as recorded; no price was applied.") % cost)
        since = words.instant(price.effective_from, self.console.now(), year=True)
        title = _("Billed at price %(id)d, in force since %(since)s") % {"id": price.id, "since": since}
        notes = [clean(note) for note in self._notes(answer, price)]
        return Content("\n").join([grid(title, self._calculation(answer), room=self.room, numbers=(0,)), *notes])

    def _notes(self, answer: UsageDetails, price: PriceView) -> Iterator[str]:
        """Say what the lines do not show: cached tokens at the full price, another price by now, rounding."""
        row = answer.row
        if row.cached_input_tokens and price.unit is PriceUnit.MILLION_TOKENS and price.cached_input_price is None:
            yield _("The price has no cached-input part: cached tokens cost as much as the others.")
        if not price.in_force:
            yield _("Another price holds now; a call keeps the one it was billed at.")
        if money.exact_sum([line.amount for line in answer.lines]) != row.cost_amount:
            yield _("The sum of the lines is rounded to a billionth of the currency.")

    def _calculation(self, answer: UsageDetails) -> Iterator[tuple[str, str, str, str]]:
        lines = answer.lines
        prices = self._alike([line.unit_price for line in lines])
        amounts = self._alike([*(line.amount for line in lines), answer.row.cost_amount])
        for line, price, amount in zip(lines, prices, amounts, strict=False):
            per = f"× {price} / {_(words.UNITS[line.unit])}"
            counted = KINDS.get(line.kind) or MEASURES.get(answer.row.usage_type) or N_("quantity")
            yield f"{line.count.normalize():,f}", _(counted), per, f"= {amount}"
        yield "", _("Cost"), "", f"= {amounts[-1]}"

    def _alike(self, values: list[Decimal]) -> list[str]:
        """Spell amounts with every digit that counts in any of them, so that their decimal points stand in line."""
        exponents = [int(value.normalize().as_tuple().exponent) for value in values]
        spelled = [money.shown(value, places=max(2, -min(exponents)), symbol=self.console.symbol) for value in values]
        return [text.rjust(max(map(len, spelled))) for text in spelled]

    def _origin(self, answer: UsageDetails) -> Iterator[str]:
        price = answer.price
        if price is not None and price.source_currency:
            at = {"currency": price.source_currency, "rate": price.exchange_rate}
            yield _("The price was converted from %(currency)s at %(rate)s.") % at
        if answer.import_file:
            yield _("Imported from %(file)s") % {"file": answer.import_file}
        if answer.import_currency:
            at = {"currency": answer.import_currency, "rate": answer.import_rate}
            yield _("The cost was converted from %(currency)s at %(rate)s.") % at

    def _exact(self, value: Decimal) -> str:
        return money.shown_exact(value, symbol=self.console.symbol)
