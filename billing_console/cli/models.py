"""`models`: which models can be called, and stopping or allowing one, or all of a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import ProviderArgument, ProviderOption, ReasonOption
from billing_console.cli.output import (
    Column,
    Format,
    FormatOption,
    OneFormat,
    OneFormatOption,
    write_list,
    write_result,
)
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _, ngettext
from db.values import ModelStatus

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.models import ModelView

OneModelArgument = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", help=N_("The model's id; without it, --all must be given."))
]
AllOption = Annotated[bool, typer.Option("--all", help=N_("Every model of the provider, in one go."))]

app = typer.Typer(help=N_("Models: which can be called now."))

COLUMNS: tuple[Column[ModelView], ...] = (
    Column(N_("Provider"), lambda model: model.provider_id),
    Column(N_("Model"), lambda model: model.model_id),
    Column(N_("Status"), lambda model: model.status),
    Column(N_("Disabled by"), lambda model: model.disabled_by),
    Column(N_("Reason"), lambda model: model.disabled_reason),
    Column(N_("Since"), lambda model: model.unavailable_since),
)


@app.command("list", help=N_("List the models with their status."))
def list_all(context: typer.Context, provider: ProviderOption = None, form: FormatOption = Format.TABLE) -> None:
    """List models."""
    from billing_console.services.models import list_models

    with opened(context) as ledger:
        write_list(list_models(ledger, provider), wire.MODEL, COLUMNS, form, ledger)


@app.command("enable", help=N_("Allow a model again that a person disabled, or all of a provider."))
def enable(
    context: typer.Context,
    provider: ProviderArgument,
    reason: ReasonOption,
    model: OneModelArgument = None,
    everything: AllOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Enable a model."""
    _set_enabled(context, provider, model, everything, True, reason, form)


@app.command("disable", help=N_("Stop a model, or all of a provider, whatever the provider's pool says."))
def disable(
    context: typer.Context,
    provider: ProviderArgument,
    reason: ReasonOption,
    model: OneModelArgument = None,
    everything: AllOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Disable a model."""
    _set_enabled(context, provider, model, everything, False, reason, form)


def _set_enabled(
    context: typer.Context,
    provider: str,
    model: str | None,
    everything: bool,
    enabled: bool,
    reason: str,
    form: OneFormat,
) -> None:
    if everything == (model is not None):
        raise InvalidInput(_("Name one model, or give --all."), field="modelId")
    with opened(context) as ledger:
        if model is None:
            _set_all(ledger, provider, enabled, reason, form)
        else:
            _set_one(ledger, provider, model, enabled, reason, form)


def _set_one(ledger: Ledger, provider: str, model: str, enabled: bool, reason: str, form: OneFormat) -> None:
    from billing_console.services.models import set_model_enabled

    now = set_model_enabled(ledger, provider, model, enabled, reason=reason)
    words = {
        ModelStatus.ENABLED: _("%(provider)s %(model)s is enabled."),
        ModelStatus.DISABLED: _("%(provider)s %(model)s is disabled."),
        ModelStatus.INSUFFICIENT_FUNDS: _(
            "%(provider)s %(model)s is enabled, but suspended: the pool of its provider is empty."
        ),
    }[now.status]
    write_result(wire.record(wire.MODEL, now), words % {"provider": now.provider_id, "model": now.model_id}, form)


def _set_all(ledger: Ledger, provider: str, enabled: bool, reason: str, form: OneFormat) -> None:
    from billing_console.services.models import set_provider_enabled

    changed = set_provider_enabled(ledger, provider, enabled, reason=reason)
    count = len(changed)
    if enabled:
        words = ngettext("%(count)d model of %(provider)s enabled.", "%(count)d models of %(provider)s enabled.", count)
    else:
        words = ngettext(
            "%(count)d model of %(provider)s disabled.", "%(count)d models of %(provider)s disabled.", count
        )
    data = {"providerId": provider, "changed": count, "models": [wire.record(wire.MODEL, model) for model in changed]}
    write_result(data, words % {"count": count, "provider": provider}, form)
