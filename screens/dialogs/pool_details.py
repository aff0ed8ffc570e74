"""One resource pool, whole: balances, where it is heading, whom an empty one would hit, alerts, recharges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from textual.content import Content

from billing_console import money
from billing_console.check_output import low_below, why_low
from billing_console.i18n import _, ngettext
from billing_console.text import one_line
from db.values import ModelStatus
from screens import words
from screens.dialogs.details import DetailsDialog, facts, grid, named
from screens.dialogs.recharge_history import state_of
from screens.outlooks import lasts, needed
from screens.widgets.spark import sparkline

if TYPE_CHECKING:
    from billing_console.services.alerts import AlertView
    from billing_console.services.impact import Impact
    from billing_console.services.ledger import Ledger
    from billing_console.services.outlook import PoolOutlook, Suggestion
    from billing_console.services.pools import PoolView
    from billing_console.services.recharges import RechargeView

RECHARGES = 20
"""How many of the newest recharges the details list; the history has them all."""


ALERTS = 5
"""How many alerts the details list."""

MODELS = 12
"""How many models, the dearest first; the tab of the models has them all."""

MONTH = 30
"""Days for which the details say what to recharge."""


@dataclass(frozen=True, slots=True)
class PoolDetails:
    """Everything the dialog shows."""

    outlook: PoolOutlook
    wanted: Suggestion
    alerts: tuple[AlertView, ...]
    impact: Impact
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
        """Ask for the pool and its outlook, alerts, models, users and recharges."""
        provider_id = self.pool.provider_id

        def work(ledger: Ledger) -> PoolDetails:
            from billing_console.services.alerts import list_alerts
            from billing_console.services.impact import impact
            from billing_console.services.outlook import get_outlook, suggest
            from billing_console.services.recharges import recharge_history

            return PoolDetails(
                get_outlook(ledger, provider_id),
                suggest(ledger, provider_id, MONTH)[0],
                list_alerts(ledger, provider_id=provider_id, limit=ALERTS),
                impact(ledger, provider_id),
                recharge_history(ledger, provider_id, limit=RECHARGES),
            )

        return work

    def parts(self, answer: PoolDetails) -> Iterator[Content]:
        """Show balances and outlook, then alerts, what an empty pool hits, and recharges."""
        yield facts(self._facts(answer), room=self.room)
        yield facts(self._outlook(answer), room=self.room)
        stopped = sum(use.model.status is ModelStatus.INSUFFICIENT_FUNDS for use in answer.impact.models)
        if stopped:
            yield Content(_suspended(stopped))
        yield self._alerts(answer)
        yield self._models(answer.impact)
        yield self._users(answer.impact)
        yield self._recharges(answer)

    def _facts(self, answer: PoolDetails) -> Iterator[tuple[str, str]]:
        pool = answer.outlook.pool
        yield _("Provider"), named(pool.provider_name, pool.provider_id)
        if pool.status is None:
            yield _("Status"), _("no pool: usage is recorded but not held against a balance")
            yield _("Used amount"), self._exact(pool.used_amount)
        else:
            yield _("Status"), words.state(pool.status).plain + why_low(pool, self.console.symbol)
            yield _("Total balance"), self._exact(pool.total_balance)
            yield _("Used amount"), self._exact(pool.used_amount)
            yield _("Available balance"), self._exact(pool.available_balance)
            yield _("Balance percentage"), words.percent(pool.balance_percentage)
            yield _("Low below"), low_below(pool, self.console.symbol)
            if pool.suspended_at is not None:
                yield _("Suspended since"), words.instant(pool.suspended_at, self.console.now(), year=True)
            still_open = [self._alert(alert) for alert in answer.alerts if not alert.is_resolved]
            yield _("Open alert"), " ".join(still_open) or _("none")
            yield _("Last recharge"), words.instant(pool.last_recharge_at, self.console.now(), year=True)
            yield _("Last check"), words.instant(pool.last_check_at, self.console.now(), year=True)

    def _outlook(self, answer: PoolDetails) -> Iterator[tuple[str, str]]:
        outlook, wanted = answer.outlook, answer.wanted
        if outlook.burn_per_day is None:
            history = ngettext("%(count)d day", "%(count)d days", outlook.history_days) % {
                "count": outlook.history_days
            }
            yield _("Burn per day"), _("not enough history: %(history)s, 7 are needed") % {"history": history}
        else:
            history = ngettext(
                "%(burn)s, by weekday over the last %(count)d day",
                "%(burn)s, by weekday over the last %(count)d days",
                outlook.history_days,
            )
            burn = money.shown(outlook.burn_per_day, symbol=self.console.symbol)
            yield _("Burn per day"), history % {"burn": burn, "count": outlook.history_days}
        if not outlook.pool.has_pool:
            return
        yield _("Lasts"), lasts(outlook)
        empty = outlook.empty
        if empty.at is not None:
            yield _("Empty at"), self._hour(empty.at)
            latest = _("no end within a year") if empty.latest is None else self._hour(empty.latest)
            yield (
                _("Nine of ten"),
                _("%(earliest)s to %(latest)s")
                % {
                    "earliest": self._hour(empty.earliest),
                    "latest": latest,
                },
            )
        if wanted.expected is not None:
            yield _("For %(days)d days") % {"days": wanted.days}, needed(wanted, self.console.symbol)
        levels = [level for _day, level in outlook.levels]
        yield (
            ngettext("Level, %(days)d day", "Level, %(days)d days", len(levels)) % {"days": len(levels)},
            _("%(levels)s  %(least)s to %(most)s")
            % {
                "levels": sparkline(levels, MONTH),
                "least": self._money(min(levels)),
                "most": self._money(max(levels)),
            },
        )

    def _hour(self, instant: datetime | None) -> str:
        return words.instant(instant, self.console.now(), seconds=False, year=True)

    def _alert(self, alert: AlertView) -> str:
        return _("%(level)s, %(type)s since %(time)s") % {
            "level": words.state(alert.alert_level).plain,
            "type": _(words.ALERT_TYPES[alert.alert_type]),
            "time": words.instant(alert.created_at, self.console.now(), seconds=False, year=True),
        }

    def _models(self, impact: Impact) -> Content:
        rows = [
            (words.state(use.model.status).plain, f"{use.calls:,}", self._money(use.cost), use.model.model_id)
            for use in impact.models[:MODELS]
        ]
        if len(impact.models) > MODELS:
            more = len(impact.models) - MODELS
            rows.append(("", "", "", ngettext("and %(count)d more", "and %(count)d more", more) % {"count": more}))
        title = _("Models: calls and cost of the last 7 days")
        return grid(title, rows or [(_("none"),)], room=self.room, numbers=(1, 2))

    def _users(self, impact: Impact) -> Content:
        rows = [
            (f"{use.calls:,}", self._money(use.cost), _("no user") if use.user_id is None else use.user_id)
            for use in impact.users
        ]
        title = _("Users who spent most since %(time)s: calls and cost") % {"time": self._hour(impact.since)}
        return grid(title, rows or [(_("none"),)], room=self.room, numbers=(0, 1))

    def _alerts(self, answer: PoolDetails) -> Content:
        rows = [
            (
                _(words.ALERT_TYPES[alert.alert_type]),
                self._hour(alert.created_at),
                _("resolved %(time)s") % {"time": self._hour(alert.resolved_at)} if alert.is_resolved else _("open"),
            )
            for alert in answer.alerts
        ]
        return grid(_("Alerts"), rows or [(_("none"),)], room=self.room)

    def _recharges(self, answer: PoolDetails) -> Content:
        rows = [
            (
                str(entry.id),
                words.instant(entry.created_at, self.console.now(), seconds=False, year=True),
                self._money(entry.amount),
                " · ".join(text for text in (entry.reference, state_of(entry)) if text),
            )
            for entry in answer.recharges
        ]
        return grid(_("Recharge history"), rows or [(_("none"),)], room=self.room, numbers=(0, 2))

    def _money(self, value: Decimal) -> str:
        return money.shown(value, symbol=self.console.symbol)

    def _exact(self, value: Decimal) -> str:
        return money.shown_exact(value, symbol=self.console.symbol)


def _suspended(models: int) -> str:
    said = ngettext(
        "■ %(count)d model cannot be called for lack of funds; a recharge brings it back at once.",
        "■ %(count)d models cannot be called for lack of funds; a recharge brings them back at once.",
        models,
    )
    return said % {"count": models}
