"""Pricing at the keyboard: what holds, what held, what will hold, and adding a price."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.prices import list_prices
from db.values import PriceUnit, UsageType
from tests.factories import everything, price, spend, usage
from tests.keyboard import Keyboard, console

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
SOON = datetime.now(UTC) + timedelta(days=400)


async def fill(keys: Keyboard, *texts: str) -> None:
    """Type one text a field, Enter after each."""
    for text in texts:
        await keys.type(text)
        await keys.press("enter")


async def test_a_price_is_added_for_the_row_under_the_cursor(ledger: Ledger, database_url: str) -> None:
    old = price(ledger, cached_input_price=Decimal("2.5"))
    async with console(database_url) as keys:
        await keys.press("6")
        assert "¥10.00" in keys.line("gpt-4o") and "¥30.00" in keys.line("gpt-4o")
        await keys.press("p")
        assert "now ¥10.00" in keys.line("Input price")
        await fill(keys, "8.000000001", "24", "", "")
        assert "¥10.00 → ¥8.000000001" in keys.screen
        assert "¥30.00 → ¥24.00" in keys.screen
        assert "¥2.50 → as input" in keys.screen
        await keys.burst("enter", "enter")
        assert len(list_prices(ledger, all_versions=True)) == 1
        await keys.burst("y", "y", "y")

        new, *others = list_prices(ledger, all_versions=True)
        assert [other.id for other in others] == [old.id]
        assert (new.input_price, new.output_price, new.cached_input_price, new.operator, new.in_force) == (
            Decimal("8.000000001"),
            Decimal(24),
            None,
            "tester",
            True,
        )
        assert "¥8.000000001" in keys.line("gpt-4o")
        assert f"Price {new.id}" in keys.said


async def test_the_unit_follows_the_type(ledger: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("6")
        assert "Press p to add one" in keys.screen
        await keys.press("p")
        await fill(keys, "minimax", "speech-02")
        assert "1m tokens" in keys.line("Unit")
        await keys.press("right", "right")
        assert "audio_tts" in keys.line("Type") and "1k characters" in keys.line("Unit")
        await keys.press("enter", "right", "right", "enter")
        await fill(keys, "0.35", "0", "", "2020-01-01")
        assert "– → ¥0.35" in keys.screen
        await keys.press("y")
        assert "1k characters" in keys.line("speech-02")
    (added,) = list_prices(ledger)
    assert (added.provider_id, added.usage_type, added.unit) == (
        "minimax",
        UsageType.AUDIO_TTS,
        PriceUnit.THOUSAND_CHARACTERS,
    )
    assert added.effective_from == datetime(2019, 12, 31, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [("-1", "must be 0 or more"), ("0.0000000001", "more than 9 decimals"), ("1e3", "not a number"), ("", "be empty")],
)
async def test_a_price_is_checked(ledger: Ledger, database_url: str, typed: str, complaint: str) -> None:
    price(ledger)
    async with console(database_url) as keys:
        await keys.press("6", "p")
        await fill(keys, typed)
        assert complaint in keys.screen
    assert len(list_prices(ledger, all_versions=True)) == 1


async def test_a_second_price_from_the_same_instant_is_refused_and_the_form_stays(
    ledger: Ledger, database_url: str
) -> None:
    price(ledger, effective_from=datetime(2026, 1, 1, tzinfo=UTC))
    async with console(database_url) as keys:
        await keys.press("6", "p")
        await fill(keys, "1", "2", "", "2026-01-01T08:00")
        await keys.press("y")
        assert "already has another price" in keys.screen
        assert "2026-01-01T08:00" in keys.line("Holds from")
    assert len(list_prices(ledger, all_versions=True)) == 1


async def test_history_tells_past_present_and_future_apart(ledger: Ledger, database_url: str) -> None:
    price(ledger, source_currency="USD", exchange_rate="7.1")
    price(ledger, input_price=Decimal(7), effective_from=datetime(2026, 1, 1, tzinfo=UTC))
    price(ledger, input_price=Decimal(6), effective_from=SOON)
    async with console(database_url) as keys:
        await keys.press("6")
        assert "¥7.00" in keys.line("gpt-4o")
        assert "1 change to come" in keys.screen
        await keys.press("enter")
        states = [line.split("│")[1].split(",")[0].strip() for line in keys.lines if ", from" in line]
        assert states == ["▲ to come", "● in force", "○ past"]
        assert "USD at 7.1" in keys.screen


async def test_a_price_for_another_type_does_not_hide_calls_without_one(ledger: Ledger, database_url: str) -> None:
    price(ledger, model_id="veo")
    spend(ledger, "0", model_id="veo", usage_type=UsageType.VIDEO_GENERATION, quantity=Decimal(3))
    async with console(database_url) as keys:
        await keys.press("6")
        assert "▲ no price" in keys.line("video_generation")
        await keys.press("j", "p")
        assert "‹ video_generation ›" in keys.screen


async def test_a_model_without_a_price_in_force_is_not_shown_as_priced(ledger: Ledger, database_url: str) -> None:
    spend(ledger, "1", model_id="mystery")
    price(ledger, model_id="tomorrow", effective_from=SOON)
    async with console(database_url) as keys:
        await keys.press("6")
        assert "▲ no price" in keys.line("mystery")
        assert "▲ to come" in keys.line("tomorrow")
        assert "0 prices · ▲ 1 model without a price · 1 change to come" in keys.screen
        await keys.press("enter")
        assert "unpriced" in keys.screen
        await keys.press("escape", "p")
        await fill(keys, "1", "2", "", "")
        await keys.press("y")
        assert "usage reprice" in " ".join(keys.said.split())
        assert "¥1.00" in keys.line("mystery")
    assert [price.model_id for price in list_prices(ledger)] == ["mystery"]


async def test_hints_of_the_old_price_go_when_the_form_is_about_another_model(
    ledger: Ledger, database_url: str
) -> None:
    price(ledger)
    async with console(database_url) as keys:
        await keys.press("6", "p", "up", "up", "up")
        await keys.type("x")
        assert "now ¥" not in keys.screen
        await keys.press("backspace")
        assert "now ¥10.00" in keys.screen


@pytest.mark.parametrize("width", [80, 120])
async def test_prices_are_never_cut(ledger: Ledger, database_url: str, width: int) -> None:
    price(
        ledger,
        provider_id="东京云服务-团队",
        model_id="長い名前のモデル-very-long-model-id-that-goes-on-and-on-2025-preview",
        input_price=Decimal("0.000000047"),
        output_price=Decimal("0.0000001"),
    )
    async with console(database_url, size=(width, 24)) as keys:
        await keys.press("6")
        assert "¥0.000000047" in keys.line("長い") and "¥0.0000001" in keys.line("長い")
        assert "1m tokens" in keys.line("長い")


async def test_hostile_ids_are_inert_and_kept_exactly(ledger: Ledger, database_url: str) -> None:
    hostile = "[/]\x1b[2J\u202e[@click=app.quit]x[/]"
    price(ledger, provider_id=hostile, model_id=hostile)
    async with console(database_url, size=(120, 24)) as keys:
        for key in ("6", "enter", "escape", "p"):
            await keys.press(key)
            assert "[/]" in keys.screen
            assert "\x1b" not in keys.screen and "\u202e" not in keys.screen
        await fill(keys, "1", "2", "", "")
        assert "\x1b" not in keys.screen and "\u202e" not in keys.screen
        await keys.press("y")
    assert {(price.provider_id, price.model_id) for price in list_prices(ledger, all_versions=True)} == {
        (hostile, hostile)
    }


async def test_read_only_offers_and_does_no_write(ledger: Ledger, database_url: str) -> None:
    price(ledger)
    before = everything(ledger)
    async with console(database_url, read_only=True) as keys:
        await keys.press("6", "p")
        assert "Add" not in keys.screen
    assert everything(ledger) == before


async def test_every_version_has_a_row_of_its_own_on_demand(ledger: Ledger, database_url: str) -> None:
    price(ledger)
    price(ledger, input_price=Decimal(7), effective_from=datetime(2026, 1, 1, tzinfo=UTC))
    price(ledger, input_price=Decimal(6), effective_from=SOON)
    spend(ledger, "1", model_id="mystery")
    async with console(database_url, size=(120, 24)) as keys:
        await keys.press("6")
        assert "¥6.00" not in keys.screen and f"{SOON:%Y}" in keys.line("¥7.00")
        await keys.press("v")
        assert "▲ to come" in keys.line("¥6.00")
        assert "● in force" in keys.line("¥7.00")
        assert "○ past" in keys.line("¥10.00")
        assert "1 in force · 1 to come · 1 past · 1 no price" in keys.screen
        await keys.press("slash")
        await keys.type("past")
        await keys.press("enter")
        assert "¥10.00" in keys.screen and "¥7.00" not in keys.screen
        await keys.press("escape", "v")
        assert "○ past" not in keys.screen and "1 price ·" in keys.screen


async def test_the_page_shows_what_the_price_would_have_changed_before_it_is_set(
    ledger: Ledger, database_url: str
) -> None:
    price(ledger)
    following = price(ledger, effective_from=datetime(2101, 1, 1, tzinfo=UTC))
    record_usage(ledger, [usage(input_tokens=1_000_000, output_tokens=0, created_at=YESTERDAY)])
    async with console(database_url) as keys:
        await keys.press("6", "p")
        await fill(keys, "12.5", "24", "", "2100-01-01")
        assert "¥10.00 → ¥12.50, +¥2.50 (+25.00%)" in " ".join(keys.screen.replace("│", " ").split())
        assert "1 successful call from" in keys.screen
        assert re.search(r"Holds from +2020-01-01 08:00 → 2100-01-01 00:00, in \d+ d", keys.screen)
        assert f"2100-01-01 00:00 → 2101-01-01 08:00, price {following.id}" in keys.line("Holds until")
        await keys.press("escape")
        assert "successful call" not in keys.screen
        assert "12.5" in keys.line("Input price")
    assert len(list_prices(ledger, all_versions=True)) == 2


async def test_another_models_price_or_a_typed_one_is_tried_side_by_side(ledger: Ledger, database_url: str) -> None:
    price(ledger)
    price(ledger, provider_id="qwen", model_id="max", input_price=Decimal(4))
    record_usage(ledger, [usage(input_tokens=2_000_000, output_tokens=0, created_at=YESTERDAY)])
    before = everything(ledger)
    async with console(database_url) as keys:
        await keys.press("6", "w")
        assert "What if gpt-4o had another price" in keys.screen
        await keys.type("qwen/max")
        await keys.press("enter")
        assert keys.line("Cost  ").split("│")[1].split() == ["Cost", "¥20.00", "¥8.00"]
        assert "-¥12.00 (-60.00%)" in keys.line("Difference")
        await keys.press(*["backspace"] * 8, "enter")
        await fill(keys, "11", "", "", "")
        assert "+¥2.00 (+10.00%)" in keys.line("Difference")
        await keys.press("up")
        await keys.press("escape")
        assert "What if" in keys.line("Add price")
    assert everything(ledger) == before


async def test_a_what_if_says_what_it_lacks(ledger: Ledger, database_url: str) -> None:
    price(ledger)
    async with console(database_url, read_only=True) as keys:
        await keys.press("6", "w")
        await fill(keys, "", "", "", "", "")
        assert "Type a price, or name a model above." in keys.screen
        await keys.press("up")
        await keys.type("openai/gpt4o")
        await keys.press("enter")
        assert "Did you mean “gpt-4o”" in keys.screen
        assert "Adding up" not in keys.screen
