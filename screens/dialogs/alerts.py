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
    from datetime import datetime

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
            Column(
                "alertLevel",
                N_("Level"),
                lambda alert: words.state(alert.alert_level),
                lambda a: a.alert_level.value,
                min_width=10,
            ),
            Column(
                "providerId",
                N_("Provider"),
                lambda a: words.cell(a.provider_name),
                lambda a: a.provider_id,
                min_width=8,
                max_width=20,
            ),
            Column(
                "alertType",
                N_("Alert"),
                lambda a: words.cell(_(words.ALERT_TYPES[a.alert_type])),
                lambda a: a.alert_type.value,
                2,
                20,
            ),
            Column("balancePercentage", N_("Balance"), self._percent, lambda a: a.balance_percentage, right=True),
            Column("availableBalance", N_("Available"), self._available, lambda a: a.available_balance, right=True),
            Column(
                "createdAt",
                N_("Raised"),
                lambda a: self._when(a.created_at),
                lambda a: clock.iso(a.created_at),
                min_width=11,
            ),
            Column("resolvedAt", N_("Resolved"), lambda a: self._when(a.resolved_at), lambda a: a.resolved_at, 1, 11),
        )

    def _available(self, alert: AlertView) -> Text:
        return words.amount(alert.available_balance, symbol=self.console.symbol)

    def _percent(self, alert: AlertView) -> Text:
        return Text(words.percent(alert.balance_percentage), justify="right", no_wrap=True, end="")

    def _when(self, instant: datetime | None) -> Text:
        return words.cell(words.instant(instant, self.console.now(), seconds=False))

    def on_mount(self) -> None:
        """Load once; the banner follows the ledger, this list is a look back."""
        self.query_one(RecordTable).focus()
        ask(self, _all_alerts, self._show, lambda error: self.say(f"✖ {error}"))

    def _show(self, alerts: tuple[AlertView, ...]) -> None:
        self.query_one(RecordTable).show(alerts)
        if not alerts:
            self.say(_("There has been no alert yet."))


def _all_alerts(ledger: Ledger) -> tuple[AlertView, ...]:
    from billing_console.services.alerts import list_alerts

    return list_alerts(ledger)
