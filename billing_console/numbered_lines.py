"""The lines of a file from outside: numbered, of bounded length, and whole even where they are not UTF-8."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any, BinaryIO

from billing_console.errors import Unavailable
from billing_console.i18n import _

MOST_CHARACTERS = 1_000_000
"""The longest line that is read; a longer one makes a bad row."""

MOST_AHEAD = 1_000_000
"""Characters after which no more lines are read ahead; memory stays bounded."""

BROKEN = (OSError, EOFError, zlib.error)
"""What reading a file raises when the disk, the pipe or the gzip in it is broken."""

_NOT_UTF_8 = re.compile("[\udc80-\udcff]")
"""What the bytes that are not UTF-8 are read as."""


def unreadable(name: str, error: Exception) -> Unavailable:
    """Build the error for a file that cannot be read."""
    reason = getattr(error, "strerror", None) or str(error)
    return Unavailable(
        _("%(file)s cannot be read: %(reason)s.") % {"file": name, "reason": reason.rstrip(".")},
        _("Check the path and its permissions, and that the file is whole."),
    )


def are_sound(lines: list[str]) -> bool:
    """Tell whether nothing is wrong with lines themselves, that is, whether none of them has a `Lines.problem`."""
    text = "".join(lines)
    return max(map(len, lines)) < MOST_CHARACTERS and (text.isascii() or not _NOT_UTF_8.search(text))


def _hashed(line: str) -> bytes:
    """Return what of a line goes into fingerprints: all but how it ends."""
    return line.rstrip("\r\n").encode("utf-8", "surrogateescape") + b"\n"


@dataclass(frozen=True, slots=True)
class Passed:
    """Lines that were passed together: the number of the `first`, and the hash of everything before it."""

    lines: list[str]
    first: int
    _before: Any

    def fingerprints(self) -> list[str]:
        """Return for each line what identifies everything up to and including it."""
        running = self._before.copy()
        found = []
        for line in self.lines:
            running.update(_hashed(line))
            found.append(_fingerprint(running))
        return found


def _fingerprint(running: Any) -> str:
    return str(running.hexdigest()[:32])


class Lines:
    """The lines of a file, counted, with a running hash of everything read; the lines of the current row are kept."""

    def __init__(self, raw: BinaryIO, name: str, newline: str) -> None:
        """Read UTF-8, a byte order mark or not; bytes that are not UTF-8 are marked, not lost."""
        self._text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline=newline)
        self._ahead: deque[str] = deque()
        self._hash = hashlib.sha256()
        self.name = name
        self.number = 0
        self.row: list[str] = []
        self.cut = False

    def __iter__(self) -> Lines:
        """Read on from here."""
        return self

    def __next__(self) -> str:
        """Return the next line; raise Unavailable if the file cannot be read to its end."""
        line = self._read()
        if not line:
            raise StopIteration
        if len(line) == MOST_CHARACTERS and not line.endswith("\n"):
            line = self._cut(line)
        self.number += 1
        self._hash.update(_hashed(line))
        self.row.append(line)
        return line

    def ahead(self, count: int) -> list[str]:
        """Return the lines that come next, up to `count` and fewer if they are long, without passing them.

        A line that is too long is there in parts. Raises Unavailable if the file cannot be read that far.
        """
        size = sum(map(len, self._ahead))
        try:
            while len(self._ahead) < count and size < MOST_AHEAD:
                line = self._text.readline(MOST_CHARACTERS)
                if not line:
                    break
                self._ahead.append(line)
                size += len(line)
        except BROKEN as error:
            raise unreadable(self.name, error) from None
        return list(self._ahead)

    def pass_over(self, lines: list[str]) -> Passed:
        """Pass the lines that `ahead` returned, all of them sound."""
        passed = Passed(lines, self.number + 1, self._hash.copy())
        self._ahead.clear()
        self.number += len(lines)
        self._hash.update(b"".join(map(_hashed, lines)))
        return passed

    def _read(self) -> str:
        if self._ahead:
            return self._ahead.popleft()
        try:
            return self._text.readline(MOST_CHARACTERS)
        except BROKEN as error:
            raise unreadable(self.name, error) from None

    def _cut(self, line: str) -> str:
        """Pass over the rest of a line that is too long; what is left of it for the row has no open quotes."""
        rest = line
        while rest and not rest.endswith("\n"):
            self._hash.update(rest.encode("utf-8", "surrogateescape"))
            rest = self._read()
        self._hash.update(rest.encode("utf-8", "surrogateescape"))
        self.cut = True
        return line[:200].replace('"', "") + "\n"

    def release(self) -> None:
        """Let go of the file without closing it: standard input is not ours to close."""
        self._text.detach()

    def start_row(self) -> int:
        """Forget the lines of the row before, and return the number of the line that comes next."""
        self.row.clear()
        self.cut = False
        return self.number + 1

    def fingerprint(self) -> str:
        """Identify everything read so far, whatever the line endings."""
        return _fingerprint(self._hash)

    def text(self) -> str:
        """Return the current row as it stands in the file."""
        return "".join(self.row).rstrip("\r\n")

    def problem(self) -> str:
        """Say what is wrong with the lines of the current row themselves, if anything."""
        if self.cut:
            return _("the line is longer than %(limit)d characters") % {"limit": MOST_CHARACTERS}
        if any(not line.isascii() and _NOT_UTF_8.search(line) for line in self.row):
            return _("not valid UTF-8 text")
        return ""
