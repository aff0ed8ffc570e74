from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal

import pytest

from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from db.values import CallStatus
from tests.commands import Answer, Commands
from tests.factories import NOON, price, spend, usage

DAY = ("--from", "2026-03-10", "--to", "2026-03-10")


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def rows(answer: Answer) -> list[dict[str, str]]:
    """The records of a CSV answer."""
    return list(csv.DictReader(io.StringIO(answer.out)))


def ids(answer: Answer) -> list[str]:
    """The request ids of a JSON list of usage."""
    return [row["requestId"] for row in answer.json]


def call(ledger: Ledger, number: int, **changes: object) -> None:
    """One call, a minute later than the one before it."""
    spend(ledger, "0.25", request_id=f"call-{number}", created_at=NOON + timedelta(minutes=number), **changes)


def test_usage_is_listed_in_every_format_and_filtered(run: Commands, sqlite_ledger: Ledger) -> None:
    call(sqlite_ledger, 1, user_id="alice")
    call(sqlite_ledger, 2, user_id="bob", status=CallStatus.FAILED, error_message="rate limited")
    call(sqlite_ledger, 3, provider_id="anthropic", model_id="claude", user_id=None)
    assert ids(run("usage", "list", "--format", "json")) == ["call-3", "call-2", "call-1"]
    assert [row["requestId"] for row in run("usage", "list", "--format", "jsonl").jsonl] == [
        "call-3",
        "call-2",
        "call-1",
    ]
    first = rows(run("usage", "list", "--format", "csv"))[-1]
    assert (first["userId"], first["costAmount"], first["inputTokens"]) == ("alice", "0.25", "100")
    table = run("usage", "list").out.splitlines()
    assert re.split(r"\s{2,}", table[0].strip())[:3] == ["Id", "Time", "User"]
    assert "2026-03-10 12:03:00" in table[1]
    for option, value, found in (
        ("--user", "bob", ["call-2"]),
        ("--provider", "anthropic", ["call-3"]),
        ("--model", "gpt-4o", ["call-2", "call-1"]),
        ("--type", "image_generation", []),
        ("--status", "failed", ["call-2"]),
        ("--user", "!bob", ["call-3", "call-1"]),
        ("--user", "\\!bob", []),
        ("--provider", "!openai", ["call-3"]),
        ("--model", "!claude", ["call-2", "call-1"]),
        ("--type", "!image_generation", ["call-3", "call-2", "call-1"]),
        ("--status", "!failed", ["call-3", "call-1"]),
        ("--from", "2026-03-10T12:02", ["call-3", "call-2"]),
        ("--to", "2026-03-10T12:02", ["call-1"]),
        ("--to", "2026-03-10", ["call-3", "call-2", "call-1"]),
    ):
        assert ids(run("usage", "list", option, value, "--format", "json")) == found, (option, value)


def test_a_type_or_status_that_there_is_not_is_wrong_usage(run: Commands) -> None:
    for option in ("--type", "--status"):
        answer = run("usage", "list", option, "!tex\x1b[2J")
        assert (answer.code, answer.out) == (2, "")
        assert "failed" in answer.err or "text_generation" in answer.err
        assert "\x1b" not in answer.err


def test_a_list_goes_on_after_its_cursor_without_gap_or_repetition(run: Commands, sqlite_ledger: Ledger) -> None:
    for number in range(5):
        call(sqlite_ledger, number)
    seen: list[str] = []
    arguments = ("usage", "list", "--limit", "2", "--format", "json")
    answer = run(*arguments)
    while True:
        seen += ids(answer)
        cursor = re.search(r"--after (\S+)", answer.err)
        if cursor is None:
            break
        assert cursor[1] == answer.json[-1]["cursor"]
        answer = run(*arguments, "--after", cursor[1])
    assert seen == [f"call-{number}" for number in (4, 3, 2, 1, 0)]
    wrong = run(*arguments, "--after", "not-a-cursor")
    assert (wrong.code, wrong.out) == (2, "")


def test_a_usage_record_is_shown_with_its_reason_and_price(run: Commands, sqlite_ledger: Ledger) -> None:
    price(sqlite_ledger)
    record_usage(sqlite_ledger, [usage(request_id="priced", input_tokens=1000, output_tokens=500)])
    spend(sqlite_ledger, "0", request_id="failed", status=CallStatus.FAILED, error_message="context too long")
    found = {row["requestId"]: str(row["id"]) for row in run("usage", "list", "--format", "json").json}
    shown = run("usage", "show", found["priced"]).out
    assert re.search(r"Cost\s+¥0\.025\s", shown)
    assert re.search(r"1,000 × ¥10\.00 / .+ = ¥0\.01\s", shown)
    assert "context too long" in run("usage", "show", found["failed"]).out
    details = run("usage", "show", found["priced"], "--format", "json").json
    assert (details["costAmount"], details["price"]["inputPrice"]) == ("0.025", "10.00")
    missing = run("usage", "show", "999")
    assert (missing.code, missing.out) == (1, "")


def test_usage_is_exported_whole_and_oldest_first(
    run: Commands, sqlite_ledger: Ledger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for number in range(3):
        call(sqlite_ledger, number)
    place = tmp_path_factory.mktemp("export")
    answer = run("usage", "export", str(place / "usage.csv"))
    assert answer == Answer(0, "", "3 records written.\n")
    exported = list(csv.DictReader((place / "usage.csv").open()))
    assert [row["requestId"] for row in exported] == ["call-0", "call-1", "call-2"]
    again = run("usage", "export", str(place / "usage.csv"))
    assert (again.code, again.out) == (1, "")
    assert run("usage", "export", str(place / "usage.csv"), "--user", "!alice", "--force").err == "0 records written.\n"
    assert run("usage", "export", "-", "--format", "xlsx").code == 2
    lines = run("usage", "export", "-", "--format", "jsonl", "--from", "2026-03-10T12:01").jsonl
    assert [row["requestId"] for row in lines] == ["call-1", "call-2"]
    assert run("usage", "export", str(place / "no" / "file.csv")).code == 3
    assert [path.name for path in place.iterdir()] == ["usage.csv"]
    assert run("usage", "export", str(place / "usage.xlsx")) == Answer(0, "", "3 records written.\n")
    assert (place / "usage.xlsx").read_bytes().startswith(b"PK")


def test_usage_without_a_price_is_billed_once_one_is_there(run: Commands, sqlite_ledger: Ledger) -> None:
    record_usage(sqlite_ledger, [usage(input_tokens=1_000_000, output_tokens=0)])
    assert "unpriced" in run("usage", "list").out
    before = run("usage", "reprice").out
    assert before == "Records priced: 0. Still without a price: 1. Cost added: ¥0.00.\n"
    set_one = run("prices", "set", "openai", "gpt-4o", "text_generation", "--input", "10", "--from", "2020-01-01")
    assert set_one.code == 0
    done = run("usage", "reprice", "--format", "json").json
    assert done == {"priced": 1, "stillUnpriced": 0, "costAmount": "10.00"}


def test_costs_are_grouped_and_summed(run: Commands, sqlite_ledger: Ledger) -> None:
    call(sqlite_ledger, 1)
    call(sqlite_ledger, 2, model_id="gpt-4o-mini")
    call(sqlite_ledger, 3, provider_id="anthropic", model_id="claude", status=CallStatus.FAILED)
    by_provider = run("costs", *DAY, "--group-by", "provider", "--format", "json").json
    assert {row["providerId"]: (row["totalCost"], row["callCount"]) for row in by_provider} == {
        "anthropic": ("0.25", 1),
        "openai": ("0.50", 2),
    }
    whole = rows(run("costs", *DAY, "--format", "csv"))
    assert len(whole) == 3
    assert {row["statDate"] for row in whole} == {"2026-03-10"}
    assert sum(Decimal(row["totalCost"]) for row in whole) == Decimal("0.75")
    table = run("costs", *DAY, "--group-by", "day,type")
    assert table.err == "2026-03-10 to 2026-03-10: ¥0.75, 3 calls, 1 of them failed.\n"
    assert run("costs", *DAY, "--group-by", "weather").code == 2
    assert run("costs", "--from", "2026-03-11", "--to", "2026-03-10").code == 2
    assert run("costs", "--from", "yesterday").code == 2


def test_costs_by_week_and_month_with_unit_costs(run: Commands, sqlite_ledger: Ledger) -> None:
    for day in (0, 1, 6):
        spend(sqlite_ledger, "3", created_at=NOON + timedelta(days=day), total_tokens=2_000_000)
    range_ = ("--from", "2026-03-01", "--to", "2026-03-31", "--format", "json")
    assert [(row["statDate"], row["totalCost"]) for row in run("costs", *range_, "--group-by", "week").json] == [
        ("2026-03-16", "3.00"),
        ("2026-03-09", "6.00"),
    ]
    (month,) = run("costs", *range_, "--group-by", "month").json
    assert month == {
        "statDate": "2026-03-01",
        "totalUsage": 6_000_000,
        "totalCost": "9.00",
        "callCount": 3,
        "failedCount": 0,
        "costPerCall": "3.00",
        "costPerMillionTokens": "1.50",
    }
    assert "2026-03 " in run("costs", *range_[:-2], "--group-by", "month").out
    twice = run("costs", "--group-by", "week,month")
    assert (twice.code, "more than one period" in twice.err) == (2, True)


def test_costs_beside_those_before(run: Commands, sqlite_ledger: Ledger) -> None:
    spend(sqlite_ledger, "3", created_at=NOON)
    spend(sqlite_ledger, "1", created_at=NOON, provider_id="azure")
    spend(sqlite_ledger, "8", created_at=NOON - timedelta(days=1))
    compared = ("costs", *DAY, "--group-by", "provider", "--compare")
    assert [list(row.values())[-4:] for row in run(*compared, "--format", "json").json] == [
        [75, "8.00", "-5.00", -62.5],
        [25, "0.00", "1.00", None],
    ]
    table = run(*compared)
    assert table.err == (
        "2026-03-10 to 2026-03-10: ¥4.00, 2 calls, 0 of them failed. 2026-03-09 to 2026-03-09: ¥8.00 (-50.0%).\n"
    )
    assert "75.0%" in table.out and "-62.5%" in table.out
    assert rows(run(*compared, "--format", "csv"))[1]["costChangePercentage"] == ""
