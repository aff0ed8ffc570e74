"""Disabled by a person, suspended by the pool: two facts, in every order; one model or all of a provider."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from billing_console.errors import NotFound, Refused
from billing_console.services.audit import list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.models import get_model, list_models, set_model_enabled, set_provider_enabled
from billing_console.services.pools import get_pool
from db.values import ModelStatus
from tests.factories import NOON, acting, at, everything, execute, pay, pool, price, query, spend

HOUR = timedelta(hours=1)


def standing(ledger: Ledger, model_id: str = "gpt-4o") -> ModelStatus:
    return get_model(ledger, "openai", model_id).status


def switch(ledger: Ledger, on: bool, model_id: str = "gpt-4o") -> ModelStatus:
    return set_model_enabled(ledger, "openai", model_id, on, reason="because").status


def test_what_a_person_disabled_is_never_enabled_by_a_check(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    price(ledger)
    price(ledger, model_id="o3")
    assert switch(ledger, False) is ModelStatus.DISABLED
    spend(ledger, "100")
    check_pools(ledger)
    assert (standing(ledger), standing(ledger, "o3")) == (ModelStatus.DISABLED, ModelStatus.INSUFFICIENT_FUNDS)
    pay(ledger, "100")
    check_pools(ledger)
    assert (standing(ledger), standing(ledger, "o3")) == (ModelStatus.DISABLED, ModelStatus.ENABLED)
    model = get_model(ledger, "openai", "gpt-4o")
    assert (model.disabled_by, model.disabled_reason) == ("tester", "because")
    assert switch(ledger, True) is ModelStatus.ENABLED


def test_disable_and_enable_while_suspended(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "100")
    check_pools(ledger)
    assert switch(ledger, False) is ModelStatus.DISABLED
    assert switch(ledger, True) is ModelStatus.INSUFFICIENT_FUNDS
    pay(ledger, "1")
    assert standing(ledger) is ModelStatus.ENABLED


def test_enabled_while_suspended_it_comes_back_with_the_money(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    price(ledger)
    switch(ledger, False)
    spend(ledger, "100")
    check_pools(ledger)
    assert switch(ledger, True) is ModelStatus.INSUFFICIENT_FUNDS
    pay(ledger, "100")
    assert standing(ledger) is ModelStatus.ENABLED


def test_disabled_while_suspended_it_stays_so_with_the_money(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "100")
    check_pools(ledger)
    switch(ledger, False)
    pay(ledger, "100")
    check_pools(ledger)
    assert standing(ledger) is ModelStatus.DISABLED


def test_disabling_twice_keeps_who_and_why_of_the_first(ledger: Ledger) -> None:
    price(ledger)
    set_model_enabled(at(ledger, NOON), "openai", "gpt-4o", False, reason="first")
    set_model_enabled(acting(ledger, "other"), "openai", "gpt-4o", False, reason="second")
    model = get_model(ledger, "openai", "gpt-4o")
    assert (model.disabled_at, model.disabled_by, model.disabled_reason) == (NOON, "tester", "first")


def test_a_model_seen_first_in_a_suspended_pool_is_suspended(ledger: Ledger) -> None:
    pool(ledger)
    check_pools(ledger)
    spend(ledger, "1", model_id="new")
    assert standing(ledger, "new") is ModelStatus.INSUFFICIENT_FUNDS


def test_a_low_pool_suspends_nothing(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "100")
    check_pools(ledger)
    execute(ledger, "UPDATE resource_pools SET used_amount = 99999999999")
    assert check_pools(ledger).pools[0].change == "eased"
    assert standing(ledger) is ModelStatus.ENABLED


def test_a_provider_without_a_pool_is_never_suspended(ledger: Ledger) -> None:
    spend(ledger, "1000000")
    assert check_pools(ledger).pools == ()
    view = get_pool(ledger, "openai")
    assert (view.has_pool, view.status, view.is_low_balance, view.last_check_at) == (False, None, False, None)
    assert standing(ledger) is ModelStatus.ENABLED
    with pytest.raises(Refused, match="pools add openai"):
        check_pools(ledger, "openai")
    with pytest.raises(NotFound, match="openai"):
        check_pools(ledger, "opnai")
    pay(ledger, "10")
    assert standing(ledger) is ModelStatus.INSUFFICIENT_FUNDS


def test_all_of_a_provider_are_disabled_in_one_row_and_keep_what_was_decided_before(ledger: Ledger) -> None:
    for model in ("gpt-4o", "o3", "whisper"):
        price(ledger, model_id=model)
    price(ledger, provider_id="qwen", model_id="max")
    set_model_enabled(at(ledger, NOON), "openai", "o3", False, reason="retired")
    rows = query(ledger, "SELECT count(*) FROM audit_log")[0][0]
    changed = set_provider_enabled(acting(ledger, "olga"), "openai", False, reason="contract ended")
    assert [(m.model_id, m.status, m.disabled_by) for m in changed] == [
        ("gpt-4o", ModelStatus.DISABLED, "olga"),
        ("whisper", ModelStatus.DISABLED, "olga"),
    ]
    assert {m.model_id: m.disabled_reason for m in list_models(ledger)} == {
        "gpt-4o": "contract ended",
        "o3": "retired",
        "whisper": "contract ended",
        "max": None,
    }
    assert query(ledger, "SELECT count(*) FROM audit_log")[0][0] == rows + 2  # olga, who was made known, and this
    (entry,) = list_audit(ledger, limit=1)
    assert (entry.action, entry.target, entry.before and json.loads(entry.before)) == (
        "models.disable",
        "openai",
        {"models": {"gpt-4o": None, "whisper": None}},
    )
    assert verify_audit(ledger).findings == ()

    back = set_provider_enabled(ledger, "openai", True, reason="contract renewed")
    assert [model.model_id for model in back] == ["gpt-4o", "o3", "whisper"]
    (entry,) = list_audit(ledger, limit=1)
    assert entry.before is not None
    assert json.loads(entry.before)["models"]["o3"]["disabledReason"] == "retired"
    assert verify_audit(ledger).findings == ()


def test_nothing_to_switch_leaves_no_row_and_an_unknown_provider_is_refused(ledger: Ledger) -> None:
    price(ledger)
    before, rows = everything(ledger), query(ledger, "SELECT count(*) FROM audit_log")
    assert set_provider_enabled(ledger, "openai", True, reason="r") == ()
    assert (everything(ledger), query(ledger, "SELECT count(*) FROM audit_log")) == (before, rows)
    with pytest.raises(NotFound, match="openai"):
        set_provider_enabled(ledger, "opnai", False, reason="r")


def test_it_is_unavailable_since_whichever_came_first(ledger: Ledger) -> None:
    pool(ledger)
    price(ledger)
    assert get_model(ledger, "openai", "gpt-4o").unavailable_since is None
    set_model_enabled(at(ledger, NOON), "openai", "gpt-4o", False, reason="r")
    assert get_model(ledger, "openai", "gpt-4o").unavailable_since == NOON
    check_pools(at(ledger, NOON - HOUR))
    assert get_model(ledger, "openai", "gpt-4o").unavailable_since == NOON - HOUR
