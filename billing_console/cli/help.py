"""The help of every command in the language chosen."""

from __future__ import annotations

import gettext
import os
from typing import Any

import typer

from billing_console.i18n import DOMAIN, LOCALE_DIR, N_, _, active_locale

TYPERS_OWN = (
    N_("Options"),
    N_("Commands"),
    N_("Arguments"),
    N_("required"),
    N_("default: {default}"),
    N_("Show this message and exit."),
)
"""Words that Typer brings along; all but the last it looks up itself, in the text domain of the process."""


def translate(command: Any) -> None:
    """Translate the help of a command, its parameters and its subcommands, and let Typer find its own words.

    They were marked where they are defined, before the language was known.
    """
    gettext.bindtextdomain(DOMAIN, str(LOCALE_DIR))
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = active_locale()
    context = command.context_class
    if not issubclass(context.formatter_class, _UsageLine):
        context.formatter_class = type("Formatter", (_UsageLine, context.formatter_class), {})
    _translate(command)


class _UsageLine:
    """Begins the usage line in the language chosen; goes before the formatter that Typer brings along."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the line; Typer itself gives no prefix."""
        super().write_usage(prog, args, prefix or _("Usage: "))  # type: ignore[misc]


def _translate(command: Any) -> None:
    if command.help:
        command.help = _(command.help)
    for parameter in (*command.params, command.get_help_option(typer.Context(command))):
        if getattr(parameter, "help", None):
            parameter.help = _(parameter.help)
    for subcommand in getattr(command, "commands", {}).values():
        _translate(subcommand)
