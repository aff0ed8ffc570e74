"""A recharge is taken back by a new entry that names it, once, and never overdraws the pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

from billing_console.errors import Conflict, InvalidInput, NotFound, Refused
from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool
from billing_console.services.recharges import (
    preview_reversal,
    recharge_history,
    reverse_recharge,
)
from billing_console.services.reconcile import reconcile
from tests.factories import NOON, at, everything, gateway_insert, pay, pool, spend, take_back


def test_a_reversal_names_what_it_reverses_and_takes_the_money_back(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    wrong = pay(ledger, "900", reference="INV-9")
    spend(ledger, "60")
    change = preview_reversal(ledger, wrong.id)
    reversal = take_back(at(ledger, NOON), wrong.id)
    assert (reversal.amount, reversal.reverses_id, reversal.reference) == (Decimal(-900), wrong.id, "wrong pool")
    assert (reversal.total_after, reversal.available_after) == (Decimal(100), Decimal(40))
    assert (change.before, change.after) == (reversal.available_before, reversal.available_after)
    newest, reversed_entry, _first = recharge_history(ledger)
    assert newest == reversal
    assert reversed_entry == replace(wrong, reversed_by_id=reversal.id)
    assert reconcile(ledger) == ()


def test_a_recharge_is_reversed_once(ledger: Ledger) -> None:
    pool(ledger)
    booked = pay(ledger, "100")
    pay(ledger, "100")
    reversal = take_back(ledger, booked.id, "first")
    before = everything(ledger)
    for attempt in (partial(reverse_recharge, reason="again"), preview_reversal):
        with pytest.raises(Conflict, match=f"already reversed by {reversal.id}"):
            attempt(ledger, booked.id)
        with pytest.raises(Conflict, match="is a reversal itself"):
            attempt(ledger, reversal.id)
    assert everything(ledger) == before


def test_many_threads_reverse_a_recharge_once(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    booked = pay(ledger, "50")

    def attempt(number: int) -> bool:
        try:
            reverse_recharge(ledger, booked.id, reason=f"thread {number}")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(attempt, range(12))) == 1
    assert get_pool(ledger, "openai").total_balance == 100


def test_a_reversal_never_overdraws(ledger: Ledger) -> None:
    pool(ledger)
    booked = pay(ledger, "100")
    spend(ledger, "0.000000001")
    before = everything(ledger)
    for attempt in (partial(reverse_recharge, reason="no"), preview_reversal):
        with pytest.raises(Refused, match=r"¥99\.999999999.*¥100\.00"):
            attempt(ledger, booked.id)
    assert everything(ledger) == before
    pay(ledger, "0.01")
    reverse_recharge(ledger, booked.id, reason="now there is enough")
    assert get_pool(ledger, "openai").available_balance == Decimal("0.009999999")


def test_usage_that_is_not_settled_stands_against_a_reversal(ledger: Ledger) -> None:
    pool(ledger)
    booked = pay(ledger, "100")
    gateway_insert(ledger, cost_amount=1)
    with pytest.raises(Refused):
        reverse_recharge(ledger, booked.id, reason="no")


def test_all_that_is_left_can_be_taken_back(ledger: Ledger) -> None:
    pool(ledger)
    booked = pay(ledger, "100")
    assert take_back(ledger, booked.id).available_after == 0


def test_a_key_replayed_after_the_reversal_answers_with_the_first_result_and_moves_nothing(ledger: Ledger) -> None:
    pool(ledger)
    booked = pay(ledger, "100", key="k")
    reversal = take_back(ledger, booked.id, "wrong")
    before = everything(ledger)
    again = pay(ledger, "100", key="k")
    assert again == replace(booked, replayed=True, reversed_by_id=reversal.id)
    assert everything(ledger) == before


def test_an_unknown_recharge_cannot_be_reversed(ledger: Ledger) -> None:
    for recharge_id in (0, -1, 4711, 2**63 - 1, 2**63, 10**30):
        for attempt in (partial(reverse_recharge, reason="x"), preview_reversal):
            with pytest.raises(NotFound, match=r"pools history"):
                attempt(ledger, recharge_id)


def test_a_reversal_needs_a_reason(sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger)
    booked = pay(sqlite_ledger, "1")
    with pytest.raises(InvalidInput) as refused:
        reverse_recharge(sqlite_ledger, booked.id, reason=" ")
    assert refused.value.field == "reason"
