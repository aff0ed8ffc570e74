"""Whom an empty pool would hit: models in use and their users, exact within a bounded time."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from billing_console.clock import start_of
from billing_console.errors import NotFound
from billing_console.services import impact as service
from billing_console.services.impact import impact
from billing_console.services.ledger import Ledger
from tests.factories import NOON, at, gateway_insert, spend

DAY = timedelta(days=1)


def test_models_and_users_of_the_last_seven_days(ledger: Ledger) -> None:
    now = at(ledger, NOON)
    since = start_of(NOON.date() - 6 * DAY, ledger.timezone)
    spend(ledger, "5", created_at=since - timedelta(microseconds=1), model_id="old")
    spend(ledger, "3", created_at=since, user_id="bob")
    spend(ledger, "1", created_at=NOON, user_id=None)
    spend(ledger, "2", created_at=NOON)
    spend(ledger, "9", created_at=NOON, provider_id="azure")
    gateway_insert(ledger, cost_amount=10**9, user_id="alice")
    found = impact(now, "openai")
    assert [(use.model.model_id, use.calls, use.cost) for use in found.models] == [
        ("gpt-4o", 3, Decimal(6)),  # what is not settled is in no statistics yet
        ("old", 0, Decimal(0)),
    ]
    assert {(use.user_id, use.calls, use.cost) for use in found.users[:2]} == {
        ("bob", 1, Decimal(3)),
        ("alice", 2, Decimal(3)),
    }
    assert (found.users[2].user_id, found.since) == (None, since)
    with pytest.raises(NotFound):
        impact(now, "nobody")


def test_no_more_calls_of_a_model_are_read_than_the_bound(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that is looked at begins later, for all models alike, and within it the sums are exact."""
    monkeypatch.setattr(service, "CALLS", 3)
    for minute in range(5):
        spend(ledger, "1", created_at=NOON - timedelta(minutes=minute), user_id=f"u{minute}")
    spend(ledger, "7", created_at=NOON - timedelta(minutes=1), model_id="rare")
    spend(ledger, "7", created_at=NOON - timedelta(minutes=4), model_id="rare", user_id="bob")
    found = impact(at(ledger, NOON), "openai")
    assert found.since == NOON - timedelta(minutes=3) + timedelta(microseconds=1)
    assert [(use.user_id, use.cost) for use in found.users] == [
        ("alice", Decimal(7)),
        *((f"u{minute}", Decimal(1)) for minute in range(3)),
    ]
    assert sum(use.calls for use in found.models) == 7


def test_a_provider_that_was_never_used_hits_nobody(ledger: Ledger) -> None:
    spend(ledger, "1", created_at=NOON - 30 * DAY)
    found = impact(at(ledger, NOON), "openai")
    assert ([use.calls for use in found.models], found.users) == ([0], ())
