"""A clock that jumps a day back and forth between any two operations changes no amount, no order and no day."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count, pairwise

from billing_console.services.alerts import list_alerts
from billing_console.services.check import check_pools
from billing_console.services.costs import CostFilter, cost_rows
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import get_pool, list_pools
from billing_console.services.prices import list_prices
from billing_console.services.quotas import grant_quota, quota_details
from billing_console.services.recharges import recharge_history
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from tests.factories import NOON, at, gateway_insert, pay, pool, price, query, usage
from tests.torture.operations import (
    chosen_seed,
    expected,
    found,
    is_long,
    open_pools,
    operation,
    perform,
)

DAY = timedelta(days=1)
JUMPS = (timedelta(0), -DAY, DAY, -DAY, timedelta(0))


def test_a_key_stands_for_one_effect_whatever_the_day(ledger: Ledger) -> None:
    pool(ledger)
    call = usage(cost_amount=Decimal(3))
    for position, jump in enumerate(JUMPS):
        then = at(ledger, NOON + jump)
        paid = pay(then, "10", key="paid")
        given = grant_quota(then, "alice", Decimal(7), reference="ticket", key="given")
        recorded = record_usage(then, [call])
        assert (paid.replayed, given.replayed, recorded.duplicates) == (position > 0, position > 0, int(position > 0))
        assert (paid.created_at, given.created_at) == (NOON, NOON)
        assert get_pool(then, "openai").available_balance == 10 - 3
    assert (len(recharge_history(ledger)), len(quota_details(ledger, "alice").grants)) == (1, 1)
    assert reconcile(ledger) == ()


def test_history_is_in_the_order_of_what_happened(ledger: Ledger) -> None:
    pool(ledger)
    for position, jump in enumerate(JUMPS):
        then = at(ledger, NOON + jump)
        pay(then, "10", reference=f"{position}")
        grant_quota(then, "alice", Decimal(1), reference=f"{position}")
    newest_first = ["4", "3", "2", "1", "0"]
    history = recharge_history(ledger)
    assert [entry.reference for entry in history] == newest_first
    assert [grant.reference for grant in quota_details(ledger, "alice").grants] == newest_first
    for later, earlier in pairwise(history):
        assert later.available_before == earlier.available_after
    assert history[0].available_after == get_pool(ledger, "openai").available_balance == 50


def test_an_alert_never_ends_before_it_began(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    record_usage(ledger, [usage(cost_amount=Decimal(95))])
    for round_number in range(3):
        check_pools(at(ledger, NOON + DAY))
        check_pools(at(ledger, NOON - DAY))
        assert len(list_alerts(ledger, resolved=False)) == 1
        reversed_later = pay(at(ledger, NOON - DAY), "1000", key=f"round-{round_number}")
        assert reversed_later.available_after > 0 and list_alerts(ledger, resolved=False) == ()
        # Most of it is used up again, a day later by one clock and a day earlier by the other.
        cost = get_pool(ledger, "openai").available_balance - 1
        record_usage(at(ledger, NOON + DAY), [usage(cost_amount=cost)])
    alerts = list_alerts(ledger)
    assert len(alerts) == 3
    for alert in alerts:
        assert alert.resolved_at is not None
        assert alert.created_at <= alert.updated_at <= alert.resolved_at


def test_a_check_in_the_future_does_not_keep_checks_away(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    hour = timedelta(hours=1)
    check_pools(at(ledger, NOON + DAY))
    now = at(ledger, NOON)
    record_usage(now, [usage(cost_amount=Decimal(95))])
    report = check_pools(now, if_older_than=hour)
    assert (report.skipped, [check.change for check in report.pools]) == (0, ["raised"])
    assert [view.last_check_at for view in list_pools(now)] == [NOON]
    assert check_pools(now, if_older_than=hour).skipped == 1
    assert check_pools(at(ledger, NOON + hour), if_older_than=hour).skipped == 0


def test_calls_are_billed_at_the_price_of_their_own_time(ledger: Ledger) -> None:
    price(ledger, input_price=Decimal(10), output_price=Decimal(0))
    price(at(ledger, NOON - DAY), input_price=Decimal(20), output_price=Decimal(0), effective_from=NOON)
    numbers = count()
    for jump in JUMPS:
        then = at(ledger, NOON + jump)
        for made, cost in ((NOON - timedelta(microseconds=1), "10"), (NOON, "20")):
            call = usage(request_id=f"{next(numbers)}", created_at=made, input_tokens=1_000_000, output_tokens=0)
            before = Decimal(query(ledger, "SELECT COALESCE(SUM(cost_amount), 0) FROM usage_records")[0][0])
            record_usage(then, [call])
            after = Decimal(query(ledger, "SELECT SUM(cost_amount) FROM usage_records")[0][0])
            assert (after - before).scaleb(-9) == Decimal(cost)
        (in_force,) = list_prices(then)
        assert in_force.input_price == (20 if NOON + jump >= NOON else 10)


def test_calls_count_on_the_day_they_were_made(ledger: Ledger) -> None:
    """Midnight in Asia/Shanghai is 16:00 UTC; when they are recorded or settled does not matter."""
    midnight = datetime(2026, 3, 10, 16, 0, tzinfo=UTC)
    for position, jump in enumerate(JUMPS):
        then = at(ledger, midnight + jump)
        for name, made in (("before", midnight - timedelta(microseconds=1)), ("after", midnight)):
            record_usage(then, [usage(created_at=made, cost_amount=Decimal(1), request_id=f"{name}-{position}")])
            gateway_insert(then, created_at=made, cost_amount=10**9, request_id=f"gateway-{name}-{position}")
        settle(then)
    whole_range = CostFilter(date(2026, 3, 1), date(2026, 3, 31))
    rows = cost_rows(ledger, whole_range, ("day",))
    calls = 2 * len(JUMPS)
    assert [(row.stat_date, row.call_count, row.total_cost) for row in rows] == [
        (date(2026, 3, 11), calls, Decimal(calls)),
        (date(2026, 3, 10), calls, Decimal(calls)),
    ]
    assert reconcile(ledger) == ()


def test_any_operations_at_any_time_add_up(ledger: Ledger) -> None:
    seed = chosen_seed("clock")
    choose = random.Random(f"{seed} clock")
    open_pools(ledger)
    done = []
    for number in range(1500 if is_long() else 60):
        then = at(ledger, NOON + choose.choice((-1, 0, 1)) * DAY + timedelta(seconds=choose.randrange(86400)))
        wanted = operation(seed, f"{choose.randrange(number + 1)}")
        again = wanted in done
        assert perform(then, wanted) == again
        done += [] if again else [wanted]
        check_pools(then, if_older_than=timedelta(minutes=5))
        assert len({alert.provider_id for alert in list_alerts(ledger, resolved=False)}) == len(
            list_alerts(ledger, resolved=False)
        )
    assert found(ledger) == expected(done)
    assert all(alert.resolved_at is None or alert.created_at <= alert.resolved_at for alert in list_alerts(ledger))
    assert reconcile(ledger) == ()
