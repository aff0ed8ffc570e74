"""One model, whole: whether it can be called, why not, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from billing_console import money
from billing_console.i18n import _, ngettext
from billing_console.text import one_line
from db.values import ModelStatus
from screens import words
from screens.dialogs.details import DetailsDialog, facts, grid, named

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.model_use import RecentUse
    from billing_console.services.models import ModelView
    from billing_console.services.pools import PoolView
    from billing_console.services.prices import PriceView


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """Everything the dialog shows, read together."""

    model: ModelView
    pool: PoolView
    prices: tuple[PriceView, ...]
    use: RecentUse


class ModelDetailsDialog(DetailsDialog[ModelDetails]):
    """Everything the ledger knows about one model."""

    def __init__(self, provider_id: str, model_id: str) -> None:
        """Keep which model to show."""
        super().__init__()
        self.provider_id, self.model_id = provider_id, model_id

    def heading(self) -> str:
        """Return the title line."""
        return _("Model %(model)s") % {"model": one_line(self.model_id, 60)}

    def work(self) -> Callable[[Ledger], ModelDetails]:
        """Ask for model, pool, prices in force and the calls of the last 24 hours."""
        provider_id, model_id = self.provider_id, self.model_id

        def work(ledger: Ledger) -> ModelDetails:
            from billing_console.services.model_use import recent_use
            from billing_console.services.models import get_model
            from billing_console.services.pools import get_pool
            from billing_console.services.prices import list_prices

            return ModelDetails(
                get_model(ledger, provider_id, model_id),
                get_pool(ledger, provider_id),
                list_prices(ledger, provider_id, model_id),
                recent_use(ledger, (provider_id, model_id)),
            )

        return work

    def parts(self, answer: ModelDetails) -> Iterator[Content]:
        """Show status and reasons, then prices."""
        yield facts(self._facts(answer), room=self.room)
        yield self._prices(answer.prices)

    def _facts(self, answer: ModelDetails) -> Iterator[tuple[str, str]]:
        model, pool = answer.model, answer.pool
        yield _("Model"), named(model.model_name, model.model_id)
        yield _("Provider"), named(model.provider_name, model.provider_id)
        yield _("Status"), words.state(model.status).plain
        if model.unavailable_since is not None:
            yield (
                _("Unavailable"),
                _("for %(time)s") % {"time": words.span(self.console.now() - model.unavailable_since)},
            )
        if model.status is ModelStatus.DISABLED:
            yield _("Disabled since"), words.instant(model.disabled_at, self.console.now(), year=True)
            yield _("By"), model.disabled_by or ""
            yield _("Reason"), model.disabled_reason or ""
        if model.suspended_at is not None:
            since = words.instant(model.suspended_at, self.console.now(), year=True)
            yield (
                _("Pool"),
                _("%(mark)s depleted, models suspended since %(time)s")
                % {
                    "mark": words.MARKS[words.BAD],
                    "time": since,
                },
            )
        elif pool.status is not None:
            yield _("Pool"), words.state(pool.status).plain
        else:
            yield _("Pool"), _("no pool")
        if pool.has_pool:
            yield _("Available balance"), money.shown_exact(pool.available_balance, symbol=self.console.symbol)
        use = answer.use.of(model.provider_id, model.model_id)
        yield (
            _("Last 24 h"),
            ngettext(
                "%(calls)s call, %(failed)s failed, %(cost)s", "%(calls)s calls, %(failed)s failed, %(cost)s", use.calls
            )
            % {
                "calls": f"{use.calls:,}" + ("+" if answer.use.capped else ""),
                "failed": f"{use.failures:,}",
                "cost": money.shown_exact(use.cost, symbol=self.console.symbol),
            },
        )

    def _prices(self, prices: tuple[PriceView, ...]) -> Content:
        rows = [(_(words.USAGE_TYPES[price.usage_type]), spelled(price, self.console.symbol)) for price in prices]
        return grid(_("Prices in force"), rows or [(_("none: calls are recorded as unpriced"),)], room=self.room)


def spelled(price: PriceView, symbol: str) -> str:
    """Spell a price in one line: input, output, cached input, and for how much."""
    parts = [
        _("input %(price)s") % {"price": money.shown_exact(price.input_price, symbol=symbol)},
        _("output %(price)s") % {"price": money.shown_exact(price.output_price, symbol=symbol)},
    ]
    if price.cached_input_price is not None:
        parts.append(_("cached %(price)s") % {"price": money.shown_exact(price.cached_input_price, symbol=symbol)})
    return _(", ").join(parts) + " / " + _(words.UNITS[price.unit])
