"""Money as people type it, as it is shown, and as it is computed."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_console.errors import InvalidInput
from billing_console.money import (
    LEDGER_LIMIT,
    NANO,
    check_amount,
    exact_sum,
    parse_amount,
    parse_decimal,
    percentage,
    plain,
    shown,
    shown_exact,
    to_nano,
)

NANOS = st.integers(-(2**63) + 1, 2**63 - 1)
AMOUNTS = NANOS.map(lambda number: Decimal(number).scaleb(-9))
POSITIVE = st.integers(1, 2**63 - 1).map(lambda number: Decimal(number).scaleb(-9))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("12.340000001", "12.340000001"),
        (" 7 ", "7"),
        ("1,234,567.89", "1234567.89"),
        ("-1,000", "-1000"),
        (".5", "0.5"),
        ("5.", "5"),
        ("+3", "3"),
    ],
)
def test_reads_plain_numbers(text: str, value: str) -> None:
    assert parse_decimal(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1e3", "1E3", "NaN", "Infinity", "-inf", "0x10", "1_000", "1,00", "12,34.5", "1 000", "--1"),
        *("1.2.3", "１２", "٣", "½", ".", "+", "1,2345", ",123", "1\x00", "¥5", "5元", "9" * 41),
    ],
)
def test_refuses_what_is_not_a_plain_number(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_decimal(text)


@given(AMOUNTS)
def test_what_is_spelled_for_machines_reads_back_as_the_same_amount(amount: Decimal) -> None:
    text = plain(amount)
    assert parse_decimal(text) == amount
    assert "E" not in text
    assert len(text.partition(".")[2]) >= 2


@given(AMOUNTS)
def test_what_is_shown_exactly_reads_back_as_the_same_amount(amount: Decimal) -> None:
    assert parse_decimal(shown_exact(amount).replace("¥", "")) == amount


@given(AMOUNTS, st.integers(2, 9))
def test_what_is_shown_rounded_is_at_most_half_a_step_away(amount: Decimal, places: int) -> None:
    read = parse_decimal(shown(amount, places=places).replace("¥", ""))
    assert abs(read - amount) <= Decimal(5).scaleb(-places - 1)
    assert bool(read) == bool(amount), "no amount but 0 is shown as 0"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "¥0.00"),
        ("1234567.891", "¥1,234,567.89"),
        ("-5", "-¥5.00"),
        ("0.0000000047", "¥0.000000005"),
        ("0.004", "¥0.0040"),
        ("0.005", "¥0.0050"),
        ("0.015", "¥0.02"),
        ("-0.001", "-¥0.0010"),
    ],
)
def test_shows_money(amount: str, text: str) -> None:
    assert shown(Decimal(amount)) == text


def test_amount_takes_a_yuan_sign_of_either_width() -> None:
    assert parse_amount("¥1,000.50", places=2) == parse_amount("￥1000.5", places=2) == Decimal("1000.50")


@pytest.mark.parametrize("text", ["0", "-1", "0.00", "-¥5", "¥-5", "0.001", "1.005", "9223372036.86"])
def test_refuses_amounts_that_no_recharge_can_have(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_amount(text, places=2)


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-0", "-0.01", "1e-10", "1e30"])
def test_refuses_amounts_that_are_no_money(amount: str) -> None:
    with pytest.raises(InvalidInput):
        check_amount(Decimal(amount))


@pytest.mark.parametrize("amount", ["0.000000001", "1.000000000000", "1E+3", str(LEDGER_LIMIT)])
def test_takes_amounts_whatever_their_spelling(amount: str) -> None:
    check_amount(Decimal(amount))


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e9"), max_value=Decimal("1e9")))
def test_rounds_once_half_to_even(amount: Decimal) -> None:
    with localcontext(prec=60):
        assert to_nano(amount) == amount.quantize(NANO, rounding=ROUND_HALF_EVEN)


def test_rounding_has_a_limit() -> None:
    assert to_nano(LEDGER_LIMIT) == LEDGER_LIMIT
    with pytest.raises(InvalidInput):
        to_nano(LEDGER_LIMIT + NANO)


@given(st.lists(AMOUNTS, max_size=50))
def test_sums_are_exact(amounts: list[Decimal]) -> None:
    assert exact_sum(amounts) == Decimal(sum(int(amount.scaleb(9)) for amount in amounts)).scaleb(-9)


@given(AMOUNTS, POSITIVE)
def test_a_percentage_is_rounded_down(part: Decimal, whole: Decimal) -> None:
    hundredths = int(part.scaleb(9)) * 10_000 // int(whole.scaleb(9))
    assert percentage(part, whole) == Decimal(hundredths) / 100


def test_a_percentage_of_nothing_is_nothing() -> None:
    assert percentage(Decimal(5), Decimal(0)) == percentage(Decimal(-5), Decimal(0)) == Decimal("0.00")
