"""The command line: what it names, and how each command ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from billing_console.cli.beforehand import (
    NAME,
    asks_for_help,
    console_options,
    language_and_file,
    means_check_pools,
)
from billing_console.cli.streams import prepare, release
from billing_console.errors import ExitCode
from billing_console.i18n import use_language
from billing_console.settings_file import chosen_language


def main() -> None:
    """Run the command line of this process and end it with the exit code of DESIGN.md, section 6."""
    prepare()
    code = run(sys.argv[1:])
    release()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; what went wrong is one line on stderr."""
    lang, config = language_and_file(arguments)
    use_language(chosen_language(lang, config))
    try:
        code = _carried_out(arguments)
    except BaseException as error:
        from billing_console.cli.failures import failure_of, without_name
        from billing_console.cli.output import say

        code, words = failure_of(error)
        if not words:
            return code
        if means_check_pools(arguments):
            from billing_console.cli.check import fail

            return fail(arguments, without_name(words))
        say(words)
        return code
    if means_check_pools(arguments) and asks_for_help(arguments):
        return ExitCode.UNKNOWN  # nothing was checked then (Monitoring Plugins guidelines)
    return code


def _carried_out(arguments: Sequence[str]) -> int:
    """Do what the line says; the console's own lines need no Typer, whose import takes a third of its start."""
    options = console_options(arguments)
    if options is not None:
        from billing_console.cli.console import open_console
        from billing_console.cli.context import Root

        return open_console(Root.of(options))
    from billing_console.cli.output import flush
    from billing_console.cli.program import command

    code = command(arguments).main(args=list(arguments), prog_name=NAME, standalone_mode=False)
    flush()
    return int(code or 0)
