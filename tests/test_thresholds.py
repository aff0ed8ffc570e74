"""Thresholds of a pool: percent, amount, days; what crosses one raises the alert, and the log vouches for all three."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing_console.errors import InvalidInput, Refused
from billing_console.services.alerts import list_alerts
from billing_console.services.audit_verify import verify_audit
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool, set_thresholds
from billing_console.services.reconcile import reconcile
from db.values import AlertType, BalanceStatus, Threshold
from tests.commands import Commands
from tests.factories import NOON, at, execute, pay, pool, spend

SUFFICIENT, LOW, DEPLETED = BalanceStatus.SUFFICIENT, BalanceStatus.LOW, BalanceStatus.DEPLETED
NOW = NOON
DAY = timedelta(days=1)


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def spend_daily(ledger: Ledger, days: int = 14, cost: str = "10") -> None:
    for ago in range(1, days + 1):
        spend(ledger, cost, created_at=NOON - ago * DAY)


def status(ledger: Ledger) -> BalanceStatus | None:
    """What the check says, which the list says too."""
    (check,) = check_pools(ledger).pools
    assert check.pool == get_pool(ledger, "openai")
    assert reconcile(ledger) == ()
    return check.pool.status


def test_an_amount_is_crossed_below_it_and_not_at_it(ledger: Ledger) -> None:
    now = at(ledger, NOW)
    pool(now, amount="1000")
    spend(now, "500")
    assert set_thresholds(now, "openai", {"amount": Decimal(500)}).status is SUFFICIENT
    assert set_thresholds(now, "openai", {"amount": Decimal("500.01")}).crossed == (Threshold.AMOUNT,)
    assert [alert.alert_type for alert in list_alerts(now, resolved=False)] == [AlertType.LOW_BALANCE]
    assert status(now) is LOW
    pay(now, "0.01")
    assert list_alerts(now, resolved=False) == ()
    spend(now, "0.000000001")
    assert status(now) is LOW
    assert set_thresholds(now, "openai", {"amount": None}).status is SUFFICIENT


def test_days_are_crossed_when_the_burn_leaves_less(ledger: Ledger) -> None:
    now = at(ledger, NOW)
    spend_daily(ledger)
    pool(now)
    pay(now, "205")  # 65 yuan are left: half of today, then six days
    assert set_thresholds(now, "openai", {"days": 6}).status is SUFFICIENT
    assert set_thresholds(now, "openai", {"days": 7}).crossed == (Threshold.DAYS,)
    assert status(now) is LOW
    spend(now, "64", created_at=NOW)
    assert get_pool(now, "openai").crossed == (Threshold.PERCENT, Threshold.DAYS)
    spend(now, "1", created_at=NOW)
    assert status(now) is DEPLETED
    pay(now, "100")
    assert status(now) is SUFFICIENT


def test_days_say_nothing_without_history_and_of_a_pool_that_lasts_long(ledger: Ledger) -> None:
    now = at(ledger, NOW)
    spend_daily(ledger, 6, "100")
    pool(now)
    pay(now, "700")
    assert set_thresholds(now, "openai", {"days": 365}).status is SUFFICIENT
    assert get_pool(at(ledger, NOW + DAY), "openai").crossed == (Threshold.DAYS,)
    pay(now, "1000000")
    assert get_pool(at(ledger, NOW + DAY), "openai").status is SUFFICIENT


def test_reconcile_does_not_take_the_passing_of_time_for_damage(ledger: Ledger) -> None:
    """A quiet day lowers the burn: the alert of the last check is over, which is for the next check to say."""
    now, quiet = at(ledger, NOW), at(ledger, NOW + 10 * DAY)
    spend_daily(ledger)
    pool(now)
    pay(now, "205")
    set_thresholds(now, "openai", {"days": 7})
    assert get_pool(quiet, "openai").status is SUFFICIENT
    assert len(list_alerts(quiet, resolved=False)) == 1
    assert reconcile(quiet) == ()
    assert status(quiet) is SUFFICIENT
    execute(ledger, "UPDATE balance_alerts SET resolved_at = NULL")
    assert [finding.what for finding in reconcile(quiet)] == ["balance_alerts.alert_type"]
    assert [finding.repaired for finding in reconcile(quiet, repair=True)] == [True]
    assert list_alerts(quiet, resolved=False) == ()


def test_reconcile_goes_by_the_facts_and_not_by_damaged_statistics(ledger: Ledger) -> None:
    now = at(ledger, NOW)
    spend_daily(ledger)
    pool(now)
    pay(now, "205")
    set_thresholds(now, "openai", {"days": 7})
    execute(ledger, "UPDATE daily_cost_stats SET total_cost = 0")
    assert {finding.what for finding in reconcile(now)} == {"daily_cost_stats"}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"percent": Decimal("100.01")}, "lowThreshold"),
        ({"percent": Decimal(-1)}, "lowThreshold"),
        ({"amount": Decimal(0)}, "lowAmount"),
        ({"amount": Decimal(-5)}, "lowAmount"),
        ({"amount": Decimal("0.001")}, "lowAmount"),
        ({"amount": Decimal("NaN")}, "lowAmount"),
        ({"amount": Decimal(10**10)}, "lowAmount"),
        ({"days": 0}, "lowDays"),
        ({"days": 366}, "lowDays"),
    ],
)
def test_a_threshold_that_is_none_is_refused(sqlite_ledger: Ledger, wanted: Any, field: str) -> None:
    pool(sqlite_ledger, amount="100")
    with pytest.raises(InvalidInput) as refused:
        set_thresholds(sqlite_ledger, "openai", {"percent": Decimal(5)} | wanted)
    assert refused.value.field == field
    assert get_pool(sqlite_ledger, "openai").own_threshold is None


def test_only_a_pool_has_thresholds(sqlite_ledger: Ledger) -> None:
    spend(sqlite_ledger, "1")
    with pytest.raises(Refused):
        set_thresholds(sqlite_ledger, "openai", {"days": 3})


def test_the_log_vouches_for_each_threshold(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    set_thresholds(ledger, "openai", {"percent": Decimal("12.5"), "amount": Decimal(5), "days": 3})
    set_thresholds(ledger, "openai", {"amount": None})
    assert verify_audit(ledger).findings == ()
    execute(ledger, "UPDATE resource_pools SET low_amount = 1000000000, low_days = 4, low_threshold = 1")
    assert [finding.where for finding in verify_audit(ledger).findings] == [
        "thresholds openai",
        "low_amounts openai",
        "low_days openai",
    ]


def test_thresholds_and_outlook_on_the_command_line(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, amount="100")
    said = run("pools", "threshold", "openai", "--percent", "5", "--amount", "1,000", "--days", "7").out
    assert said == "openai is low below 5.00% or ¥1,000.00 or 7 days now.\n"
    changed = run("pools", "threshold", "openai", "--days", "off", "--format", "json").json
    assert (changed["lowThreshold"], changed["lowAmount"], changed["lowDays"]) == (5.0, "1000.00", None)
    assert changed["status"] == "low"
    for wrong in (("--days", "0"), ("--days", "1.5"), ("--amount", "0"), ("--percent", "x"), ()):
        assert run("pools", "threshold", "openai", *wrong).code == 2
    (row,) = run("pools", "list", "--format", "json").json
    assert [row[name] for name in ("burnPerDay", "emptyAt", "emptyAtEarliest", "emptyAtLatest", "historyDays")] == [
        *[None] * 4,
        0,
    ]
    shown = run("pools", "show", "openai", "--days", "14", "--format", "json").json
    assert (shown["forDays"], shown["rechargeExpected"]) == (14, None)
    assert "5.00% or ¥1,000.00" in run("pools", "show", "openai").out
    assert run("pools", "show", "openai", "--days", "0").code == 2


def test_check_pools_says_which_threshold_made_a_pool_low(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, amount="100")
    run("pools", "threshold", "openai", "--amount", "100.01")
    checked = run("check-pools")
    assert checked.code == 1
    assert "openai: low, ¥100.00 of ¥100.00 left (100.00%), below ¥100.01" in checked.out
    assert "below" not in run("check-pools", "--format", "nagios").out.partition("|")[2]
