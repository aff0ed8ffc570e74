"""Acknowledged alerts: who took notice of what, and what is news again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from billing_console.errors import NotFound, NotPermitted, Refused
from billing_console.services.alerts import AlertView, acknowledge_alert, alert_called, list_alerts
from billing_console.services.audit import list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.pools import set_thresholds
from billing_console.services.reconcile import reconcile
from db.values import AlertType, Role
from tests.factories import NOON, acting, at, execute, pay, pool, query, spend, take_back

MINUTE = timedelta(minutes=1)


@pytest.fixture
def low(ledger: Ledger) -> Ledger:
    """A ledger at noon with one pool of 100 yuan, 5 of them left, and its open alert."""
    ledger = at(ledger, NOON)
    pool(ledger, amount="100")
    spend(ledger, "95")
    check_pools(ledger)
    return ledger


def the_alert(ledger: Ledger) -> AlertView:
    (alert,) = list_alerts(ledger)
    return alert


def sound(ledger: Ledger) -> bool:
    return verify_audit(ledger).findings == () and reconcile(ledger) == ()


def test_an_acknowledged_alert_says_who_and_when_and_stays_open(low: Ledger) -> None:
    alert = acknowledge_alert(at(acting(low, "olga", Role.OPERATOR), NOON + MINUTE), the_alert(low).id)
    assert (alert.acknowledged_by, alert.acknowledged_at, alert.resolved_at) == ("olga", NOON + MINUTE, None)
    assert alert == the_alert(low)
    check_pools(low)
    assert the_alert(low) == alert
    (entry,) = list_audit(low, limit=1)
    assert (entry.action, entry.target, entry.operator) == ("alerts.acknowledge", str(alert.id), "olga")
    assert sound(low)


def test_the_first_who_acknowledges_stays_and_the_second_leaves_no_row(low: Ledger) -> None:
    first = acknowledge_alert(low, the_alert(low).id)
    other = at(acting(low, "other"), NOON + MINUTE)
    rows = query(low, "SELECT count(*) FROM audit_log")
    assert acknowledge_alert(other, first.id) == first
    assert query(low, "SELECT count(*) FROM audit_log") == rows


def test_depleted_is_news_to_whoever_acknowledged_low(low: Ledger) -> None:
    acknowledge_alert(low, the_alert(low).id)
    spend(low, "6")
    check_pools(low)
    alert = the_alert(low)
    assert (alert.alert_type, alert.acknowledged_by) == (AlertType.INSUFFICIENT_BALANCE, None)
    assert sound(low)
    acknowledge_alert(low, alert.id)
    pay(low, "5")
    assert the_alert(low).alert_type is AlertType.LOW_BALANCE
    assert the_alert(low).acknowledged_by == "tester"
    assert sound(low)


def by_a_reversal(ledger: Ledger) -> None:
    paid = pay(ledger, "1")
    spend(ledger, "5")
    take_back(ledger, paid.id)


def by_a_threshold(ledger: Ledger) -> None:
    spend(ledger, "5")
    set_thresholds(ledger, "openai", {"percent": Decimal(50)})


def by_a_repair(ledger: Ledger) -> None:
    spend(ledger, "5")
    execute(ledger, "UPDATE balance_alerts SET alert_level = 'critical'")
    reconcile(ledger, repair=True)


@pytest.mark.parametrize("way", [by_a_reversal, by_a_threshold, by_a_repair])
def test_every_way_to_depleted_ends_an_acknowledgement_and_the_audit_log_knows_of_it(
    low: Ledger, way: Callable[[Ledger], None]
) -> None:
    acknowledge_alert(low, the_alert(low).id)
    way(low)
    assert (the_alert(low).alert_type, the_alert(low).acknowledged_by) == (AlertType.INSUFFICIENT_BALANCE, None)
    assert sound(low)


def test_a_past_alert_keeps_who_acknowledged_it_and_takes_no_other(low: Ledger) -> None:
    alert = acknowledge_alert(low, the_alert(low).id)
    pay(low, "900")
    past = the_alert(low)
    assert (past.is_resolved, past.acknowledged_by) == (True, "tester")
    with pytest.raises(Refused, match="over since"):
        acknowledge_alert(low, alert.id)
    assert sound(low)
    with pytest.raises(NotFound, match="There is no alert 77"):
        acknowledge_alert(low, 77)


def test_a_viewer_cannot_acknowledge(low: Ledger) -> None:
    with pytest.raises(NotPermitted, match="operator"):
        acknowledge_alert(acting(low, "vera", Role.VIEWER), the_alert(low).id)
    assert the_alert(low).acknowledged_by is None


def test_an_acknowledgement_made_past_the_program_is_found(low: Ledger) -> None:
    execute(low, "UPDATE balance_alerts SET acknowledged_by = 'mallory', acknowledged_at = created_at")
    assert [finding.where for finding in verify_audit(low).findings] == [f"acknowledgements {the_alert(low).id}"]


def test_an_alert_is_named_by_its_provider_or_its_id(low: Ledger) -> None:
    alert = the_alert(low)
    assert alert_called(low, "openai") == alert_called(low, str(alert.id)) == alert.id
    with pytest.raises(NotFound, match="Did you mean “openai”"):
        alert_called(low, "opnai")
    pay(low, "900")
    with pytest.raises(NotFound, match="no open alert"):
        alert_called(low, "openai")


def test_alerts_that_nobody_knows_of_come_first(low: Ledger) -> None:
    for provider in ("qwen", "azure"):
        pool(low, provider, amount="100")
        spend(low, "95", provider_id=provider)
    pool(low, "moonshot")
    check_pools(low)
    acknowledge_alert(low, alert_called(low, "azure"))
    assert [alert.provider_id for alert in list_alerts(low)] == ["moonshot", "qwen", "openai", "azure"]
