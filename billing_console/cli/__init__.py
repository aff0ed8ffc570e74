"""The command line: the options before the command, the commands, and how each of them ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from billing_console import __version__
from billing_console.cli import (
    alerts,
    approvals,
    audit,
    backup,
    budgets,
    check,
    costs,
    ledger,
    limits,
    models,
    operators,
    pools,
    prices,
    quotas,
    serve,
    setup,
    tokens,
    usage,
    usage_import,
)
from billing_console.cli.context import Root
from billing_console.cli.failures import failure_of, without_name
from billing_console.cli.help import translate
from billing_console.cli.output import flush, say, write
from billing_console.cli.streams import prepare, release
from billing_console.errors import ExitCode
from billing_console.i18n import N_, use_language
from billing_console.settings_file import chosen_language

if TYPE_CHECKING:
    from typer.core import TyperGroup

NAME = "billing-console"
WITH_VALUE = ("--database", "--config", "--lang", "--as")
"""The options before the command that take a value; what follows one of them is no command."""

app = typer.Typer(
    name=NAME,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=N_("Operations console for prepaid AI billing. Without a command it opens the console."),
)
for group in (usage, pools, alerts, quotas, models, prices, operators, limits, budgets, approvals, audit, tokens):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])
for name, command, words in (
    (check.NAME, check.check_pools, N_("Check the pools; exit 0 sufficient, 1 some low, 2 some depleted, 3 unknown.")),
    ("costs", costs.costs, N_("List cost statistics, by default of the last 30 days.")),
    ("demo", setup.demo, N_("Open the console on a demo ledger of its own.")),
    ("init", setup.init, N_("Create the ledger's database.")),
    ("upgrade", setup.upgrade, N_("Bring an older database up to date.")),
    ("reconcile", ledger.reconcile, N_("Compare every balance and statistic with the facts.")),
    ("settle", ledger.settle, N_("Count the usage that a gateway inserted by itself.")),
    ("serve", serve.serve, N_("Answer the HTTP API until it is stopped.")),
    ("backup", backup.backup, N_("Write the ledger to a new file, while others work on.")),
    ("restore", backup.restore, N_("Put a backup to a database that holds no ledger yet.")),
):
    app.command(name, help=words)(command)
usage.app.command("import", help=N_("Import usage from CSV or JSONL files, each row once."))(usage_import.import_usage)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    database: Annotated[
        str | None, typer.Option("--database", metavar="URL", help=N_("The ledger: sqlite:////path or postgresql://…"))
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
    options = {"database_url": database, "lang": lang, "ascii": plain or None}
    chosen = Root(options, config, read_only, acting_as, tried)
    context.obj = chosen
    if version:
        write(f"{NAME} {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise typer.Exit(setup.open_console(chosen))


def main() -> None:
    """Run the command line of this process and end it with the exit code of DESIGN.md, section 6."""
    prepare()
    code = run(sys.argv[1:])
    release()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; what went wrong is one line on stderr."""
    lang, config = _beforehand(arguments)
    use_language(chosen_language(lang, config))
    try:
        code = _command().main(args=list(arguments), prog_name=NAME, standalone_mode=False)
        flush()
    except BaseException as error:
        code, words = failure_of(error)
        if not words:
            return code
        if check.wanted(arguments, WITH_VALUE):
            return check.fail(arguments, without_name(words))
        say(words)
        return code
    shown = int(code or 0)
    if check.wanted(arguments, WITH_VALUE) and _asks_for_help(arguments):
        return ExitCode.UNKNOWN
    return shown


def _command() -> TyperGroup:
    from typer.main import get_command

    command = get_command(app)
    translate(command)
    return command  # type: ignore[return-value]


def _asks_for_help(arguments: Sequence[str]) -> bool:
    """Tell whether only help was asked for: nothing was checked then (Monitoring Plugins guidelines)."""
    return "--help" in arguments or "--version" in arguments


def _beforehand(arguments: Sequence[str]) -> tuple[str | None, Path | None]:
    """Find language and settings file before the command line is read: its errors are said in that language too."""
    found: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in ("--lang", "--config"):
            following = arguments[position + 1] if position + 1 < len(arguments) else ""
            found[option] = value if equals else following
    config = found.get("--config")
    return found.get("--lang"), Path(config) if config else None
