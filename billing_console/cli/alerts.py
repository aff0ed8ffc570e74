"""`alerts`: balance alerts, open and past, and taking notice of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import LimitOption, ProviderOption
from billing_console.cli.output import (
    Column,
    Format,
    FormatOption,
    OneFormat,
    OneFormatOption,
    write_list,
    write_result,
)
from billing_console.i18n import N_, _

if TYPE_CHECKING:
    from billing_console.services.alerts import AlertView

app = typer.Typer(help=N_("Balance alerts."))

COLUMNS: tuple[Column[AlertView], ...] = (
    Column(N_("Id"), lambda alert: str(alert.id), right=True),
    Column(N_("Provider"), lambda alert: alert.provider_id),
    Column(N_("Level"), lambda alert: alert.alert_level),
    Column(N_("Alert"), lambda alert: alert.alert_type),
    Column(N_("Left"), lambda alert: f"{alert.balance_percentage:.2f}%", right=True),
    Column(N_("Available"), lambda alert: alert.available_balance, right=True),
    Column(N_("Raised"), lambda alert: alert.created_at),
    Column(N_("Resolved"), lambda alert: alert.resolved_at or _("open")),
    Column(N_("Acknowledged by"), lambda alert: alert.acknowledged_by),
    Column(N_("Acknowledged"), lambda alert: alert.acknowledged_at),
)


@app.command("list", help=N_("List alerts: open ones first, the most urgent first."))
def list_all(
    context: typer.Context,
    resolved: Annotated[
        bool | None, typer.Option("--resolved/--unresolved", help=N_("Only alerts that are over, or only open ones."))
    ] = None,
    provider: ProviderOption = None,
    limit: LimitOption = 200,
    form: FormatOption = Format.TABLE,
) -> None:
    """List alerts."""
    from billing_console.services.alerts import list_alerts

    with opened(context) as ledger:
        rows = list_alerts(ledger, resolved=resolved, provider_id=provider, limit=limit)
        write_list(rows, wire.ALERT, COLUMNS, form, ledger)


@app.command("acknowledge", help=N_("Say that you know of an open alert; it stays open until the balance is back."))
def acknowledge(
    context: typer.Context,
    which: Annotated[
        str, typer.Argument(metavar="PROVIDER|ID", help=N_("The provider with the open alert, or the alert's id."))
    ],
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Acknowledge an alert."""
    from billing_console.services.alerts import acknowledge_alert, alert_called

    with opened(context) as ledger:
        alert = acknowledge_alert(ledger, alert_called(ledger, which))
        words = _("Alert %(id)d of %(provider)s is acknowledged by %(name)s.") % {
            "id": alert.id,
            "provider": alert.provider_id,
            "name": alert.acknowledged_by,
        }
        write_result(wire.record(wire.ALERT, alert), words, form)
