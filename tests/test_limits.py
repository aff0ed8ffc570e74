"""Limits hold at their border, for everybody at once, and in the business day."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_console.errors import InvalidInput, Refused
from billing_console.services.approvals import ApprovalState, ApprovalView
from billing_console.services.decisions import approve
from billing_console.services.ledger import Ledger
from billing_console.services.limits import LimitView, list_limits, set_limit
from billing_console.services.pools import get_pool
from billing_console.services.quotas import GrantView, grant_quota, preview_grant, revoke_quota
from billing_console.services.recharges import preview_recharge, recharge, recharge_history
from db.values import LimitName, Role
from tests.commands import Commands, command
from tests.factories import acting, at, booked, everything, pay, pool, take_back

MIDNIGHT = datetime(2026, 3, 10, 16, 0, tzinfo=UTC)
"""00:00 of the 11th in Asia/Shanghai."""

BEFORE = MIDNIGHT - timedelta(microseconds=1)


def limit(ledger: Ledger, name: LimitName, amount: str | None) -> LimitView:
    return set_limit(ledger, name, None if amount is None else Decimal(amount))


def grant(ledger: Ledger, amount: str, user: str = "alice") -> GrantView:
    return booked(grant_quota(ledger, user, Decimal(amount), reference="g"))


def refused(ledger: Ledger, attempt: Callable[[], object], sum_: str) -> None:
    """The attempt is refused with what it would come to, and changes nothing."""
    before = everything(ledger)
    with pytest.raises(Refused, match=rf"this would make it ¥{sum_}\. Nothing was changed") as caught:
        attempt()
    assert "limits list" in caught.value.hint
    assert everything(ledger) == before


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def test_every_limit_is_off_until_it_is_set(ledger: Ledger) -> None:
    assert list_limits(ledger) == tuple(LimitView(name, None) for name in LimitName)
    pool(ledger)
    pay(ledger, "9000000")
    grant(ledger, "9000000")


def test_a_limit_is_set_changed_and_turned_off(ledger: Ledger) -> None:
    assert limit(ledger, LimitName.PER_OPERATION, "5").amount == 5
    assert limit(ledger, LimitName.PER_OPERATION, "7.5").amount == Decimal("7.5")
    assert list_limits(ledger)[0] == LimitView(LimitName.PER_OPERATION, Decimal("7.5"))
    limit(ledger, LimitName.PER_OPERATION, None)
    limit(ledger, LimitName.PER_OPERATION, None)
    assert list_limits(ledger)[0].amount is None
    for wrong in ("0", "-1", "NaN", "1e30"):
        with pytest.raises(InvalidInput):
            limit(ledger, LimitName.PER_OPERATION, wrong)


def test_one_operation_goes_up_to_the_limit(ledger: Ledger) -> None:
    pool(ledger)
    limit(ledger, LimitName.PER_OPERATION, "100")
    pay(ledger, "100")
    grant(ledger, "100")
    refused(ledger, lambda: pay(ledger, "100.01"), r"100\.01")
    refused(ledger, lambda: grant(ledger, "100.000000001"), r"100\.000000001")
    refused(ledger, lambda: preview_recharge(ledger, "openai", Decimal("100.01")), r"100\.01")
    refused(ledger, lambda: preview_grant(ledger, "alice", Decimal("100.000000001")), r"100\.000000001")
    pay(ledger, "100")


def test_an_operator_has_one_limit_a_day_for_recharges_and_grants(ledger: Ledger) -> None:
    ledger = at(ledger, MIDNIGHT)
    pool(ledger)
    limit(ledger, LimitName.PER_OPERATOR_DAY, "100")
    paid = pay(ledger, "60")
    grant(ledger, "40")
    refused(ledger, lambda: pay(ledger, "0.01"), r"100\.01")
    refused(ledger, lambda: grant(ledger, "0.000000001"), r"100\.000000001")
    take_back(ledger, paid.id)
    revoke_quota(ledger, "alice", Decimal(40), reference="back")
    refused(ledger, lambda: pay(ledger, "0.01"), r"100\.01")
    pay(acting(ledger, "other", Role.OPERATOR), "100")


def test_a_pool_has_one_limit_a_day_for_everybody(ledger: Ledger) -> None:
    ledger = at(ledger, MIDNIGHT)
    pool(ledger)
    pool(ledger, "azure")
    limit(ledger, LimitName.PER_POOL_DAY, "100")
    pay(ledger, "60")
    other = acting(ledger, "other", Role.OPERATOR)
    pay(other, "40")
    refused(ledger, lambda: pay(other, "0.01"), r"100\.01")
    pay(other, "100", "azure")
    grant(other, "1000")


@pytest.mark.parametrize("name", [LimitName.PER_OPERATOR_DAY, LimitName.PER_POOL_DAY])
def test_the_day_turns_at_midnight_in_the_business_time_zone(ledger: Ledger, name: LimitName) -> None:
    pool(ledger)
    limit(ledger, name, "100")
    pay(at(ledger, MIDNIGHT - timedelta(days=1)), "100")
    refused(ledger, lambda: pay(at(ledger, BEFORE), "0.01"), r"100\.01")
    pay(at(ledger, MIDNIGHT), "100")
    refused(ledger, lambda: pay(at(ledger, MIDNIGHT + timedelta(hours=23)), "0.01"), r"100\.01")
    refused(ledger, lambda: pay(at(ledger, BEFORE), "0.01"), r"100\.01")


def test_what_is_above_the_threshold_becomes_a_request(ledger: Ledger) -> None:
    pool(ledger)
    limit(ledger, LimitName.APPROVAL_ABOVE, "100")
    pay(ledger, "100")
    grant(ledger, "100")
    assert isinstance(recharge(ledger, "openai", Decimal("100.01"), reference="r"), ApprovalView)
    assert isinstance(grant_quota(ledger, "alice", Decimal("100.000000001"), reference="r"), ApprovalView)
    assert preview_recharge(ledger, "openai", Decimal("100.01")).needs_approval
    assert not preview_recharge(ledger, "openai", Decimal(100)).needs_approval
    assert get_pool(ledger, "openai").total_balance == 100


def test_a_ceiling_goes_before_the_threshold(ledger: Ledger) -> None:
    pool(ledger)
    limit(ledger, LimitName.APPROVAL_ABOVE, "100")
    limit(ledger, LimitName.PER_OPERATION, "200")
    refused(ledger, lambda: pay(ledger, "200.01"), r"200\.01")


def test_a_replay_answers_whatever_the_limits_are_by_now(ledger: Ledger) -> None:
    pool(ledger)
    pay(ledger, "100", key="k")
    limit(ledger, LimitName.PER_OPERATION, "1")
    assert pay(ledger, "100", key="k").replayed


@pytest.mark.parametrize("name", [LimitName.PER_OPERATOR_DAY, LimitName.PER_POOL_DAY])
def test_many_at_once_do_not_pass_a_day_s_limit_together(ledger: Ledger, name: LimitName) -> None:
    ledger = at(ledger, MIDNIGHT)
    pool(ledger)
    limit(ledger, name, "100")
    # Those that share a pool are different people, those that share a person pay into different pools.
    providers = [f"p{number}" for number in range(4)]
    for provider in providers:
        pool(ledger, provider)
    people = [ledger, *(acting(ledger, f"other{number}", Role.OPERATOR) for number in range(3))]

    def attempt(number: int) -> bool:
        of_one_pool = name is LimitName.PER_POOL_DAY
        who = people[number % 4] if of_one_pool else ledger
        try:
            pay(who, "30", "openai" if of_one_pool else providers[number % 4])
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(16))) == 3
    assert sum(entry.amount for entry in recharge_history(ledger)) == 90


def test_grants_to_many_users_at_once_do_not_pass_a_day_s_limit_together(ledger: Ledger) -> None:
    limit(ledger, LimitName.PER_OPERATOR_DAY, "100")

    def attempt(number: int) -> bool:
        try:
            grant(ledger, "30", f"user{number}")
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(16))) == 3


def test_an_approval_and_its_asker_at_once_do_not_pass_a_day_s_limit_together(ledger: Ledger) -> None:
    """The day is the asker's, although it is another who approves."""
    for number in range(6):
        day = at(ledger, MIDNIGHT + timedelta(days=number))
        for provider in (f"a{number}", f"b{number}"):
            pool(day, provider)
        limit(day, LimitName.PER_OPERATOR_DAY, "100")
        limit(day, LimitName.APPROVAL_ABOVE, "50")
        asker, second = acting(day, "asker", Role.OPERATOR), acting(day, "second")
        request = recharge(asker, f"a{number}", Decimal(60), reference="r")
        assert isinstance(request, ApprovalView)

        def attempt(work: Callable[[], object]) -> bool:
            try:
                work()
            except Refused:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            done = threads.map(
                attempt,
                (
                    lambda second=second, request=request: approve(second, request.id),
                    lambda asker=asker, number=number: pay(asker, "50", f"b{number}"),
                ),
            )
            assert sorted(done) == [False, True]


def test_processes_at_once_do_not_pass_a_day_s_limit_together(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger)
    limit(sqlite_ledger, LimitName.PER_OPERATOR_DAY, "100")
    words = ("--database", sqlite_url, "pools", "recharge", "openai", "60", "--reference", "r", "--yes")
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda _number: command(*words), range(3)))
    assert sorted(answer.code for answer in answers) == [0, 1, 1]


def test_limits_on_the_command_line(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger)
    assert [row["amount"] for row in run("limits", "list", "--format", "json").json] == [None] * 4
    assert run("limits", "set", "per_operation", "1,000").out == "Most for one recharge or grant: ¥1,000.00\n"
    assert run("limits", "set", "approval_above", "100", "--format", "json").json == {
        "name": "approval_above",
        "amount": "100.00",
    }
    table = run("limits", "list").out.splitlines()
    assert len(table) == 5 and "¥1,000.00" in table[1] and "off" in table[2]
    refused_ = run("pools", "recharge", "openai", "1000.01", "--reference", "r", "--yes")
    assert (refused_.code, refused_.out) == (1, "")
    assert "Most for one recharge or grant: ¥1,000.00; this would make it ¥1,000.01." in refused_.err
    waits = run("pools", "recharge", "openai", "500", "--reference", "r", "--yes", "--format", "json").json
    assert (waits["state"], waits["amount"], waits["replayed"]) == (ApprovalState.PENDING, "500.00", False)
    assert run("limits", "set", "per_operation", "off").out == "Most for one recharge or grant: off\n"
    assert run("limits", "set", "per_operation", "0").code == 2
    assert run("limits", "set", "per_week", "5").code == 2


def test_a_pool_s_threshold_on_the_command_line(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, amount="100")
    assert run("pools", "threshold", "openai", "--percent", "25.5%").out == "openai is low below 25.50% now.\n"
    assert run("pools", "threshold", "openai", "--percent", "default", "--format", "json").json["lowThreshold"] == 10.0
    assert run("pools", "threshold", "openai", "--percent", "101").code == 2
    assert run("pools", "threshold", "nobody", "--percent", "10").code == 1
    assert run("audit", "verify").code == 0
