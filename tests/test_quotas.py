"""User quotas: granted and taken back once, against use that is counted from the start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from billing_console.errors import Conflict, InvalidInput, NotFound, Refused
from billing_console.money import LEDGER_LIMIT
from billing_console.services.catalogue import user_ids
from billing_console.services.ledger import Ledger
from billing_console.services.quotas import (
    GrantView,
    QuotaOrder,
    QuotaSort,
    QuotaView,
    grant_quota,
    list_quotas,
    preview_grant,
    quota_details,
    quota_page,
    revoke_quota,
)
from billing_console.services.reconcile import reconcile
from tests.factories import NANO, NOON, acting, at, booked, everything, query, spend


def grant(ledger: Ledger, amount: str | Decimal, user_id: str = "alice", **options: Any) -> GrantView:
    return booked(grant_quota(ledger, user_id, Decimal(amount), **{"reference": "ticket 1"} | options))


def revoke(ledger: Ledger, amount: str | Decimal, user_id: str = "alice", **options: Any) -> GrantView:
    return revoke_quota(ledger, user_id, Decimal(amount), **{"reference": "ticket 2"} | options)


def quota(ledger: Ledger, user_id: str = "alice") -> QuotaView:
    return quota_details(ledger, user_id).quota


def test_a_grant_says_what_it_did(ledger: Ledger) -> None:
    spend(ledger, "3")
    view = grant(at(ledger, NOON), "10.000000001", key="k", reference=" why ")
    assert (view.user_id, view.amount, view.reference, view.idempotency_key) == (
        "alice",
        Decimal("10.000000001"),
        "why",
        "k",
    )
    assert (view.granted_after, view.remaining_before, view.remaining_after) == (
        Decimal("10.000000001"),
        Decimal(-3),
        Decimal("7.000000001"),
    )
    assert (view.operator, view.created_at, view.replayed) == ("tester", NOON, False)
    now = quota(ledger)
    assert (now.granted_amount, now.used_amount, now.remaining_amount) == (
        Decimal("10.000000001"),
        Decimal(3),
        Decimal("7.000000001"),
    )
    assert quota_details(ledger, "alice").grants == (view,)
    assert reconcile(ledger) == ()


def test_a_user_never_seen_can_be_granted_quota(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="quotas list"):
        quota(ledger, "新用户")
    grant(ledger, "5", " 新用户 ")
    assert quota(ledger, "新用户").remaining_amount == 5
    with pytest.raises(NotFound, match="Did you mean “新用户”"):
        quota(ledger, "新用户们")


def test_a_user_without_a_quota_is_not_limited_unless_one_is_required(ledger: Ledger) -> None:
    spend(ledger, "3")
    free = quota(ledger)
    assert (free.has_quota, free.granted_amount, free.remaining_amount, free.used_amount) == (
        False,
        None,
        None,
        Decimal(3),
    )
    assert not free.is_blocked
    strict = replace(ledger, require_quota=True)
    assert quota(strict).is_blocked
    grant(ledger, "3.000000001")
    assert not quota(strict).is_blocked


def test_a_quota_that_is_used_up_blocks_the_next_call_and_records_what_happened(ledger: Ledger) -> None:
    grant(ledger, "3")
    spend(ledger, "2.999999999")
    assert not quota(ledger).is_blocked
    spend(ledger, NANO)
    assert (quota(ledger).is_blocked, quota(ledger).remaining_amount) == (True, Decimal(0))
    spend(ledger, "1")
    assert (quota(ledger).is_blocked, quota(ledger).remaining_amount) == (True, Decimal(-1))


def test_the_same_key_with_the_same_content_answers_with_the_first_result(ledger: Ledger) -> None:
    first = grant(at(ledger, NOON), "10", key="k")
    spend(ledger, "1")
    taken = revoke(ledger, "4", key="r")
    before = everything(ledger)
    again = grant(acting(ledger, "other"), "10.00", " alice ", key=" k ")
    assert again == replace(first, replayed=True)
    assert revoke(ledger, "4", key="r") == replace(taken, replayed=True)
    assert everything(ledger) == before


def test_the_same_key_with_other_content_is_refused(ledger: Ledger) -> None:
    grant(ledger, "10", key="k")
    before = everything(ledger)
    stored = "alice, 10.00, reference “ticket 1”"
    for changes, asked in (
        ({"amount": "11"}, "alice, 11.00, reference “ticket 1”"),
        ({"user_id": "bob"}, "bob, 10.00, reference “ticket 1”"),
        ({"reference": "ticket 9"}, "alice, 10.00, reference “ticket 9”"),
    ):
        with pytest.raises(Conflict) as refused:
            grant(ledger, **{"amount": "10", "key": "k"} | changes)
        assert refused.value.message == f"The key k already stands for another grant: {stored}. This one is: {asked}."
        assert refused.value.hint == "Nothing was changed. Use a new key for another grant."
    with pytest.raises(Conflict):
        revoke(ledger, "10", key="k", reference="ticket 1")
    assert everything(ledger) == before


def test_many_threads_with_one_key_grant_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as threads:
        views = list(threads.map(lambda _: grant(ledger, "7", key="one"), range(18)))
    assert [view.replayed for view in views].count(False) == 1
    assert quota(ledger).granted_amount == 7


def test_many_threads_never_take_back_more_than_there_is(ledger: Ledger) -> None:
    grant(ledger, "10")

    def attempt(_number: int) -> bool:
        try:
            revoke(ledger, "3")
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(attempt, range(12))) == 3
    assert quota(ledger).remaining_amount == 1
    assert reconcile(ledger) == ()


def test_a_new_user_is_granted_by_many_threads_at_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda number: grant(ledger, "1", reference=f"t{number}"), range(12)))
    assert quota(ledger).granted_amount == 12
    newest_first = quota_details(ledger, "alice").grants
    assert [view.granted_after for view in newest_first] == list(range(12, 0, -1))


def test_only_unused_quota_can_be_taken_back(ledger: Ledger) -> None:
    grant(ledger, "10")
    spend(ledger, "4")
    before = everything(ledger)
    for attempt in (revoke, partial(preview, revoke=True)):
        with pytest.raises(Refused, match=r"alice.*¥6\.00.*¥6\.000000001"):
            attempt(ledger, "6.000000001")
    assert everything(ledger) == before
    taken = revoke(ledger, "6")
    assert (taken.amount, taken.granted_after, taken.remaining_after) == (Decimal(-6), Decimal(4), Decimal(0))
    assert quota(ledger).is_blocked


def test_nothing_can_be_taken_from_a_user_without_a_quota(ledger: Ledger) -> None:
    spend(ledger, "0")
    before = everything(ledger)
    for user_id in ("alice", "never seen"):
        for attempt in (revoke, partial(preview, revoke=True)):
            with pytest.raises(Refused):
                attempt(ledger, NANO, user_id)
    assert everything(ledger) == before


def preview(ledger: Ledger, amount: str | Decimal, user_id: str = "alice", *, revoke: bool = False) -> Any:
    return preview_grant(ledger, user_id, Decimal(amount), revoke=revoke)


def test_a_preview_says_what_a_grant_will_do_and_writes_nothing(ledger: Ledger) -> None:
    spend(ledger, "4")
    for user_id in ("alice", "bob"):
        before = everything(ledger)
        change = preview(ledger, "10", user_id)
        assert everything(ledger) == before
        done = grant(ledger, "10", user_id)
        assert (change.before, change.after) == (done.remaining_before, done.remaining_after)
        change = preview(ledger, "5", user_id, revoke=True)
        done = revoke(ledger, "5", user_id)
        assert (change.before, change.after) == (done.remaining_before, done.remaining_after)


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity", "1E-10", "9223372036.854775808"])
def test_an_amount_that_is_none_is_refused(sqlite_ledger: Ledger, amount: str) -> None:
    for attempt in (grant, revoke, preview):
        with pytest.raises(InvalidInput, match="amount"):
            attempt(sqlite_ledger, amount)
    assert query(sqlite_ledger, "SELECT count(*) FROM user_quotas") == [(0,)]


def test_a_quota_holds_no_more_than_the_ledger_can(ledger: Ledger) -> None:
    grant(ledger, LEDGER_LIMIT - NANO)
    grant(ledger, NANO)
    assert quota(ledger).granted_amount == LEDGER_LIMIT
    before = everything(ledger)
    for attempt in (grant, preview):
        with pytest.raises(Refused, match=r"9223372036\.854775807"):
            attempt(ledger, NANO)
    assert everything(ledger) == before


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"user_id": " "}, "userId"),
        ({"user_id": "a\0"}, "userId"),
        ({"user_id": "u" * 201}, "userId"),
        ({"reference": ""}, "reference"),
        ({"key": " "}, "key"),
    ],
)
def test_text_that_cannot_be_kept_is_refused_by_name(
    sqlite_ledger: Ledger, options: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        grant(sqlite_ledger, "1", **options)
    assert refused.value.field == field
    assert query(sqlite_ledger, "SELECT count(*) FROM user_quotas") == [(0,)]


def test_grants_are_listed_newest_first_whatever_the_clock_says(ledger: Ledger) -> None:
    for number in range(1, 5):
        grant(at(ledger, NOON.replace(hour=20 - number)), str(number))
    assert [view.amount for view in quota_details(ledger, "alice").grants] == [4, 3, 2, 1]


def test_the_details_show_the_newest_calls(ledger: Ledger) -> None:
    for minute in range(25):
        spend(ledger, "0", request_id=f"r{minute:02}", created_at=NOON.replace(minute=minute))
    spend(ledger, "0", user_id="bob")
    recent = quota_details(ledger, "alice").recent
    assert [row.request_id for row in recent] == [f"r{minute:02}" for minute in range(24, 4, -1)]


def test_users_are_listed_by_what_they_have_left(ledger: Ledger) -> None:
    for user_id, granted, used in (
        ("over", "1", "5"),
        ("much", "100", "1"),
        ("some_10%", "10", "0"),
        ("none", None, "7"),
        ("none-less", None, "2"),
    ):
        if granted is not None:
            grant(ledger, granted, user_id)
        spend(ledger, used, user_id=user_id)
    assert [view.user_id for view in list_quotas(ledger)] == ["over", "some_10%", "much", "none", "none-less"]
    assert [view.user_id for view in list_quotas(ledger, only_with_quota=True)] == ["over", "some_10%", "much"]
    assert [view.user_id for view in list_quotas(ledger, limit=1)] == ["over"]
    assert [view.user_id for view in list_quotas(ledger, search="NONE")] == ["none", "none-less"]
    assert [view.user_id for view in list_quotas(ledger, search="%")] == ["some_10%"]
    assert [view.user_id for view in list_quotas(ledger, search="_")] == ["some_10%"]
    assert user_ids(ledger, "no") == ("none", "none-less")
    assert user_ids(ledger, "%") == ()
    assert user_ids(ledger, limit=2) == ("much", "none")


def test_users_are_sorted_and_narrowed_in_the_database(ledger: Ledger) -> None:
    for user_id, granted, used in (("b", "1", "5"), ("a", "9", "1"), ("c", "4", "4"), ("none", None, "7")):
        if granted is not None:
            grant(ledger, granted, user_id)
        spend(ledger, used, user_id=user_id)

    def order(by: QuotaSort, descending: bool = False, **options: Any) -> str:
        rows = list_quotas(ledger, order=QuotaOrder(by, descending), **options)
        return " ".join(row.user_id for row in rows)

    assert order(QuotaSort.REMAINING) == "b c a none"
    assert order(QuotaSort.REMAINING, True) == "a c b none"
    assert order(QuotaSort.GRANTED, True) == "a c b none"
    assert order(QuotaSort.USED) == "a c b none"
    assert order(QuotaSort.USED, True, limit=2) == "none b"
    assert order(QuotaSort.USER, True) == "none c b a"
    assert order(QuotaSort.REMAINING, only_blocked=True) == "b c"


def test_where_a_quota_is_required_who_has_none_is_exhausted_too(ledger: Ledger) -> None:
    grant(ledger, "9")
    spend(ledger, "7", user_id="none")
    strict = replace(ledger, require_quota=True)
    assert [row.user_id for row in list_quotas(strict)] == ["none", "alice"]
    assert [row.user_id for row in list_quotas(strict, only_blocked=True)] == ["none"]


def test_a_page_counts_what_it_does_not_show(ledger: Ledger) -> None:
    for number in range(4):
        grant(ledger, "1", f"user-{number}")
        spend(ledger, Decimal(number), user_id=f"user-{number}")
    page = quota_page(ledger, search="user", limit=2)
    assert ([row.user_id for row in page.rows], page.users, page.blocked) == (["user-3", "user-2"], 4, 3)
    page = quota_page(ledger, only_blocked=True, limit=2)
    assert (len(page.rows), page.users, page.blocked) == (2, 3, 3)
    assert quota_page(ledger, search="nobody", limit=2).users == 0
