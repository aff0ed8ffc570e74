"""Reconcile: every kind of contradiction is found, exactly, and mended; a ledger in order has none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal

import pytest

from billing_console.errors import NotPermitted
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota, quota_details, revoke_quota
from billing_console.services.recharges import reverse_recharge
from billing_console.services.reconcile import Finding, reconcile
from billing_console.services.settlement import settle
from db.values import CallStatus, UsageType
from tests.conftest import OpenLedger
from tests.factories import NOON, at, everything, execute, gateway_insert, pay, pool, price, query, spend, usage


@pytest.fixture
def busy(ledger: Ledger) -> Ledger:
    """Two pools, one of them depleted; users with and without quota; two types; failures; unsettled usage."""
    pool(ledger, "openai", "100")
    pool(ledger, "azure", "50")
    price(ledger)
    reverse_recharge(ledger, pay(ledger, "10").id, reason="wrong")
    grant_quota(ledger, "alice", Decimal(20), reference="g")
    revoke_quota(ledger, "alice", Decimal(5), reference="g")
    spend(ledger, "40.000000001", request_id="a1")
    spend(ledger, "50", provider_id="azure", user_id="bob", request_id="b1")
    video = {"usage_type": UsageType.VIDEO_GENERATION, "quantity": Decimal("1.5"), "user_id": None}
    spend(ledger, "0.25", **video, created_at=datetime.fromisoformat("2026-03-10T16:00:00Z"))
    record_usage(ledger, [usage(status=CallStatus.FAILED), usage(model_id="unpriced")])
    gateway_insert(ledger, cost_amount=7, user_id="carol")
    check_pools(at(ledger, NOON))
    return ledger


PLANTED = [
    (
        "UPDATE resource_pools SET total_balance = total_balance + 1 WHERE provider_id = 'openai'",
        ("resource_pools.total_balance", "openai", "100.000000001", "100.00"),
    ),
    (
        "UPDATE resource_pools SET used_amount = used_amount - 1 WHERE provider_id = 'openai'",
        ("resource_pools.used_amount", "openai", "40.25", "40.250000001"),
    ),
    (
        "UPDATE user_quotas SET granted_amount = granted_amount - 1 WHERE user_id = 'alice'",
        ("user_quotas.granted_amount", "alice", "14.999999999", "15.00"),
    ),
    (
        "UPDATE user_quotas SET granted_amount = NULL WHERE user_id = 'alice'",
        ("user_quotas.granted_amount", "alice", "None", "15.00"),
    ),
    (
        "UPDATE user_quotas SET granted_amount = 0 WHERE user_id = 'bob'",
        ("user_quotas.granted_amount", "bob", "0.00", "None"),
    ),
    (
        "UPDATE user_quotas SET used_amount = 0 WHERE user_id = 'bob'",
        ("user_quotas.used_amount", "bob", "0.00", "50.00"),
    ),
    (
        "UPDATE daily_cost_stats SET total_usage = total_usage + 1 WHERE provider_id = 'azure'",
        (
            "daily_cost_stats",
            "2026-03-10 azure gpt-4o text_generation",
            "150.000001, 50.00, 1, 0",
            "150.00, 50.00, 1, 0",
        ),
    ),
    (
        "UPDATE daily_cost_stats SET total_cost = total_cost + 1 WHERE provider_id = 'azure'",
        (
            "daily_cost_stats",
            "2026-03-10 azure gpt-4o text_generation",
            "150.00, 50.000000001, 1, 0",
            "150.00, 50.00, 1, 0",
        ),
    ),
    (
        "UPDATE daily_cost_stats SET call_count = 2 WHERE provider_id = 'azure'",
        ("daily_cost_stats", "2026-03-10 azure gpt-4o text_generation", "150.00, 50.00, 2, 0", "150.00, 50.00, 1, 0"),
    ),
    (
        "UPDATE daily_cost_stats SET failed_count = 1 WHERE provider_id = 'azure'",
        ("daily_cost_stats", "2026-03-10 azure gpt-4o text_generation", "150.00, 50.00, 1, 1", "150.00, 50.00, 1, 0"),
    ),
    (
        "DELETE FROM daily_cost_stats WHERE usage_type = 'video_generation'",
        (
            "daily_cost_stats",
            "2026-03-11 openai gpt-4o video_generation",
            "0.00, 0.00, 0, 0",
            "1.50, 0.25, 1, 0",
        ),
    ),
    (
        "INSERT INTO daily_cost_stats VALUES ('2026-01-01', 'openai', 'gpt-4o', 'text_generation', 1000000, 2, 3, 0)",
        (
            "daily_cost_stats",
            "2026-01-01 openai gpt-4o text_generation",
            "1.00, 0.000000002, 3, 0",
            "0.00, 0.00, 0, 0",
        ),
    ),
    (
        "UPDATE resource_pools SET suspended_at = NULL WHERE provider_id = 'azure'",
        ("resource_pools.suspended_at", "azure", "False", "True"),
    ),
    (
        "UPDATE resource_pools SET suspended_at = (SELECT min(created_at) FROM providers) WHERE provider_id = 'openai'",
        ("resource_pools.suspended_at", "openai", "True", "False"),
    ),
]


def test_each_planted_error_alone_is_found_exactly_and_mended(busy: Ledger) -> None:
    right = everything(busy)
    assert reconcile(busy) == ()
    for statement, (what, where, stored_value, computed) in PLANTED:
        execute(busy, statement)
        wrong = everything(busy)
        (finding,) = reconcile(busy)
        assert finding == Finding(what, where, stored_value, computed, False)
        assert everything(busy) == wrong, "looking changes nothing"
        assert reconcile(busy, repair=True) == (Finding(what, where, stored_value, computed, True),)
        assert reconcile(busy) == ()
        assert everything(busy) == right
    assert reconcile(busy, repair=True) == ()


def test_many_errors_at_once_are_all_found_and_mended(busy: Ledger) -> None:
    right = everything(busy)
    execute(busy, "UPDATE resource_pools SET used_amount = 1, total_balance = 2, suspended_at = NULL")
    execute(busy, "UPDATE user_quotas SET used_amount = 3")
    execute(busy, "DELETE FROM daily_cost_stats")
    found = reconcile(busy)
    assert len(found) == len(set(found)) == 2 + 2 + 1 + 2 + 4
    reconcile(busy, repair=True)
    assert reconcile(busy) == ()
    assert everything(busy) == right


def test_a_counter_row_that_is_missing_is_found_and_made_again(busy: Ledger) -> None:
    execute(busy, "DELETE FROM user_quotas WHERE user_id = 'bob'")
    execute(busy, "DELETE FROM balance_alerts")
    execute(busy, "DELETE FROM resource_pools WHERE provider_id = 'openai'")
    assert {(finding.what, finding.where, finding.stored) for finding in reconcile(busy)} == {
        ("user_quotas.used_amount", "bob", "None"),
        ("resource_pools.total_balance", "openai", "None"),
        ("resource_pools.used_amount", "openai", "None"),
        ("resource_pools.suspended_at", "azure", "True"),
    }
    reconcile(busy, repair=True)
    assert reconcile(busy) == ()
    assert quota_details(busy, "bob").quota.used_amount == 50
    assert get_pool(busy, "openai").total_balance == 100


def test_a_mended_suspension_dates_from_the_alert_that_is_open(busy: Ledger) -> None:
    pay(busy, "1000", "azure")
    spend(busy, "1000", provider_id="azure")
    later = NOON.replace(day=11)
    check_pools(at(busy, later), "azure")
    execute(busy, "UPDATE resource_pools SET suspended_at = NULL")
    reconcile(busy, repair=True)
    assert get_pool(busy, "azure").suspended_at == later
    assert get_pool(busy, "openai").suspended_at is None


def test_an_outbox_entry_that_was_lost_or_came_twice_is_found(busy: Ledger) -> None:
    execute(busy, "DELETE FROM usage_outbox")
    assert {finding.what for finding in reconcile(busy)} == {
        "resource_pools.used_amount",
        "user_quotas.used_amount",
        "daily_cost_stats",
    }
    reconcile(busy, repair=True)
    assert quota_details(busy, "carol").quota.used_amount == Decimal("0.000000007")

    execute(busy, "INSERT INTO usage_outbox (usage_id) SELECT id FROM usage_records WHERE request_id = 'b1'")
    settle(busy)
    (pool_finding, *_others) = reconcile(busy)
    assert (pool_finding.stored, pool_finding.computed) == ("100.00", "50.00")
    reconcile(busy, repair=True)
    assert reconcile(busy) == ()


def test_a_repaired_balance_is_what_the_next_check_goes_by(busy: Ledger) -> None:
    execute(busy, "UPDATE resource_pools SET used_amount = 0 WHERE provider_id = 'azure'")
    check_pools(busy, "azure")
    assert get_pool(busy, "azure").suspended_at is None
    reconcile(busy, repair=True)
    assert [check.change for check in check_pools(busy, "azure").pools] == ["raised"]
    assert reconcile(busy) == ()


def test_records_centuries_apart_are_compared_day_by_day(ledger: Ledger) -> None:
    for year in (1970, 2026, 2400, 9000):
        spend(ledger, "1", created_at=NOON.replace(year=year))
    assert reconcile(ledger) == ()
    execute(ledger, "UPDATE daily_cost_stats SET call_count = 2 WHERE stat_date = '9000-03-10'")
    assert [finding.where[:10] for finding in reconcile(ledger)] == ["9000-03-10"]


def test_an_empty_ledger_is_in_order(ledger: Ledger) -> None:
    assert reconcile(ledger) == ()
    assert reconcile(ledger, repair=True) == ()


def test_a_read_only_session_looks_and_does_not_mend(busy: Ledger, opened: OpenLedger) -> None:
    execute(busy, "UPDATE user_quotas SET used_amount = 0 WHERE user_id = 'bob'")
    only_reading = opened(busy.database.url.render_as_string(hide_password=False), read_only=True)
    assert len(reconcile(only_reading)) == 1
    with pytest.raises(NotPermitted):
        reconcile(only_reading, repair=True)


def test_repair_among_writers_loses_nothing(ledger: Ledger) -> None:
    pool(ledger)

    def write(number: int) -> None:
        if number % 4 == 0:
            reconcile(ledger, repair=True)
        elif number % 4 == 1:
            pay(ledger, "1")
        elif number % 4 == 2:
            gateway_insert(ledger, cost_amount=1, user_id="alice")
            settle(ledger)
        else:
            spend(ledger, "1")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(32)))
    settle(ledger)
    assert reconcile(ledger) == ()
    view = get_pool(ledger, "openai")
    assert (view.total_balance, view.used_amount) == (Decimal(8), Decimal("8.000000008"))
    assert query(ledger, "SELECT sum(call_count) FROM daily_cost_stats") == [(16,)]
