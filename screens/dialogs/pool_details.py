"""One resource pool, whole: balances, thresholds, alert, models it holds up, recharges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from textual.content import Content

from billing_console import money
from billing_console.i18n import _, ngettext, pgettext
from billing_console.text import one_line
from db.values import ModelStatus
from screens import words
from screens.dialogs.details import DetailsDialog, facts, grid, named
from screens.dialogs.recharge_history import state_of

if TYPE_CHECKING:
    from billing_console.services.alerts import AlertView
    from billing_console.services.ledger import Ledger
    from billing_console.services.models import ModelView
    from billing_console.services.pools import PoolView
    from billing_console.services.recharges import RechargeView

RECHARGES = 20
"""How many of the newest recharges the details list; the history has them all."""


@dataclass(frozen=True, slots=True)
class PoolDetails:
    """Everything the dialog shows, read together."""

    pool: PoolView
    alerts: tuple[AlertView, ...]
    models: tuple[ModelView, ...]
    recharges: tuple[RechargeView, ...]


class PoolDetailsDialog(DetailsDialog[PoolDetails]):
    """Everything the ledger knows about one provider's pool."""

    def __init__(self, pool: PoolView) -> None:
        """Keep whose pool to show."""
        super().__init__()
        self.pool = pool

    def heading(self) -> str:
        """Return the title line."""
        return _("Resource pool of %(provider)s") % {"provider": one_line(self.pool.provider_name, 60)}

    def work(self) -> Callable[[Ledger], PoolDetails]:
        """Ask for pool, open alert, models and recharges."""
        provider_id = self.pool.provider_id

        def work(ledger: Ledger) -> PoolDetails:
            from billing_console.services.alerts import list_alerts
            from billing_console.services.models import list_models
            from billing_console.services.pools import get_pool
            from billing_console.services.recharges import recharge_history

            return PoolDetails(
                get_pool(ledger, provider_id),
                list_alerts(ledger, resolved=False, provider_id=provider_id),
                list_models(ledger, provider_id),
                recharge_history(ledger, provider_id, limit=RECHARGES),
            )

        return work

    def parts(self, answer: PoolDetails) -> Iterator[Content]:
        """Show balances and alert, then models, then recharges."""
        yield facts(self._facts(answer), room=self.room)
        stopped = sum(model.status is ModelStatus.INSUFFICIENT_FUNDS for model in answer.models)
        if stopped:
            yield Content(_suspended(stopped))
        yield self._models(answer)
        yield self._recharges(answer)

    def _facts(self, answer: PoolDetails) -> Iterator[tuple[str, str]]:
        pool = answer.pool
        yield _("Provider"), named(pool.provider_name, pool.provider_id)
        if pool.status is None:
            yield _("Status"), _("no pool: usage is recorded but not held against a balance")
            yield _("Used amount"), self._exact(pool.used_amount)
        else:
            yield _("Status"), words.state(pool.status).plain
            yield _("Total balance"), self._exact(pool.total_balance)
            yield _("Used amount"), self._exact(pool.used_amount)
            yield _("Available balance"), self._exact(pool.available_balance)
            yield _("Balance percentage"), words.percent(pool.balance_percentage)
            yield _("Low below"), words.percent(pool.low_threshold)
            if pool.suspended_at is not None:
                yield _("Suspended since"), words.instant(pool.suspended_at, self.console.now(), year=True)
            yield _("Open alert"), " ".join(self._alert(alert) for alert in answer.alerts) or _("none")
            yield _("Last recharge"), words.instant(pool.last_recharge_at, self.console.now(), year=True)
            yield _("Last check"), words.instant(pool.last_check_at, self.console.now(), year=True)

    def _alert(self, alert: AlertView) -> str:
        return _("%(level)s, %(type)s since %(time)s") % {
            "level": words.state(alert.alert_level).plain,
            "type": _(words.ALERT_TYPES[alert.alert_type]),
            "time": words.instant(alert.created_at, self.console.now(), seconds=False, year=True),
        }

    def _models(self, answer: PoolDetails) -> Content:
        rows = [(words.state(model.status).plain, model.model_id) for model in answer.models]
        return grid(pgettext("list", "Models"), rows or [(_("none"),)], room=self.room)

    def _recharges(self, answer: PoolDetails) -> Content:
        rows = [
            (
                str(entry.id),
                words.instant(entry.created_at, self.console.now(), seconds=False, year=True),
                money.shown(entry.amount, symbol=self.console.symbol),
                " · ".join(text for text in (entry.reference, state_of(entry)) if text),
            )
            for entry in answer.recharges
        ]
        return grid(_("Recharge history"), rows or [(_("none"),)], room=self.room, numbers=(0, 2))

    def _exact(self, value: Decimal) -> str:
        return money.shown_exact(value, symbol=self.console.symbol)


def _suspended(models: int) -> str:
    said = ngettext(
        "■ %(count)d model cannot be called for lack of funds; a recharge brings it back at once.",
        "■ %(count)d models cannot be called for lack of funds; a recharge brings them back at once.",
        models,
    )
    return said % {"count": models}
