"""Rows of files from outside: a row by itself, and many plain ones that are looked at column by column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from billing_console.numbered_lines import Passed
from billing_console.text import cell_as_meant


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


class PlainRows(Sequence[Row], ABC):
    """Rows of one line each that nothing is wrong with; a Row is made only for who asks for one."""

    all_text = False
    """Whether every value is text."""

    def __init__(self, lines: Passed) -> None:
        """Take the lines, one a row."""
        self._lines = lines

    @abstractmethod
    def column(self, name: str) -> Sequence[Any]:
        """Return the values of a column, row by row, None where a row has none."""

    @abstractmethod
    def values(self, position: int) -> dict[str, Any]:
        """Return the values of one row by column name."""

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._lines.lines)

    @overload
    def __getitem__(self, position: int) -> Row: ...

    @overload
    def __getitem__(self, position: slice) -> list[Row]: ...

    def __getitem__(self, position: int | slice) -> Row | list[Row]:
        """Make a row, or some."""
        if isinstance(position, slice):
            return [self[each] for each in range(len(self))[position]]
        return Row(self._lines.first + range(len(self))[position], self.values(position), self.fingerprints[position])

    @cached_property
    def fingerprints(self) -> list[str]:
        """The fingerprint of each row."""
        return self._lines.fingerprints()


class CsvRows(PlainRows):
    """Plain rows of a CSV file: lists of cells."""

    all_text = True

    def __init__(self, lines: Passed, columns: tuple[str, ...], cells: list[list[str]]) -> None:
        """Take the cells, as many in each row as there are columns."""
        super().__init__(lines)
        self._columns = columns
        self._cells = cells
        self._by_column = list(zip(*cells, strict=True))

    def column(self, name: str) -> Sequence[str]:
        """Return the cells of a column that the file has."""
        cells = self._by_column[self._columns.index(name)]
        return list(map(cell_as_meant, cells)) if "'" in "".join(cells) else cells

    def values(self, position: int) -> dict[str, Any]:
        """Return the cells of one row by column name."""
        return csv_values(self._columns, self._cells[position])


class JsonRows(PlainRows):
    """Plain rows of JSON lines: objects."""

    def __init__(self, lines: Passed, objects: list[dict[str, Any]]) -> None:
        """Take the objects."""
        super().__init__(lines)
        self._objects = objects

    def column(self, name: str) -> Sequence[Any]:
        """Return the values that a name leads to."""
        if "." in name:
            return [value_at(values, name) for values in self._objects]
        return [values.get(name) for values in self._objects]

    def values(self, position: int) -> dict[str, Any]:
        """Return the object of one row."""
        return self._objects[position]


def csv_values(columns: tuple[str, ...], cells: list[str]) -> dict[str, Any]:
    """Return the cells of a CSV row by column name, without the apostrophes that exports put before formulas."""
    return dict(zip(columns, map(cell_as_meant, cells), strict=True))


def value_at(values: Mapping[str, Any], column: str) -> Any:
    """Return the value of a column; one that is no name of the row's and dotted leads into nested JSON objects."""
    if column in values or "." not in column:
        return values.get(column)
    value: Any = values
    for key in column.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
