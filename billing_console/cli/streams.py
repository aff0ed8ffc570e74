"""The standard streams as commands need them under cron: UTF-8 whatever the locale, and never silently closed."""

from __future__ import annotations

import io
import os
import sys


def prepare() -> None:
    """Make the streams speak UTF-8 and stand in for those that are closed.

    A closed stdout gets a pipe that nobody reads: whoever writes to it finds out, whoever has nothing to say does not.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY), encoding="utf-8")
    if sys.stdout is None:
        reader, writer = os.pipe()
        os.close(reader)
        sys.stdout = os.fdopen(writer, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace" if stream is not sys.stdin else "replace")


def release() -> None:
    """Write what is still buffered, or send it nowhere: Python would complain of it once more and end with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
