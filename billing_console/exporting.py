"""Files of rows that leave the program: CSV, JSON lines or a spreadsheet, whole or not there, nothing in them runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from billing_console.atomic import creating, replacing
from billing_console.errors import InvalidInput, Refused
from billing_console.i18n import _
from billing_console.text import clean, csv_line, to_json
from billing_console.wire import csv_value, jsonable

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

Rows = Iterable[Sequence[object]]
"""The names of the columns, then the values of each row."""

PROGRESS_EVERY = 500
"""Rows between two calls of `progress`."""

SHEET_ROWS = 1_048_576
SHEET_TEXT = 32_767
SHEET_DIGITS = 15
"""What a spreadsheet takes: rows, characters of a cell, digits of a number without rounding it."""


class ExportFormat(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSONL = "jsonl"
    XLSX = "xlsx"


def format_of(path: Path) -> ExportFormat | None:
    """Return the format that a file's suffix speaks of, if it speaks of one."""
    suffix = path.suffix.lower().removeprefix(".")
    return ExportFormat.JSONL if suffix == "ndjson" else ExportFormat(suffix) if suffix in list(ExportFormat) else None


def export(
    path: Path,
    form: ExportFormat,
    rows: Rows,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda _count: None,
) -> int:
    """Write rows to a file for its owner alone; return how many, without the names of the columns.

    `progress` is told every few hundred rows how many have been written; whatever it raises ends the export. Raises
    Refused if there is a file already that may not be overwritten, or a spreadsheet has no room, and Unavailable if it
    cannot be written. An export that does not come to its end leaves no file, and an old one as it was.
    """
    with _file(path, overwrite) as file:
        if form is ExportFormat.XLSX:
            return _write_sheet(file, _told(rows, progress))
        return write_text(form, _told(rows, progress), file.write)


def write_text(form: ExportFormat, rows: Rows, write: Callable[[str], object]) -> int:
    """Write rows as text; return how many, without the names. Raises InvalidInput for a format that is none."""
    if form is ExportFormat.XLSX:
        raise InvalidInput(_("A spreadsheet can only be written to a file."), field="format")
    names: Sequence[str] = ()
    count = -1
    for count, row in enumerate(rows):
        if count == 0:
            names = cast(Sequence[str], row)
        if form is ExportFormat.CSV:
            write(csv_line(map(csv_value, row)))
        elif count > 0:
            write(to_json(jsonable(dict(zip(names, row, strict=True)))) + "\n")
    return max(0, count)


@contextmanager
def _file(path: Path, overwrite: bool) -> Iterator[TextIO]:
    if overwrite:
        with replacing(path, mode=0o600) as file:
            yield file
    else:
        with creating(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            yield file


def _told(rows: Rows, progress: Callable[[int], None]) -> Iterator[Sequence[object]]:
    for count, row in enumerate(rows):
        if count % PROGRESS_EVERY == 0:
            progress(count)
        yield row


def _write_sheet(file: TextIO, rows: Rows) -> int:
    """Write a workbook of one sheet, row by row; text is written as text, whatever it begins with."""
    import xlsxwriter

    count = -1
    with tempfile.TemporaryDirectory(prefix="billing-console-") as directory:
        # Rows wait in files of this directory, which goes in any case; closing is what puts them into the workbook.
        book = xlsxwriter.Workbook(file.buffer, {"constant_memory": True, "tmpdir": directory, "use_zip64": True})
        sheet = book.add_worksheet()
        sheet.freeze_panes(1, 0)
        for count, row in enumerate(rows):
            if count >= SHEET_ROWS:
                raise Refused(
                    _("A sheet has room for %(rows)s rows only.") % {"rows": f"{SHEET_ROWS:,}"},
                    _("Narrow the filter, or write a CSV file."),
                )
            for column, value in enumerate(row):
                _write_cell(sheet, count, column, value)
        book.close()
    return max(0, count)


def _write_cell(sheet: Worksheet, row: int, column: int, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float | Decimal) and _is_exact(value):
        sheet.write_number(row, column, value)
    else:
        sheet.write_string(row, column, clean(str(csv_value(value)))[:SHEET_TEXT])


def _is_exact(value: int | float | Decimal) -> bool:
    """Tell whether a spreadsheet, which calculates in binary, shows the number with all its digits."""
    return isinstance(value, float) or len(Decimal(value).normalize().as_tuple().digits) <= SHEET_DIGITS
