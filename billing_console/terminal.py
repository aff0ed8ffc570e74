"""Starting the console: refuse what is no terminal, prepare the environment, and never leave a traceback behind."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from billing_console.errors import ExitCode, InvalidInput, Unavailable
from billing_console.i18n import _

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What the console needs to know; nothing here imports the database."""

    open: Callable[[], Ledger]
    """Opens the ledger; called in a thread after the first paint, and again after a failure."""

    label: str
    """The database as the title line names it, without a password."""

    read_only: bool = False
    refresh_seconds: float = 5.0
    """How often the visible tab and the alert banner look at the database; at most 5."""

    check_interval: timedelta = timedelta(minutes=5)
    """How often the pools are checked (seed, Alert monitoring)."""

    theme: str = "dark"
    ascii: bool = False
    """Draw with plain ASCII alone."""

    keys: Mapping[str, str] = field(default_factory=dict)
    """Other keys, by the ids of bindings."""


def run_console(options: ConsoleOptions) -> int:
    """Run the console until the person leaves and return the exit code.

    Raises Unavailable for keys that cannot be, and InvalidInput for a read replica that is none of this ledger.
    """
    if not has_terminal():
        return ExitCode.USAGE
    log_file = log_to_file()
    _prepare_environment()
    gc.disable()  # a start makes nothing but what stays; enabled when the ledger has been opened
    try:
        from billing_console.app import BillingConsoleApp
        from billing_console.way_out import WayOut

        way_out = WayOut()
        app = BillingConsoleApp(options, log_file=log_file, leaving=way_out.end_soon)
        way_out.watch(app.leave)
        app.run(mouse=False)
        if app.wrong_usage is not None:
            raise app.wrong_usage
    except (Unavailable, InvalidInput):
        raise
    except Exception:
        log.exception("the console could not run")
        print(crash_line(log_file), file=sys.stderr)
        return ExitCode.UNKNOWN
    return app.return_code or 0


def crash_line(log_file: Path | None) -> str:
    """Return the one line a crash leaves on the terminal."""
    if log_file is None:
        return _("billing-console stopped because of an error in the program; no log file could be written.")
    return _("billing-console stopped because of an error in the program; the details are in %(file)s") % {
        "file": log_file
    }


def has_terminal() -> bool:
    """Tell whether the console can be shown, and say so where it cannot."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    dumb = os.environ.get("TERM", "") in ("", "dumb")
    if all(stream is not None and stream.isatty() for stream in streams) and not dumb:
        return True
    print(_("billing-console: the console needs a terminal."), end=" ", file=sys.stderr)
    print(_("Without one, use the commands; see: billing-console --help"), file=sys.stderr)
    return False


def _prepare_environment() -> None:
    """Set what Textual reads once, when it is imported: no animations, and few frames over a slow line.

    The terminal alone knows its size: variables that a shell left would be believed instead, by dialogs only.
    """
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    os.environ["TEXTUAL_ANIMATIONS"] = "none"
    os.environ.setdefault("ESCDELAY", "200" if "SSH_CONNECTION" in os.environ else "100")
    if "SSH_CONNECTION" in os.environ:
        os.environ.setdefault("TEXTUAL_FPS", "15")


def log_to_file() -> Path | None:
    """Send every log record to a file in the user's state directory: on the terminal it would spoil the screen."""
    root = logging.getLogger()
    try:
        path = platformdirs.user_state_path("billing-console", appauthor=False, ensure_exists=True) / "console.log"
        handler: logging.Handler = RotatingFileHandler(
            path, maxBytes=1_000_000, backupCount=2, delay=True, encoding="utf-8"
        )
        writable = os.access(path if path.exists() else path.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        root.addHandler(logging.NullHandler())
        return None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    return path
