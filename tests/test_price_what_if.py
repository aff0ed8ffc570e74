"""What the last 30 days would have cost under another price: exact, and only what a price bills."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_console.errors import InvalidInput, NotFound
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.price_cost import UnitPrice
from billing_console.services.price_what_if import DAYS, price_like, typed_price, what_if
from db.values import CallStatus, PriceUnit, UsageType
from tests.factories import NANO, NOON, at, everything, execute, gateway_insert, price, usage
from tests.test_usage_plans import plan, statements

TEXT, IMAGE, *_others = UsageType
DAY = timedelta(days=1)
FIRST = datetime(2026, 2, 8, 16, tzinfo=UTC)
"""Midnight of the first of 30 business days in Asia/Shanghai that end with the day of NOON."""


def other(given: str, made: str, cached: str | None = None, unit: PriceUnit = PriceUnit.MILLION_TOKENS) -> UnitPrice:
    return UnitPrice(unit, Decimal(given), Decimal(made), None if cached is None else Decimal(cached))


@pytest.fixture
def used(ledger: Ledger) -> Ledger:
    """A ledger just after noon with two prices and calls on both sides of every edge."""
    price(ledger, cached_input_price=Decimal(1))
    price(ledger, cached_input_price=Decimal(2), input_price=Decimal(20), effective_from=NOON - DAY)
    counted = {"input_tokens": 1_000_000, "cached_input_tokens": 400_000, "output_tokens": 10_000}
    record_usage(
        ledger,
        [
            usage(created_at=FIRST, **counted),
            usage(created_at=NOON - timedelta(hours=1), **counted),
            usage(created_at=FIRST - timedelta(microseconds=1), **counted),
            usage(created_at=NOON, status=CallStatus.FAILED, **counted),
            usage(created_at=NOON, model_id="o3", **counted),
            usage(created_at=NOON, usage_type=IMAGE, quantity=Decimal(5)),
        ],
    )
    return at(ledger, NOON + timedelta(seconds=1))


def test_the_same_usage_under_both_prices(used: Ledger) -> None:
    before = everything(used)
    found = what_if(used, "openai", "gpt-4o", TEXT, other("5", "300"))
    usage = found.usage
    assert (usage.start, usage.calls, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens) == (
        FIRST,
        2,
        2_000_000,
        800_000,
        20_000,
    )
    assert usage.billed == Decimal("6.7") + Decimal("13.1")  # each at the price of its day
    assert found.now is not None
    assert [(line.kind, line.count, line.amount) for line in found.now.lines] == [
        ("input", Decimal(1_200_000), Decimal(24)),
        ("cached_input", Decimal(800_000), Decimal("1.6")),
        ("output", Decimal(20_000), Decimal("0.6")),
    ]
    assert (found.now.cost, found.other.cost) == (Decimal("26.2"), Decimal(16))
    assert (found.difference, found.difference_percent) == (Decimal("-10.2"), Decimal("-38.93"))
    assert everything(used) == before


def test_usage_that_a_gateway_wrote_counts_before_it_is_settled(used: Ledger) -> None:
    gateway_insert(used, input_tokens=1, created_at=NOON)
    found = what_if(used, "openai", "gpt-4o", TEXT, other("0.001", "0"))
    assert (found.usage.calls, found.usage.unpriced) == (3, 1)
    assert found.other.cost == Decimal("0.002000001")


def test_it_is_rounded_once_to_the_ledgers_step(ledger: Ledger) -> None:
    record_usage(ledger, [usage(input_tokens=1, output_tokens=0, created_at=NOON) for _call in range(3)])
    found = what_if(at(ledger, NOON + DAY), "openai", "gpt-4o", TEXT, other("0.0005", "0"))
    assert found.other.cost == 2 * NANO  # one and a half nano-yuan, to the even 2; each call alone costs 0
    assert (found.now, found.usage.unpriced, found.difference_percent) == (None, 3, None)


def test_without_a_price_in_force_it_is_compared_with_what_was_billed(ledger: Ledger) -> None:
    record_usage(ledger, [usage(input_tokens=1_000_000, output_tokens=0, cost_amount=Decimal(4), created_at=NOON)])
    found = what_if(at(ledger, NOON + DAY), "openai", "gpt-4o", TEXT, other("5", "0"))
    assert (found.difference, found.difference_percent) == (Decimal(1), Decimal("25.00"))


def test_calls_that_a_unit_does_not_measure_are_counted(ledger: Ledger) -> None:
    for given, made, quantity in ((0, 0, 3), (0, 0, 4), (100, 1, None), (100, 1, 2)):
        amount = None if quantity is None else Decimal(quantity)
        record_usage(
            ledger,
            [usage(usage_type=IMAGE, input_tokens=given, output_tokens=made, quantity=amount, created_at=NOON)],
        )
    now = at(ledger, NOON + DAY)
    by_image = what_if(now, "openai", "gpt-4o", IMAGE, other("0.5", "0", unit=PriceUnit.IMAGE)).other
    by_token = what_if(now, "openai", "gpt-4o", IMAGE, other("1", "0")).other
    assert (by_image.cost, by_image.unmeasured) == (Decimal("4.5"), 1)
    assert (by_token.cost, by_token.unmeasured) == (Decimal("0.0002"), 2)


def test_it_reads_a_day_at_a_time_and_can_be_ended_between_two(used: Ledger) -> None:
    class Enough(Exception):
        pass

    def stop(done: int, whole: int) -> None:
        assert whole == DAYS
        if done == 3:
            raise Enough

    execute(used, "ANALYZE")
    with statements(used) as seen, pytest.raises(Enough):
        what_if(used, "openai", "gpt-4o", TEXT, other("1", "1"), stop)
    assert len(seen) == 3
    for statement, parameters in seen:
        steps = "\n".join(plan(used, statement, parameters))
        assert "ix_usage_model" in steps and "created_at" in steps, steps


def test_another_models_price_is_the_one_in_force(used: Ledger) -> None:
    price(used, provider_id="openrouter", model_id="openai/gpt-5", input_price=Decimal(7))
    assert price_like(used, "openrouter/openai/gpt-5", TEXT).input_price == 7
    assert price_like(used, "openai/gpt-4o", TEXT).input_price == 20
    with pytest.raises(NotFound, match="no price for image_generation"):
        price_like(used, "openai/gpt-4o", IMAGE)
    with pytest.raises(NotFound, match="Did you mean “gpt-4o”"):
        price_like(used, "openai/gpt4o", TEXT)
    for text in ("gpt-4o", "/gpt-4o", "openai/"):
        with pytest.raises(InvalidInput, match="PROVIDER/MODEL"):
            price_like(used, text, TEXT)
    with pytest.raises(NotFound, match="gpt-4o"):
        what_if(used, "openai", "gpt4o", TEXT, other("1", "1"))


def test_a_typed_price_obeys_the_rules_of_one_that_is_added() -> None:
    assert typed_price(IMAGE, None, Decimal(1), Decimal(0)) == other("1", "0", unit=PriceUnit.IMAGE)
    for wrong, field in (
        ((TEXT, PriceUnit.IMAGE, Decimal(1), Decimal(0)), "unit"),
        ((TEXT, None, Decimal(-1), Decimal(0)), "inputPrice"),
        ((TEXT, None, Decimal(1), Decimal("1E-10")), "outputPrice"),
        ((TEXT, None, Decimal(1), Decimal(0), Decimal(-1)), "cachedInputPrice"),
    ):
        with pytest.raises(InvalidInput) as refused:
            typed_price(*wrong)
        assert refused.value.field == field
