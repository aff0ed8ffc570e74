"""Files of rows from outside: CSV with a header, JSON lines, or a JSON array, plain or gzip, each row with its line.

A row that cannot be read carries its problem instead of its values, so that one bad row never hides the others.
"""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, cast

from billing_console.errors import InvalidInput
from billing_console.exact_json import BadJson, decode
from billing_console.i18n import _
from billing_console.numbered_lines import BROKEN, Lines, unreadable
from billing_console.text import cell_as_meant, one_line

STDIN = "-"

_JSON_LINES = (".jsonl", ".ndjson")
_GZIP = b"\x1f\x8b"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Form(StrEnum):
    """How a file of rows is written."""

    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"


def form_of(path: Path) -> Form:
    """Return the form a file's name speaks of, CSV where it speaks of none; `.gz` at the end does not count."""
    suffix = (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()
    return Form.JSONL if suffix in _JSON_LINES else Form.JSON if suffix == ".json" else Form.CSV


@dataclass(slots=True)
class Row:
    """One row: the line it starts on (in a JSON array its number), and its values by column name.

    A row with a `problem` has no values but the `text` it was read from. `fingerprint` identifies everything the file
    holds up to and including this row.
    """

    line: int
    values: dict[str, Any]
    fingerprint: str
    problem: str = ""
    text: str = ""


@dataclass(slots=True)
class Table:
    """An open file: its columns (None for JSON, where each row names its own) and its rows, read as they are asked for.

    `name` is the file's name for people, `progress` tells how many bytes of the file have been read.
    """

    name: str
    columns: tuple[str, ...] | None
    rows: Iterator[Row]
    _raw: BinaryIO = field(repr=False)

    def progress(self) -> int:
        """Return how far into the file, as it lies on the disk, reading has come, in bytes; 0 for a pipe."""
        try:
            return self._raw.tell()
        except OSError:
            return 0


@contextmanager
def open_table(path: Path, form: Form, name: str = "") -> Iterator[Table]:
    """Open a file of rows; `-` is standard input, `name` is what people call it if not by its path.

    Raises Unavailable if it cannot be read, now or while its rows are, and InvalidInput if it has no usable header.
    """
    name = name or name_of(path)
    with _opened(path, name) as raw:
        raw_bytes = _unpacked(raw, name)
        if form is Form.JSON:
            yield Table(name, None, _array(raw_bytes, name), raw)
            return
        lines = Lines(raw_bytes, name, newline="" if form is Form.CSV else "\n")
        try:
            if form is Form.JSONL:
                yield Table(name, None, _json_lines(lines), raw)
                return
            reader = csv.reader(lines, strict=True)
            columns = _header(reader, lines)
            yield Table(name, columns, _csv_rows(reader, lines, columns), raw)
        finally:
            lines.release()


def name_of(path: Path) -> str:
    """Return what people call a file."""
    return "stdin" if str(path) == STDIN else one_line(str(path))


def can_be_read_twice(path: Path) -> bool:
    """Tell whether a path is no pipe; opening one that does not exist says so better than this would."""
    return str(path) != STDIN and (path.is_file() or path.is_dir() or not path.exists())


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary copy of what comes through a pipe, so that it can be read twice."""
    with tempfile.NamedTemporaryFile(prefix="billing-console-") as copy:
        try:
            with _opened(path, name_of(path)) as raw:
                shutil.copyfileobj(raw, copy)
            copy.flush()
        except OSError as error:
            raise unreadable(name_of(path), error) from None
        yield Path(copy.name)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[io.BufferedReader]:
    if str(path) == STDIN:
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(name, error) from None
    with file:
        yield file


def _unpacked(raw: io.BufferedReader, name: str) -> BinaryIO:
    """Return the bytes to read, unpacked if they are gzip, whatever the file is called."""
    start = raw.peek(2)[:2]
    if start in _UTF_16:
        raise InvalidInput(
            _("%(file)s is UTF-16, not UTF-8.") % {"file": name},
            _("Convert it with: iconv -f UTF-16 -t UTF-8"),
        )
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if start == _GZIP else raw


def _header(reader: Iterator[list[str]], lines: Lines) -> tuple[str, ...]:
    """Read the first row that is not empty; refuse names that would be mistaken for each other."""
    try:
        names = tuple(cell.strip() for cell in next((row for row in reader if row), []))
    except csv.Error as error:
        raise _no_header(lines, lines.problem() or _not_csv(error)) from None
    if lines.problem() or any("\0" in name for name in names):
        raise _no_header(lines, lines.problem() or _("there are NUL characters in it"))
    if not any(names):
        raise _no_header(lines, _("there is none"))
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise _no_header(lines, _("the columns are not separated by commas"))
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise _no_header(lines, _("the column “%(name)s” is there twice") % {"name": one_line(twice[0], 40)})
    return names


def _no_header(lines: Lines, reason: str) -> InvalidInput:
    return InvalidInput(
        _("%(file)s has no header row that can be used: %(reason)s.") % {"file": lines.name, "reason": reason},
        _("The first row of a CSV file names its columns."),
    )


def _not_csv(error: csv.Error) -> str:
    return _("not valid CSV: %(reason)s") % {"reason": error}


def _csv_rows(reader: Iterator[list[str]], lines: Lines, columns: tuple[str, ...]) -> Iterator[Row]:
    while True:
        line = lines.start_row()
        cells: list[str] = []
        try:
            cells = next(reader)
            problem = lines.problem()
        except StopIteration:
            return
        except csv.Error as error:
            problem = lines.problem() or _not_csv(error)
        if not cells and not problem:
            continue
        if not problem and len(cells) != len(columns):
            problem = _("%(found)d columns instead of %(wanted)d") % {"found": len(cells), "wanted": len(columns)}
        values = {} if problem else dict(zip(columns, map(cell_as_meant, cells), strict=True))
        yield _row(line, lines, problem, values)


def _json_lines(lines: Lines) -> Iterator[Row]:
    while True:
        number = lines.start_row()
        line = next(lines, "")
        if not line:
            return
        if not line.strip():
            continue
        value: Any = None
        problem = lines.problem()
        try:
            value = None if problem else decode(line)
        except BadJson as error:
            problem = str(error)
        if not problem and not isinstance(value, dict):
            problem = _("not a JSON object")
        yield _row(number, lines, problem, {} if problem else value)


def _row(number: int, lines: Lines, problem: str, values: dict[str, Any]) -> Row:
    return Row(number, values, lines.fingerprint(), problem, lines.text() if problem else "")


def _array(raw: BinaryIO, name: str) -> Iterator[Row]:
    """Read a JSON array of objects, which has to be taken in whole; it is meant for lists of prices."""
    try:
        values = decode(raw.read().decode("utf-8-sig"))
    except BROKEN as error:
        raise unreadable(name, error) from None
    except (BadJson, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, BadJson) else _("not valid UTF-8 text")
        raise InvalidInput(_("%(file)s: %(reason)s.") % {"file": name, "reason": reason}) from None
    if not isinstance(values, list):
        raise InvalidInput(
            _("%(file)s is not a JSON array of objects.") % {"file": name},
            _("A file with one object a line is named .jsonl."),
        )
    for number, value in enumerate(values, 1):
        problem = "" if isinstance(value, dict) else _("not a JSON object")
        yield Row(number, {} if problem else value, "", problem)
