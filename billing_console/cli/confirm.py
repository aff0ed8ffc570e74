"""Ask before money moves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from billing_console.errors import InvalidInput, Refused
from billing_console.i18n import _
from billing_console.text import clean

if TYPE_CHECKING:
    from billing_console.services.pools import BalanceChange


def confirm(question: str) -> None:
    """Ask on the terminal and return for a yes; raise Refused for anything else, InvalidInput without a terminal.

    The question goes to stderr, because stdout may be a file.
    """
    if not on_a_terminal():
        raise InvalidInput(
            _("This moves money and there is no terminal to ask on."), _("Add --yes to do it without asking.")
        )
    sys.stderr.write(f"{clean(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused(_("Nothing was changed."))


def needs_approval(change: BalanceChange) -> str:
    """Return what to add to a question about a change that another person must approve."""
    return " " + _("It will wait for another admin's approval.") if change.needs_approval else ""


def on_a_terminal() -> bool:
    """Tell whether a person can be asked."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
