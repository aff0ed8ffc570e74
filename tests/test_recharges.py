"""Recharges and their reversals: money moves once, whole, and leaves a trace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from billing_console.errors import Conflict, InvalidInput, NotFound, NotPermitted, Refused
from billing_console.services.ledger import Ledger
from billing_console.services.pools import BalanceChange, get_pool, open_pool
from billing_console.services.recharges import (
    RechargeView,
    preview_recharge,
    recharge_history,
    reverse_recharge,
)
from billing_console.services.reconcile import reconcile
from tests.conftest import OpenLedger
from tests.factories import NOON, acting, at, everything, gateway_insert, pay, pool, query, spend


def without_replay(view: RechargeView) -> RechargeView:
    return replace(view, replayed=False)


def test_a_recharge_says_what_it_did(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "30.000000001")
    booked = pay(at(ledger, NOON), "50.5", reference=" INV-7 ", key="k1", note="from the card \U0001f4b3")
    assert (booked.provider_id, booked.amount, booked.total_after) == ("openai", Decimal("50.5"), Decimal("150.5"))
    assert booked.available_before == Decimal("69.999999999")
    assert booked.available_after == Decimal("120.499999999")
    assert (booked.reference, booked.note, booked.idempotency_key) == ("INV-7", "from the card \U0001f4b3", "k1")
    assert (booked.operator, booked.created_at, booked.replayed) == ("tester", NOON, False)
    assert (booked.reverses_id, booked.reversed_by_id) == (None, None)
    assert recharge_history(ledger)[0] == booked
    view = get_pool(ledger, "openai")
    assert (view.total_balance, view.available_balance) == (booked.total_after, booked.available_after)
    assert view.last_recharge_at == NOON
    assert reconcile(ledger) == ()


def test_the_same_key_with_the_same_content_answers_with_the_first_result(ledger: Ledger) -> None:
    pool(ledger)
    first = pay(at(ledger, NOON), "100", key="k", reference="INV-1", note="n")
    spend(ledger, "40")
    before = everything(ledger)
    again = pay(acting(ledger, "other"), "100.00", key=" k ", reference="INV-1", note="n")
    assert again.replayed
    assert without_replay(again) == first
    assert everything(ledger) == before


def test_the_same_key_with_other_content_is_refused(ledger: Ledger) -> None:
    pool(ledger)
    pool(ledger, "other")
    first: dict[str, Any] = {"amount": "100", "key": "k", "reference": "INV-1", "note": "n"}
    pay(ledger, **first)
    before = everything(ledger)
    stored = "openai, 100.00, reference “INV-1”, note “n”"
    for changes, asked in (
        ({"amount": "100.01"}, "openai, 100.01, reference “INV-1”, note “n”"),
        ({"provider_id": "other"}, "other, 100.00, reference “INV-1”, note “n”"),
        ({"reference": "INV-2"}, "openai, 100.00, reference “INV-2”, note “n”"),
        ({"note": ""}, "openai, 100.00, reference “INV-1”"),
    ):
        with pytest.raises(Conflict) as refused:
            pay(ledger, **first | changes)
        assert (
            refused.value.message == f"The key k already stands for another recharge: {stored}. This one is: {asked}."
        )
        assert refused.value.hint == "Nothing was changed. Use a new key for another recharge."
    assert everything(ledger) == before


def test_without_a_key_every_recharge_is_another(ledger: Ledger) -> None:
    pool(ledger)
    assert pay(ledger, "1").idempotency_key != pay(ledger, "1").idempotency_key
    assert get_pool(ledger, "openai").total_balance == 2


def test_many_threads_with_one_key_move_money_once(ledger: Ledger) -> None:
    pool(ledger)
    with ThreadPoolExecutor(6) as threads:
        views = list(threads.map(lambda _: pay(ledger, "7", key="one"), range(18)))
    assert [view.replayed for view in views].count(False) == 1
    assert len({without_replay(view) for view in views}) == 1
    assert get_pool(ledger, "openai").total_balance == 7


def test_many_threads_with_one_key_and_different_amounts_agree_on_one(ledger: Ledger) -> None:
    pool(ledger)

    def attempt(amount: int) -> Decimal | None:
        try:
            return pay(ledger, str(amount), key="one").amount
        except Conflict:
            return None

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(attempt, range(1, 13)))
    (winner,) = [amount for amount in outcomes if amount is not None]
    assert get_pool(ledger, "openai").total_balance == winner


def test_many_threads_with_different_keys_lose_nothing(ledger: Ledger) -> None:
    pool(ledger)
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda number: pay(ledger, f"0.{number:02}"), range(1, 25)))
    assert get_pool(ledger, "openai").total_balance == Decimal("3.00")
    entries = recharge_history(ledger)
    for newer, older in pairwise(entries):
        assert newer.total_after == older.total_after + newer.amount
        assert newer.available_before == older.available_after
    assert reconcile(ledger) == ()


@pytest.mark.parametrize("amount", ["0", "-1", "-0.00", "NaN", "sNaN", "Infinity", "0.001", "1E-3", "9223372036.86"])
def test_an_amount_that_is_none_is_refused(sqlite_ledger: Ledger, amount: str) -> None:
    pool(sqlite_ledger)
    before = everything(sqlite_ledger)
    for attempt in (pay, preview):
        with pytest.raises(InvalidInput, match=r"amount"):
            attempt(sqlite_ledger, amount)
    assert everything(sqlite_ledger) == before


def preview(ledger: Ledger, amount: str) -> BalanceChange:
    return preview_recharge(ledger, "openai", Decimal(amount))


def test_an_amount_in_any_spelling_is_taken_exactly(ledger: Ledger) -> None:
    pool(ledger)
    spellings = ["0.01", "1E+2", "10.000", "9223371926.84"]
    assert [pay(ledger, amount).amount for amount in spellings] == [Decimal(amount) for amount in spellings]
    stored = query(ledger, "SELECT amount FROM recharges ORDER BY id")
    assert stored == [(int(Decimal(amount) * 10**9),) for amount in spellings]
    assert get_pool(ledger, "openai").total_balance == Decimal("9223372036.85")


def test_a_pool_holds_no_more_than_the_ledger_can(ledger: Ledger) -> None:
    pool(ledger, amount="9223372036")
    pay(ledger, "0.85")
    before = everything(ledger)
    for attempt in (pay, preview):
        with pytest.raises(Refused, match=r"9223372036\.854775807"):
            attempt(ledger, "0.01")
    assert everything(ledger) == before


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"reference": ""}, "reference"),
        ({"reference": "  "}, "reference"),
        ({"reference": "x" * 201}, "reference"),
        ({"reference": "a\0b"}, "reference"),
        ({"note": "x" * 1001}, "note"),
        ({"note": "\ud800"}, "note"),
        ({"key": ""}, "key"),
        ({"key": "k" * 201}, "key"),
        ({"key": "reverse:1"}, "key"),
    ],
)
def test_text_that_cannot_be_kept_is_refused_by_name(
    sqlite_ledger: Ledger, options: dict[str, str], field: str
) -> None:
    pool(sqlite_ledger)
    with pytest.raises(InvalidInput) as refused:
        pay(sqlite_ledger, "1", **options)
    assert refused.value.field == field
    assert recharge_history(sqlite_ledger) == ()


def test_an_unknown_provider_is_refused_with_the_nearest_name(ledger: Ledger) -> None:
    pool(ledger)
    for attempt in (partial(pay, ledger, "1", "openia"), partial(recharge_history, ledger, "openia")):
        with pytest.raises(NotFound, match=r"“openia”.*Did you mean “openai”"):
            attempt()
    with pytest.raises(NotFound, match="pools add"):
        pay(ledger, "1", "zzz")


def test_the_first_recharge_opens_the_pool_with_its_use_counted_from_the_start(ledger: Ledger) -> None:
    spend(ledger, "30")
    pay(at(ledger, NOON), "100")
    view = get_pool(ledger, "openai")
    assert (view.has_pool, view.used_amount, view.available_balance) == (True, Decimal(30), Decimal(70))
    with pytest.raises(Conflict, match="already has a pool"):
        open_pool(ledger, "openai")


def test_a_preview_says_what_a_recharge_will_do(ledger: Ledger) -> None:
    pool(ledger, amount="10")
    spend(ledger, "4")
    gateway_insert(ledger, cost_amount=10**9)
    before = everything(ledger)
    change = preview(ledger, "2.5")
    assert everything(ledger) == before
    booked = pay(ledger, "2.5")
    assert (
        (change.before, change.after)
        == (booked.available_before, booked.available_after)
        == (Decimal(5), Decimal("7.5"))
    )


def test_the_history_is_newest_first_of_one_provider_or_all(ledger: Ledger) -> None:
    pool(ledger, "a")
    pool(ledger, "b")
    # In order of booking, also where the clock was set back.
    for number, provider in enumerate("abaab"):
        pay(at(ledger, NOON.replace(hour=20 - number)), str(number + 1), provider)
    assert [entry.amount for entry in recharge_history(ledger)] == [5, 4, 3, 2, 1]
    assert [entry.amount for entry in recharge_history(ledger, "a")] == [4, 3, 1]
    assert [entry.amount for entry in recharge_history(ledger, limit=2)] == [5, 4]
    assert [entry.amount for entry in recharge_history(ledger, "a", limit=None)] == [4, 3, 1]


def test_a_read_only_session_moves_no_money(ledger: Ledger, opened: OpenLedger) -> None:
    pool(ledger, amount="5")
    (entry,) = recharge_history(ledger)
    only_reading = opened(ledger.database.url.render_as_string(hide_password=False), read_only=True)
    for attempt in (
        partial(pay, only_reading, "1"),
        partial(reverse_recharge, only_reading, entry.id, reason="x"),
        partial(open_pool, only_reading, "new"),
    ):
        with pytest.raises(NotPermitted, match="--read-only"):
            attempt()
    assert recharge_history(only_reading) == (entry,)
