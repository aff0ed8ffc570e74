"""The command line as Typer reads it: the options before the command, and the commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
import typer.main

from billing_console import __version__
from billing_console.cli.beforehand import NAME, asks_for_help, command_named
from billing_console.cli.commands import COMMANDS, GROUPS, add_commands
from billing_console.cli.console import open_console
from billing_console.cli.context import Root
from billing_console.cli.help import translate
from billing_console.cli.output import write
from billing_console.i18n import N_

if TYPE_CHECKING:
    from typer.core import TyperGroup


def root(
    context: typer.Context,
    database: Annotated[
        str | None, typer.Option("--database", metavar="URL", help=N_("The ledger: sqlite:////path or postgresql://…"))
    ] = None,
    read_database: Annotated[
        str | None,
        typer.Option(
            "--read-database", metavar="URL", help=N_("A replica that console and API read from: postgresql://…")
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help=N_("The settings file, in TOML."))
    ] = None,
    lang: Annotated[
        Literal["en", "zh"] | None, typer.Option("--lang", help=N_("The language; without it the locale decides."))
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help=N_("Look, but change nothing."))] = False,
    plain: Annotated[bool, typer.Option("--ascii", help=N_("Draw the console with plain ASCII alone."))] = False,
    acting_as: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help=N_("Whom a shared account acts as; for forced commands alone.")),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help=N_("Show the version."))] = False,
) -> None:
    """Keep what the commands need; without a command open the console."""
    tried = context.invoked_subcommand or "console"
    options = {
        "database_url": database,
        "read_database_url": read_database,
        "lang": lang,
        "ascii": plain or None,
    }
    chosen = Root(options, config, read_only, acting_as, tried)
    context.obj = chosen
    if version:
        write(f"{NAME} {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise typer.Exit(open_console(chosen))


def command(arguments: Sequence[str] = ("--help",)) -> TyperGroup:
    """Return what reads this command line: with the one command it names, with none for the console, or with all."""
    program = typer.Typer(
        name=NAME,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help=N_("Operations console for prepaid AI billing. Without a command it opens the console."),
    )
    program.callback(invoke_without_command=True)(root)
    named = command_named(arguments)
    if named in GROUPS or named in COMMANDS:
        add_commands(program, named)
    elif named is not None or asks_for_help(arguments):
        add_commands(program)
    found = typer.main.get_command(program)
    translate(found)
    return found  # type: ignore[return-value]
