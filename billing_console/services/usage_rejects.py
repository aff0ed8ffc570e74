"""The rows an import could not take, kept in a file with line and reason so that they can be mended."""

from __future__ import annotations

from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from billing_console.atomic import replacing
from billing_console.rows import Row
from billing_console.tabular import STDIN
from billing_console.text import to_json


def beside(source: Path) -> Path:
    """Return where the rejected rows of a file go unless a place is named: beside it, for `-` in this directory."""
    return Path("stdin.rejects.jsonl") if str(source) == STDIN else source.with_name(f"{source.name}.rejects.jsonl")


class RejectFile:
    """One file of rejected rows; it is begun with the first and takes its place, whole, when the block ends well."""

    def __init__(self, path: Path) -> None:
        """Write to `path`, once there is something to write."""
        self.path = path
        self.count = 0
        self._stack = ExitStack()
        self._file: TextIO | None = None

    def __enter__(self) -> RejectFile:
        """Begin without a file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the file in its place, or after an error leave what was there before."""
        self._stack.__exit__(kind, error, traceback)

    def add(self, name: str, row: Row, reason: str) -> None:
        """Keep a row with the file and line it came from; raise Unavailable if the file cannot be written."""
        if self._file is None:
            self._file = self._stack.enter_context(replacing(self.path, mode=0o600))
        values = row.text if row.problem else _spelled(row.values)
        self._file.write(to_json({"file": name, "line": row.line, "reason": reason, "row": values}) + "\n")
        self.count += 1


def _spelled(value: Any) -> Any:
    """Return a row as JSON takes it; numbers with decimals become text, which keeps every digit."""
    if isinstance(value, dict):
        return {name: _spelled(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_spelled(part) for part in value]
    return str(value) if isinstance(value, Decimal) else value
