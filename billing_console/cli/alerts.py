"""`alerts`: balance alerts, open and past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import LimitOption, ProviderOption
from billing_console.cli.output import Column, Format, FormatOption, write_list
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
)


@app.callback()
def alerts() -> None:
    """Hold the commands; Typer makes a group of one command only with a callback."""


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
