"""Every version of a model's prices: past, in force, to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from textual.content import Content

from billing_console.i18n import _
from billing_console.services.actions import Action
from billing_console.text import one_line
from screens import words
from screens.dialogs.details import DetailsDialog, facts
from screens.dialogs.model_details import spelled

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.prices import PriceView
    from db.values import UsageType


class PriceHistoryDialog(DetailsDialog["tuple[PriceView, ...]"]):
    """The versions for one usage type of a model, newest first; prices are added, never edited."""

    def __init__(self, provider_id: str, model_id: str, usage_type: UsageType | None) -> None:
        """Keep which prices to show; no type shows all."""
        super().__init__()
        self.provider_id, self.model_id, self.usage_type = provider_id, model_id, usage_type

    def heading(self) -> str:
        """Return the title line."""
        return _("Prices of %(model)s") % {"model": one_line(self.model_id, 60)}

    def work(self) -> Callable[[Ledger], tuple[PriceView, ...]]:
        """Ask for every version."""
        provider_id, model_id, usage_type = self.provider_id, self.model_id, self.usage_type

        def work(ledger: Ledger) -> tuple[PriceView, ...]:
            from billing_console.services.prices import list_prices

            return list_prices(ledger, provider_id, model_id, usage_type, all_versions=True)

        return work

    def parts(self, answer: tuple[PriceView, ...]) -> Iterator[Content]:
        """Show one paragraph a version."""
        if not answer:
            yield Content(_("This model has no price: its calls are recorded as unpriced, at no cost."))
            if self.console.may(Action.PRICE):
                yield Content(_("Add one with p; then price those calls with: billing-console usage reprice"))
        for usage_type, group in groupby(answer, lambda price: price.usage_type):
            yield Content.assemble((_(words.USAGE_TYPES[usage_type]), "bold"))
            past = False
            for price in group:
                yield Content("\n").join([self._state(price, past), facts(self._facts(price), room=self.room)])
                past = past or price.in_force

    def _state(self, price: PriceView, past: bool) -> Content:
        style, word = (words.DIM, _("past")) if past else (words.WARN, _("to come"))
        if price.in_force:
            style, word = words.GOOD, _("in force")
        since = words.instant(price.effective_from, self.console.now(), year=True)
        return Content(f"{words.MARKS[style]} {word}" + _(", ") + _("from %(time)s") % {"time": since})

    def _facts(self, price: PriceView) -> Iterator[tuple[str, str]]:
        yield "  " + _("Price"), spelled(price, self.console.symbol)
        if price.source_currency:
            yield (
                "  " + _("Source"),
                _("converted from %(currency)s at %(rate)s")
                % {
                    "currency": price.source_currency,
                    "rate": price.exchange_rate,
                },
            )
        added = words.instant(price.created_at, self.console.now(), year=True)
        yield "  " + _("Added"), _("%(time)s by %(operator)s") % {"time": added, "operator": price.operator}
