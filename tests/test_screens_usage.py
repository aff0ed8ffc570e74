"""Usage records at the keyboard: filters, pages, the reason of a failure, the price a call was billed at."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from textual.widgets import Input

from billing_console.clock import now
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.state_file import remembered, state_file
from db.values import CallStatus, UsageType
from screens.dialogs.export import ExportDialog
from screens.dialogs.form import Choice
from screens.usage import UsageRecordsView
from screens.usage_table import UsageTable
from screens.usage_window import WINDOW
from tests.factories import NOON, gateway_insert, pool, price, spend, usage
from tests.keyboard import Keyboard, console

HOSTILE = "[/]\x1b[2J\u202e[@click=app.quit]x[/]"
REASON = "429 Too Many Requests: rate limit of 500 requests a minute reached, try again in 120 ms"


@pytest.fixture
def busy(ledger: Ledger) -> Ledger:
    """A few calls of two users at two providers, one of each usage type, one failed."""
    price(ledger, cached_input_price=Decimal(1))
    types = list(UsageType)
    record_usage(
        ledger,
        [
            usage(
                user_id=("alice", "bob")[number % 2],
                provider_id=("openai", "anthropic")[number % 2],
                model_id=("gpt-4o", "claude")[number % 2],
                usage_type=types[number],
                quantity=Decimal(number),
                created_at=NOON + timedelta(hours=number),
                request_id=f"call-{number}",
                input_tokens=1000,
                cached_input_tokens=200,
                output_tokens=100,
            )
            for number in range(5)
        ]
        + [
            usage(
                user_id="u-00042",
                created_at=NOON + timedelta(hours=6),
                status=CallStatus.FAILED,
                error_message=REASON,
                request_id="failed",
            )
        ],
    )
    return ledger


def pane(keys: Keyboard) -> UsageRecordsView:
    return keys.app.query_one(UsageRecordsView)


def requests(keys: Keyboard) -> list[str]:
    return [row.request_id for row in pane(keys)._window.rows]


def current(keys: Keyboard) -> str:
    """The request under the cursor."""
    row = keys.app.query_one(UsageTable).current
    assert row is not None
    return row.request_id


async def fill(keys: Keyboard, **fields: str) -> None:
    """Open the filter, type into fields, choose with arrows, apply."""
    await keys.press("slash")
    for name, text in fields.items():
        keys.app.screen.query_one(f"#{name}").focus()
        if isinstance(keys.app.screen.query_one(f"#{name}"), Input):
            await keys.type(text)
        else:
            await keys.press(*["right"] * int(text))
    await keys.press("enter")


async def test_the_newest_call_is_first_and_s_turns_the_order_round(busy: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        assert requests(keys) == ["failed", "call-4", "call-3", "call-2", "call-1", "call-0"]
        assert "newest first" in keys.screen
        await keys.press("s")
        assert requests(keys) == ["call-0", "call-1", "call-2", "call-3", "call-4", "failed"]
        assert "oldest first" in keys.screen


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"user_id": "bob"}, ["call-3", "call-1"]),
        ({"provider_id": "anthropic"}, ["call-3", "call-1"]),
        ({"model_id": "gpt-4o"}, ["failed", "call-4", "call-2", "call-0"]),
        ({"usage_type": "1"}, ["failed", "call-0"]),
        ({"status": "2"}, ["failed"]),
        ({"status": "1", "user_id": "alice"}, ["call-4", "call-2", "call-0"]),
        ({"start": "2026-03-10T14:30", "end": "2026-03-10T16:00"}, ["call-3"]),
        ({"start": "2026-03-11"}, []),
        ({"end": "2026-03-10"}, ["failed", "call-4", "call-3", "call-2", "call-1", "call-0"]),
    ],
)
async def test_a_filter_shows_exactly_what_matches(
    busy: Ledger, database_url: str, fields: dict[str, str], found: list[str]
) -> None:
    async with console(database_url) as keys:
        await fill(keys, **fields)
        if found:
            assert requests(keys) == found
            assert "Filter: " in keys.screen
            assert f"{len(found)} call" in keys.screen
        else:
            assert "Nothing matches the filter" in keys.screen
        await keys.press("escape")
        assert len(requests(keys)) == 6
        assert "Filter: " not in keys.screen


async def test_an_exclamation_mark_before_a_value_excludes_it(busy: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await fill(keys, user_id="!bob", model_id="!claude")
        assert requests(keys) == ["failed", "call-4", "call-2", "call-0"]
        assert "Filter: not user bob · not model claude" in keys.screen
        await keys.press("slash")
        assert keys.app.screen.query_one("#user_id", Input).value == "!bob"
        await keys.press("escape", "escape")
        await fill(keys, usage_type="6")
        assert requests(keys) == ["call-4", "call-3", "call-2", "call-1"]
        assert "Filter: not text_generation" in keys.screen


async def test_each_part_of_a_filter_is_taken_off_or_turned_round_by_a_key(busy: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await fill(keys, user_id="alice", provider_id="openai", status="1")
        assert "Filter: user alice · provider openai · success" in keys.screen
        await keys.press("x")
        assert "Filter: user alice · provider openai · [success]" in keys.screen
        await keys.press("exclamation_mark")
        assert requests(keys) == []
        assert "· [failed]" in keys.screen
        await keys.press("left", "left", "exclamation_mark", "exclamation_mark")
        assert "Filter: [user alice] · provider openai · failed" in keys.screen
        await keys.press("x")
        assert requests(keys) == ["failed"]
        await keys.press("right", "x")
        assert "Filter: [provider openai]" in keys.screen
        await keys.press("x")
        assert "Filter: " not in keys.screen
        assert len(requests(keys)) == 6
        await keys.press("j")
        assert current(keys) == "call-4", "the keyboard is back in the table"


async def test_the_names_known_are_shown_while_one_is_typed(busy: Ledger, database_url: str) -> None:
    spend(busy, "1", user_id="alina", provider_id="openrouter", model_id="x")
    async with console(database_url) as keys:
        await keys.press("slash")
        await keys.type("!al")
        await keys.until(lambda: "→ takes alice; others: alina" in keys.screen)
        await keys.press("right")
        assert keys.app.screen.query_one("#user_id", Input).value == "!alice"
        await keys.press("down")
        await keys.type("OPEN")
        await keys.until(lambda: "→ takes openai; others: openrouter" in keys.screen)
        await keys.type("sesame")
        await keys.until(lambda: "none is known by that name" in keys.screen)


async def test_totals_say_at_least_and_t_counts_everything(
    busy: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing_console.services.usage_totals.COUNT_CAP", 2)
    async with console(database_url, size=(120, 40)) as keys:
        assert "6 calls · 1 failed" in keys.screen, "the daily statistics know"
        assert "Count all" not in keys.screen
        await fill(keys, user_id="!nobody")
        assert "at least 2 calls" in keys.screen
        assert "t Count all" in keys.screen
        await keys.press("t")
        assert ": 6 calls · 1 failed · 1,250 tokens" in keys.screen
        assert "at least" not in keys.screen
        await keys.press("escape")
        assert "6 calls · 1 failed · 1,250 tokens · ¥0.01 · newest first" in keys.screen


async def test_following_brings_new_calls_on_top_and_waits_while_one_looks_elsewhere(
    busy: Ledger, database_url: str
) -> None:
    def call(number: int) -> None:
        gateway_insert(busy, request_id=f"new-{number}", created_at=datetime(2026, 3, 11, number, tzinfo=UTC))

    async with console(database_url, refresh_seconds=0.05) as keys:
        await keys.press("s")
        await keys.pilot.press("F")
        await keys.until(lambda: "following" in keys.screen)
        call(1)
        await keys.until(lambda: requests(keys)[:2] == ["new-1", "failed"])
        assert current(keys) == "new-1", "the cursor stays on top"
        await keys.pilot.press("j", "j")
        await keys.until(lambda: "paused, 0 new" in keys.screen)
        call(2)
        call(3)
        await keys.until(lambda: "paused, 2 new" in keys.screen)
        assert requests(keys)[0] == "new-1"
        assert current(keys) == "call-4"
        await keys.pilot.press("g")
        await keys.until(lambda: requests(keys)[:3] == ["new-3", "new-2", "new-1"])
        await keys.until(lambda: current(keys) == "new-3")
        assert "following" in keys.screen
        await keys.pilot.press("F")
        await keys.until(lambda: "newest first" in keys.screen)


def header(keys: Keyboard) -> str:
    return keys.line(" Time ")


async def test_hidden_columns_stay_hidden_the_next_time(busy: Ledger, database_url: str) -> None:
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press("l", "minus")
        assert "User" not in header(keys)
        await keys.press("plus")
        for name in ("errorMessage", "usageType"):
            keys.app.screen.query_one(f"#{name}").focus()
            await keys.press("right")
        await keys.press("enter")
        assert "Failure reason" in header(keys)
        assert "429 Too Many Requests" in keys.screen
        await keys.press("j")
        assert current(keys) == "call-4"
    async with console(database_url, size=(120, 40)) as keys:
        assert [word in header(keys) for word in ("User", "Type", "Failure reason", "Model")] == [
            False,
            False,
            True,
            True,
        ]


async def test_the_last_column_stays(busy: Ledger, database_url: str) -> None:
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press(*["minus"] * 12)
        assert len(keys.app.query_one(UsageTable).all_columns) == 1
        await keys.press("plus")
        for choice in keys.app.screen.query(Choice):
            choice.choose("hidden")
        await keys.press("enter")
        assert "At least one column must be shown" in keys.screen


@pytest.mark.parametrize("broken", [b"{", b"[1]", b"\xff", b'{"usage.hidden": 7}'])
async def test_a_broken_state_file_is_passed_over(busy: Ledger, database_url: str, broken: bytes) -> None:
    state_file().parent.mkdir(parents=True)
    state_file().write_bytes(broken)
    async with console(database_url, size=(120, 40)) as keys:
        assert "User" in header(keys)
        assert ("cannot be read" in keys.said) is (b"usage" not in broken)
        await keys.press("l", "minus")
        assert "User" not in header(keys)
    assert "userId" in remembered("usage.hidden")


async def test_a_provider_is_found_by_its_name_too(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "zhipuai", name="智谱 AI")
    spend(ledger, "1", provider_id="zhipuai", request_id="theirs")
    spend(ledger, "1", request_id="other")
    async with console(database_url) as keys:
        for name in ("智谱 ai", "ZhipuAI"):
            await keys.press("slash")
            keys.app.screen.query_one("#provider_id", Input).value = name
            await keys.press("enter")
            assert requests(keys) == ["theirs"]
            await keys.press("escape")


async def test_a_period_moves_with_the_clock(ledger: Ledger, database_url: str) -> None:
    spend(ledger, "1", created_at=now() - timedelta(hours=30), request_id="before")
    spend(ledger, "1", created_at=now() - timedelta(minutes=1), request_id="lately")
    async with console(database_url) as keys:
        await fill(keys, period="2")
        assert requests(keys) == ["lately"]
        assert "last 24 hours" in keys.screen


async def test_why_did_the_last_call_of_this_user_fail(busy: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("slash")
        await keys.type("u-00042")
        await keys.press("enter", "f", "enter")
        said = " ".join(keys.screen.replace("│", " ").split())
        assert "429 Too Many Requests: rate limit of 500 requests a minute reached, try again in 120 ms" in said
        assert "■ failed" in keys.screen


async def test_f_shows_failed_calls_alone_and_all_again(busy: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("f")
        assert requests(keys) == ["failed"]
        await keys.press("f")
        assert len(requests(keys)) == 6


async def test_details_show_the_price_and_how_the_cost_comes_about(busy: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("G", "enter")
        for words in (
            "Billed at price 1, in force since 2020-01-01",
            "800  input tokens         × ¥10.00 / 1m tokens  = ¥0.0080",
            "200  cached input tokens  ×  ¥1.00 / 1m tokens  = ¥0.0002",
            "100  output tokens        × ¥30.00 / 1m tokens  = ¥0.0030",
            "     Cost                                       = ¥0.0112",
        ):
            assert words in keys.screen


async def test_details_say_why_a_failed_call_cost_nothing(busy: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("enter")
        assert "Cost ¥0.00: a failed call costs nothing unless its record names a cost." in keys.screen


async def test_details_say_what_the_lines_do_not_show(ledger: Ledger, database_url: str) -> None:
    price(ledger, input_price=Decimal("0.0007"))
    record_usage(ledger, [usage(input_tokens=999, cached_input_tokens=333)])
    price(ledger, effective_from=NOON + timedelta(hours=1))
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press("enter")
        said = " ".join(keys.screen.replace("│", " ").split())
        assert "no cached-input part: cached tokens cost as much as the others" in said
        assert "Another price holds now" in said
        assert "The sum of the lines is rounded" in said


def row_of(keys: Keyboard, tab: str) -> str:
    """The key of what the cursor is on, in the tab that is shown, which is this one."""
    pane = keys.app.pane
    assert pane is not None and tab == pane.NAME and pane.table is not None
    return pane.table.key_of(pane.table.current)


async def test_details_lead_to_the_quota_the_model_and_the_pool(busy: Ledger, database_url: str) -> None:
    for provider in ("anthropic", "openai"):
        pool(busy, provider, "10")
    async with console(database_url) as keys:
        await keys.press("j", "j", "enter", "4")  # bob's call to claude
        assert row_of(keys, "quotas") == "bob"
        assert "user id contains bob" in keys.screen
        await keys.press("1", "enter", "5")
        assert row_of(keys, "models") == "anthropic\nclaude"
        await keys.press("1", "enter", "3")
        assert row_of(keys, "pools") == "anthropic"
        await keys.press("1", "k", "enter", "3")
        assert row_of(keys, "pools") == "openai", "also when the tab was there before"


async def test_details_count_in_what_the_type_is_measured_in(busy: Ledger, database_url: str) -> None:
    price(busy, model_id="dall-e", usage_type=UsageType.IMAGE_GENERATION, unit=None, input_price=Decimal(2))
    call = usage(model_id="dall-e", usage_type=UsageType.IMAGE_GENERATION, quantity=Decimal(3), input_tokens=0)
    call.output_tokens, call.created_at = 0, NOON + timedelta(days=1)
    record_usage(busy, [call])
    async with console(database_url) as keys:
        await keys.press("enter")
        assert "3  images  ×" in keys.screen


async def test_an_unpriced_call_says_how_to_price_it(busy: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("j", "enter")
        assert "Unpriced" in keys.screen
        assert "billing-console usage reprice" in keys.screen


async def test_moving_down_meets_every_record_once_and_keeps_a_bounded_window(
    ledger: Ledger, database_url: str
) -> None:
    count = 1300
    calls = [
        usage(request_id=f"r{number:04}", created_at=NOON + timedelta(seconds=number // 3)) for number in range(count)
    ]
    record_usage(ledger, calls)
    expected = [f"r{number:04}" for number in reversed(range(count))]
    async with console(database_url) as keys:
        met: list[str] = []
        while True:
            window = requests(keys)
            assert len(window) <= WINDOW
            met += [request for request in window if request not in set(met)]
            if pane(keys)._window.at_end:
                break
            keys.app.query_one(UsageTable).move_cursor(row=len(window) - 1)
            await keys.settled()
        assert met == expected
        await keys.press("g")
        assert requests(keys)[:100] == expected[:100]
        await keys.press("G")
        assert requests(keys)[-1] == "r0000"
        assert current(keys) == "r0000"
        for _page in range(40):
            await keys.press("pageup")
        assert requests(keys)[0] in expected[: count // 2]


async def test_a_new_call_comes_in_by_itself_and_the_cursor_stays_on_its_record(
    busy: Ledger, database_url: str
) -> None:
    async with console(database_url, refresh_seconds=0.05) as keys:
        await keys.pilot.press("j", "j")
        gateway_insert(busy, request_id="from-outside", created_at=datetime(2026, 3, 11, tzinfo=UTC))
        await keys.until(lambda: requests(keys)[:1] == ["from-outside"])
        assert current(keys) == "call-3"


async def test_export_writes_every_record_of_the_filter(busy: Ledger, database_url: str, tmp_path: Path) -> None:
    async with console(database_url) as keys:
        await fill(keys, user_id="alice")
        await keys.press("e")
        keys.app.screen.query_one("#path", Input).value = str(tmp_path / "out.csv")
        await keys.press("enter")
        assert "3 rows written" in keys.said
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["userId"] for row in rows] == ["alice"] * 3
    assert rows[-1]["costAmount"] == "0.0112"
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600


async def test_the_format_follows_the_name_and_the_name_the_format(
    busy: Ledger, database_url: str, tmp_path: Path
) -> None:
    async with console(database_url) as keys:
        await keys.press("e")
        path = keys.app.screen.query_one("#path", Input)
        await keys.press("down", "right", "right")
        assert path.value.endswith(".xlsx")
        path.value = str(tmp_path / "out.jsonl")
        await keys.press("enter")
        assert "6 rows written" in keys.said
        first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
        assert (first["requestId"], first["errorMessage"]) == ("failed", REASON)
        await keys.press("e")
        keys.app.screen.query_one("#path", Input).value = str(tmp_path / "out.jsonl")
        await keys.press("enter")
        assert "is there already" in " ".join(keys.screen.replace("│", " ").split())


async def test_esc_stops_an_export_and_leaves_no_file(busy: Ledger, database_url: str, tmp_path: Path) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def rows(_ledger: Ledger) -> Iterator[tuple[str]]:
        yield ("name",)
        begun.set()
        for _turn in range(600):
            stopped.wait()
            yield ("value",)

    async with console(database_url) as keys:
        keys.app.push_screen(ExportDialog("slow", rows, 600))
        await keys.pilot.pause()
        keys.app.screen.query_one("#path", Input).value = str(tmp_path / "place" / "out.csv")
        (tmp_path / "place").mkdir()
        await keys.pilot.press("enter")
        await keys.until(begun.is_set)
        await keys.pilot.press("escape")
        assert "Stopping…" in keys.screen
        stopped.set()
        await keys.until(lambda: "Export stopped; there is no file." in keys.screen)
        assert list((tmp_path / "place").iterdir()) == []
        assert "rows written" not in keys.said
        await keys.press("escape")
        assert pane(keys).on_top


async def test_text_from_outside_is_inert_everywhere(ledger: Ledger, database_url: str) -> None:
    spend(
        ledger,
        "1",
        user_id=HOSTILE,
        provider_id=HOSTILE,
        model_id=HOSTILE,
        request_id=HOSTILE,
        status=CallStatus.FAILED,
        error_message=HOSTILE * 3,
    )
    async with console(database_url, size=(120, 40)) as keys:
        for number in "123456":
            await keys.press(number)
            assert "\x1b" not in keys.screen
            assert "\u202e" not in keys.screen
            await keys.press("enter")
            assert "\x1b" not in keys.screen
            await keys.press("escape")
        await keys.press("1", "slash")
        await keys.type("[/]")
        await keys.press("escape", "enter")
        assert "\\x1b[2J\\u202e[@click=app.quit]x[/]" in keys.screen.replace("│\n", "").replace(" ", "")
        assert keys.app.is_running
