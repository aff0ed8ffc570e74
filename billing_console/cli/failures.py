"""How a command that fails ends: one line that says what is wrong and what to do, an exit code, never a traceback."""

from __future__ import annotations

import errno
import logging
import re
from typing import Any

import typer

from billing_console.errors import BillingError, ExitCode
from billing_console.i18n import _

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells report it."""

_NO_COMMAND = re.compile(r"No such command (.*?)\.(?: Did you mean (.*)\?)?", re.DOTALL)
_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((.*)\)", re.DOTALL)
"""What Typer says where it has no kind of error of its own."""


def failure_of(error: BaseException) -> tuple[int, str]:
    """Return the exit code for an error and the words for stderr; what was not foreseen goes to the log file.

    There are no words for a reader of stdout that has gone away, as `head` does.
    """
    if isinstance(error, BillingError):
        return error.exit_code, f"billing-console: {error}"
    if isinstance(error, typer.TyperException):
        return ExitCode.USAGE, f"billing-console: {_wrong_usage(error)}"
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return INTERRUPTED, "billing-console: " + _("Interrupted.")
    if _nobody_reads(error):
        return ExitCode.UNKNOWN, ""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        words = _("The output could not be written: %(reason)s.") % {"reason": error.strerror}
        return ExitCode.UNKNOWN, f"billing-console: {words}"
    return ExitCode.UNKNOWN, _crash(error)


def without_name(words: str) -> str:
    """Return the words of a failure for a line that says by itself whose it is."""
    return words.removeprefix("billing-console: ")


def _nobody_reads(error: BaseException) -> bool:
    """Recognise a closed pipe, also where Typer has made an exit of it."""
    return isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError)


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
    elif kind == "BadOptionUsage":
        takes_one = "requires" in error.message
        words = (_("%(name)s needs a value.") if takes_one else _("%(name)s takes no value.")) % {
            "name": error.option_name
        }
    else:
        words = _by_its_words(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "billing-console"
    return f"{words} " + _("See: %(command)s --help") % {"command": path}


def _by_its_words(error: Any) -> str:
    if unknown := _NO_COMMAND.fullmatch(error.message):
        words = _("There is no command %(name)s.") % {"name": unknown[1].strip("'")}
        if unknown[2]:
            words += " " + _("Did you mean %(near)s?") % {"near": unknown[2].replace("'", "")}
        return words
    if extra := _EXTRA.fullmatch(error.message):
        return _("There is no use here for: %(arguments)s.") % {"arguments": extra[1]}
    return " ".join(error.format_message().split())


def _bad_value(error: Any) -> str:
    name = error.param.get_error_hint().replace("'", "")
    choices = getattr(getattr(error.param, "type_descriptor", None), "choices", None)
    if choices:
        return _("%(name)s takes one of: %(choices)s.") % {
            "name": name,
            "choices": ", ".join(str(choice) for choice in choices),
        }
    if getattr(error.param.type_descriptor, "annotation", None) is int:
        least = getattr(error.param.type_descriptor.parameter_info, "min", None)
        if least is None:
            return _("%(name)s takes a whole number.") % {"name": name}
        return _("%(name)s takes a whole number from %(least)d on.") % {"name": name, "least": least}
    return _("%(name)s has a wrong value: %(reason)s.") % {"name": name, "reason": error.message.rstrip(".")}


def _crash(error: BaseException) -> str:
    from billing_console.terminal import crash_line, log_to_file

    log_file = log_to_file()
    log.error("unforeseen failure", exc_info=error)
    return crash_line(log_file)
