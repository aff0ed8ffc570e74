"""Every balance alert: open ones first, then the past ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult

from billing_console import clock
from billing_console.i18n import N_, _
from screens import words
from screens.console import ask
from screens.dialogs.base import Dialog
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.services.alerts import AlertView
    from billing_console.services.ledger import Ledger


class AlertsDialog(Dialog[None]):
    """The list behind the banner."""

    def heading(self) -> str:
        """Return the title line."""
        return _("Balance alerts")

    def compose_content(self) -> ComposeResult:
        """Yield the table."""
        yield RecordTable(self._columns(), key=lambda alert: str(alert.id), details=False, id="alerts-table")

    def _columns(self) -> tuple[Column[AlertView], ...]:
        return (
            Column("alertLevel", N_("Level"), _level, lambda a: a.alert_level.value, min_width=10),
            Column("providerId", N_("Provider"), _provider, lambda a: a.provider_id, 0, 8, 20),
            Column("alertType", N_("Alert"), _type, lambda a: a.alert_type.value, 0, 11, 20),
            Column("balancePercentage", N_("Balance"), self._percent, lambda a: a.balance_percentage, right=True),
            Column("availableBalance", N_("Available"), self._available, lambda a: a.available_balance, right=True),
            Column("createdAt", N_("Raised"), self._raised, lambda a: clock.iso(a.created_at), min_width=11),
            Column("resolvedAt", N_("Resolved"), self._resolved, lambda a: a.resolved_at, 1, 11),
        )

    def _available(self, alert: AlertView) -> Text:
        return words.amount(alert.available_balance, symbol=self.console.symbol)

    def _percent(self, alert: AlertView) -> Text:
        return Text(words.percent(alert.balance_percentage), justify="right", no_wrap=True, end="")

    def _raised(self, alert: AlertView) -> Text:
        return words.cell(words.instant(alert.created_at, self.console.now(), seconds=False))

    def _resolved(self, alert: AlertView) -> Text:
        return words.cell(words.instant(alert.resolved_at, self.console.now(), seconds=False))

    def on_mount(self) -> None:
        """Load once; the banner follows the ledger, this list is a look back."""
        self.query_one(".dialog").add_class("-wide")
        self.query_one(RecordTable).focus()
        ask(self, _all_alerts, self._show, lambda error: self.say(f"✖ {error}"), keys_wait=True)

    def _show(self, alerts: tuple[AlertView, ...]) -> None:
        self.query_one(RecordTable).show(alerts)
        if not alerts:
            self.say(_("There has been no alert yet."))


def _level(alert: AlertView) -> Text:
    """Spell the level; one that is over is faint and has another symbol, also where its end has no room."""
    if not alert.is_resolved:
        return words.state(alert.alert_level)
    return words.cell(f"{words.MARKS[words.DIM]} {_(words.ALERT_LEVELS[alert.alert_level])}", words.DIM)


def _provider(alert: AlertView) -> Text:
    return words.cell(alert.provider_name)


def _type(alert: AlertView) -> Text:
    return words.cell(_(words.ALERT_TYPES[alert.alert_type]))


def _all_alerts(ledger: Ledger) -> tuple[AlertView, ...]:
    from billing_console.services.alerts import list_alerts

    return list_alerts(ledger)
