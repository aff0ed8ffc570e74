"""Rows read many at once are what they are when they are read one by one: the same calls, and the same refusals."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_console import tabular
from billing_console.cells import as_instant
from billing_console.errors import BillingError, InvalidInput
from billing_console.rows import PlainRows, Row
from billing_console.services.conversion import Conversion
from billing_console.services.usage_blocks import MOST_KNOWN, BlockReader, Calls
from billing_console.services.usage_rows import FIELDS, MEASURES, FieldSources, RowReader
from billing_console.tabular import Form, open_table

GOOD = {
    "requestId": ["r-1", "r-2", " r-3 ", "é", ""],
    "userId": ["u-1", "u-2", ""],
    "providerId": ["openai", "azure "],
    "modelId": ["gpt-4o", "o3"],
    "usageType": ["text_generation", "image_generation"],
    "inputTokens": ["100", "7.0", "+3", " 9 "],
    "cachedInputTokens": ["", "3"],
    "outputTokens": ["", "0", "50"],
    "totalTokens": ["", "150"],
    "quantity": ["", "1", "1.0", "0.0000005", "61.25"],
    "costAmount": ["", "0", "8e-05", "1.0000000005"],
    "status": ["", "success", "failed"],
    "errorMessage": ["", "HTTP 503", "can't"],
    "createdAt": [
        *("2026-03-10T04:00:00Z", "2026-03-10 12:00:00+08:00", "2026-03-10T04:00:00.5Z", "2026-03-10"),
        *("2026-03-10 04:00:00.1234567", "1763947800", "1763947800250"),
    ],
}
FILLED = [value for values in GOOD.values() for value in values if value.strip()]
ODD = [
    *("", " ", "0", "-1", "1e3", "1,000", "１２", "٣", "9" * 41, "9" * 13, "NaN", "1e999", "-0", "True", "many"),
    *("\0", "\ud800", "'=1", "'x", "=1", "1.5", "1000000001", "9223372036.9", "\N{NO-BREAK SPACE}7", "text"),
    *("x" * 201, " " * 300 + "1", "2026-03-10T04:00:00+24:00", "2026-03-10t04:00:00z", "2026-03-10T04:00"),
    *("20260310T040000Z", "2026-02-30T04:00:00Z", "1999-12-31T23:59:59Z", "2000-01-01T00:00:00+08:00"),
    *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-03-10T24:00:00Z", "2026-03-10T04:00:00,5Z"),
    *("2026-03-10T04:00:00+08:00:30", "2026-W10-2T04:00:00Z", "2026-03-10X04:00:00Z", "2026-03-10T04:00:60Z"),
    *("٢026-03-10T04:00:00Z", "17639478001"),
]
JSON_ODD: list[Any] = [*ODD[:20], None, True, False, 0, 1, -1, 10**12 + 1, 10**30, 1.5, 1.0, {}, [], {"a": 1}, [1]]


def rows(odd: Sequence[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Some rows, most of them good, some with one or two values that may be anything."""
    odds = st.sampled_from(odd) | st.text("0123456789+-.:TZe ", max_size=12)
    good = st.fixed_dictionaries({field: st.sampled_from(values) for field, values in GOOD.items()})
    changes = st.dictionaries(st.sampled_from(FIELDS), odds, max_size=2)
    nothing = dict.fromkeys((*MEASURES, "totalTokens", "cachedInputTokens", "status"), "")
    images = nothing | {"usageType": "image_generation", "inputTokens": "0"}
    together = st.sampled_from([{}, nothing, images, {"inputTokens": "", "cachedInputTokens": "3"}])
    row = st.builds(lambda row, changed: row | changed, good, together | changes)
    return st.lists(row, min_size=1, max_size=6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks") / "usage"


def reader_of(columns: tuple[str, ...] | None, maps: Sequence[str] = (), sets: Sequence[str] = ()) -> RowReader:
    conversion = Conversion(Decimal("7.1"), "USD", "7.1")
    return RowReader(FieldSources.parse(maps, sets), columns, "file", ZoneInfo("Asia/Shanghai"), conversion)


def outcome(reader: RowReader, row: Row) -> str:
    try:
        return repr(reader.read(row))
    except BillingError as error:
        return str(error)


def check(path: Path, form: Form, **options: Sequence[str]) -> None:
    """Every block of a file comes to what its rows come to one by one."""
    with open_table(path, form) as table:
        reader = reader_of(table.columns, **options)
        blocks = BlockReader(reader)
        for block in table.blocks:
            calls = Calls()
            refused = blocks.read(block, calls)
            found = [(calls.row(number), repr(usage)) for number, usage in enumerate(calls.usages)] + refused
            assert sorted(found, key=lambda one: one[0].line) == [(row, outcome(reader, row)) for row in block]


@given(rows(ODD), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from([(), ("userId",), ("requestId", "status")]))
def test_a_csv_row_becomes_the_same_call_or_refusal_among_others_and_by_itself(
    place: Path, rows: list[dict[str, str]], end: str, left_out: Sequence[str]
) -> None:
    names = [field for field in FIELDS if field not in left_out]
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows([names, *([row[name] for name in names] for row in rows)])
    place.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    check(place, Form.CSV)


@given(rows(JSON_ODD), st.booleans())
def test_a_json_row_becomes_the_same_call_or_refusal_among_others_and_by_itself(
    place: Path, rows: list[dict[str, Any]], nested: bool
) -> None:
    written = [{"call": row} for row in rows] if nested else rows
    place.write_text("".join(json.dumps(row) + "\n" for row in written))
    check(place, Form.JSONL, maps=[f"{field}=call.{field}" for field in FIELDS] if nested else [])


@given(st.sampled_from(FIELDS), st.sampled_from(FILLED))
def test_one_value_for_all_rows_is_read_as_if_each_row_had_it(place: Path, field: str, value: str) -> None:
    names = [name for name in FIELDS if name != field]
    row = [GOOD[name][0] for name in names]
    place.write_text("\n".join([",".join(names), ",".join(row), ",".join(row)]))
    check(place, Form.CSV, sets=[f"{field}={value}"])


@given(
    st.sampled_from(["2026-03-10", "2024-02-29", "2026-02-29", "0001-01-01", "9999-12-31", "2000-01-01"]),
    st.sampled_from(["00:00:00", "23:59:59.999999", "04:00:00.5", "04:00:00.1234567", "24:00:00", "04:00:60", "04:00"]),
    st.sampled_from(["Z", "+00:00", "+08:00", "-23:59", "+24:00", "-00:30"]),
)
def test_a_time_is_the_same_with_and_without_a_blank_before_its_zone(day: str, time: str, zone: str) -> None:
    def instant(text: str) -> str:
        try:
            return repr(as_instant(text, "createdAt", ZoneInfo("Asia/Shanghai")))
        except InvalidInput as error:
            return str(error).replace(text, "…")

    assert instant(f"{day}T{time}{zone}") == instant(f"{day}T{time} {zone}") == instant(f"{day} {time}{zone}")


def read(path: Path, form: Form, lines: int) -> list[Row]:
    with pytest.MonkeyPatch.context() as patch, open_table(path, form) as table:
        patch.setattr(tabular, "BLOCK", lines)
        return list(table.rows)


PIECES = [b"a", b"a,b", b"1,2", b",", b'"', b'"x,y"', b"\n", b"\r\n", b"\r", b"\n", b"'=1", b"'", b"\xff", "é".encode()]


@given(st.lists(st.sampled_from([*PIECES, b"\0", b" ", b"\xe2\x80\xa8"]), max_size=30))
def test_csv_rows_and_their_fingerprints_do_not_depend_on_how_many_are_read_at_once(
    place: Path, pieces: list[bytes]
) -> None:
    place.write_bytes(b"a,b\n" + b"".join(pieces))
    assert read(place, Form.CSV, 2000) == read(place, Form.CSV, 1) == read(place, Form.CSV, 3)


JSON_FILLED = [value for values in GOOD.values() for value in values if value.strip()]


JSON_PIECES = [b'{"a": 1}', b'{"a": 1.50, "b": null}', b"{}", b"[1]", b"1", b'{"a": 1, "a": 2}', b"{", b"\xff", b" "]


@given(st.lists(st.tuples(st.sampled_from([*JSON_PIECES, b""]), st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12))
def test_json_rows_and_their_fingerprints_do_not_depend_on_how_many_are_read_at_once(
    place: Path, pieces: list[tuple[bytes, bytes]]
) -> None:
    place.write_bytes(b"".join(line + end for line, end in pieces))
    assert read(place, Form.JSONL, 2000) == read(place, Form.JSONL, 1) == read(place, Form.JSONL, 3)


@given(st.lists(st.tuples(st.sampled_from(["a", "'=1", "'x", "é", " b "]), st.sampled_from(["", "2"])), min_size=1))
def test_a_row_is_the_same_whether_or_not_all_rows_around_it_are_plain(
    place: Path, cells: list[tuple[str, str]]
) -> None:
    text = "a,b\n" + "".join(",".join(row) + "\n" for row in cells)
    place.write_text(text)
    with open_table(place, Form.CSV) as table:
        (plain,) = table.blocks
        assert isinstance(plain, PlainRows)
        found = list(plain)
        columns = [plain.column(name) for name in ("a", "b")]
    place.write_text(text + "\n\n")
    with open_table(place, Form.CSV) as table:
        (odd,) = table.blocks
    assert not isinstance(odd, PlainRows)
    assert found == odd
    assert list(zip(*columns, strict=True)) == [(row.values["a"], row.values["b"]) for row in odd]


def test_lines_around_one_that_is_too_long_keep_their_numbers_and_fingerprints(place: Path) -> None:
    long = b"9," + b"x" * 2_500_000
    place.write_bytes(b"a,b\n1,2\n" + long + b"\n3,4\n5,6\n" + long)
    found = read(place, Form.CSV, 2000)
    assert [(row.line, row.values, bool(row.problem)) for row in found] == [
        (2, {"a": "1", "b": "2"}, False),
        (3, {}, True),
        (4, {"a": "3", "b": "4"}, False),
        (5, {"a": "5", "b": "6"}, False),
        (6, {}, True),
    ]
    assert found == read(place, Form.CSV, 1) == read(place, Form.CSV, 2)


def test_more_spellings_than_are_remembered_are_read_all_the_same(place: Path) -> None:
    count = MOST_KNOWN + 2500
    names = [name for name in FIELDS if name not in ("costAmount", "status", "errorMessage")]
    good = {name: GOOD[name][0] for name in names}
    lines = [",".join((good | {"userId": f"u-{n}", "requestId": f"r-{n}"}).values()) for n in range(count)]
    place.write_text("\n".join([",".join(good), *lines]))
    with open_table(place, Form.CSV) as table:
        blocks, calls = BlockReader(reader_of(table.columns)), Calls()
        assert not any(blocks.read(block, calls) for block in table.blocks)
    assert [usage.user_id for usage in calls.usages] == [f"u-{n}" for n in range(count)]
