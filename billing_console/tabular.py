"""Files of rows from outside: CSV with a header, JSON lines, or a JSON array, plain or gzip, each row with its line.

Rows are read in blocks. A block of plain rows, one a line with nothing wrong, is read at once; any other is read row by
row. A row that cannot be read carries its problem instead of its values, so that one bad row never hides the others.
"""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from billing_console.errors import BillingError, InvalidInput
from billing_console.exact_json import BadJson, decode
from billing_console.i18n import _
from billing_console.numbered_lines import BROKEN, Lines, are_sound, unreadable
from billing_console.rows import CsvRows, JsonRows, PlainRows, Row, csv_values
from billing_console.text import one_line

STDIN = "-"

BLOCK = 100
"""Lines a block, fewer where they are long: one that is not plain costs the others of its block their speed."""

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
class Table:
    """An open file: its columns (None for JSON, where each row names its own) and its rows, read as they are asked for.

    `name` is the file's name for people, `progress` tells how many bytes of the file have been read.
    """

    name: str
    columns: tuple[str, ...] | None
    blocks: Iterator[Sequence[Row]]
    _raw: BinaryIO = field(repr=False)

    @property
    def rows(self) -> Iterator[Row]:
        """The rows one by one."""
        return chain.from_iterable(self.blocks)

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
            yield Table(name, None, iter([_array(raw_bytes, name)]), raw)
            return
        lines = Lines(raw_bytes, name, newline="" if form is Form.CSV else "\n")
        try:
            if form is Form.JSONL:
                yield Table(name, None, _blocks(lines, _json_rows(lines), _plain_json), raw)
                return
            reader = csv.reader(lines, strict=True)
            columns = _header(reader, lines)
            plain = partial(_plain_csv, columns=columns)
            yield Table(name, columns, _blocks(lines, _csv_rows(reader, lines, columns), plain), raw)
        finally:
            lines.release()


def name_of(path: Path) -> str:
    """Return what people call a file."""
    return "stdin" if str(path) == STDIN else one_line(str(path))


def located(error: BillingError, name: str, form: Form, line: int) -> BillingError:
    """Return the error with the place it was found at."""
    where = {"file": name, "line": line, "reason": error.message}
    if form is Form.JSON:
        message = _("%(file)s, record %(line)d: %(reason)s") % where
    else:
        message = _("%(file)s, line %(line)d: %(reason)s") % where
    return type(error)(message, error.hint)


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


Plain = Callable[[Lines, list[str]], PlainRows | None]
"""Reads sound lines that come next as plain rows, and passes them; None, and none of them passed, if they are not."""


def _blocks(lines: Lines, rows: Iterator[Row], plain: Plain) -> Iterator[Sequence[Row]]:
    """Read block by block, plainly where that is possible, else row by row up to where the block's last row ends."""
    while ahead := lines.ahead(BLOCK):
        block: Sequence[Row] | None = plain(lines, ahead) if are_sound(ahead) else None
        if block is None:
            end = lines.number + len(ahead)
            block = []
            for row in rows:
                block.append(row)
                if lines.number >= end:
                    break
        if block:
            yield block


def _plain_csv(lines: Lines, ahead: list[str], columns: tuple[str, ...]) -> CsvRows | None:
    try:
        cells = list(csv.reader(ahead, strict=True))
    except csv.Error:
        return None
    if len(cells) != len(ahead) or set(map(len, cells)) != {len(columns)}:
        return None
    return CsvRows(lines.pass_over(ahead), columns, cells)


def _plain_json(lines: Lines, ahead: list[str]) -> JsonRows | None:
    try:
        objects = list(map(decode, ahead))
    except BadJson:
        return None
    if not all(isinstance(each, dict) for each in objects):
        return None
    return JsonRows(lines.pass_over(ahead), objects)


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
        yield _row(line, lines, problem, {} if problem else csv_values(columns, cells))


def _json_rows(lines: Lines) -> Iterator[Row]:
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


def _array(raw: BinaryIO, name: str) -> list[Row]:
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
    rows = []
    for number, value in enumerate(values, 1):
        problem = "" if isinstance(value, dict) else _("not a JSON object")
        rows.append(Row(number, {} if problem else value, "", problem))
    return rows
