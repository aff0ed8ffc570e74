"""The boundary that makes text from outside safe to show, to store and to export."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_console.errors import InvalidInput
from billing_console.text import clean, csv_line, inert_cell, one_line, storable, storable_message, to_json

ANY_TEXT = st.text(st.characters())
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(ANY_TEXT)
def test_nothing_invisible_is_left(text: str) -> None:
    cleaned = clean(text)
    assert not {unicodedata.category(character) for character in cleaned} & INVISIBLE
    cleaned.encode()


@given(ANY_TEXT)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("gpt-4o", "gpt-4o"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb\tc\0", "a\\x0ab\\x09c\\x00"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("通义千问　最大", "通义千问　最大"),
        ("👩\u200d💻❤\ufe0f", "👩💻❤"),
        ("[/] [@click=app.quit]x[/]", "[/] [@click=app.quit]x[/]"),
    ],
)
def test_makes_control_characters_visible(text: str, seen: str) -> None:
    assert clean(text) == seen


@given(ANY_TEXT, st.integers(2, 30))
def test_one_line_is_never_longer_than_asked_and_tells_when_it_is_cut(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line == clean(text) or line.endswith("…")


def test_a_cut_is_shown_even_where_joiners_fell_away() -> None:
    assert one_line("\u200d" * 5 + "x" * 20, 10).endswith("…")


@given(ANY_TEXT)
def test_stored_text_is_text_that_postgresql_can_hold(text: str) -> None:
    try:
        held = storable(text, "note", required=False)
    except InvalidInput as error:
        assert error.field == "note"
        assert len(text.strip()) > 200 or "\0" in text or any("\ud800" <= c <= "\udfff" for c in text)
    else:
        assert held == text.strip()
        assert "\0" not in held
        held.encode()


@pytest.mark.parametrize("text", ["", "  ", "\t\n", "x" * 201, "a\0b", "\udcff"])
def test_refuses_text_that_cannot_be_stored(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        storable(text, "reference")
    assert refused.value.field == "reference"
    assert "reference" in refused.value.message


def test_length_is_counted_after_trimming() -> None:
    assert storable(f"  {'x' * 200}  ", "reference") == "x" * 200


@given(ANY_TEXT)
def test_a_message_is_always_storable(text: str) -> None:
    held = storable_message(text)
    assert "\0" not in held
    assert len(held) == len(text)
    held.encode()


def test_a_message_is_cut_to_its_limit() -> None:
    assert len(storable_message("x" * 10_000)) == 4000


@given(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=4))
def test_json_reads_back_and_is_inert(value: dict[str, str]) -> None:
    written = to_json(value)
    assert json.loads(written) == value
    assert not any(unicodedata.category(character) in {"Cc", "Zl", "Zp", "Cs"} for character in written)
    written.encode()


def test_json_keeps_what_people_read() -> None:
    assert to_json({"名称": "通义千问"}) == '{"名称": "通义千问"}'


@pytest.mark.parametrize("start", [*"=+-@＝＋－＠", "\t", "\r", "\n", "\0"])
def test_no_cell_is_a_formula(start: str) -> None:
    cell = f"{start}HYPERLINK(1)"
    assert inert_cell(cell) == f"'{cell}"
    (row,) = csv.reader(io.StringIO(csv_line([cell, "gpt-4o"])))
    assert row[0][0] not in "=+-@＝＋－＠\t\r\n\0"
    assert row[1] == "gpt-4o"


@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_a_csv_line_is_one_line_with_as_many_cells(cells: list[str]) -> None:
    line = csv_line(cells)
    assert line.count("\n") == 1
    (row,) = csv.reader(io.StringIO(line))
    assert len(row) == len(cells)


def test_numbers_stay_numbers_in_csv() -> None:
    assert csv_line([Decimal("-1.5"), 3, Decimal("1E-9"), ""]) == "-1.50,3,0.000000001,\n"
