"""`operators`: who may work with the ledger, in which role."""

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
from db.values import Role

if TYPE_CHECKING:
    from billing_console.services.operators import OperatorView

app = typer.Typer(help=N_("Operators: who may work with the ledger, in which role."))

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help=N_("The account's name, or the one that a forced command gives."))
]

COLUMNS: tuple[Column[OperatorView], ...] = (
    Column(N_("Name"), lambda operator: operator.name),
    Column(N_("Uid"), lambda operator: None if operator.uid is None else str(operator.uid), right=True),
    Column(N_("Role"), lambda operator: operator.role),
    Column(N_("Added by"), lambda operator: operator.added_by),
    Column(N_("Added"), lambda operator: operator.added_at),
)


@app.command("list", help=N_("List the operators."))
def list_all(context: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List operators."""
    from billing_console.services.operators import list_operators

    with opened(context) as ledger:
        write_list(list_operators(ledger), wire.OPERATOR, COLUMNS, form, ledger)


@app.command("add", help=N_("Give a person a role, or a known one another role."))
def add(
    context: typer.Context,
    name: NameArgument,
    role: Annotated[
        Role, typer.Option("--role", help=N_("viewer reads; operator moves money; admin sets rules and approves."))
    ],
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Add an operator or change a role."""
    from billing_console.services.operators import add_operator

    with opened(context) as ledger:
        added = add_operator(ledger, name, role)
        words = _("%(name)s has the role “%(role)s” now.") % {"name": added.name, "role": added.role}
        if added.uid is None:
            words += " " + _("This machine has no such account: only a forced command (--as) can give that name.")
        write_result(wire.record(wire.OPERATOR, added), words, form)


@app.command("remove", help=N_("Take a person's role away."))
def remove(context: typer.Context, name: NameArgument, form: OneFormatOption = OneFormat.TEXT) -> None:
    """Remove an operator."""
    from billing_console.services.operators import remove_operator

    with opened(context) as ledger:
        removed = remove_operator(ledger, name)
        words = _("%(name)s is no operator any more.") % {"name": removed.name}
        write_result(wire.record(wire.OPERATOR, removed), words, form)
