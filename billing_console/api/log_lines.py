"""The log on its way to stderr: whoever reads it slowly, or not at all, never keeps a request waiting."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time

from billing_console.api.frame import JsonLines

MOST_LINES = 10_000
"""Lines that wait to be written; beyond them new ones are left out, and counted."""

LAST_SECONDS = 2.0
"""How long the last lines may take when the server ends."""


class LogLines(logging.Handler):
    """Writes each record as a line of JSON from a thread of its own."""

    def __init__(self, descriptor: int, *, most: int = MOST_LINES) -> None:
        """Write to an open file, a pipe or a terminal."""
        super().__init__()
        self.setFormatter(JsonLines())
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes] = queue.Queue(most)
        self._left_out = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written soon; leave it out where too many wait."""
        try:
            if self._left_out:
                self._lines.put_nowait(self._spelled(_left_out(self._left_out)))
                self._left_out = 0
            self._lines.put_nowait(self._spelled(record))
        except queue.Full:
            self._left_out += 1

    def finish(self) -> None:
        """Wait until all is written, for a moment only."""
        ends = time.monotonic() + LAST_SECONDS
        with self._lines.all_tasks_done:
            while self._lines.unfinished_tasks and (patience := ends - time.monotonic()) > 0:
                self._lines.all_tasks_done.wait(patience)

    def _spelled(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode()

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                pass  # Nobody reads it any more; there is no other place to say so.
            finally:
                self._lines.task_done()


def _left_out(count: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": __name__, "levelname": "WARNING", "msg": "lines of the log were left out", "fields": {"count": count}}
    )
