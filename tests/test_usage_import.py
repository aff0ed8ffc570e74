"""Usage files: what real traces and logs hold becomes records, each row once, and a bad row never hides a good one."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing_console.errors import InvalidInput
from billing_console.services.conversion import conversion_from
from billing_console.services.costs import CostFilter, cost_rows
from billing_console.services.ledger import Ledger
from billing_console.services.reconcile import reconcile
from billing_console.services.side_by_side import AT_ONCE
from billing_console.services.usage_import import import_usage
from billing_console.services.usage_import_run import (
    POSTGRESQL_BATCH,
    SQLITE_BATCH,
    Imported,
    ImportOptions,
    batch_of,
)
from billing_console.services.usage_rows import FieldSources
from db.engine import LOCK_TIMEOUT_SECONDS
from db.values import UsageType
from tests.commands import PATIENCE_SECONDS, PROGRAM, Commands, shell
from tests.conftest import OpenLedger
from tests.factories import everything, price, query, spend

# Rows of the Azure LLM inference trace 2023 (Microsoft, CC-BY 4.0): seven fractional digits, no zone, CRLF.
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n"
    "2023-11-16 18:17:04.0319600,3180,8\r\n"
    "2023-11-16 18:17:04.0781490,110,27\r\n"
)
AZURE_OPTIONS = (
    *("--map", "createdAt=TIMESTAMP", "--map", "inputTokens=ContextTokens", "--map", "outputTokens=GeneratedTokens"),
    *("--set", "providerId=azure", "--set", "modelId=gpt-4", "--set", "usageType=text_generation", "--tz", "UTC"),
)
NAMES = ("requestId", "providerId", "modelId", "usageType", "createdAt", "inputTokens", "outputTokens")
GOOD = ("r-1", "openai", "gpt-4o", "text_generation", "2026-03-10T04:00:00Z", "100", "50")


def lines(rows: Iterable[Sequence[str]], names: Sequence[str] = NAMES) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([names, *rows])
    return out.getvalue()


def row(**changes: str) -> dict[str, str]:
    return dict(zip(NAMES, GOOD, strict=True)) | changes


def written(path: Path, *rows: dict[str, Any]) -> Path:
    """A CSV file of rows that may have columns of their own."""
    names = list(dict.fromkeys(name for each in rows for name in each))
    path.write_text(lines([[each.get(name, "") for name in names] for each in rows], names), encoding="utf-8")
    return path


def many(path: Path, count: int, **changes: str) -> Path:
    path.write_text(lines([list(row(requestId=f"r-{n}", **changes).values()) for n in range(count)]))
    return path


def take(ledger: Ledger, *paths: Path, maps: Sequence[str] = (), sets: Sequence[str] = (), **options: Any) -> Imported:
    return import_usage(ledger, paths, ImportOptions(FieldSources.parse(maps, sets), **options))


def counts(done: Imported) -> tuple[int, int, int, int]:
    return done.imported, done.duplicates, done.rejected, done.unpriced


def rejected(path: Path) -> list[dict[str, Any]]:
    """The rejects of a file, from beside it."""
    return [json.loads(line) for line in path.with_name(f"{path.name}.rejects.jsonl").read_text().splitlines()]


def reasons(path: Path) -> list[tuple[int, str]]:
    return [(each["line"], each["reason"]) for each in rejected(path)]


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


@pytest.fixture
def run_anywhere(database_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(database_url, capsys)


# The whole way, on both engines


def test_a_real_trace_of_several_files_is_imported_with_one_command_and_a_second_time_adds_nothing(
    run_anywhere: Commands, tmp_path: Path, opened: OpenLedger
) -> None:
    code_file, chat = tmp_path / "code.csv", tmp_path / "conv.csv.gz"
    code_file.write_bytes(AZURE.encode())
    chat.write_bytes(gzip.compress((AZURE + "2023-11-16 18:15:46.6805900,374,44\r\n").replace("4808", "4809").encode()))
    ledger = opened(run_anywhere.url)
    price(ledger, provider_id="azure", model_id="gpt-4")

    first = run_anywhere("usage", "import", str(code_file), str(chat), *AZURE_OPTIONS, "--summary", "json")
    before = everything(ledger)
    again = run_anywhere("usage", "import", str(code_file), str(chat), *AZURE_OPTIONS)

    assert (first.code, again.code) == (0, 0)
    assert first.json == {"imported": 7, "duplicates": 0, "rejected": 0, "unpriced": 0, "rejects": []}
    assert again.out == "Imported: 0. Duplicates: 7. Rejected: 0. Unpriced: 0.\n"
    assert everything(ledger) == before
    assert len(query(ledger, "SELECT id FROM usage_imports")) == 2
    assert reconcile(ledger) == ()
    newest = run_anywhere("usage", "list", "--format", "jsonl", "--limit", "1").jsonl[0]
    assert newest["createdAt"] == "2023-11-16T18:17:04.078149Z"
    assert (newest["userId"], newest["inputTokens"], newest["outputTokens"]) == (None, 110, 27)
    assert newest["costAmount"] == "0.00191"


def test_rows_of_all_five_usage_types_are_imported_and_billed_in_their_own_unit(ledger: Ledger, tmp_path: Path) -> None:
    measures = {
        UsageType.TEXT_GENERATION: {"inputTokens": "1000", "outputTokens": "2000"},
        UsageType.IMAGE_GENERATION: {"quantity": "3"},
        UsageType.AUDIO_TTS: {"quantity": "2500"},
        UsageType.AUDIO_STT: {"quantity": "61.25"},
        UsageType.VIDEO_GENERATION: {"quantity": "8"},
    }
    nothing = {"inputTokens": "", "outputTokens": ""}
    for kind in measures:
        price(ledger, usage_type=kind, unit=None, input_price=Decimal(1), output_price=Decimal(0))
    rows = [row(requestId=kind, usageType=kind, **nothing | values) for kind, values in measures.items()]

    assert counts(take(ledger, written(tmp_path / "types.csv", *rows))) == (5, 0, 0, 0)
    day = CostFilter(date(2026, 3, 10), date(2026, 3, 10))
    assert {one.usage_type: (one.total_usage, one.total_cost) for one in cost_rows(ledger, day)} == {
        "text_generation": (Decimal(3000), Decimal("0.001")),
        "image_generation": (Decimal(3), Decimal(3)),
        "audio_tts": (Decimal(2500), Decimal("2.5")),
        "audio_stt": (Decimal("61.25"), Decimal("61.25")),
        "video_generation": (Decimal(8), Decimal(8)),
    }
    assert reconcile(ledger) == ()


def test_two_imports_of_one_file_at_once_record_each_row_once(ledger: Ledger, tmp_path: Path) -> None:
    size = batch_of(ledger)
    file = many(tmp_path / "usage.csv", size + 100)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda each: take(ledger, each), [file, file]))
    assert sum(each.imported for each in done) == sum(each.duplicates for each in done) == size + 100
    assert query(ledger, "SELECT count(*) FROM usage_records") == [(size + 100,)]
    assert reconcile(ledger) == ()


def test_good_rows_are_imported_and_bad_ones_kept_with_line_reason_and_row(
    run_anywhere: Commands, tmp_path: Path
) -> None:
    file = written(
        tmp_path / "usage.csv",
        row(),
        row(requestId="r-2", inputTokens="many"),
        row(requestId="r-3", usageType="text"),
        row(outputTokens="51"),
        row(requestId="r-4"),
    )
    done = run_anywhere("usage", "import", str(file))
    assert done.code == 1
    assert done.out == "Imported: 2. Duplicates: 0. Rejected: 3. Unpriced: 2.\n"
    assert f"{file}.rejects.jsonl" in done.err
    assert reasons(file) == [
        (3, "inputTokens “many” is not a whole number."),
        (4, "usageType “text” is not one of: " + ", ".join(UsageType) + "."),
        (5, "request id r-1 was already recorded with other content (output_tokens)"),
    ]
    first = rejected(file)[0]
    assert first["file"] == str(file)
    assert first["row"] == row(requestId="r-2", inputTokens="many")
    assert (tmp_path / "usage.csv.rejects.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_strict_import_with_one_bad_row_or_conflict_imports_nothing(ledger: Ledger, tmp_path: Path) -> None:
    take(ledger, written(tmp_path / "before.csv", row()))
    before = everything(ledger)
    bad = written(tmp_path / "bad.csv", row(requestId="new"), row(requestId="r-2", inputTokens="-1"))
    conflict = written(tmp_path / "conflict.csv", row(requestId="new"), row(inputTokens="7"), row(requestId="r-3"))

    assert counts(take(ledger, bad, strict=True)) == (0, 0, 1, 0)
    assert counts(take(ledger, conflict, strict=True)) == (0, 0, 1, 0)
    assert everything(ledger) == before
    assert query(ledger, "SELECT count(*) FROM usage_imports") == [(1,)]
    assert [line for line, _reason in reasons(bad) + reasons(conflict)] == [3, 3]


def test_a_strict_import_without_bad_rows_imports_several_files_at_once(ledger: Ledger, tmp_path: Path) -> None:
    size = batch_of(ledger)
    files = many(tmp_path / "a.csv", size + 1), written(tmp_path / "b.csv", row(requestId="b-1"), row(requestId="r-1"))
    assert counts(take(ledger, *files, strict=True)) == (size + 2, 1, 0, size + 2)
    before = everything(ledger)
    assert counts(take(ledger, *files, strict=True)) == (0, size + 3, 0, 0)
    assert everything(ledger) == before
    assert reconcile(ledger) == ()


def test_a_row_that_overflows_a_balance_is_rejected_and_the_rest_of_its_batch_imported(
    ledger: Ledger, tmp_path: Path
) -> None:
    most = "9223372036.854775807"
    rows = [row(requestId=f"r-{number}", costAmount="0.5") for number in range(6)]
    rows.insert(4, row(requestId="huge", costAmount=most))
    file = written(tmp_path / "usage.csv", *rows)
    assert counts(take(ledger, file)) == (6, 0, 1, 0)
    assert reasons(file) == [(6, "The amount is beyond the range of the ledger; nothing was changed.")]
    assert query(ledger, "SELECT used_amount FROM resource_pools") == [(3_000_000_000,)]
    assert reconcile(ledger) == ()


# What a row costs


def test_a_cost_in_another_currency_is_converted_once_and_its_rate_recorded(ledger: Ledger, tmp_path: Path) -> None:
    file = written(
        tmp_path / "usage.csv",
        row(costAmount="0.0000000047"),
        row(requestId="r-2", costAmount="8e-05"),
        row(requestId="r-3", costAmount="12.5"),
    )
    conversion = conversion_from(ledger, "USD", Decimal("7.1"))
    assert counts(take(ledger, file, conversion=conversion)) == (3, 0, 0, 0)
    # 0.0000000047 * 7.1 = 0.00000003337, rounded half to even to 33 nano-yuan.
    costs = query(ledger, "SELECT request_id, cost_amount FROM usage_records ORDER BY request_id")
    assert costs == [("r-1", 33), ("r-2", 568_000), ("r-3", 88_750_000_000)]
    assert query(ledger, "SELECT file_name, source_currency, exchange_rate FROM usage_imports") == [
        (str(file), "USD", "7.1")
    ]


@pytest.mark.parametrize(
    ("currency", "rate", "words"),
    [
        ("USD", None, "need the rate"),
        (None, "7.1", "in another currency than CNY"),
        ("CNY", "1", "in another currency than CNY"),
        ("usd", "7.1", "a code like USD"),
        ("USD", "0", "more than 0"),
        ("USD", "-7", "more than 0"),
    ],
)
def test_a_currency_needs_a_rate_and_a_rate_a_currency(
    sqlite_ledger: Ledger, currency: str | None, rate: str | None, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        conversion_from(sqlite_ledger, currency, None if rate is None else Decimal(rate))


def test_a_failed_call_keeps_its_reason_and_costs_nothing_unless_the_row_says_so(
    sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    price(sqlite_ledger)
    file = written(
        tmp_path / "usage.csv",
        row(status="failed", errorMessage="429: slow\ndown"),
        row(requestId="r-2", status="failed", costAmount="0.25"),
        row(requestId="r-3", status="failed", inputTokens="", outputTokens=""),
    )
    assert counts(take(sqlite_ledger, file)) == (3, 0, 0, 0)
    rows = query(sqlite_ledger, "SELECT error_message, cost_amount FROM usage_records ORDER BY request_id")
    assert rows == [("429: slow\ndown", 0), (None, 250_000_000), (None, 0)]


# Which rows are the same


def test_rows_without_request_id_are_known_again_under_another_name_packed_or_with_other_line_ends(
    sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    text = lines([list(row().values())[1:]] * 3, NAMES[1:])
    files = {
        "a.csv": text.encode(),
        "renamed.csv": text.encode(),
        "packed.csv.gz": gzip.compress(text.encode()),
        "unix.csv": text.replace("\r\n", "\n").encode(),
        "marked.csv": b"\xef\xbb\xbf" + text.encode(),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert counts(take(sqlite_ledger, tmp_path / "a.csv")) == (3, 0, 0, 3)
    for name in files:
        assert counts(take(sqlite_ledger, tmp_path / name)) == (0, 3, 0, 0)


def test_a_file_that_grew_adds_only_its_new_rows(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    same = list(row().values())[1:]
    file.write_text(lines([same, same], NAMES[1:]))
    take(sqlite_ledger, file)
    file.write_text(lines([same, same, same], NAMES[1:]))
    assert counts(take(sqlite_ledger, file)) == (1, 2, 0, 1)


def test_equal_rows_in_files_that_differ_before_them_are_different_calls(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    same = list(row().values())[1:]
    for name, first in (("a.csv", "1"), ("b.csv", "2")):
        other = [*same[:-1], first]
        (tmp_path / name).write_text(lines([other, same], NAMES[1:]))
    assert counts(take(sqlite_ledger, tmp_path / "a.csv", tmp_path / "b.csv")) == (4, 0, 0, 4)


def test_the_same_file_for_another_provider_is_other_calls_and_for_another_user_a_conflict(
    sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(lines([list(row().values())[2:]], NAMES[2:]))
    assert counts(take(sqlite_ledger, file, sets=["providerId=azure"])) == (1, 0, 0, 1)
    assert counts(take(sqlite_ledger, file, sets=["providerId=openai"])) == (1, 0, 0, 1)
    assert counts(take(sqlite_ledger, file, sets=["providerId=openai", "userId=bob"])) == (0, 0, 1, 0)


def test_rejected_rows_can_be_mended_and_imported_from_the_rejects(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    file.write_text(lines([["r-1", "2026-03-10T04:00:00Z", "1OO"]], ["id", "time", "tokens"]))
    sets = ["providerId=p", "modelId=m", "usageType=text_generation"]
    take(sqlite_ledger, file, maps=["requestId=id", "createdAt=time", "inputTokens=tokens"], sets=sets)
    mended = tmp_path / "mended.jsonl"
    mended.write_text((tmp_path / "usage.csv.rejects.jsonl").read_text().replace('"1OO"', '"100"'))
    maps = ["requestId=row.id", "createdAt=row.time", "inputTokens=row.tokens"]
    assert counts(take(sqlite_ledger, mended, maps=maps, sets=sets)) == (1, 0, 0, 1)
    assert query(sqlite_ledger, "SELECT request_id, input_tokens FROM usage_records") == [("r-1", 100)]


# JSON lines


def test_json_lines_give_nested_values_by_a_dotted_path_and_numbers_exactly(
    sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "calls.jsonl"
    calls = [
        {
            "id": 17,
            "ts": 1773115200,
            "user": 42,
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "cost": 8e-05},
        },
        {"id": 18, "ts": 1773115200.25, "usage": {"prompt_tokens": 7.0, "completion_tokens": 0, "cost": 0.1}},
        {"id": 19, "ts": "1773115200250", "error": {"message": "boom"}, "state": "failed"},
    ]
    file.write_text("\n".join(json.dumps(call) for call in calls))
    maps = ["requestId=id", "createdAt=ts", "userId=user", "inputTokens=usage.prompt_tokens", "status=state"]
    maps += ["outputTokens=usage.completion_tokens", "costAmount=usage.cost", "errorMessage=error.message"]
    done = take(sqlite_ledger, file, maps=maps, sets=["providerId=p", "modelId=m", "usageType=text_generation"])
    assert counts(done) == (3, 0, 0, 0)
    columns = "request_id, user_id, input_tokens, cost_amount, status, error_message, created_at"
    assert query(sqlite_ledger, f"SELECT {columns} FROM usage_records ORDER BY id") == [
        ("17", "42", 100, 80_000, "success", None, "2026-03-10 04:00:00.000000"),
        ("18", None, 7, 100_000_000, "success", None, "2026-03-10 04:00:00.250000"),
        ("19", None, 0, 0, "failed", "boom", "2026-03-10 04:00:00.250000"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("17", "not a JSON object"),
        ('{"a": 1, "a": 2}', "a name is there twice"),
        ('{"inputTokens": NaN}', "NaN is no number"),
        ('{"inputTokens": Infinity}', "Infinity is no number"),
        ('{"inputTokens": ' + "9" * 5000 + "}", "too many digits"),
        ('{"a": ' + "[" * 200_000 + "}", "nested too deeply"),
        ("x" * 1_000_001, "longer than 1000000 characters"),
        (json.dumps(row(requestId="x", inputTokens="\ud800")), "is not a whole number"),
        (json.dumps(row(requestId="\ud800")), "requestId holds a character that cannot be stored"),
        (json.dumps(row() | {"inputTokens": True}), "inputTokens “True” is not a whole number"),
        (json.dumps(row() | {"inputTokens": 1.5}), "inputTokens “1.5” is not a whole number"),
        (json.dumps(row() | {"inputTokens": {"a": 1}}), "inputTokens “dict” is not a whole number"),
        (json.dumps(row() | {"userId": ["a"]}), "userId “list” is not text"),
        (json.dumps(row() | {"costAmount": 1e300}), "costAmount is more than the ledger can hold"),
        (json.dumps(row() | {"createdAt": 0}), "createdAt “0” is not a time"),
    ],
)
def test_a_line_of_json_that_is_no_call_is_rejected_and_the_next_one_imported(
    sqlite_ledger: Ledger, tmp_path: Path, line: str, reason: str
) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(f"\n{line}\n{json.dumps(row(requestId='good'))}\n")
    assert counts(take(sqlite_ledger, file)) == (1, 0, 1, 1)
    [(number, words)] = reasons(file)
    assert number == 2
    assert reason in words


def test_a_path_that_no_line_has_is_found_before_anything_is_imported(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(json.dumps(row() | {"usage": {"prompt_tokens": 1}}) + "\n")
    with pytest.raises(InvalidInput, match=r"no column “usage\.promt_tokens” for inputTokens"):
        take(sqlite_ledger, file, maps=["inputTokens=usage.promt_tokens"])
    file.write_text('{"time": 1}\n')
    with pytest.raises(InvalidInput, match="no column for: providerId, modelId, usageType, createdAt"):
        take(sqlite_ledger, file)
    assert query(sqlite_ledger, "SELECT count(*) FROM usage_records") == [(0,)]


# Rows as files really hold them


BAD_CELLS = [
    ("inputTokens", "NaN", "not a whole number"),
    ("inputTokens", "1e3", "not a whole number"),
    ("inputTokens", "1,000", "not a whole number"),
    ("inputTokens", "1.5", "not a whole number"),
    ("inputTokens", "١٢", "not a whole number"),
    ("inputTokens", "-1", "must be between 0 and"),
    ("inputTokens", "1000000000001", "must be between 0 and"),
    ("inputTokens", "9" * 5000, "not a whole number"),
    ("cachedInputTokens", "101", "part of inputTokens"),
    ("quantity", "-0.5", "quantity must be 0 or more"),
    ("quantity", "Infinity", "not a number"),
    ("costAmount", "-0.01", "costAmount must be 0 or more"),
    ("costAmount", "NaN", "not a number"),
    ("costAmount", "1,5", "not a number"),
    ("costAmount", "¥1", "not a number"),
    ("costAmount", "1e99", "more than the ledger can hold"),
    ("costAmount", "9223372036.854775808", "more than the ledger can hold"),
    ("status", "ok", "not one of: success, failed"),
    ("usageType", "", "usageType is required"),
    ("providerId", " ", "providerId is required"),
    ("modelId", "x" * 201, "longer than 200 characters"),
    ("userId", "a\0b", "cannot be stored"),
    ("createdAt", "", "createdAt is required"),
    ("createdAt", "yesterday", "not a time"),
    ("createdAt", "20260310", "not a time"),
    ("createdAt", "2026-02-30T00:00:00Z", "not a time"),
    ("createdAt", "2026-03-10T25:00:00Z", "not a time"),
    ("createdAt", "0001-01-01T00:00:00+14:00", "not a time"),
    ("createdAt", "1970-01-01T00:00:00Z", "before the year 2000"),
    ("createdAt", "9999-12-31T23:59:59Z", "too far ahead"),
]


def test_every_kind_of_bad_cell_is_rejected_with_its_field_and_costs_no_good_row(
    sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    extra = dict.fromkeys(("cachedInputTokens", "quantity", "costAmount", "status", "userId"), "")
    bad = [
        row(requestId=f"bad-{number}", **extra) | {field: value}
        for number, (field, value, _reason) in enumerate(BAD_CELLS)
    ]
    file = written(tmp_path / "usage.csv", row(), *bad, row(requestId="r-2"))
    assert counts(take(sqlite_ledger, file)) == (2, 0, len(bad), 2)
    for (line, words), number, (field, value, reason) in zip(
        reasons(file), range(3, len(bad) + 3), BAD_CELLS, strict=True
    ):
        assert (line, field in words, reason in words) == (number, True, True), (field, value, words)


def test_a_successful_call_without_any_measure_is_rejected_and_not_billed_as_nothing(
    sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    nothing = row(inputTokens="", outputTokens="")
    file = written(
        tmp_path / "usage.csv",
        nothing,
        nothing | {"requestId": "r-2", "totalTokens": "150"},
        nothing | {"requestId": "r-3", "usageType": "image_generation"},
        nothing | {"requestId": "r-4", "inputTokens": "0"},
    )
    assert counts(take(sqlite_ledger, file)) == (1, 0, 3, 1)
    assert [line for line, _reason in reasons(file)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-03-10T04:00:00Z", "04:00:00.000000"),
        ("2026-03-10 12:00:00", "04:00:00.000000"),
        ("2026-03-10T12:00:00+08:00", "04:00:00.000000"),
        ("2026-03-09T23:00:00-0500", "04:00:00.000000"),
        ("2026-03-10 04:00:00.123456789 UTC", "04:00:00.123456"),
        ("2026-03-10T04:00:00.5z", "04:00:00.500000"),
        ("2026-03-10T12:00", "04:00:00.000000"),
        ("1773115200", "04:00:00.000000"),
        ("1773115200.25", "04:00:00.250000"),
        ("1773115200999", "04:00:00.999000"),
    ],
)
def test_a_time_is_read_to_the_microsecond_in_every_usual_spelling(
    sqlite_ledger: Ledger, tmp_path: Path, text: str, stored: str
) -> None:
    take(sqlite_ledger, written(tmp_path / "usage.csv", row(createdAt=text)))
    assert query(sqlite_ledger, "SELECT created_at FROM usage_records") == [(f"2026-03-10 {stored}",)]


def test_times_without_zone_are_taken_in_the_zone_named_also_where_clocks_are_turned_back(
    run: Commands, tmp_path: Path
) -> None:
    file = written(
        tmp_path / "usage.csv",
        row(createdAt="2026-10-25 02:30:00"),
        row(requestId="r-2", createdAt="2026-03-29 02:30:00"),
    )
    assert run("usage", "import", str(file), "--tz", "Europe/Berlin").code == 0
    times = [each["createdAt"] for each in run("usage", "list", "--format", "jsonl").jsonl]
    assert times == ["2026-10-25T00:30:00Z", "2026-03-29T01:30:00Z"]


def test_the_line_of_a_row_is_where_it_starts_whatever_came_before(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    names = b",".join(name.encode() for name in (*NAMES, "status", "errorMessage"))
    start = b",openai,gpt-4o,text_generation,2026-03-10,1,1,failed,"
    file.write_bytes(
        b"\xef\xbb\xbf" + names + b"\r\n"
        b"r-1" + start + b'"two\r\nlines and ""quotes"""\r\n'
        b"\r\n"
        b"r-2" + start + b"caf\xe9\r\n"  # line 5
        b"r-3" + start + b"nul \0 is replaced\r\n"
        b"r-4,openai\r\n"
        b"r-5" + start + b"one,too many\r\n"
        b'r-6,"openai"x,gpt-4o\r\n'
        b"r-7" + start + b"x" * 140_000 + b"\r\n"  # line 10
        b"r-8" + start + b"y" * 2_100_000 + b"\r\n"
        b"r-9" + start + b"last\r\n"
        b"r-10" + start + b'"never closed\r\n'
    )
    assert counts(take(sqlite_ledger, file)) == (3, 0, 7, 0)
    assert [(line, reason.partition(":")[0]) for line, reason in reasons(file)] == [
        (5, "not valid UTF-8 text"),
        (7, "2 columns instead of 9"),
        (8, "10 columns instead of 9"),
        (9, "not valid CSV"),
        (10, "not valid CSV"),
        (11, "the line is longer than 1000000 characters"),
        (13, "not valid CSV"),
    ]
    assert rejected(file)[1]["row"] == "r-4,openai"
    kept = query(sqlite_ledger, "SELECT request_id, error_message FROM usage_records ORDER BY id")
    assert kept == [("r-1", 'two\r\nlines and "quotes"'), ("r-3", "nul \ufffd is replaced"), ("r-9", "last")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "there is none"),
        (b"\n\n", "there is none"),
        ("a,b".encode("utf-16"), "UTF-16"),
        (b"a;b\n1;2\n", "not separated by commas"),
        (b"a\tb\n1\t2\n", "not separated by commas"),
        (b"createdAt,createdAt\n", "“createdAt” is there twice"),
        (b"a,\xff\n", "not valid UTF-8"),
        (b"a,b\0\n", "NUL"),
        (b'"a,b\n', "not valid CSV"),
        (b"x" * 1_000_001, "longer than 1000000 characters"),
        (b"createdAt,usageType\n1,2\n", "no column for: providerId, modelId"),
    ],
)
def test_a_file_without_a_usable_header_is_refused_with_the_reason(
    run: Commands, tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "usage.csv"
    file.write_bytes(content)
    done = run("usage", "import", str(file))
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert str(file) in done.err
    assert done.err.count("\n") == 1


def test_a_second_file_that_cannot_be_imported_keeps_the_first_from_being_begun(run: Commands, tmp_path: Path) -> None:
    good, bad = written(tmp_path / "a.csv", row()), tmp_path / "b.csv"
    bad.write_text("x,y\n")
    assert run("usage", "import", str(good), str(bad)).code == 2
    assert run("usage", "import", str(good), str(tmp_path / "missing.csv")).code == 3
    assert run("usage", "list", "--format", "json").json == []


@pytest.mark.parametrize("place", ["missing", "directory", "cut.gz", "loop"])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(run: Commands, tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    if place == "directory":
        path.mkdir()
    elif place == "cut.gz":
        path.write_bytes(gzip.compress(os.urandom(50_000).hex().encode())[:-40_000])
    elif place == "loop":
        path.symlink_to(path)
    done = run("usage", "import", str(path))
    assert (done.code, done.out) == (3, "")
    assert f"{path} cannot be read: " in done.err
    assert "Traceback" not in done.err


def test_a_stream_that_breaks_off_leaves_whole_batches_and_says_how_to_go_on(
    run_anywhere: Commands, tmp_path: Path
) -> None:
    size = SQLITE_BATCH if run_anywhere.url.startswith("sqlite") else POSTGRESQL_BATCH
    whole = gzip.compress(many(tmp_path / "usage.csv", 4 * size).read_bytes() + os.urandom(100_000).hex().encode())
    file = tmp_path / "cut.csv.gz"
    file.write_bytes(whole[:-50_000])
    done = run_anywhere("usage", "import", str(file))
    assert done.code == 3
    assert f"{4 * size} records were imported; the same command again goes on from there." in done.err
    assert run_anywhere("reconcile").code == 0


def test_of_two_rows_with_one_request_in_neighbouring_batches_the_first_is_recorded(
    ledger: Ledger, tmp_path: Path
) -> None:
    size = batch_of(ledger)
    rows = [row(requestId=f"r-{n}") for n in range(6 * size)]
    for batch in range(1, 6):
        rows[batch * size] |= {"requestId": f"r-{batch * size - 1}", "inputTokens": "777"}
    file = written(tmp_path / "usage.csv", *rows)
    assert counts(take(ledger, file)) == (6 * size - 5, 0, 5, 6 * size - 5)
    assert [line for line, _reason in reasons(file)] == [batch * size + 2 for batch in range(1, 6)]
    assert query(ledger, "SELECT COUNT(*) FROM usage_records WHERE input_tokens = 777") == [(0,)]


def test_rejects_are_in_the_order_of_the_file_whenever_they_are_found_out(ledger: Ledger, tmp_path: Path) -> None:
    size = batch_of(ledger)
    rows = [row(requestId=f"r-{n}") for n in range(5 * size)]
    for batch in range(1, 5):
        rows[batch * size + 10] |= {"requestId": f"r-{batch}", "inputTokens": "777"}
        rows[batch * size + 5] |= {"inputTokens": "many"}
    file = written(tmp_path / "usage.csv", *rows)
    assert take(ledger, file).rejected == 8
    lines = [line for line, _reason in reasons(file)]
    assert lines == [batch * size + place for batch in range(1, 5) for place in (7, 12)]
    assert reconcile(ledger) == ()


# The command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--map", "inputToken=x"], "no field “inputToken”. Did you mean “inputTokens”?"),
        (["--set", "provider_id=x"], "no field “provider_id”. Did you mean “providerId”?"),
        (["--map", "createdAt=x"], "no column “x” for createdAt"),
        (["--map", "createdAt=creatdAt"], "Did you mean “createdAt”?"),
        (["--map", "createdAt"], "As in: --map createdAt=TIMESTAMP"),
        (["--set", "userId="], "As in: --set providerId=azure"),
        (["--map", "userId=a", "--map", "userId=b"], "names userId twice"),
        (["--map", "userId=a", "--set", "userId=b"], "by --map and by --set"),
        (["--tz", "Mars/Olympus"], "is not a time zone"),
        (["--currency", "USD"], "Add --rate"),
        (["--rate", "x", "--currency", "USD"], "is not a number"),
        (["--format", "xlsx"], "takes one of: csv, jsonl"),
        (["--rejects", "-"], "takes the name of a file"),
        (["--rejects", "usage.csv"], "cannot take the place of the file"),
        (["--rejects", "nowhere/x"], "There is no directory"),
    ],
)
def test_wrong_usage_is_said_in_one_line_and_imports_nothing(
    run: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "usage.csv", row())
    done = run("usage", "import", "usage.csv", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert run("usage", "list", "--format", "json").json == []


def test_json_in_one_array_is_refused_with_the_way_to_go_on(run: Commands, tmp_path: Path) -> None:
    file = tmp_path / "usage.json"
    file.write_text(json.dumps(row()))
    assert "--format jsonl" in run("usage", "import", str(file)).err
    assert run("usage", "import", str(file), "--format", "jsonl").code == 0


def test_standard_input_is_read_packed_or_not_and_strictly_too(sqlite_url: str, tmp_path: Path) -> None:
    written(tmp_path / "usage.csv", row(), row(requestId="r-2"))
    arguments = ("--database", sqlite_url, "usage", "import", "-")
    plain = shell(f'cat {tmp_path}/usage.csv | "$@" --strict', *arguments)
    packed = shell(f'gzip -c {tmp_path}/usage.csv | "$@"', *arguments)
    assert (plain.code, plain.out) == (0, "Imported: 2. Duplicates: 0. Rejected: 0. Unpriced: 2.\n")
    assert (packed.code, packed.out) == (0, "Imported: 0. Duplicates: 2. Rejected: 0. Unpriced: 0.\n")


def test_rejects_of_standard_input_go_into_this_directory_and_named_ones_where_told(
    sqlite_url: str, tmp_path: Path, run: Commands
) -> None:
    bad = written(tmp_path / "bad.csv", row(inputTokens="x"))
    piped = shell(f'cd {tmp_path} && "$@" < bad.csv', "--database", sqlite_url, "usage", "import", "-")
    assert piped.code == 1
    assert json.loads((tmp_path / "stdin.rejects.jsonl").read_text())["file"] == "stdin"
    together = tmp_path / "together.jsonl"
    done = run("usage", "import", str(bad), str(bad), "--rejects", str(together))
    assert done.code == 1
    assert [json.loads(line)["line"] for line in together.read_text().splitlines()] == [2, 2]
    assert not (tmp_path / "bad.csv.rejects.jsonl").exists()


def test_no_file_of_rejects_is_made_where_nothing_is_rejected(run: Commands, tmp_path: Path) -> None:
    file = written(tmp_path / "usage.csv", row())
    assert run("usage", "import", str(file), "--rejects", str(tmp_path / "none.jsonl")).code == 0
    assert sorted(path.name for path in tmp_path.iterdir() if "jsonl" in path.name) == []


def test_a_read_only_session_imports_nothing(run: Commands, tmp_path: Path) -> None:
    file = written(tmp_path / "usage.csv", row())
    assert run("--read-only", "usage", "import", str(file)).code == 77
    assert run("usage", "list", "--format", "json").json == []


@pytest.mark.parametrize("batches", [1, 5])
def test_an_interrupted_import_shows_progress_keeps_whole_batches_and_goes_on_when_run_again(
    run_anywhere: Commands, tmp_path: Path, batches: int
) -> None:
    size = SQLITE_BATCH if run_anywhere.url.startswith("sqlite") else POSTGRESQL_BATCH
    rows = batches * size + 500
    text = many(tmp_path / "usage.csv", rows).read_text()
    head = "".join(text.splitlines(keepends=True)[: batches * size + 200])
    terminal, end = pty.openpty()
    program = subprocess.Popen(
        [PROGRAM, "--database", run_anywhere.url, "usage", "import", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=end,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(end)
    assert program.stdin is not None
    program.stdin.write(head.encode())
    program.stdin.flush()
    # All that can be told of before more is read: what is under way side by side is told of after it.
    told = batches if batches == 1 or run_anywhere.url.startswith("sqlite") else batches - AT_ONCE
    until(terminal, f"{told * size} rows")
    program.send_signal(signal.SIGINT)
    assert program.wait(PATIENCE_SECONDS) == 130
    shown = until(terminal, " records were imported; the same command again goes on from there.")
    os.close(terminal)
    program.stdin.close()
    kept = len(run_anywhere("usage", "list", "--format", "jsonl", "--limit", "99999").jsonl)
    assert kept in range(size, batches * size + 1, size) and f"{kept} records were imported" in shown
    again = run_anywhere("usage", "import", str(tmp_path / "usage.csv"))
    assert again.out == f"Imported: {rows - kept}. Duplicates: {kept}. Rejected: 0. Unpriced: {rows - kept}.\n"
    assert run_anywhere("reconcile").code == 0


def test_an_interrupted_import_does_not_wait_for_what_others_have_locked(
    postgres_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, opened: OpenLedger
) -> None:
    size = POSTGRESQL_BATCH
    ledger = opened(postgres_url)
    spend(ledger, "1", user_id="held")
    rows = [row(requestId=f"r-{n}", userId="held" if n >= size else "free") for n in range(2 * size)]
    file = written(tmp_path / "usage.csv", *rows)
    terminal, end = pty.openpty()
    with ledger.database.writing() as session:
        session.connection().exec_driver_sql("SELECT 1 FROM user_quotas WHERE user_id = 'held' FOR UPDATE")
        program = subprocess.Popen(
            [PROGRAM, "--database", postgres_url, "usage", "import", str(file)],
            stdout=subprocess.PIPE,
            stderr=end,
            env=os.environ | {"TERM": "xterm"},
        )
        os.close(end)
        until(terminal, f"{size} rows")
        program.send_signal(signal.SIGINT)
        # Before it would give up the lock by itself.
        assert program.wait(LOCK_TIMEOUT_SECONDS / 2) == 130
    until(terminal, f"{size} records were imported; the same command again goes on from there.")
    os.close(terminal)
    again = Commands(postgres_url, capsys)("usage", "import", str(file))
    assert again.out == f"Imported: {size}. Duplicates: {size}. Rejected: 0. Unpriced: {size}.\n"


def until(terminal: int, words: str) -> str:
    """What a terminal shows up to some words; fails if they do not come."""
    seen, patience_ends = "", time.monotonic() + PATIENCE_SECONDS
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0, patience_ends - time.monotonic()))
        assert ready, seen
        try:
            seen += os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            raise AssertionError(seen) from None
    return seen
