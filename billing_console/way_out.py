"""Leaving in time: a signal, a closed terminal or `q` ends the process within two seconds, whatever it waits for."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress

LEAVE_SECONDS = 1.2
"""A query or a lock that is still waited for so long after the console was left is given up.

Nothing is lost: a change is one transaction, made whole or not at all.
"""

RESTORE = b"\x1b[?2004l\x1b[?7h\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""Paste, wrapping, keys, screen and cursor as they were before the console."""


class WayOut:
    """Watches for what ends the console, and sees to it that it does end."""

    def __init__(self) -> None:
        """Remember how the terminal is before the console changes it."""
        self._attributes = termios.tcgetattr(sys.stdin.fileno())
        self._begun = False

    def watch(self, leave: Callable[[int], None]) -> None:
        """Call `leave` with the exit code on SIGHUP and SIGTERM and when the terminal closes without a signal."""

        def on_signal(number: int, _frame: object) -> None:
            self.end_soon(128 + number)
            leave(128 + number)

        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, on_signal)
        threading.Thread(target=self._await_hangup, args=(leave,), daemon=True, name="hangup").start()

    def end_soon(self, code: int) -> None:
        """End the process with this code in LEAVE_SECONDS, if it has not ended by itself until then."""
        if not self._begun:
            self._begun = True
            timer = threading.Timer(LEAVE_SECONDS, self._end, (code,))
            timer.daemon = True
            timer.start()

    def _await_hangup(self, leave: Callable[[int], None]) -> None:
        """Wait until nobody holds the other end; Textual would read nothing from it for ever, as fast as it can."""
        terminal = select.poll()
        terminal.register(sys.stdin.fileno(), 0)
        terminal.poll()
        self.end_soon(128 + signal.SIGHUP)
        leave(128 + signal.SIGHUP)

    def _end(self, code: int) -> None:
        with suppress(termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._attributes)
        number = sys.stderr.fileno()
        with suppress(OSError):
            os.set_blocking(number, False)
            os.write(number, RESTORE)
            os.set_blocking(number, True)
        os._exit(code)
