"""`limits`: ceilings on money operations, and the amount above which a second person must approve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
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
from billing_console.money import parse_amount, shown_exact
from db.values import LimitName

if TYPE_CHECKING:
    from billing_console.services.limits import LimitView

app = typer.Typer(help=N_("Limits: how much may be moved at once or in a day, and what needs approval."))

OFF = "off"

COLUMNS: tuple[Column[LimitView], ...] = (
    Column(N_("Limit"), lambda limit: limit.name.value),
    Column(N_("Amount"), lambda limit: _("off") if limit.amount is None else limit.amount, right=True),
    Column(N_("Meaning"), lambda limit: _meaning(limit)),
)


def _meaning(limit: LimitView) -> str:
    from billing_console.services.limits import MEANING

    return _(MEANING[limit.name])


@app.command("list", help=N_("List the limits, also those that are off."))
def list_all(context: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List limits."""
    from billing_console.services.limits import list_limits

    with opened(context) as ledger:
        write_list(list_limits(ledger), wire.LIMIT, COLUMNS, form, ledger)


@app.command("set", help=N_("Set a limit, or turn it off."))
def set_one(
    context: typer.Context,
    name: Annotated[LimitName, typer.Argument(metavar="NAME", help=N_("As “limits list” shows it."))],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help=N_("Yuan, more than 0; “off” for no limit."))],
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Set a limit."""
    from billing_console.services.limits import set_limit

    most = None if amount == OFF else parse_amount(amount)
    with opened(context) as ledger:
        limit = set_limit(ledger, name, most)
        shown = _("off") if limit.amount is None else shown_exact(limit.amount, symbol=ledger.symbol)
        words = _("%(meaning)s: %(amount)s") % {"meaning": _meaning(limit), "amount": shown}
        write_result(wire.record(wire.LIMIT, limit), words, form)
