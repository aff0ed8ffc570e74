"""A real terminal with the program in it: keys in, bytes and the screen they paint out."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyte
from wcwidth import wcwidth

from tests.commands import PATIENCE_SECONDS

MODE = re.compile(rb"\x1b\[\?([\d;]+)([hl])")
QUERY = re.compile(rb"\x1b\[(?:\?[\d;]*\$p|[<>=?][\d;]*u|>[\d;]*m)")
"""Questions about a terminal's abilities and its key protocols, which pyte would paint as text."""

USUAL = {7, 25}
"""Private modes that are on in a fresh terminal: lines wrap, the cursor shows."""


class Terminal:
    """The program in a terminal of its own, as the leader of its session; `controlling`: it is told of a hang-up."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
        controlling: bool = True,
    ) -> None:
        columns, rows = size
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self.master, slave = os.openpty()
        self._poll = select.poll()
        self._poll.register(self.master, select.POLLIN)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = self.attributes
        self.process = subprocess.Popen(
            [sys.executable, "-m", "billing_console", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_take_terminal if controlling else None,
        )
        os.close(slave)

    @property
    def attributes(self) -> list[Any]:
        """How the terminal driver treats input and output now."""
        return termios.tcgetattr(self.master)

    @property
    def screen(self) -> str:
        """What a person sees, as one text."""
        return "\n".join(painted(self._screen))

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def until(self, text: str) -> str:
        """Read until the screen shows a text, and return the screen."""
        self._read_while(lambda: text not in self.screen)
        assert text in self.screen, f"{text!r} is not on the screen:\n{self.screen}"
        return self.screen

    def until_gone(self, text: str) -> None:
        """Read until the screen no longer shows a text."""
        self._read_while(lambda: text in self.screen)
        assert text not in self.screen, f"{text!r} is still on the screen:\n{self.screen}"

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Read until the program ends, and return its exit code: negative for a signal that killed it."""
        since = time.monotonic()
        self._read_while(lambda: True, seconds)
        return self.process.wait(max(0.1, seconds - (time.monotonic() - since)))

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size, as dragging its corner does."""
        self._screen.resize(rows, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self) -> None:
        """Close the terminal under the program, as a lost connection does."""
        os.close(self.master)
        self.master = -1

    def modes_left_on(self) -> set[int]:
        """The private modes (alternate screen, mouse, paste …) that the bytes so far leave other than they began."""
        on = set(USUAL)
        for modes, switch in MODE.findall(self.raw):
            for mode in map(int, modes.split(b";")):
                (on.add if switch == b"h" else on.discard)(mode)
        return on ^ USUAL

    def modes_used(self) -> set[int]:
        """The private modes that were ever switched on."""
        return {int(mode) for modes, switch in MODE.findall(self.raw) if switch == b"h" for mode in modes.split(b";")}

    def close(self) -> None:
        """End the program if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.master >= 0:
            os.close(self.master)

    def _read_while(self, wanted: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while wanted():
            patience = deadline - time.monotonic()
            if patience <= 0 or not self._poll.poll(patience * 1000):
                raise AssertionError(f"nothing more came:\n{self.screen}")
            try:
                data = os.read(self.master, 65536)
            except OSError:  # nobody holds the other end any more
                return
            if not data:
                return
            self.raw += data
            self._stream.feed(QUERY.sub(b"", data))


def painted(screen: pyte.Screen) -> list[str]:
    """The lines of a screen; half of a wide character whose other half was painted over is blank, as in a terminal.

    `Screen.display` fails on such a half, and a program that is read in the middle of a repaint leaves some.
    """
    rows = ([screen.buffer[y][x].data for x in range(screen.columns)] for y in range(screen.lines))
    return ["".join(_characters(row)) for row in rows]


def _characters(cells: list[str]) -> Iterator[str]:
    follows_wide = False
    for cell, right in zip(cells, [*cells[1:], ""], strict=True):
        is_wide = cell != "" and wcwidth(cell[0]) == 2
        if cell == "":
            yield "" if follows_wide else " "
        else:
            yield " " if is_wide and right else cell
        follows_wide = is_wide and not right


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(
    *arguments: str, size: tuple[int, int] = (80, 24), controlling: bool = True, **environment: str
) -> Iterator[Terminal]:
    """The program in a terminal, with the test's environment and the variables given."""
    variables = {**os.environ, "TERM": "xterm-256color", **environment}
    opened = Terminal(*arguments, environment=variables, size=size, controlling=controlling)
    try:
        yield opened
    finally:
        opened.close()
