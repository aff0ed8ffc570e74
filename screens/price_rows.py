"""What the pricing tab shows in a row: what holds for a model and type, or one version of its price."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

from billing_console.i18n import N_, _
from db.values import UsageType
from screens import words

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.prices import PriceView


class Hold(Enum):
    """Whether a price holds, marked with the style that goes with the word."""

    NOW = (words.GOOD, N_("in force"))
    LATER = (words.WARN, N_("to come"))
    BEFORE = (words.DIM, N_("past"))
    NEVER = (words.WARN, N_("no price"))

    @property
    def cell(self) -> Text:
        """Spell it with symbol, word and colour."""
        style, word = self.value
        return words.cell(f"{words.MARKS[style]} {_(word)}", style)


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

    version: PriceView | None = None
    """The one version that the row is about where every version has a row; it is `price` only if it is in force."""

    is_past: bool = False

    @property
    def shown(self) -> PriceView | None:
        """Return the price whose amounts the row shows."""
        return self.version or self.price

    @property
    def hold(self) -> Hold:
        """Tell whether what the row shows holds."""
        if self.is_past:
            return Hold.BEFORE
        if self.price is not None:
            return Hold.NOW
        return Hold.NEVER if self.upcoming is None else Hold.LATER

    @property
    def is_missing(self) -> bool:
        """Tell whether calls are recorded without a price."""
        return self.hold is Hold.NEVER


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


def version_rows(ledger: Ledger) -> list[PriceRow]:
    """Put every version into a row of its own, by provider name and the newest first, and add calls without a price."""
    from billing_console.services.prices import list_prices

    rows = []
    for (provider_id, model_id, usage_type), group in groupby(list_prices(ledger, all_versions=True), _identity):
        past = False
        for price in group:
            now = price if price.in_force else None
            later = None if past or price.in_force else price
            rows.append(PriceRow(provider_id, price.provider_name, model_id, usage_type, now, later, price, past))
            past = past or price.in_force
    rows += [row for row in price_rows(ledger) if row.is_missing]
    return sorted(rows, key=lambda row: (row.provider_name.casefold(), row.provider_id, row.model_id))


def _identity(price: PriceView) -> tuple[str, str, UsageType]:
    return price.provider_id, price.model_id, price.usage_type
