"""What is known of a command line before it is read: its language, its settings file and its command."""

from __future__ import annotations

import getopt
from collections.abc import Sequence
from pathlib import Path

from billing_console.i18n import LANGUAGES

NAME = "billing-console"
CHECK_POOLS = "check-pools"
WITH_VALUE = ("--database", "--read-database", "--config", "--lang", "--as")
"""The options before the command that take a value; what follows one of them is no command."""

FLAGS = ("--read-only", "--ascii")
"""The others, but for those that ask for a text."""


def language_and_file(arguments: Sequence[str]) -> tuple[str | None, Path | None]:
    """Find language and settings file: errors in the command line are said in that language too."""
    found: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in ("--lang", "--config"):
            following = arguments[position + 1] if position + 1 < len(arguments) else ""
            found[option] = value if equals else following
    config = found.get("--config")
    return found.get("--lang"), Path(config) if config else None


def console_options(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return the options of a line that opens the console and is right, None for any other line.

    What is not plainly right is left to Typer, which says what is wrong with it.
    """
    names = [*(f"{option[2:]}=" for option in WITH_VALUE), *(option[2:] for option in FLAGS)]
    try:
        found, rest = getopt.getopt(list(arguments), "", names)
    except getopt.GetoptError:
        return None
    options = dict(found)
    whole = all(argument.partition("=")[0] in (*WITH_VALUE, *FLAGS) for argument in arguments if argument[:2] == "--")
    if rest or not whole or options.get("--lang") not in (None, *LANGUAGES):
        return None
    return options


def command_named(arguments: Sequence[str]) -> str | None:
    """Return the word that stands where the command does, None if there is none."""
    rest = iter(arguments)
    for argument in rest:
        if argument in WITH_VALUE:
            next(rest, None)
        elif not argument.startswith("-"):
            return argument
    return None


def means_check_pools(arguments: Sequence[str]) -> bool:
    """Tell whether the command line means check-pools, also one that is wrong before or after the command."""
    named = command_named(arguments)
    return named == CHECK_POOLS or (named is None and CHECK_POOLS in arguments)


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Tell whether only help was asked for."""
    return "--help" in arguments or "--version" in arguments
