"""From a block of rows to the calls to record: column by column where every row is good, else row by row.

Both ways read values with the same functions. Column by column, a spelling that comes often is read once, and nobody
learns which row is at fault: `RowReader.read` finds out, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import repeat
from typing import Any, TypeVar

from billing_console.cells import as_choice, as_decimal, as_instant, as_text, as_whole, missing
from billing_console.errors import BillingError, InvalidInput
from billing_console.rows import PlainRows, Row
from billing_console.services.conversion import Conversion
from billing_console.services.new_usage import NewUsage, check_quantity, check_tokens
from billing_console.services.usage_rows import MEASURES, RowReader, as_quantity
from billing_console.text import require_storable, storable
from db.values import CallStatus, UsageType

Value = TypeVar("Value")

MOST_KNOWN = 10_000
LONGEST_KNOWN = 200
"""How many spellings of a field are remembered, and up to how many characters; memory stays bounded."""

VARYING = ("requestId", "createdAt", "costAmount")
"""Fields of which hardly a value comes twice."""


@dataclass(slots=True)
class Calls:
    """Calls, and for each the block and the position in it of the row that it was read from."""

    usages: list[NewUsage] = field(default_factory=list)
    places: list[tuple[Sequence[Row], int]] = field(default_factory=list)

    def row(self, number: int) -> Row:
        """Return the row of a call."""
        rows, position = self.places[number]
        return rows[position]

    def halves(self) -> tuple[Calls, Calls]:
        """Return the calls in two parts."""
        middle = len(self.usages) // 2
        first = Calls(self.usages[:middle], self.places[:middle])
        return first, Calls(self.usages[middle:], self.places[middle:])


class BlockReader:
    """Reads the rows of one file, block by block."""

    def __init__(self, reader: RowReader) -> None:
        """Read as `reader` does."""
        self._reader = reader
        self._read = _readers(reader)
        self._known = {name: _Known(read) for name, read in self._read.items()}

    def read(self, rows: Sequence[Row], calls: Calls) -> list[tuple[Row, str]]:
        """Add the calls of a block's good rows, validated, to others; return its other rows and what is wrong."""
        if isinstance(rows, PlainRows):
            usages = self._by_column(rows)
            if usages is not None:
                calls.usages += usages
                calls.places += zip(repeat(rows), range(len(rows)), strict=False)
                return []
        refused = []
        for position, row in enumerate(rows):
            try:
                calls.usages.append(self._reader.read(row))
            except BillingError as error:
                refused.append((row, str(error)))
            else:
                calls.places.append((rows, position))
        return refused

    def _by_column(self, rows: PlainRows) -> list[NewUsage] | None:
        """Read rows column by column; None if one of them cannot be read, or cannot be taken."""
        cells = {name: self._cells(rows, name) for name in self._read}
        try:
            # The fields are in the order in which NewUsage takes them.
            usages = list(map(NewUsage, *(self._column(rows, name, cells[name]) for name in self._read)))
            for usage, given in zip(usages, zip(*(cells[name] for name in MEASURES), strict=True), strict=True):
                if usage.status is CallStatus.SUCCESS and not any(given):
                    return None
                usage.check_cached()
                usage.check_measured()
        except InvalidInput:
            return None
        return usages

    def _column(self, rows: PlainRows, name: str, cells: Sequence[Any]) -> Sequence[Any]:
        """Return a field of all rows, read; raise InvalidInput for a value that cannot be taken."""
        if name == "requestId":
            return self._request_ids(cells, rows)
        if name not in self._reader.column:
            return [self._read[name](self._reader.set.get(name))] * len(rows)
        # What is equal must be read alike: text and whole numbers, not the True and 1.0 that are equal to 1.
        if name not in VARYING and (rows.all_text or set(map(type, cells)) <= {str, int, type(None)}):
            return list(map(self._known[name].__getitem__, cells))
        return list(map(self._read[name], cells))

    def _request_ids(self, cells: Sequence[Any], rows: PlainRows) -> list[str]:
        ids = list(map(self._read["requestId"], cells))
        if not all(ids):
            ids = [each or f"row-{fingerprint}" for each, fingerprint in zip(ids, rows.fingerprints, strict=True)]
        require_storable(ids, "requestId")
        return ids

    def _cells(self, rows: PlainRows, name: str) -> Sequence[Any]:
        """Return what the rows, or the options for all rows, have for a field."""
        column = self._reader.column.get(name)
        return [self._reader.set.get(name)] * len(rows) if column is None else rows.column(column)


class _Known(dict[Any, Value]):
    """What some spellings were read as; the others are read when they are asked for."""

    def __init__(self, read: Callable[[Any], Value]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, spelling: Any) -> Value:
        value = self._read(spelling)
        if not isinstance(spelling, str) or len(spelling) <= LONGEST_KNOWN:
            if len(self) >= MOST_KNOWN:
                self.clear()
            self[spelling] = value
        return value


def _readers(reader: RowReader) -> dict[str, Callable[[Any], Any]]:
    """Return what reads each field and raises InvalidInput for what cannot be taken; in the order of NewUsage."""
    zone, conversion = reader.zone, reader.conversion
    return {
        "providerId": lambda value: _name(value, "providerId"),
        "modelId": lambda value: _name(value, "modelId"),
        "usageType": lambda value: _there(as_choice(value, "usageType", UsageType), "usageType"),
        "createdAt": lambda value: _there(as_instant(value, "createdAt", zone), "createdAt"),
        "requestId": lambda value: as_text(value, "requestId"),
        "userId": _user,
        "inputTokens": lambda value: _tokens(value, "inputTokens") or 0,
        "cachedInputTokens": lambda value: _tokens(value, "cachedInputTokens") or 0,
        "outputTokens": lambda value: _tokens(value, "outputTokens") or 0,
        "totalTokens": lambda value: _tokens(value, "totalTokens"),
        "quantity": _quantity,
        "costAmount": lambda value: _cost(value, conversion),
        "status": lambda value: as_choice(value, "status", CallStatus) or CallStatus.SUCCESS,
        "errorMessage": lambda value: as_text(value, "errorMessage"),
    }


def _there(value: Value | None, field: str) -> Value:
    if value is None:
        raise missing(field)
    return value


def _name(value: Any, field: str) -> str:
    return storable(_there(as_text(value, field), field), field)


def _user(value: Any) -> str | None:
    text = as_text(value, "userId")
    return None if text is None else storable(text, "userId")


def _tokens(value: Any, field: str) -> int | None:
    tokens = as_whole(value, field)
    check_tokens(tokens or 0, field)
    return tokens


def _quantity(value: Any) -> Decimal | None:
    quantity = as_quantity(value)
    if quantity is not None:
        check_quantity(quantity)
    return quantity


def _cost(value: Any, conversion: Conversion) -> Decimal | None:
    cost = as_decimal(value, "costAmount")
    return None if cost is None else conversion.apply(cost, "costAmount")
