"""Quota that expires and quota that comes back each period: right at once, booked once, by whoever comes first."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from billing_console.errors import Conflict, InvalidInput, NotPermitted, Refused
from billing_console.services.approvals import ApprovalView
from billing_console.services.audit import AuditFilter, list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.decisions import approve, preview_approval
from billing_console.services.identity import system
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.periodic_quotas import PeriodicSet, set_periodic
from billing_console.services.quota_bulk import grant_each
from billing_console.services.quota_due import BOOKED_BY, book_all_due, due_users
from billing_console.services.quota_periods import periods
from billing_console.services.quotas import (
    QuotaOrder,
    QuotaSort,
    grant_quota,
    list_quotas,
    preview_grant,
    quota_details,
    quota_page,
    revoke_quota,
)
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from db.values import LimitName, Period, Role
from tests.factories import NOON, acting, at, booked, everything, execute, gateway_insert, query, spend

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 3, 10, 16, 0, tzinfo=UTC)
"""The end of the business day of NOON in Asia/Shanghai."""


def give(ledger: Ledger, amount: str, expires: datetime | None = None, user: str = "alice", **options: Any) -> int:
    return booked(grant_quota(ledger, user, Decimal(amount), **{"reference": "r"} | options, expires_at=expires)).id


def left(ledger: Ledger, user: str = "alice") -> Decimal | None:
    """What everybody who looks at this instant is told is left."""
    details = quota_details(ledger, user).quota
    (listed,) = list_quotas(ledger, search=user)
    assert listed == details
    return details.remaining_amount


def sound(ledger: Ledger) -> None:
    assert reconcile(ledger) == ()
    assert verify_audit(ledger).findings == ()


@pytest.fixture
def noon(ledger: Ledger) -> Iterator[Ledger]:
    """A ledger at noon, whose books must hold in the end."""
    yield at(ledger, NOON)
    sound(ledger)


def test_what_expires_is_gone_at_that_instant_and_booked_once(noon: Ledger) -> None:
    grant = give(noon, "10", NOON + HOUR)
    spend(noon, "4", created_at=NOON)
    just_before, then, later = (at(noon, NOON + HOUR + timedelta(seconds=n)) for n in (-1, 0, 600))
    assert [left(just_before), left(then), left(later)] == [6, 0, 0]
    assert quota_details(then, "alice").quota.is_blocked and not quota_details(just_before, "alice").quota.is_blocked
    assert '"expiresAt":"2026-03-10T05:00:00Z"' in str(list_audit(noon, AuditFilter(action="quotas.grant"))[0].after)
    assert book_all_due(just_before) == 0
    assert (book_all_due(later), book_all_due(later)) == (1, 0)
    assert left(later) == 0
    ended = quota_details(later, "alice").grants[0]
    assert ended.amount == -6 and ended.created_at == later.clock()
    assert (ended.expires_id, ended.operator) == (grant, BOOKED_BY)
    (entry,) = list_audit(later, AuditFilter(action="quotas.due"))
    assert entry.after == '{"users":1,"expired":"6.00","granted":"0.00"}'


def test_use_after_the_expiry_is_not_paid_by_what_had_expired(noon: Ledger) -> None:
    """However late it is booked, and however late the calls are counted."""
    give(noon, "10", NOON + HOUR)
    give(noon, "10")
    spend(noon, "3", created_at=NOON)
    late = at(noon, NOON + DAY)
    spend(late, "4", created_at=NOON + 2 * HOUR)
    gateway_insert(noon, user_id="alice", cost_amount=10**9, created_at=NOON + 3 * HOUR)
    assert left(late) == 6
    settle(late)
    assert left(late) == 5
    assert book_all_due(late) == 1
    assert left(late) == 5
    spend(late, "2", created_at=NOON)
    assert left(late) == 3


def test_what_expires_first_is_used_first(noon: Ledger) -> None:
    give(noon, "10")
    give(noon, "5", NOON + 3 * HOUR)
    give(noon, "5", NOON + 2 * HOUR)
    spend(noon, "7", created_at=NOON)
    assert quota_details(noon, "alice").left == {1: 10, 2: 3}
    assert left(at(noon, NOON + 2 * HOUR)) == 13
    assert left(at(noon, NOON + 3 * HOUR)) == 10
    assert book_all_due(at(noon, NOON + DAY)) == 1


def test_a_used_up_grant_expires_without_a_row_and_costs_nothing_after(noon: Ledger) -> None:
    give(noon, "5", NOON + HOUR)
    spend(noon, "7", created_at=NOON)
    late = at(noon, NOON + DAY)
    assert left(late) == -2
    assert book_all_due(late) == 0
    with late.database.reading() as session:
        assert due_users(session, late.clock()) == []
    give(late, "10")
    assert left(late) == 8


@pytest.mark.parametrize("change", ["grant", "revoke", "bulk", "period"])
def test_every_change_books_first_what_is_due(noon: Ledger, change: str) -> None:
    give(noon, "10", NOON + HOUR)
    give(noon, "1")
    late = at(noon, NOON + 2 * HOUR)
    if change == "grant":
        assert preview_grant(late, "alice", Decimal(5)).after == 6
        give(late, "5")
    elif change == "bulk":
        grant_each(late, ["alice"], Decimal(5), reference="r")
    elif change == "period":
        set_periodic(late, "alice", Period.DAY, Decimal(5))
    else:
        for attempt in (lambda: preview_grant(late, "alice", Decimal(2), revoke=True), partial(revoke, late, "2")):
            with pytest.raises(Refused, match=r"only ¥1\.00 left"):
                attempt()
        revoke(late, "1")
    amounts = [grant.amount for grant in quota_details(late, "alice").grants]
    assert amounts[:3] == [-1 if change == "revoke" else 5, -10, 1]
    assert left(late) == (0 if change == "revoke" else 6)


def revoke(ledger: Ledger, amount: str) -> object:
    return revoke_quota(ledger, "alice", Decimal(amount), reference="back")


def test_an_expiry_that_is_past_and_the_timer_s_keys_are_refused(sqlite_ledger: Ledger) -> None:
    noon = at(sqlite_ledger, NOON)
    for options, field in (({"expires": NOON}, "expires"), ({"key": "period:x"}, "key"), ({"key": "expiry:1"}, "key")):
        with pytest.raises(InvalidInput) as refused:
            give(noon, "1", **options)
        assert refused.value.field == field
    assert query(sqlite_ledger, "SELECT count(*) FROM user_quotas") == [(0,)]


def test_a_repeated_key_must_agree_in_the_expiry_too(ledger: Ledger) -> None:
    noon = at(ledger, NOON)
    first = give(noon, "1", NOON + HOUR, key="k")
    assert give(noon, "1", NOON + HOUR, key="k") == first
    assert give(at(noon, NOON + DAY), "1", NOON + HOUR, key="k") == first
    with pytest.raises(Conflict, match="expires 2026-03-10T05:00:00Z"):
        give(noon, "1", key="k")


def test_a_grant_that_expires_can_be_approved_until_then(noon: Ledger) -> None:
    set_limit(noon, LimitName.APPROVAL_ABOVE, Decimal(5))
    requests = [grant_quota(noon, "alice", Decimal(9), reference="r", expires_at=NOON + HOUR) for _n in range(2)]
    second = acting(noon, "second")
    assert isinstance(requests[0], ApprovalView) and isinstance(requests[1], ApprovalView)
    assert requests[0].note == "expires 2026-03-10T05:00:00Z"
    approve(second, requests[0].id)
    late = at(second, NOON + HOUR)
    for attempt in (preview_approval, approve):
        with pytest.raises(InvalidInput, match="expired already"):
            attempt(late, requests[1].id)
    assert [left(noon), left(late)] == [9, 0]
    book_all_due(late)


def test_lists_put_whom_the_clock_moved_where_they_are_now(noon: Ledger) -> None:
    give(noon, "50", NOON + HOUR, "gone")
    give(noon, "60", NOON + HOUR, "some")
    give(noon, "3", None, "some")
    for user, amount in (("ten", "10"), ("two", "2")):
        give(noon, amount, None, user)
    spend(noon, "2", user_id="two")
    late = at(noon, NOON + HOUR)
    for _booked in range(2):
        assert [row.user_id for row in list_quotas(late)] == ["two", "gone", "some", "ten"]
        assert [row.user_id for row in list_quotas(late, limit=3)] == ["two", "gone", "some"]
        by_granted = list_quotas(late, order=QuotaOrder(QuotaSort.GRANTED, True), limit=1)
        assert [(row.user_id, row.granted_amount) for row in by_granted] == [("ten", Decimal(10))]
        page = quota_page(late, only_blocked=True, limit=9)
        assert ([row.user_id for row in page.rows], page.users, page.blocked) == (["two", "gone"], 2, 2)
        assert [row.user_id for row in list_quotas(late, search="o", only_blocked=True)] == ["two", "gone"]
        book_all_due(late)


def test_many_timers_at_once_book_everything_once(noon: Ledger) -> None:
    for number in range(30):
        give(noon, "10", NOON + HOUR, f"u{number:02}")
        set_periodic(noon, f"u{number:02}", Period.DAY, Decimal(3))
    late = replace(at(noon, MIDNIGHT + HOUR), actor=system("scheduler"), role=None)
    with ThreadPoolExecutor(4) as threads:
        done = sum(threads.map(lambda _number: book_all_due(late), range(4)))
    assert done == 90
    assert {row.remaining_amount for row in list_quotas(late)} == {3}
    assert all(entry.operator == "system:scheduler" for entry in list_audit(late, AuditFilter(action="quotas.due")))


# Periods


def put(ledger: Ledger, period: Period | None, amount: str | None, user: str = "alice") -> PeriodicSet:
    return set_periodic(ledger, user, period, None if amount is None else Decimal(amount))


def test_a_daily_quota_is_given_at_once_and_again_every_business_day(noon: Ledger) -> None:
    spend(noon, "1", created_at=NOON)
    done = put(noon, Period.DAY, "10")
    assert [done.given, done.remaining] == [10, 9]
    spend(noon, "4", created_at=NOON + HOUR)
    assert left(at(noon, MIDNIGHT - timedelta(microseconds=1))) == 5
    morning = at(noon, MIDNIGHT)
    assert left(morning) == 10
    assert book_all_due(morning) == 2
    spend(morning, "12", created_at=MIDNIGHT + HOUR)
    assert left(morning) == -2
    assert left(at(noon, MIDNIGHT + DAY)) == 8
    assert book_all_due(at(noon, MIDNIGHT + DAY)) == 1
    assert quota_details(noon, "alice").grants[0].idempotency_key == "period:alice:day:2026-03-11T16:00:00Z"


def test_days_on_which_nothing_ran_are_made_up_as_they_would_have_been(noon: Ledger) -> None:
    give(noon, "100")
    put(noon, Period.DAY, "10")
    for days in range(3):
        spend(noon, "7", created_at=NOON + HOUR + days * DAY)
    spend(noon, "15", created_at=NOON + 3 * DAY)
    late = at(noon, NOON + 4 * DAY)
    assert left(late) == 105
    assert book_all_due(late) == 7
    assert left(late) == 105
    assert quota_details(late, "alice").left == {1: 95, 9: 10}


@pytest.mark.parametrize(
    ("period", "end"),
    [
        (Period.DAY, MIDNIGHT),
        (Period.WEEK, datetime(2026, 3, 15, 16, tzinfo=UTC)),
        (Period.MONTH, datetime(2026, 3, 31, 16, tzinfo=UTC)),
    ],
)
def test_a_period_ends_with_the_business_day_week_or_month(noon: Ledger, period: Period, end: datetime) -> None:
    put(noon, period, "10")
    spend(noon, "1", created_at=NOON)
    assert quota_details(noon, "alice").grants[0].expires_at == end
    assert [left(at(noon, end - HOUR)), left(at(noon, end))] == [9, 10]
    book_all_due(at(noon, end))
    (start, _end), *_ = periods(period, end, end, noon.timezone)
    assert start == end


def test_a_period_that_was_given_is_not_given_again(noon: Ledger) -> None:
    put(noon, Period.DAY, "10")
    assert put(noon, Period.DAY, "20").given == 0
    assert put(noon, None, None).given == 0
    assert put(noon, Period.DAY, "20").given == 0
    assert put(noon, Period.MONTH, "30").given == 30
    assert put(noon, Period.DAY, "20").given == 0
    assert left(noon) == 40
    tomorrow = at(noon, MIDNIGHT)
    assert left(tomorrow) == 50
    book_all_due(tomorrow)
    put(tomorrow, None, None)
    assert quota_details(tomorrow, "alice").periodic is None
    assert left(at(noon, MIDNIGHT + 40 * DAY)) == 0
    book_all_due(at(noon, MIDNIGHT + 40 * DAY))


def test_setting_the_same_again_changes_nothing(ledger: Ledger) -> None:
    noon = at(ledger, NOON)
    put(noon, Period.WEEK, "10")
    before, entries = everything(ledger), len(list_audit(ledger))
    assert put(noon, Period.WEEK, "10.00").periodic == quota_details(noon, "alice").periodic
    assert everything(ledger) == before and len(list_audit(ledger)) == entries


def test_a_periodic_quota_is_an_admin_s_decision_within_the_limits(ledger: Ledger) -> None:
    noon = at(ledger, NOON)
    with pytest.raises(NotPermitted):
        put(acting(noon, "bob", Role.OPERATOR), Period.DAY, "1")
    for amount in ("0", "-1"):
        with pytest.raises(InvalidInput):
            put(noon, Period.DAY, amount)
    set_limit(noon, LimitName.APPROVAL_ABOVE, Decimal(5))
    with pytest.raises(Refused, match="approval in every period"):
        put(noon, Period.DAY, "6")
    set_limit(noon, LimitName.PER_OPERATION, Decimal(4))
    with pytest.raises(Refused, match="Most for one"):
        put(noon, Period.DAY, "5")
    put(noon, Period.DAY, "4")
    set_limit(noon, LimitName.PER_OPERATOR_DAY, Decimal(1))
    late = at(noon, MIDNIGHT)
    give(late, "1", None, "alice")
    assert left(late) == 5


def test_the_audit_log_vouches_for_what_is_given_and_for_the_decision(ledger: Ledger) -> None:
    noon = at(ledger, NOON)
    put(noon, Period.DAY, "10")
    give(noon, "1", NOON + HOUR)
    book_all_due(at(noon, MIDNIGHT))
    sound(ledger)
    execute(ledger, "UPDATE periodic_quotas SET amount = amount + 1")
    assert [finding.where for finding in verify_audit(ledger).findings] == ["periodic_quotas alice"]
