"""`tokens`: which programs may use the HTTP API, and for what."""

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
    say,
    write_list,
    write_result,
)
from billing_console.i18n import N_, _
from db.values import Scope

if TYPE_CHECKING:
    from billing_console.services.tokens import TokenView

app = typer.Typer(help=N_("Tokens: which programs may use the HTTP API, and for what."))

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help=N_("The token's name, as the audit log gives it."))]

COLUMNS: tuple[Column[TokenView], ...] = (
    Column(N_("Name"), lambda token: token.name),
    Column(N_("Scopes"), lambda token: " ".join(token.scopes)),
    Column(N_("Created by"), lambda token: token.created_by),
    Column(N_("Created"), lambda token: token.created_at),
    Column(N_("Expires"), lambda token: token.expires_at),
    Column(N_("Revoked"), lambda token: token.revoked_at),
)


@app.command("create", help=N_("Make a token and show it, once."))
def create(
    context: typer.Context,
    name: NameArgument,
    scopes: Annotated[
        list[Scope],
        typer.Option(
            "--scope",
            help=N_(
                "read looks; meter authorizes and records calls; operate does what operators do; administer, admins."
            ),
        ),
    ],
    days: Annotated[
        int | None, typer.Option("--days", metavar="N", help=N_("It holds so long; without, until it is revoked."))
    ] = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Create a token; the secret alone is stdout's, so that a script can keep it."""
    from billing_console.services.tokens import create_token

    with opened(context) as ledger:
        made, secret = create_token(ledger, name, scopes, days=days)
        write_result(wire.record(wire.TOKEN, made) | {"token": secret}, secret, form)
        say(_("The token is shown this once; only its hash is kept."))


@app.command("list", help=N_("List the tokens, without their secrets."))
def list_all(context: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List tokens."""
    from billing_console.services.tokens import list_tokens

    with opened(context) as ledger:
        write_list(list_tokens(ledger), wire.TOKEN, COLUMNS, form, ledger)


@app.command("revoke", help=N_("Let a token hold no more, at once."))
def revoke(context: typer.Context, name: NameArgument, form: OneFormatOption = OneFormat.TEXT) -> None:
    """Revoke a token."""
    from billing_console.services.tokens import revoke_token

    with opened(context) as ledger:
        revoked = revoke_token(ledger, name)
        words = _("The token %(name)s holds no more.") % {"name": revoked.name}
        write_result(wire.record(wire.TOKEN, revoked), words, form)
