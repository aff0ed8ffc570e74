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
    plain = typer.Context.formatter_class

    class Formatter(plain):  # type: ignore[valid-type, misc]
        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            super().write_usage(prog, args, prefix or _("Usage: "))

    typer.Context.formatter_class = Formatter
    _translate(command)


def _translate(command: Any) -> None:
    if command.help:
        command.help = _(command.help)
    for parameter in (*command.params, command.get_help_option(typer.Context(command))):
        if getattr(parameter, "help", None):
            parameter.help = _(parameter.help)
    for subcommand in getattr(command, "commands", {}).values():
        _translate(subcommand)
