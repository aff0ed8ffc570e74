"""First frame of the console against a bare Textual app, in a real terminal of 120x40, run by turns.

    python -m bench.first_frame --database URL [--runs 9] [--peer 'harlequin:harlequin -a sqlite FILE:Query Editor']

Prints Markdown rows for docs/performance.md. The bare app has a table and a footer and imports nothing of ours. The
pools are on the screen with their banner after the key 3, pressed as soon as there is a frame. A peer is
NAME:COMMAND:MARK, where the mark is a text of its first frame.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import pty
import select
import shlex
import signal
import statistics
import struct
import sys
import termios
import time
from collections import defaultdict
from pathlib import Path

BARE = """
from textual.app import App
from textual.widgets import DataTable, Footer
class Bare(App):
    BINDINGS = [("q", "quit", "Quit")]
    def compose(self):
        yield DataTable()
        yield Footer()
    def on_mount(self):
        table = self.query_one(DataTable)
        table.add_columns("time", "user", "model", "cost", "status")
        for number in range(50):
            table.add_row(*(f"value {number}" for _ in range(5)))
Bare().run(mouse=False)
"""


BARE_NAME = "bare Textual app with one table"
POOLS = [b"Usage records", b"available \xc2\xa5"]
"""Texts of the first frame, and of the summary under the pools."""


def seconds_until(argv: list[str], marks: list[bytes], environment: dict[str, str], key: bytes = b"") -> list[float]:
    """Start a program in a terminal and return the seconds until each mark was painted; press `key` at the first."""
    started = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        os.execvpe(argv[0], argv, environment)
    seen = b""
    times: list[float] = []
    try:
        while len(times) < len(marks):
            if not select.select([terminal], [], [], 30)[0]:
                raise TimeoutError(f"{argv} did not paint {marks[len(times)]!r}")
            seen += os.read(terminal, 65536)
            while len(times) < len(marks) and marks[len(times)] in seen:
                times.append(time.perf_counter() - started)
                if len(times) == 1 and key:
                    os.write(terminal, key)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return times


def main() -> None:
    """Run both programs by turns and print medians and the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--database", required=True)
    parser.add_argument("--peer", action="append", default=[])
    options = parser.parse_args()
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "COLUMNS": "120", "LINES": "40"}
    console = [str(Path(sys.executable).parent / "billing-console"), "--database", options.database, "--lang", "en"]
    times: dict[str, list[float]] = defaultdict(list)
    for _number in range(options.runs + 1):
        times[BARE_NAME] += seconds_until([sys.executable, "-c", BARE], [b"value 1"], environment)
        frame, data = seconds_until(console, [b"Usage records", b"newest first"], environment)
        times["console: first frame"].append(frame)
        times["console: first page of data"].append(data)
        times["console: pools and banner"].append(seconds_until(console, POOLS, environment, b"3")[1])
        for spelled in options.peer:
            name, command, mark = spelled.split(":", 2)
            times[name] += seconds_until(shlex.split(command), [mark.encode()], environment)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.runs} runs")
    print("| | median ms | of the bare app |\n|---|---|---|")
    # The first run of each fills the file caches.
    middles = {name: statistics.median(seen[1:]) for name, seen in times.items()}
    for name, middle in middles.items():
        print(f"| {name} | {middle * 1000:.0f} | {middle / middles[BARE_NAME]:.2f} |")


if __name__ == "__main__":
    main()
