"""`budgets`: what may be spent in a month, what is left, and what the month will have cost by its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import AmountArgument
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

if TYPE_CHECKING:
    from decimal import Decimal

    from billing_console.services.budgets import BudgetView

app = typer.Typer(help=N_("Budgets: what may be spent in a month, what is left, and what it will have cost."))

OneProviderOption = Annotated[
    str | None, typer.Option("--provider", metavar="ID", help=N_("Of this provider; without it, of all together."))
]

COLUMNS: tuple[Column[BudgetView], ...] = (
    Column(N_("Provider"), lambda view: view.provider_id or _("all providers")),
    Column(N_("Budget"), lambda view: view.amount, right=True),
    Column(N_("Month to date"), lambda view: view.projection.to_date, right=True),
    Column(N_("Remaining"), lambda view: view.left, right=True),
    Column(N_("Projected"), lambda view: view.projection.expected, right=True),
    Column(N_("At least"), lambda view: view.projection.low, right=True),
    Column(N_("At most"), lambda view: view.projection.high, right=True),
    Column(N_("Status"), lambda view: _status(view)),
)


def _status(view: BudgetView) -> str:
    from billing_console.services.budgets import STATUS_WORDS

    return _(STATUS_WORDS[view.status])


@app.command("list", help=N_("List this month of all together and of each provider, with a budget or without."))
def list_all(context: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List budgets and projections."""
    from billing_console.services.budgets import list_budgets

    with opened(context) as ledger:
        write_list(list_budgets(ledger), wire.BUDGET, COLUMNS, form, ledger)


@app.command("set", help=N_("Set the budget of a month."))
def set_one(
    context: typer.Context,
    amount: AmountArgument,
    provider: OneProviderOption = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Set a budget."""
    _set(context, provider, parse_amount(amount), form)


@app.command("off", help=N_("Take a budget away."))
def off(context: typer.Context, provider: OneProviderOption = None, form: OneFormatOption = OneFormat.TEXT) -> None:
    """Take a budget away."""
    _set(context, provider, None, form)


def _set(context: typer.Context, provider: str | None, amount: Decimal | None, form: OneFormat) -> None:
    from billing_console.services.budgets import ALL, set_budget

    with opened(context) as ledger:
        set_budget(ledger, provider or ALL, amount)
        words = _("Monthly budget of %(provider)s: %(amount)s") % {
            "provider": provider or _("all providers"),
            "amount": _("none") if amount is None else shown_exact(amount, symbol=ledger.symbol),
        }
        write_result({"providerId": provider, "budgetAmount": amount}, words, form)
