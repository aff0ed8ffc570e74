"""Models at the keyboard: enable and disable with a reason, find, look at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.models import get_model, set_model_enabled
from db.values import CallStatus, ModelStatus
from tests.factories import everything, pool, price, spend
from tests.keyboard import console


@pytest.fixture
def stocked(ledger: Ledger) -> Ledger:
    """Two providers with three models; the pool of one is depleted."""
    for provider, model in (("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("qwen", "qwen-max")):
        price(ledger, provider_id=provider, model_id=model)
    pool(ledger, "qwen", "1")
    spend(ledger, "2", provider_id="qwen", model_id="qwen-max")
    check_pools(ledger)
    return ledger


async def test_space_disables_with_a_reason_and_enables_again(stocked: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("5", "j", "space")
        assert "Disable gpt-4o-mini" in keys.screen
        await keys.press("enter")
        assert "cannot be empty" in keys.screen
        await keys.type("slow since Monday")
        await keys.press("enter")
        assert "● enabled → ○ disabled" in keys.screen
        await keys.burst("enter", "enter")
        assert get_model(stocked, "openai", "gpt-4o-mini").status is ModelStatus.ENABLED
        await keys.burst("y", "y")

        model = get_model(stocked, "openai", "gpt-4o-mini")
        assert (model.status, model.disabled_reason, model.disabled_by) == (
            ModelStatus.DISABLED,
            "slow since Monday",
            "tester",
        )
        assert "○ disabled" in keys.line("gpt-4o-mini") and "slow" in keys.line("gpt-4o-mini")
        assert "is now: ○ disabled" in keys.said.replace("\n", " ")
        await keys.press("space")
        assert "Enable gpt-4o-mini" in keys.screen
        await keys.type("fast again")
        await keys.press("enter", "y")
    assert get_model(stocked, "openai", "gpt-4o-mini").status is ModelStatus.ENABLED


async def test_lack_of_funds_is_said_in_words_and_outlives_enabling(stocked: Ledger, database_url: str) -> None:
    set_model_enabled(stocked, "qwen", "qwen-max", False, reason="contract ended")
    async with console(database_url) as keys:
        await keys.press("5", "G", "space")
        await keys.type("contract renewed")
        await keys.press("enter")
        assert "○ disabled → ■ insufficient funds" in keys.screen
        await keys.press("y")
        assert "■ insufficient funds" in keys.line("qwen-max")
        await keys.press("enter")
        assert "depleted, models suspended since" in keys.screen
    assert get_model(stocked, "qwen", "qwen-max").status is ModelStatus.INSUFFICIENT_FUNDS


async def test_all_of_a_provider_are_disabled_after_one_page_that_counts_and_names_them(
    stocked: Ledger, database_url: str
) -> None:
    set_model_enabled(stocked, "openai", "gpt-4o", False, reason="retired")
    price(stocked, model_id="o3")
    async with console(database_url) as keys:
        await keys.press("5", "D")
        assert "Disable all models of openai" in keys.screen
        await keys.type("contract ended")
        await keys.press("enter")
        assert "Disable 2 models of openai? Reason: contract ended" in keys.screen
        assert "● enabled → ○ disabled" in keys.line("o3")
        await keys.burst("y", "y")
        assert "2 models were switched" in keys.said
        assert "contract ended" in keys.line("o3") and "retired" in keys.line("gpt-4o ")
        await keys.press("D")
        await keys.type("renewed")
        await keys.press("enter")
        assert "Enable 3 models of openai?" in keys.screen
        assert "disabled (retired) → ● enabled" in keys.screen
        await keys.press("escape", "escape")
    assert get_model(stocked, "openai", "o3").disabled_reason == "contract ended"
    assert get_model(stocked, "openai", "gpt-4o").disabled_reason == "retired"


async def test_the_last_24_hours_of_each_model_are_beside_it(stocked: Ledger, database_url: str) -> None:
    now = datetime.now(UTC)
    spend(stocked, "1.5", created_at=now)
    spend(stocked, "0", created_at=now, status=CallStatus.FAILED)
    spend(stocked, "70", created_at=now - timedelta(hours=25))
    async with console(database_url, size=(120, 24)) as keys:
        await keys.press("5")
        assert keys.line("gpt-4o ").split()[-3:] == ["2", "1", "¥1.50"]
        assert keys.line("gpt-4o-mini").split()[-3:] == ["0", "0", "¥0.00"]
        assert "24 h: 2 calls, 1 failed, ¥1.50" in keys.screen
        spend(stocked, "1", created_at=datetime.now(UTC))
        await keys.press("r")
        assert "24 h: 3 calls, 1 failed, ¥2.50" in keys.screen
        await keys.press("enter")
        assert "3 calls, 1 failed, ¥2.50" in keys.line("Last 24 h")


async def test_both_reasons_are_said_and_since_when(stocked: Ledger, database_url: str) -> None:
    set_model_enabled(stocked, "qwen", "qwen-max", False, reason="contract ended")
    async with console(database_url, size=(160, 24)) as keys:
        await keys.press("5")
        assert "contract ended; pool depleted too" in keys.line("qwen-max")
        await keys.press("G", "enter")
        assert "for 0 min" in keys.line("Unavailable")
        assert "Disabled since" in keys.screen and "models suspended since" in keys.screen


async def test_rows_are_grouped_by_provider(stocked: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("5")
        assert [line.split()[:2] for line in keys.lines[5:8]] == [
            ["openai", "gpt-4o"],
            ["openai", "gpt-4o-mini"],
            ["qwen", "qwen-max"],
        ]


@pytest.mark.parametrize(
    ("text", "count"), [("MINI", "1 model ·"), ("insufficient", "1 model ·"), ("gpt open", "2 models")]
)
async def test_the_filter_looks_at_every_word_of_the_row(
    stocked: Ledger, database_url: str, text: str, count: str
) -> None:
    async with console(database_url) as keys:
        await keys.press("5", "slash")
        await keys.type(text)
        await keys.press("enter")
        assert count in keys.screen and f"Filter: {text}" in keys.screen
        await keys.press("escape")
        assert "3 models" in keys.screen


async def test_a_filter_without_a_match_says_how_to_get_out(stocked: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("5", "slash", "x", "x", "enter")
        assert "Nothing matches the filter. Esc clears it." in keys.screen
        await keys.press("space", "escape")
        assert "gpt-4o-mini" in keys.screen


async def test_hostile_model_ids_and_reasons_are_inert(ledger: Ledger, database_url: str) -> None:
    hostile = "[/]\x1b[2J\u202e[@click=app.quit]x[/]"
    price(ledger, model_id=hostile)
    set_model_enabled(ledger, "openai", hostile, False, reason=hostile)
    async with console(database_url, size=(120, 24)) as keys:
        for key in ("5", "enter", "escape", "space", "r", "enter", "y"):
            await keys.press(key)
            assert "[/]\\x1b[2J\\u202e" in keys.screen
            assert "\x1b" not in keys.screen and "\u202e" not in keys.screen
        assert get_model(ledger, "openai", hostile).status is ModelStatus.ENABLED
        for key in ("D", "r", "enter", "y"):
            await keys.press(key)
            assert "[/]\\x1b[2J\\u202e" in keys.screen
            assert "\x1b" not in keys.screen and "\u202e" not in keys.screen
    assert get_model(ledger, "openai", hostile).status is ModelStatus.DISABLED


async def test_read_only_offers_and_does_no_write(stocked: Ledger, database_url: str) -> None:
    before = everything(stocked)
    async with console(database_url, read_only=True) as keys:
        await keys.press("5", "space")
        assert "Enable/disable" not in keys.screen and "Disable" not in keys.screen
    assert everything(stocked) == before
