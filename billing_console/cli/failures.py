"""How a command that fails ends: one line that says what is wrong and what to do, an exit code, never a traceback."""

from __future__ import annotations

import logging
from typing import Any

import typer

from billing_console.errors import BillingError, ExitCode
from billing_console.i18n import _

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells report it."""


def failure_of(error: BaseException) -> tuple[int, str]:
    """Return the exit code for an error and the words for stderr; what was not foreseen goes to the log file."""
    if isinstance(error, BillingError):
        return error.exit_code, f"billing-console: {error}"
    if isinstance(error, typer.TyperException):
        return ExitCode.USAGE, f"billing-console: {_wrong_usage(error)}"
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return INTERRUPTED, "billing-console: " + _("Interrupted.")
    if isinstance(error, BrokenPipeError):
        return ExitCode.UNKNOWN, ""
    return ExitCode.UNKNOWN, _crash(error)


def _wrong_usage(error: Any) -> str:
    """Spell Typer's error in the language chosen; Typer's own words stand in for those of rarer kinds."""
    kind = type(error).__name__
    if kind == "NoSuchOption":
        words = _("There is no option %(name)s.") % {"name": error.option_name}
        if error.possibilities:
            words += " " + _("Did you mean %(near)s?") % {"near": ", ".join(sorted(error.possibilities))}
    elif kind == "MissingParameter" and error.param is not None:
        words = _("%(name)s is missing.") % {"name": error.param.get_error_hint().strip("'")}
    elif kind == "BadParameter" and error.param is not None:
        words = _bad_value(error)
    else:
        words = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "billing-console"
    return f"{words} " + _("See: %(command)s --help") % {"command": path}


def _bad_value(error: Any) -> str:
    name = error.param.get_error_hint().replace("'", "")
    choices = getattr(getattr(error.param, "type_descriptor", None), "choices", None)
    if choices:
        return _("%(name)s takes one of: %(choices)s.") % {
            "name": name,
            "choices": ", ".join(str(choice) for choice in choices),
        }
    return _("%(name)s has a wrong value: %(reason)s.") % {"name": name, "reason": error.message.rstrip(".")}


def _crash(error: BaseException) -> str:
    from billing_console.terminal import crash_line, log_to_file

    log_file = log_to_file()
    log.error("unforeseen failure", exc_info=error)
    return crash_line(log_file)
