"""Files that leave the program: whole or not there, exact, and nothing in them runs."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from billing_console import exporting
from billing_console.errors import BillingError, InvalidInput, Refused, Unavailable
from billing_console.exporting import ExportFormat, export, format_of, write_text

NAMES = ("userId", "cost", "count", "unpriced", "at", "note")
FORMULA = '=HYPERLINK("http://evil","x")'
ROWS: list[Sequence[object]] = [
    NAMES,
    (FORMULA, Decimal("0.0112"), 3, True, datetime(2026, 3, 10, 4, tzinfo=UTC), None),
    ("智谱\x1b[2J", Decimal("123456789012345.678901234"), 2**60, False, None, "{=1+1}"),
]
NS = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def cells(path: Path) -> list[dict[str, tuple[str, str]]]:
    """The rows of a sheet: by cell, its type and its text."""
    with zipfile.ZipFile(path) as book:
        assert book.testzip() is None
        tree = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    assert tree.find(".//m:f", NS) is None, "no formula anywhere"
    return [
        {cell.get("r", ""): (cell.get("t", "n"), "".join(cell.itertext())) for cell in row.findall("m:c", NS)}
        for row in tree.iter(f"{{{NS['m']}}}row")
    ]


def test_a_sheet_holds_exact_numbers_and_text_that_is_text(tmp_path: Path) -> None:
    path = tmp_path / "out.xlsx"
    assert export(path, ExportFormat.XLSX, ROWS) == 2
    header, first, second = cells(path)
    assert [text for _type, text in header.values()] == list(NAMES)
    assert first == {
        "A2": ("inlineStr", FORMULA),
        "B2": ("n", "0.0112"),
        "C2": ("n", "3"),
        "D2": ("b", "1"),
        "E2": ("inlineStr", "2026-03-10T04:00:00Z"),
    }
    assert second["A3"] == ("inlineStr", "智谱\\x1b[2J")
    assert second["B3"] == ("inlineStr", "123456789012345.678901234"), "binary would not hold it"
    assert second["C3"] == ("inlineStr", str(2**60))
    assert second["F3"] == ("inlineStr", "{=1+1}")
    assert path.stat().st_mode & 0o777 == 0o600


def test_text_formats_hold_the_same(tmp_path: Path) -> None:
    assert export(tmp_path / "out.csv", ExportFormat.CSV, ROWS) == 2
    first, second = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8"))
    assert (first["userId"], first["cost"], first["unpriced"]) == (f"'{FORMULA}", "0.0112", "true")
    assert second["cost"] == "123456789012345.678901234"
    assert export(tmp_path / "out.jsonl", ExportFormat.JSONL, ROWS) == 2
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert line == {
        "userId": FORMULA,
        "cost": "0.0112",
        "count": 3,
        "unpriced": True,
        "at": "2026-03-10T04:00:00Z",
        "note": None,
    }
    with pytest.raises(InvalidInput):
        write_text(ExportFormat.XLSX, ROWS, print)


@pytest.mark.parametrize("form", ExportFormat)
def test_a_file_that_is_there_is_overwritten_only_when_told(tmp_path: Path, form: ExportFormat) -> None:
    path = tmp_path / "out"
    path.write_text("precious")
    with pytest.raises(Refused, match="is there already"):
        export(path, form, ROWS)
    assert path.read_text() == "precious"
    assert export(path, form, ROWS, overwrite=True) == 2
    assert path.read_bytes() != b"precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("form", ExportFormat)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_that_fails_or_is_stopped_leaves_nothing(tmp_path: Path, form: ExportFormat, overwrite: bool) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    place = tmp_path / "place"
    place.mkdir()

    def failing() -> Iterator[Sequence[object]]:
        yield NAMES
        yield from [ROWS[1]] * 2000
        raise Unavailable("the database is gone")

    def stop(count: int) -> None:
        if count:
            raise Refused("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(temporary))
        with pytest.raises(Unavailable, match="gone"):
            export(place / "out", form, failing(), overwrite=overwrite)
        with pytest.raises(Refused, match="stopped"):
            export(place / "out", form, [NAMES, *[ROWS[1]] * 2000], overwrite=overwrite, progress=stop)
    assert list(place.iterdir()) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("form", ExportFormat)
def test_a_place_that_takes_no_file_is_named(tmp_path: Path, form: ExportFormat) -> None:
    with pytest.raises(BillingError, match="cannot be written"):
        export(tmp_path / "no" / "out", form, ROWS)


def test_a_sheet_that_is_full_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "SHEET_ROWS", 3)
    assert export(tmp_path / "full.xlsx", ExportFormat.XLSX, ROWS) == 2
    with pytest.raises(Refused, match="room for 3 rows"):
        export(tmp_path / "more.xlsx", ExportFormat.XLSX, [*ROWS, ROWS[1]])
    assert [path.name for path in tmp_path.iterdir()] == ["full.xlsx"]


def test_progress_is_told_now_and_then(tmp_path: Path) -> None:
    told: list[int] = []
    export(tmp_path / "out.csv", ExportFormat.CSV, [NAMES, *[ROWS[1]] * 1200], progress=told.append)
    assert told == [0, 500, 1000]


def test_a_suffix_speaks_of_a_format() -> None:
    names = ("a.csv", "a.CSV", "a.jsonl", "a.ndjson", "a.xlsx", "a", "a.txt", ".csv")
    found = [format_of(Path(name)) for name in names]
    csv_, jsonl, xlsx = ExportFormat
    assert found == [csv_, csv_, jsonl, jsonl, xlsx, None, None, None]
