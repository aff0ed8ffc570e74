"""`models`: which models can be called, and stopping or allowing one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import ModelArgument, ProviderArgument, ProviderOption, ReasonOption
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
from db.values import ModelStatus

if TYPE_CHECKING:
    from billing_console.services.models import ModelView

app = typer.Typer(help=N_("Models: which can be called now."))

COLUMNS: tuple[Column[ModelView], ...] = (
    Column(N_("Provider"), lambda model: model.provider_id),
    Column(N_("Model"), lambda model: model.model_id),
    Column(N_("Status"), lambda model: model.status),
    Column(N_("Disabled by"), lambda model: model.disabled_by),
    Column(N_("Reason"), lambda model: model.disabled_reason),
    Column(N_("Since"), lambda model: model.disabled_at or model.suspended_at),
)


@app.command("list", help=N_("List the models with their status."))
def list_all(context: typer.Context, provider: ProviderOption = None, form: FormatOption = Format.TABLE) -> None:
    """List models."""
    from billing_console.services.models import list_models

    with opened(context) as ledger:
        write_list(list_models(ledger, provider), wire.MODEL, COLUMNS, form, ledger)


@app.command("enable", help=N_("Allow a model again that a person disabled."))
def enable(
    context: typer.Context,
    provider: ProviderArgument,
    model: ModelArgument,
    reason: ReasonOption,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Enable a model."""
    _set_enabled(context, provider, model, True, reason, form)


@app.command("disable", help=N_("Stop a model, whatever its provider's pool says."))
def disable(
    context: typer.Context,
    provider: ProviderArgument,
    model: ModelArgument,
    reason: ReasonOption,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Disable a model."""
    _set_enabled(context, provider, model, False, reason, form)


def _set_enabled(
    context: typer.Context, provider: str, model: str, enabled: bool, reason: str, form: OneFormat
) -> None:
    from billing_console.services.models import set_model_enabled

    with opened(context) as ledger:
        now = set_model_enabled(ledger, provider, model, enabled, reason=reason)
        words = {
            ModelStatus.ENABLED: _("%(provider)s %(model)s is enabled."),
            ModelStatus.DISABLED: _("%(provider)s %(model)s is disabled."),
            ModelStatus.INSUFFICIENT_FUNDS: _(
                "%(provider)s %(model)s is enabled, but suspended: the pool of its provider is empty."
            ),
        }[now.status]
        write_result(wire.record(wire.MODEL, now), words % {"provider": now.provider_id, "model": now.model_id}, form)
