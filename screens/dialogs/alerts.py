"""Every balance alert: open ones first, then the past ones; who knows of it, and the way to its pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import clock
from billing_console.i18n import N_, _
from billing_console.services.actions import Action
from billing_console.text import one_line
from screens import words
from screens.console import ask
from screens.dialogs.base import Dialog
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.services.alerts import AlertView
    from billing_console.services.ledger import Ledger


class AlertsDialog(Dialog[None]):
    """The list behind the banner; `changed` tells the console that an alert was acknowledged."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "acknowledge", N_("Acknowledge")),
        Binding("r", "reload", N_("Refresh")),
    ]

    def __init__(self, changed: Callable[[], None]) -> None:
        """Keep whom to tell."""
        super().__init__()
        self._changed = changed

    def heading(self) -> str:
        """Return the title line."""
        return _("Balance alerts")

    def compose_content(self) -> ComposeResult:
        """Yield the table."""
        yield AlertsTable(self._columns(), key=lambda alert: str(alert.id), id="alerts-table")

    def _columns(self) -> tuple[Column[AlertView], ...]:
        return (
            Column("alertLevel", N_("Level"), _level, lambda a: a.alert_level.value, min_width=10),
            Column("providerId", N_("Provider"), _provider, lambda a: a.provider_id, 0, 8, 20),
            Column("alertType", N_("Alert"), _type, lambda a: a.alert_type.value, 4, 11, 20),
            Column("balancePercentage", N_("Balance"), self._percent, lambda a: a.balance_percentage, 2, right=True),
            Column("availableBalance", N_("Available"), self._available, lambda a: a.available_balance, right=True),
            Column("age", N_("Age"), self._age, self._lasted, min_width=16),
            Column("acknowledgedBy", N_("Acknowledged"), self._known, lambda a: a.acknowledged_by, 0, 18, 28),
            Column("createdAt", N_("Raised"), self._raised, lambda a: clock.iso(a.created_at), 1, 11),
            Column("resolvedAt", N_("Resolved"), self._resolved, lambda a: a.resolved_at, 3, 11),
        )

    def _available(self, alert: AlertView) -> Text:
        return words.amount(alert.available_balance, symbol=self.console.symbol)

    def _percent(self, alert: AlertView) -> Text:
        return Text(words.percent(alert.balance_percentage), justify="right", no_wrap=True, end="")

    def _raised(self, alert: AlertView) -> Text:
        return words.cell(words.instant(alert.created_at, self.console.now(), seconds=False))

    def _resolved(self, alert: AlertView) -> Text:
        if alert.resolved_at is None:
            return words.cell(_("open"))
        return words.cell(words.instant(alert.resolved_at, self.console.now(), seconds=False))

    def _age(self, alert: AlertView) -> Text:
        """Say how long an alert has been open, or was."""
        length = words.span((alert.resolved_at or self.console.now()) - alert.created_at)
        return words.cell(_("lasted %(time)s") % {"time": length} if alert.is_resolved else length)

    def _lasted(self, alert: AlertView) -> float:
        return ((alert.resolved_at or self.console.now()) - alert.created_at).total_seconds()

    def _known(self, alert: AlertView) -> Text:
        if alert.acknowledged_at is None:
            return words.cell("–" if alert.is_resolved else _("by nobody"))
        when = words.instant(alert.acknowledged_at, self.console.now(), seconds=False)
        return words.cell(f"{one_line(alert.acknowledged_by or '', 40)} {when}")

    # Loading

    def on_mount(self) -> None:
        """Load; the banner follows the ledger, this list is as of when it was opened."""
        self.query_one(".dialog").add_class("-wide")
        self.query_one(RecordTable).focus()
        self.action_reload()

    def action_reload(self) -> None:
        """Load again."""
        ask(self, _all_alerts, self._show, lambda error: self.say(f"✖ {error}"), keys_wait=True, to_show=True)

    def _show(self, alerts: tuple[AlertView, ...]) -> None:
        self.query_one(RecordTable).show(alerts)
        self.refresh_bindings()
        if not alerts:
            self.say(_("There has been no alert yet."))

    # What can be done with an alert

    @property
    def current(self) -> AlertView | None:
        """The alert under the cursor."""
        alert: AlertView | None = self.query_one(RecordTable).current if self.is_mounted else None
        return alert

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to acknowledge to those who may, while there is an open alert that nobody has acknowledged."""
        if action == "acknowledge":
            alerts = self.query_one(RecordTable).items if self.is_mounted else ()
            return self.console.may(Action.ALERT_ACKNOWLEDGE) and any(map(_waits, alerts))
        return True

    def action_acknowledge(self) -> None:
        """Say that this person knows of the alert under the cursor."""
        alert = self.current
        if alert is None or not _waits(alert):
            self.say(_("Only an open alert that nobody has acknowledged can be acknowledged."))
            return
        self.say("")
        alert_id = alert.id

        def work(ledger: Ledger) -> AlertView:
            from billing_console.services.alerts import acknowledge_alert

            return acknowledge_alert(ledger, alert_id)

        ask(self, work, self._acknowledged, lambda error: self.say(f"✖ {error}"), group="acknowledge")

    def _acknowledged(self, alert: AlertView) -> None:
        self.action_reload()
        self._changed()
        self.say(
            _("Acknowledged by %(name)s. The alert stays open until the balance is back.")
            % {"name": one_line(alert.acknowledged_by or "", 60)}
        )

    @on(RecordTable.Chosen)
    def _go_to_pool(self, event: RecordTable.Chosen) -> None:
        """Show the pool of the alert on its tab; there `m` leads on to its models."""
        provider_id = event.item.provider_id
        self.dismiss(None)
        self.console.show_tab("pools", lambda pane: pane.table.select(provider_id))


class AlertsTable(RecordTable["AlertView"]):
    """The table of alerts; Enter goes to the pool."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", N_("Its pool"))]


def _waits(alert: AlertView) -> bool:
    return not alert.is_resolved and alert.acknowledged_at is None


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
