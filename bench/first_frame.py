"""First frame of the console against a bare Textual app, in a real terminal of 120x40, run by turns.

    python -m bench.first_frame [--runs 9] [--database URL]

Prints Markdown rows for docs/performance.md. The bare app has a table, tabs and a footer and imports nothing of ours.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import pty
import select
import signal
import statistics
import struct
import sys
import termios
import time
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


def seconds_until(argv: list[str], marks: list[bytes], environment: dict[str, str]) -> list[float]:
    """Start a program in a terminal and return the seconds until each mark was painted."""
    started = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        os.execve(argv[0], argv, environment)
    seen = b""
    times: list[float] = []
    try:
        while len(times) < len(marks):
            if not select.select([terminal], [], [], 30)[0]:
                raise TimeoutError(f"{argv} did not paint {marks[len(times)]!r}")
            seen += os.read(terminal, 65536)
            while len(times) < len(marks) and marks[len(times)] in seen:
                times.append(time.perf_counter() - started)
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
    options = parser.parse_args()
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "COLUMNS": "120", "LINES": "40"}
    console = [str(Path(sys.executable).parent / "billing-console"), "--database", options.database, "--lang", "en"]
    bare, frame, data = [], [], []
    for number in range(options.runs + 1):
        one = seconds_until([sys.executable, "-c", BARE], [b"value 1"], environment)
        ours = seconds_until(console, [b"Usage records", b"newest first"], environment)
        if number:
            bare.append(one[0])
            frame.append(ours[0])
            data.append(ours[1])
    base = statistics.median(bare)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.runs} runs")
    print("| | median ms | of the bare app |\n|---|---|---|")
    for name, times in (
        ("bare Textual app with one table", bare),
        ("console: first frame", frame),
        ("console: data", data),
    ):
        middle = statistics.median(times)
        print(f"| {name} | {middle * 1000:.0f} | {middle / base:.2f} |")


if __name__ == "__main__":
    main()
