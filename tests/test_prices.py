"""Prices: exact costs, versions that are added and never edited, the one in force at an instant."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_console.errors import Conflict, InvalidInput
from billing_console.services.catalogue import model_ids
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.price_cost import UNITS, cost_lines, cost_of
from billing_console.services.prices import NewPrice, PriceView, add_prices, list_prices
from billing_console.services.usage import UsageFilter, usage_details, usage_page
from db.values import PriceUnit, UsageType
from tests.factories import NANO, NOON, acting, at, everything, price, query, usage

TEXT, IMAGE, TTS, STT, VIDEO = UsageType
MICRO = timedelta(microseconds=1)


def view(unit: PriceUnit, given: str, made: str, cached: str | None = None) -> PriceView:
    return PriceView(
        id=1,
        provider_id="p",
        provider_name="p",
        model_id="m",
        usage_type=TEXT,
        unit=unit,
        input_price=Decimal(given),
        output_price=Decimal(made),
        cached_input_price=None if cached is None else Decimal(cached),
        effective_from=NOON,
        source_currency=None,
        exchange_rate=None,
        operator="",
        created_at=NOON,
        in_force=True,
    )


MILLION, PER_IMAGE, THOUSAND, SECOND, MINUTE = PriceUnit

BY_HAND = [
    # price, input, cached, output tokens, quantity, cost
    (view(MILLION, "10", "30"), 1, 0, 0, "0", "0.00001"),
    (view(MILLION, "0.0047", "0"), 1, 0, 0, "0", "0.000000005"),  # 4.7 nano-yuan
    (view(MILLION, "0.0005", "0"), 1, 0, 0, "0", "0"),  # half a nano-yuan, to the even 0
    (view(MILLION, "0.0015", "0"), 1, 0, 0, "0", "0.000000002"),  # one and a half, to the even 2
    (view(MILLION, "0.0025", "0"), 1, 0, 0, "0", "0.000000002"),  # two and a half, to the even 2
    (view(MILLION, "0.0005", "0.0005"), 1, 0, 1, "0", "0.000000001"),  # rounded once, after the sum
    (view(MILLION, "0.000000001", "0"), 10**12, 0, 0, "0", "0.001"),
    (view(MILLION, "15", "75", "1.5"), 100_000, 99_999, 1, "0", "0.1500885"),
    (view(MILLION, "15", "75", "0"), 100_000, 100_000, 0, "0", "0"),
    (view(MILLION, "15", "75"), 100_000, 99_999, 0, "0", "1.5"),
    (view(MILLION, "9223372036", "0"), 10**6, 0, 0, "0", "9223372036"),
    (view(PER_IMAGE, "0.29", "0"), 0, 0, 0, "3", "0.87"),
    (view(PER_IMAGE, "0.2", "0.09"), 777, 7, 7, "3", "0.87"),  # tokens do not matter, both prices add up
    (view(THOUSAND, "0.105", "0"), 0, 0, 0, "1", "0.000105"),
    (view(SECOND, "0.0001", "0"), 0, 0, 0, "12.345678", "0.001234568"),
    (view(MINUTE, "0.0432", "0"), 0, 0, 0, "1", "0.00072"),
    (view(MINUTE, "1", "0"), 0, 0, 0, "1", "0.016666667"),
    (view(MINUTE, "0.00000009", "0"), 0, 0, 0, "1", "0.000000002"),  # 1.5 nano-yuan
]


@pytest.mark.parametrize("case", range(len(BY_HAND)))
def test_a_cost_is_what_is_worked_out_by_hand(case: int) -> None:
    billed, given_tokens, cached, made, quantity, cost = BY_HAND[case]
    assert cost_of(billed, given_tokens, cached, made, Decimal(quantity)) == Decimal(cost)


prices = st.integers(0, 10**13).map(lambda nanos: Decimal(nanos).scaleb(-9))
counts = st.integers(0, 10**9)


@given(prices, prices, st.none() | prices, counts, counts, counts)
def test_a_text_cost_is_the_exact_fraction_rounded_once(
    given_price: Decimal, made_price: Decimal, cached_price: Decimal | None, plain: int, cached: int, made: int
) -> None:
    billed = replace(view(MILLION, "0", "0"), input_price=given_price, output_price=made_price)
    billed = replace(billed, cached_input_price=cached_price)
    exact = plain * Fraction(given_price) + made * Fraction(made_price)
    exact += cached * Fraction(given_price if cached_price is None else cached_price)
    cost = cost_of(billed, plain + cached, cached, made, Decimal(0))
    assert cost == Decimal(round(exact / 10**6 * 10**9)).scaleb(-9)  # round() of a Fraction is half to even
    lines = cost_lines(billed, plain + cached, cached, made, Decimal(0))
    assert [line.kind for line in lines] == ["input", "cached_input", "output"]
    with localcontext(prec=60):
        assert sum(line.amount for line in lines).quantize(NANO, ROUND_HALF_EVEN) == cost  # type: ignore[union-attr]


@given(st.sampled_from([(PER_IMAGE, 1), (THOUSAND, 1000), (SECOND, 1), (MINUTE, 60)]), prices, prices, counts)
def test_a_cost_by_quantity_is_the_exact_fraction_rounded_once(
    unit: tuple[PriceUnit, int], given_price: Decimal, made_price: Decimal, millionths: int
) -> None:
    billed = replace(view(unit[0], "0", "0"), input_price=given_price, output_price=made_price)
    exact = Fraction(millionths, 10**6) * (Fraction(given_price) + Fraction(made_price)) / unit[1]
    cost = cost_of(billed, 5, 0, 5, Decimal(millionths).scaleb(-6))
    assert cost == Decimal(round(exact * 10**9)).scaleb(-9)


def test_a_cost_beyond_the_ledger_is_refused_and_nothing_is_written(ledger: Ledger) -> None:
    price(ledger, input_price=Decimal(9_000_000_000))
    before = everything(ledger)
    with pytest.raises(InvalidInput, match="more than the ledger can hold"):
        record_usage(ledger, [usage(), usage(input_tokens=10**12)])
    assert everything(ledger) == before


def test_a_price_is_kept_as_it_was_given(ledger: Ledger) -> None:
    added = price(
        at(ledger, NOON),
        input_price=Decimal("0.000000001"),
        output_price=Decimal("9223372036.854775807"),
        cached_input_price=Decimal(0),
        effective_from=NOON + MICRO,
        source_currency="USD",
        exchange_rate="7.1",
    )
    (kept,) = list_prices(at(ledger, NOON + MICRO))
    assert replace(added, in_force=True) == kept
    assert (kept.input_price, kept.output_price, kept.cached_input_price) == (
        NANO,
        Decimal("9223372036.854775807"),
        Decimal(0),
    )
    assert (kept.effective_from, kept.created_at, kept.operator) == (NOON + MICRO, NOON, "tester")
    assert (kept.source_currency, kept.exchange_rate) == ("USD", "7.1")
    assert not added.in_force


def test_a_price_registers_its_model_and_holds_from_now(ledger: Ledger) -> None:
    added = price(at(ledger, NOON), provider_id=" new ", model_id="m", effective_from=None, unit=None)
    assert (added.provider_id, added.effective_from, added.unit, added.in_force) == ("new", NOON, MILLION, True)
    assert model_ids(ledger, "new") == ("m",)


def test_the_same_price_twice_changes_nothing(ledger: Ledger) -> None:
    first = price(ledger, effective_from=NOON)
    before = everything(ledger)
    assert price(acting(ledger, "other"), effective_from=NOON, input_price=Decimal("10.00")) == first
    assert everything(ledger) == before


def test_another_price_from_the_same_instant_is_a_conflict(ledger: Ledger) -> None:
    same = {"effective_from": NOON, "usage_type": IMAGE, "unit": MILLION}
    price(ledger, **same)
    before = everything(ledger)
    changes: list[dict[str, Any]] = [
        {"input_price": Decimal("10.000000001")},
        {"output_price": Decimal(31)},
        {"cached_input_price": Decimal(0)},
        {"unit": PER_IMAGE},
    ]
    for change in changes:
        with pytest.raises(Conflict, match=r"input 10\.00, output 30\.00.*never edited"):
            price(ledger, **same | change)
    assert everything(ledger) == before
    for later, change in enumerate(changes, 1):
        assert price(ledger, **same | change | {"effective_from": NOON + later * MICRO}).in_force


def test_many_prices_are_added_all_or_none(ledger: Ledger) -> None:
    def new(model_id: str, amount: int) -> NewPrice:
        return NewPrice("p", model_id, TEXT, None, Decimal(amount), Decimal(amount), effective_from=NOON)

    done = add_prices(ledger, [new("a", 1), new("b", 2), new("a", 1)])
    assert (done.added, done.unchanged) == (2, 1)
    before = everything(ledger)
    with pytest.raises(Conflict):
        add_prices(ledger, [new("c", 1), new("a", 9)])
    with pytest.raises(InvalidInput):
        add_prices(ledger, [new("c", 1), new("d", -1)])
    assert everything(ledger) == before
    assert (add_prices(ledger, []).added, add_prices(ledger, [new("b", 2)]).unchanged) == (0, 1)


def test_many_threads_add_the_same_price_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as threads:
        assert len({view.id for view in threads.map(lambda _: price(ledger), range(12))}) == 1
    assert query(ledger, "SELECT count(*) FROM prices") == [(1,)]


@pytest.mark.parametrize("usage_type", UsageType)
def test_each_usage_type_takes_its_units_and_no_other(sqlite_ledger: Ledger, usage_type: UsageType) -> None:
    allowed = {
        TEXT: {MILLION},
        IMAGE: {PER_IMAGE, MILLION},
        TTS: {THOUSAND, MILLION},
        STT: {SECOND, MINUTE, MILLION},
        VIDEO: {SECOND, MINUTE, MILLION},
    }[usage_type]
    assert set(UNITS[usage_type]) == allowed
    for day, unit in enumerate(PriceUnit, 1):
        options = {"usage_type": usage_type, "unit": unit, "effective_from": datetime(2020, 1, day, tzinfo=UTC)}
        if unit in allowed:
            assert price(sqlite_ledger, **options).unit is unit
        else:
            with pytest.raises(InvalidInput) as refused:
                price(sqlite_ledger, **options)
            assert refused.value.field == "unit"


@pytest.mark.parametrize("amount", ["-0.000000001", "1E-10", "NaN", "Infinity", "9223372036.854775808"])
@pytest.mark.parametrize("field", ["input_price", "output_price", "cached_input_price"])
def test_what_is_no_price_is_refused_by_name(sqlite_ledger: Ledger, field: str, amount: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        price(sqlite_ledger, **{field: Decimal(amount)})
    assert (
        refused.value.field
        == {
            "input_price": "inputPrice",
            "output_price": "outputPrice",
            "cached_input_price": "cachedInputPrice",
        }[field]
    )
    assert query(sqlite_ledger, "SELECT count(*) FROM providers") == [(0,)]


def test_versions_are_listed_newest_first_and_one_of_them_is_in_force(ledger: Ledger) -> None:
    for days in (0, -10, 10):
        price(ledger, effective_from=NOON + timedelta(days=days), input_price=Decimal(100 + days))
    price(ledger, provider_id="azure", effective_from=NOON)
    price(ledger, usage_type=IMAGE, unit=PER_IMAGE, effective_from=NOON)

    def listed(instant: datetime, *chosen: Any, **options: Any) -> list[tuple[str, int, bool]]:
        found = list_prices(ledger, *chosen, at=instant, **options)
        return [(entry.provider_id, int(entry.input_price), entry.in_force) for entry in found]

    text = ("openai", "gpt-4o", TEXT)
    assert listed(NOON, *text, all_versions=True) == [
        ("openai", 110, False),
        ("openai", 100, True),
        ("openai", 90, False),
    ]
    assert listed(NOON, *text) == [("openai", 100, True)]
    assert listed(NOON - MICRO, *text) == [("openai", 90, True)]
    assert listed(NOON + timedelta(days=10), *text) == [("openai", 110, True)]
    assert listed(NOON - timedelta(days=11), *text) == []
    assert [entry[0] for entry in listed(NOON)] == ["azure", "openai", "openai"]
    assert [entry[0] for entry in listed(NOON, None, "gpt-4o", IMAGE)] == ["openai"]
    assert listed(NOON, "nobody") == []


def test_a_record_remembers_the_price_it_was_billed_at(ledger: Ledger) -> None:
    old = price(ledger, effective_from=NOON, cached_input_price=Decimal(1))
    record_usage(ledger, [usage(cached_input_tokens=40)])
    price(ledger, effective_from=NOON + MICRO, input_price=Decimal(99))
    (row,) = usage_page(ledger, UsageFilter()).rows
    details = usage_details(ledger, row.id)
    assert details.price is not None
    assert (details.price.id, details.price.in_force) == (old.id, False)
    assert [(line.kind, line.count, line.unit_price, line.amount) for line in details.lines] == [
        ("input", Decimal(60), Decimal(10), Decimal("0.0006")),
        ("cached_input", Decimal(40), Decimal(1), Decimal("0.00004")),
        ("output", Decimal(50), Decimal(30), Decimal("0.0015")),
    ]
    assert sum(line.amount for line in details.lines) == row.cost_amount
