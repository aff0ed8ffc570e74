"""The pool check: the table of DESIGN.md, section 5, at its borders, and what it leaves alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from billing_console.errors import InvalidInput, NotPermitted, Refused
from billing_console.money import LEDGER_LIMIT
from billing_console.services.alerts import list_alerts
from billing_console.services.check import PoolCheck, check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.models import get_model, list_models
from billing_console.services.pools import get_pool, list_pools
from billing_console.services.recharges import reverse_recharge
from billing_console.services.settlement import settle
from billing_console.services.thresholds import Thresholds, status_of
from db.values import AlertLevel, AlertType, BalanceStatus, ModelStatus
from tests.conftest import OpenLedger
from tests.factories import NOON, at, everything, execute, gateway_insert, pay, pool, query, spend

SUFFICIENT, LOW, DEPLETED = BalanceStatus.SUFFICIENT, BalanceStatus.LOW, BalanceStatus.DEPLETED
MINUTE = timedelta(minutes=1)

TABLE = [
    # total, used, own threshold, status, percentage as shown
    ("100", "0", None, SUFFICIENT, "100.00"),
    ("100", "89.9999999", None, SUFFICIENT, "10.00"),  # 10.0000001 %
    ("100", "90", None, SUFFICIENT, "10.00"),  # exactly 10 %
    ("100", "90.000000001", None, LOW, "9.99"),  # 9.999999999 %
    ("9000000000", "8100000000.000000001", None, LOW, "9.99"),  # one nano-yuan below, at the end of the range
    ("9000000000", "8100000000", None, SUFFICIENT, "10.00"),
    ("100", "99.999999999", None, LOW, "0.00"),  # +1 nano-yuan
    ("100", "100", None, DEPLETED, "0.00"),
    ("100", "100.000000001", None, DEPLETED, "-0.01"),  # -1 nano-yuan
    ("100", "250", None, DEPLETED, "-150.00"),
    (None, "0", None, DEPLETED, "0.00"),  # total 0
    (None, "0.000000001", None, DEPLETED, "0.00"),
    ("100", "79.99", "20.01", SUFFICIENT, "20.01"),
    ("100", "79.990000001", "20.01", LOW, "20.00"),
    ("100", "99.999999999", "0", SUFFICIENT, "0.00"),  # a threshold of 0: never low
    ("100", "100", "0", DEPLETED, "0.00"),
    ("100", "0", "100", SUFFICIENT, "100.00"),  # a threshold of 100: low from the first use
    ("100", "0.000000001", "100", LOW, "99.99"),
]


def test_every_row_of_the_table_at_its_borders(ledger: Ledger) -> None:
    for number, (total, used, threshold, _status, _percentage) in enumerate(TABLE):
        own = None if threshold is None else Decimal(threshold)
        pool(ledger, f"p{number:02}", total, low_threshold=own)
        spend(ledger, used, provider_id=f"p{number:02}", user_id=None)
    report = check_pools(ledger)
    assert report.skipped == 0
    found = [(check.pool.status, f"{check.pool.balance_percentage}") for check in report.pools]
    assert found == [(status, percentage) for _total, _used, _threshold, status, percentage in TABLE]

    alerts = {alert.provider_id: alert for alert in list_alerts(ledger)}
    suspended = {model.provider_id for model in list_models(ledger) if model.status is ModelStatus.INSUFFICIENT_FUNDS}
    for check, (_total, _used, _threshold, status, _percentage) in zip(report.pools, TABLE, strict=True):
        alert = alerts.get(check.pool.provider_id)
        assert check.alert == alert
        assert check.pool.is_low_balance is (status is not SUFFICIENT)
        assert (check.pool.provider_id in suspended) is (status is DEPLETED)
        if alert is None:
            assert status is SUFFICIENT
        else:
            expected = {
                LOW: (AlertType.LOW_BALANCE, AlertLevel.WARNING),
                DEPLETED: (AlertType.INSUFFICIENT_BALANCE, AlertLevel.CRITICAL),
            }
            assert (alert.alert_type, alert.alert_level) == expected[status]
            assert alert.available_balance == check.pool.available_balance
            assert alert.balance_percentage == check.pool.balance_percentage
    assert {check.pool.provider_id: check.pool for check in report.pools} == {
        view.provider_id: view for view in list_pools(ledger)
    }


def test_the_rule_compares_exactly_at_the_ends_of_the_range() -> None:
    assert status_of(-LEDGER_LIMIT, LEDGER_LIMIT, Thresholds(Decimal(10))) is DEPLETED
    assert status_of(LEDGER_LIMIT, LEDGER_LIMIT, Thresholds(Decimal(100))) is SUFFICIENT
    # A tenth of the limit, 922337203.6854775807, lies between two amounts.
    assert status_of(Decimal("922337203.685477581"), LEDGER_LIMIT, Thresholds(Decimal(10))) is SUFFICIENT
    assert status_of(Decimal("922337203.685477580"), LEDGER_LIMIT, Thresholds(Decimal(10))) is LOW


def test_the_threshold_of_the_settings_holds_for_pools_without_their_own(ledger: Ledger) -> None:
    pool(ledger, "own", "100", low_threshold=Decimal(5))
    pool(ledger, "other", "100")
    spend(ledger, "80", provider_id="own")
    spend(ledger, "80", provider_id="other")
    strict = replace(ledger, low_threshold=Decimal(25))
    assert [(check.pool.provider_id, check.pool.status) for check in check_pools(strict).pools] == [
        ("other", LOW),
        ("own", SUFFICIENT),
    ]


@pytest.mark.parametrize("threshold", ["-0.01", "100.01", "9.999", "NaN", "Infinity"])
def test_a_threshold_that_is_no_percentage_is_refused(sqlite_ledger: Ledger, threshold: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        pool(sqlite_ledger, low_threshold=Decimal(threshold))
    assert refused.value.field == "lowThreshold"
    assert query(sqlite_ledger, "SELECT count(*) FROM providers") == [(0,)]


def step(ledger: Ledger, minute: int) -> PoolCheck:
    (check,) = check_pools(at(ledger, NOON + minute * MINUTE)).pools
    return check


def test_an_alert_is_raised_escalated_eased_and_resolved_in_one_row(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "95")
    checks = [step(ledger, 0)]
    spend(ledger, "1")
    checks.append(step(ledger, 1))
    spend(ledger, "4")
    checks.append(step(ledger, 2))
    execute(ledger, "UPDATE resource_pools SET used_amount = 99000000000")
    checks.append(step(ledger, 3))
    execute(ledger, "UPDATE resource_pools SET used_amount = 0")
    checks.append(step(ledger, 4))
    checks.append(step(ledger, 5))

    assert [check.change for check in checks] == ["raised", "", "escalated", "eased", "resolved", ""]
    alerts = [check.alert for check in checks[:5] if check.alert is not None]
    assert len(alerts) == 5 and checks[5].alert is None
    assert len({alert.id for alert in alerts}) == 1
    assert [(alert.alert_type, alert.available_balance) for alert in alerts[:4]] == [
        (AlertType.LOW_BALANCE, Decimal(5)),
        (AlertType.LOW_BALANCE, Decimal(4)),
        (AlertType.INSUFFICIENT_BALANCE, Decimal(0)),
        (AlertType.LOW_BALANCE, Decimal(1)),
    ]
    (kept,) = list_alerts(ledger)
    assert (kept.created_at, kept.resolved_at) == (NOON, NOON + 4 * MINUTE)
    assert [alert.updated_at for alert in alerts] == [NOON + minute * MINUTE for minute in range(5)]

    spend(ledger, "0")
    execute(ledger, "UPDATE resource_pools SET used_amount = 95000000000")
    again = step(ledger, 6).alert
    assert again is not None and again.id != kept.id
    assert [alert.is_resolved for alert in list_alerts(ledger)] == [False, True]


def test_a_check_that_finds_nothing_new_leaves_the_alert_as_it_is(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "95")
    step(ledger, 0)
    before = query(ledger, "SELECT * FROM balance_alerts")
    assert step(ledger, 5).change == ""
    assert query(ledger, "SELECT * FROM balance_alerts") == before


def test_the_database_refuses_a_second_open_alert(ledger: Ledger) -> None:
    pool(ledger)
    check_pools(ledger)
    copy = (
        "INSERT INTO balance_alerts (provider_id, alert_type, alert_level, balance_percentage, available_balance,"
        " created_at, updated_at, resolved_at) SELECT provider_id, alert_type, alert_level, balance_percentage,"
        " available_balance, created_at, updated_at, {} FROM balance_alerts"
    )
    with pytest.raises(Exception, match=r"(?i)unique"):
        execute(ledger, copy.format("NULL"))
    execute(ledger, copy.format("created_at"))
    assert [alert.is_resolved for alert in list_alerts(ledger)] == [False, True]


def test_many_checks_at_once_raise_one_alert(ledger: Ledger) -> None:
    pool(ledger)
    with ThreadPoolExecutor(6) as threads:
        reports = list(threads.map(lambda _: check_pools(ledger), range(12)))
    assert [report.pools[0].change for report in reports].count("raised") == 1
    assert len(list_alerts(ledger)) == 1


def test_the_time_of_the_check_is_kept_per_pool(ledger: Ledger) -> None:
    pool(ledger, "a", "1")
    pool(ledger, "b")
    check_pools(at(ledger, NOON), "b")
    check_pools(at(ledger, NOON + MINUTE), "b")
    assert get_pool(ledger, "b").last_check_at == NOON + MINUTE
    last = get_pool(ledger, "a").last_check_at
    assert last is not None and last != NOON  # the recharge checked it
    assert get_pool(ledger, "b").suspended_at == NOON  # since when, not when last seen


# Dry runs, the timer, usage that is not settled


def test_a_dry_run_says_what_would_change_and_writes_nothing(ledger: Ledger, opened: OpenLedger) -> None:
    pool(ledger, "empty")
    pool(ledger, "full", "100")
    spend(ledger, "100", provider_id="full")
    check_pools(ledger, "full")
    execute(ledger, "UPDATE resource_pools SET used_amount = 0 WHERE provider_id = 'full'")
    before = everything(ledger)
    report = check_pools(ledger, dry_run=True)
    assert [(check.pool.provider_id, check.change) for check in report.pools] == [
        ("empty", "raised"),
        ("full", "resolved"),
    ]
    url = ledger.database.url.render_as_string(hide_password=False)
    only_reading = opened(url, read_only=True)
    assert check_pools(only_reading, dry_run=True).pools == report.pools
    with pytest.raises(NotPermitted):
        check_pools(only_reading)
    assert everything(ledger) == before


def test_the_timer_skips_what_somebody_checked_and_a_person_never_does(ledger: Ledger) -> None:
    five = timedelta(minutes=5)
    pool(ledger, "a")
    pool(ledger, "b")
    check_pools(at(ledger, NOON), "a")

    later = check_pools(at(ledger, NOON + five - timedelta(microseconds=1)), if_older_than=five)
    assert ([check.pool.provider_id for check in later.pools], later.skipped) == (["b"], 1)
    due = check_pools(at(ledger, NOON + five), if_older_than=five)
    assert ([check.pool.provider_id for check in due.pools], due.skipped) == (["a"], 1)
    now = check_pools(at(ledger, NOON + five))
    assert (len(now.pools), now.skipped) == (2, 0)


def test_a_clock_that_runs_backwards_does_no_harm(ledger: Ledger) -> None:
    five = timedelta(minutes=5)
    pool(ledger, amount="100")
    spend(ledger, "95")
    for before, after in pairwise((0, -60, 60, -1440, 0)):
        assert step(ledger, before).pool.status is LOW
        report = check_pools(at(ledger, NOON + after * MINUTE), if_older_than=five)
        assert [check.pool.last_check_at for check in report.pools] == [NOON + after * MINUTE]
    assert len(list_alerts(ledger)) == 1
    pay(at(ledger, NOON - timedelta(days=400)), "1000")
    assert [alert.is_resolved for alert in list_alerts(ledger)] == [True]
    assert get_pool(ledger, "openai").status is SUFFICIENT


def test_usage_that_is_not_settled_counts(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "60")
    gateway_insert(ledger, cost_amount=40 * 10**9)
    gateway_insert(ledger)  # without a cost yet
    gateway_insert(ledger, provider_id="other", cost_amount=10**9)
    (check,) = check_pools(ledger).pools
    assert (check.pool.used_amount, check.pool.status) == (Decimal(100), DEPLETED)
    assert query(ledger, "SELECT used_amount FROM resource_pools WHERE provider_id = 'openai'") == [(60 * 10**9,)]
    settle(ledger)
    (settled,) = check_pools(ledger).pools
    assert (settled.pool.used_amount, settled.change) == (Decimal(100), "")


# Money that comes and goes


def standing(ledger: Ledger, model_id: str = "gpt-4o") -> ModelStatus:
    return get_model(ledger, "openai", model_id).status


def test_a_recharge_lifts_alert_and_suspension_in_its_own_transaction(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "100")
    check_pools(at(ledger, NOON - MINUTE))
    assert standing(ledger) is ModelStatus.INSUFFICIENT_FUNDS
    pay(at(ledger, NOON), "11.12")
    assert [alert.resolved_at for alert in list_alerts(ledger)] == [NOON]
    assert standing(ledger) is ModelStatus.ENABLED
    view = get_pool(ledger, "openai")
    assert (view.last_check_at, view.last_recharge_at, view.available_balance) == (NOON, NOON, Decimal("11.12"))


def test_a_recharge_that_is_too_small_eases_the_alert_only(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "100")
    check_pools(ledger)
    pay(ledger, "11.11")
    assert [(alert.alert_type, alert.is_resolved) for alert in list_alerts(ledger)] == [(AlertType.LOW_BALANCE, False)]
    assert standing(ledger) is ModelStatus.ENABLED


def test_a_reversal_brings_alert_and_suspension_back(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "100")
    check_pools(ledger)
    booked = pay(ledger, "500")
    assert standing(ledger) is ModelStatus.ENABLED
    reverse_recharge(at(ledger, NOON), booked.id, reason="wrong pool")
    (alert,) = list_alerts(ledger, resolved=False)
    assert (alert.alert_type, alert.created_at) == (AlertType.INSUFFICIENT_BALANCE, NOON)
    assert standing(ledger) is ModelStatus.INSUFFICIENT_FUNDS


def test_a_refused_recharge_changes_neither_alert_nor_suspension(ledger: Ledger) -> None:
    pool(ledger, amount="9223372036.85")
    spend(ledger, "9223372036.85")
    check_pools(ledger)
    before = everything(ledger)
    with pytest.raises(Refused):
        pay(ledger, "0.01")
    assert everything(ledger) == before
    assert standing(ledger) is ModelStatus.INSUFFICIENT_FUNDS
