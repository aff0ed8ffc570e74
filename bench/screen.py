"""What the console sends to a terminal of 120x40 and how soon, beside other programs, in one run.

    python -m bench.screen --database URL [--peer 'htop:htop:down=\\x1b[B'] [--idle 30]

Bytes: on every tab, and with an input focused, while nobody touches a key; for one row down, a tab, a dialog.
Milliseconds: from a key to the end of what it paints. A program is done once it has been still for a moment, which
is taken off again. Prints Markdown tables for docs/performance.md.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import shlex
import signal
import statistics
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STILL = 0.4
"""Seconds without a byte after which a program is done with a key."""

DOWN = "\x1b[B"
ESCAPE = "\x1b"


class Screen:
    """A program in a terminal, and what it sends there."""

    def __init__(self, argv: list[str]) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
            os.execvpe(argv[0], argv, {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "COLORTERM": ""})

    def quiet(self, seconds: float = STILL, longest: float = 60) -> tuple[int, float]:
        """Read until nothing came for so long; return how many bytes came, and seconds until the last of them."""
        began = last = time.perf_counter()
        count = 0
        while time.perf_counter() - began < longest:
            if not select.select([self.terminal], [], [], seconds)[0]:
                break
            count += len(os.read(self.terminal, 1 << 16))
            last = time.perf_counter()
        return count, last - began

    def idle(self, seconds: float) -> int:
        """Count the bytes of so many seconds."""
        until = time.perf_counter() + seconds
        count = 0
        while (left := until - time.perf_counter()) > 0:
            if select.select([self.terminal], [], [], left)[0]:
                count += len(os.read(self.terminal, 1 << 16))
        return count

    def press(self, keys: str, longest: float = 60) -> tuple[int, float]:
        """Send keys at once; return the bytes they brought and the seconds until the last one."""
        os.write(self.terminal, keys.encode())
        return self.quiet(longest=longest)

    def close(self) -> None:
        """Kill the program."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@contextmanager
def running(argv: list[str]) -> Iterator[Screen]:
    """Run a program until it is still, and kill it at the end."""
    screen = Screen(argv)
    try:
        screen.quiet(3)
        yield screen
    finally:
        screen.close()


def idle_bytes(console: list[str], seconds: float) -> None:
    """Print what every tab, and a form, sends while nobody does anything."""
    print(f"\n| idle for {seconds:.0f} s | bytes |\n|---|---|")
    with running(console) as screen:
        for key, name in zip("123456", ("usage", "costs", "pools", "quotas", "models", "pricing"), strict=True):
            screen.press(key)
            screen.quiet(2)
            print(f"| {name} | {screen.idle(seconds):,} |")
        screen.press("3")
        screen.press("c")
        screen.quiet(2)
        print(f"| a form with an input focused | {screen.idle(seconds):,} |")


KEYS = (
    ("one row down", DOWN, ""),
    ("a page down", "\x1b[6~", ""),
    ("to the end and back", "G", "g"),
    ("another tab", "3", "1"),
    ("a dialog", "\r", ESCAPE),
    ("failed calls only", "f", "f"),
)
"""What is measured, the keys of it, and the keys that lead back."""


def keys(console: list[str], rounds: int) -> None:
    """Print bytes and milliseconds of keys on the usage tab."""
    print(f"\n| usage records, {rounds} times each | bytes, median | p50 ms | p95 ms |\n|---|---|---|---|")
    with running(console) as screen:
        screen.press("1")
        for name, there, back in KEYS:
            seen = []
            for _number in range(rounds):
                seen.append(screen.press(there))
                if back:
                    screen.press(back)
            times = sorted(second * 1000 for _count, second in seen)
            p95 = times[min(len(times) - 1, int(len(times) * 0.95))]
            count = statistics.median(count for count, _second in seen)
            print(f"| {name} | {count:,.0f} | {statistics.median(times):.0f} | {p95:.0f} |", flush=True)


def peer(spelled: str, idle: float, rounds: int) -> None:
    """Print the same of another program: NAME:COMMAND:KEYS, where the keys move down by a row."""
    name, rest = spelled.split(":", 1)
    command, down = rest.rsplit(":", 1)
    with running(shlex.split(command)) as screen:
        still = screen.idle(idle)
        moved = [screen.press(down.encode().decode("unicode_escape"), longest=3) for _number in range(rounds)]
    times = sorted(second * 1000 for _count, second in moved)
    count = statistics.median(count for count, _second in moved)
    print(f"| {name} | {still:,} | {count:,.0f} | {statistics.median(times):.0f} |", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--idle", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    console = [str(Path(sys.executable).parent / "billing-console"), "--database", options.database, "--lang", "en"]
    keys(console, options.rounds)
    print(f"\n| beside others | idle {options.idle:.0f} s, bytes | one row down, bytes | ms |\n|---|---|---|---|")
    for spelled in (f"billing-console:{shlex.join(console)}:{DOWN}", *options.peer):
        peer(spelled, options.idle, options.rounds)
    idle_bytes(console, options.idle)


if __name__ == "__main__":
    main()
