"""Four eyes: what one person asks for and another books, once, by the rules as they are by then."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, event

from billing_console.errors import Conflict, NotFound, NotPermitted, Refused
from billing_console.money import LEDGER_LIMIT
from billing_console.services.approvals import ApprovalState, ApprovalView, list_approvals
from billing_console.services.audit_verify import verify_audit
from billing_console.services.decisions import approve, reject
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.operators import add_operator, remove_operator
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota, quota_details, revoke_quota
from billing_console.services.recharges import RechargeView, recharge, recharge_history, reverse_recharge
from billing_console.services.reconcile import reconcile
from db.values import ApprovalKind, LimitName, Role
from tests.commands import Commands
from tests.factories import NOON, acting, at, everything, pay, pool, spend, take_back
from tests.terminal import terminal

DAY = timedelta(hours=24)


@pytest.fixture
def asker(ledger: Ledger) -> Ledger:
    """An operator whose recharges and grants above 100 need a second person; the ledger's admin is the tester."""
    pool(ledger)
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(100))
    return at(acting(ledger, "asker", Role.OPERATOR), NOON)


@pytest.fixture
def second(ledger: Ledger, asker: Ledger) -> Ledger:
    return at(acting(ledger, "second"), NOON)


def ask(ledger: Ledger, amount: str = "500", key: str = "k", **options: str) -> ApprovalView:
    request = recharge(ledger, "openai", Decimal(amount), reference="INV-1", key=key, **options)
    assert isinstance(request, ApprovalView)
    return request


def overdraw(ledger: Ledger, recharge_id: int, reason: str = "wrong pool") -> ApprovalView:
    request = reverse_recharge(ledger, recharge_id, reason=reason, overdraw=True)
    assert isinstance(request, ApprovalView)
    return request


def test_a_request_says_what_is_asked_and_moves_nothing(asker: Ledger) -> None:
    before = everything(asker)
    request = ask(asker, note="n")
    assert everything(asker) == before
    assert (request.kind, request.subject, request.amount) == (ApprovalKind.RECHARGE, "openai", Decimal(500))
    assert (request.reference, request.note, request.idempotency_key) == ("INV-1", "n", "k")
    assert (request.operator, request.created_at, request.expires_at) == ("asker", NOON, NOON + DAY)
    assert (request.state, request.decided_by, request.replayed) == (ApprovalState.PENDING, None, False)
    assert ask(asker, note="n") == replace(request, replayed=True)
    assert list_approvals(asker, only_pending=True) == (request,)


def test_a_second_admin_books_it_with_the_key_and_the_name_of_whoever_asked(asker: Ledger, second: Ledger) -> None:
    request = ask(asker)
    done = approve(second, request.id)
    assert (done.request.state, done.request.decided_by) == (ApprovalState.APPROVED, "second")
    assert isinstance(done.booked, RechargeView)
    assert (done.booked.operator, done.booked.approved_by, done.booked.idempotency_key) == ("asker", "second", "k")
    assert recharge_history(asker) == (done.booked,)
    assert get_pool(asker, "openai").total_balance == 500
    again = recharge(asker, "openai", Decimal(500), reference="INV-1", key="k")
    assert again == replace(done.booked, replayed=True)
    assert list_approvals(asker, only_pending=True) == ()
    assert reconcile(asker) == () and verify_audit(asker).findings == ()


def test_a_grant_is_approved_in_the_same_way(asker: Ledger, second: Ledger) -> None:
    request = grant_quota(asker, "alice", Decimal(200), reference="T-1", key="k")
    assert isinstance(request, ApprovalView)
    done = approve(second, request.id)
    small = grant_quota(asker, "alice", Decimal(1), reference="T-2", key="k2")
    grants = quota_details(asker, "alice").grants
    assert [(one.operator, one.approved_by) for one in grants] == [("asker", None), ("asker", "second")]
    assert grants == (small, done.booked)
    assert grant_quota(asker, "alice", Decimal(200), reference="T-1", key="k") == replace(done.booked, replayed=True)


def test_nobody_approves_a_request_of_their_own(asker: Ledger, ledger: Ledger) -> None:
    request = ask(at(ledger, NOON))
    before = everything(ledger)
    with pytest.raises(Refused, match="is your own"):
        approve(at(ledger, NOON), request.id)
    with pytest.raises(NotPermitted):
        approve(asker, request.id)
    assert everything(ledger) == before
    assert list_approvals(at(ledger, NOON))[0].state is ApprovalState.PENDING


def test_the_key_of_a_request_stands_for_its_content(asker: Ledger, second: Ledger) -> None:
    ask(asker)
    for amount, who in (("501", asker), ("50", asker), ("501", second)):
        with pytest.raises(Conflict, match=r"request 1: recharge openai 500\.00.*Asked was: recharge openai"):
            recharge(who, "openai", Decimal(amount), reference="INV-1", key="k")
    with pytest.raises(Conflict, match="Asked was: grant"):
        grant_quota(asker, "alice", Decimal(500), reference="INV-1", key="k")
    grant_quota(asker, "alice", Decimal(50), reference="first")
    with pytest.raises(Conflict, match=r"Asked was: grant alice -10\.00"):
        revoke_quota(asker, "alice", Decimal(10), reference="back", key="k")


def test_the_approval_of_a_recharge_is_not_that_of_a_grant_with_the_same_key(asker: Ledger, second: Ledger) -> None:
    pay(asker, "50", key="k")
    request = grant_quota(asker, "alice", Decimal(500), reference="g", key="k")
    assert isinstance(request, ApprovalView)
    approve(second, request.id)
    assert [entry.approved_by for entry in recharge_history(asker)] == [None]


def test_a_request_expires_after_24_hours_by_the_ledger_s_clock(asker: Ledger, second: Ledger) -> None:
    request = ask(asker)
    late = at(second, NOON + DAY)
    assert list_approvals(late)[0].state is ApprovalState.EXPIRED
    assert list_approvals(late, only_pending=True) == ()
    for attempt in (lambda: approve(late, request.id), lambda: reject(late, request.id, reason="r")):
        with pytest.raises(Refused, match="has expired"):
            attempt()
    with pytest.raises(Refused, match="it is expired") as caught:
        ask(at(asker, NOON + DAY))
    assert "new key" in caught.value.hint
    in_time = ask(asker, key="k2")
    approve(at(second, NOON + DAY - timedelta(microseconds=1)), in_time.id)
    assert get_pool(asker, "openai").total_balance == 500


def test_a_request_is_rejected_with_a_reason_and_stays_so(asker: Ledger, second: Ledger) -> None:
    request = ask(asker)
    rejected = reject(second, request.id, reason="not ours")
    assert (rejected.state, rejected.decided_by, rejected.reason) == (ApprovalState.REJECTED, "second", "not ours")
    for attempt in (lambda: approve(second, request.id), lambda: reject(second, request.id, reason="r")):
        with pytest.raises(Conflict, match="decided by second already: it is rejected"):
            attempt()
    with pytest.raises(Refused, match="it is rejected"):
        ask(asker)
    assert recharge_history(asker) == ()
    assert verify_audit(asker).findings == ()
    for unknown in (0, -1, 99, 2**63):
        with pytest.raises(NotFound):
            approve(second, unknown)


def test_the_rules_of_the_day_of_the_approval_hold(asker: Ledger, second: Ledger, ledger: Ledger) -> None:
    request = ask(asker)
    set_limit(ledger, LimitName.PER_OPERATION, Decimal("499.99"))
    with pytest.raises(Refused, match="Most for one recharge"):
        approve(second, request.id)
    set_limit(ledger, LimitName.PER_OPERATION, None)
    set_limit(ledger, LimitName.PER_OPERATOR_DAY, Decimal(550))
    pay(asker, "51")
    with pytest.raises(Refused, match=r"would make it ¥551\.00"):
        approve(second, request.id)
    set_limit(ledger, LimitName.PER_OPERATOR_DAY, Decimal(551))
    approve(second, request.id)


def test_a_pool_that_is_full_by_then_refuses(asker: Ledger, second: Ledger, ledger: Ledger) -> None:
    request = ask(asker)
    set_limit(ledger, LimitName.APPROVAL_ABOVE, None)
    pay(ledger, str(int(LEDGER_LIMIT) - 499))
    with pytest.raises(Refused, match="cannot hold that much"):
        approve(second, request.id)
    assert list_approvals(second, only_pending=True)[0].id == request.id


def test_whoever_may_not_do_it_any_more_gets_nothing_booked(asker: Ledger, second: Ledger, ledger: Ledger) -> None:
    request = ask(asker)
    add_operator(ledger, "asker", Role.VIEWER)
    with pytest.raises(Refused, match="asker, who made request 1, may not do that any more"):
        approve(second, request.id)
    remove_operator(ledger, "asker")
    with pytest.raises(Refused, match="may not do that any more"):
        approve(second, request.id)
    assert recharge_history(ledger) == ()
    add_operator(ledger, "asker", Role.OPERATOR)
    approve(second, request.id)


def test_many_who_approve_and_reject_at_once_decide_once(asker: Ledger, second: Ledger, ledger: Ledger) -> None:
    people = [second, at(ledger, NOON), *(at(acting(ledger, f"third{number}"), NOON) for number in range(2))]
    for number in range(3):
        request = ask(asker, key=f"k{number}")

        def attempt(turn: int, request: ApprovalView = request) -> bool:
            try:
                if turn == 5:
                    reject(people[0], request.id, reason="r")
                else:
                    approve(people[turn % 4], request.id)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(6) as threads:
            assert sum(threads.map(attempt, range(6))) == 1
    approved = [one for one in list_approvals(second) if one.state is ApprovalState.APPROVED]
    assert len(recharge_history(ledger)) == len(approved)
    assert get_pool(ledger, "openai").total_balance == 500 * len(approved)
    assert verify_audit(ledger).findings == ()


# Reversals


def test_an_overdrawing_reversal_is_asked_for_and_approved(ledger: Ledger, second: Ledger) -> None:
    paid = pay(ledger, "100")
    spend(ledger, "30")
    with pytest.raises(Refused, match="would overdraw it") as caught:
        reverse_recharge(ledger, paid.id, reason="wrong pool")
    assert f"pools reverse {paid.id} --overdraw" in caught.value.hint
    request = overdraw(ledger, paid.id)
    assert (request.kind, request.amount, request.reverses_id) == (ApprovalKind.REVERSAL, Decimal(-100), paid.id)
    assert overdraw(ledger, paid.id) == replace(request, replayed=True)
    done = approve(replace(second, clock=ledger.clock), request.id)
    assert done.booked.operator == "tester" and done.booked.approved_by == "second"
    assert get_pool(ledger, "openai").available_balance == -30
    assert [(entry.amount, entry.approved_by) for entry in recharge_history(ledger)] == [
        (Decimal(-100), "second"),
        (Decimal(100), None),
    ]
    with pytest.raises(Conflict, match="already reversed"):
        overdraw(ledger, paid.id)
    assert reconcile(ledger) == () and verify_audit(ledger).findings == ()


def test_a_recharge_that_was_reversed_meanwhile_is_not_reversed_again(ledger: Ledger, second: Ledger) -> None:
    second = replace(second, clock=ledger.clock)
    paid = pay(ledger, "100")
    spend(ledger, "30")
    request = overdraw(ledger, paid.id)
    pay(ledger, "50")
    reversal = take_back(ledger, paid.id)
    with pytest.raises(Conflict, match=f"already reversed by {reversal.id}"):
        approve(second, request.id)
    assert [entry.approved_by for entry in recharge_history(ledger)] == [None] * 3


def test_a_reversal_that_was_rejected_or_expired_can_be_asked_for_again(ledger: Ledger, second: Ledger) -> None:
    day, later = at(ledger, NOON), at(ledger, NOON + DAY)
    paid = pay(day, "100")
    spend(day, "30")
    reject(second, overdraw(day, paid.id).id, reason="no")
    again = overdraw(day, paid.id, "really")
    assert not again.replayed and overdraw(day, paid.id, "really").replayed
    last = overdraw(later, paid.id, "at last")
    assert last.state is ApprovalState.PENDING
    done = approve(at(second, NOON + DAY), last.id)
    assert (done.booked.amount, done.booked.approved_by) == (Decimal(-100), "second")


# The command line


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


@pytest.fixture
def requests(sqlite_ledger: Ledger) -> list[ApprovalView]:
    """A recharge and a grant that somebody asked for."""
    pool(sqlite_ledger)
    set_limit(sqlite_ledger, LimitName.APPROVAL_ABOVE, Decimal(100))
    somebody = acting(sqlite_ledger, "asker", Role.OPERATOR)
    granted = grant_quota(somebody, "alice", Decimal(200), reference="T-1", key="g")
    assert isinstance(granted, ApprovalView)
    return [ask(somebody), granted]


def test_approvals_on_the_command_line(run: Commands, requests: list[ApprovalView]) -> None:
    listed = run("approvals", "list", "--format", "json").json
    assert [(one["requestId"], one["kind"], one["state"], one["operator"]) for one in listed] == [
        (requests[0].id, "recharge", "pending", "asker"),
        (requests[1].id, "grant", "pending", "asker"),
    ]
    assert "pending" in run("approvals", "list").out
    recharged = str(requests[0].id)
    asked = run("approvals", "approve", recharged)
    assert (asked.code, "Add --yes" in asked.err) == (2, True)
    done = run("approvals", "approve", recharged, "--yes", "--format", "json").json
    assert (done["state"], done["booked"]["approvedBy"]) == ("approved", done["decidedBy"])
    assert (done["booked"]["amount"], done["booked"]["operator"]) == ("500.00", "asker")
    again = run("approvals", "approve", recharged, "--yes")
    assert (again.code, "decided by" in again.err) == (1, True)
    rejected = run("approvals", "reject", str(requests[1].id), "--reason", "not now")
    assert rejected.out == f"Request {requests[1].id} of asker is rejected.\n"
    nothing = run("approvals", "list")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "Nothing found.\n")
    assert run("approvals", "list", "--all", "--format", "csv").out.count("\n") == 3
    assert run("approvals", "approve", "99", "--yes").code == 1
    (entry,) = run("pools", "history", "--format", "json").json
    assert (entry["operator"], entry["approvedBy"]) == ("asker", done["decidedBy"])
    assert f"asker, approved by {done['decidedBy']}" in run("pools", "history").out
    assert "approvedBy" in run("pools", "history", "--format", "csv").out.splitlines()[0]


def test_a_grant_is_approved_in_words(run: Commands, requests: list[ApprovalView]) -> None:
    answer = run("approvals", "approve", str(requests[1].id), "--yes")
    assert answer.out.startswith("Approved, asked for by asker: alice ¥200.00: remaining ¥0.00 → ¥200.00 (grant 1")
    (grant,) = run("quotas", "show", "alice", "--format", "json").json["grants"]
    assert grant["approvedBy"] is not None


@pytest.mark.parametrize(("keys", "code"), [("y\n", 0), ("n\n", 1)])
def test_approving_asks_who_asked_for_what(
    sqlite_url: str, sqlite_ledger: Ledger, requests: list[ApprovalView], keys: str, code: int
) -> None:
    line = ("--database", sqlite_url, "approvals", "approve", str(requests[0].id))
    with terminal(*line, size=(120, 24)) as shown:
        shown.until("asker asks to recharge openai by ¥500.00 (INV-1): available ¥0.00 → ¥500.00. Approve it? [y/N]")
        shown.type(keys)
        assert shown.end() == code
    assert len(recharge_history(sqlite_ledger)) == 1 - code


def test_a_recharge_in_the_shell_becomes_a_request_once(run: Commands, requests: list[ApprovalView]) -> None:
    words = ("pools", "recharge", "openai", "300", "--reference", "r", "--key", "again", "--yes", "--format", "json")
    first, second = run(*words).json, run(*words).json
    assert (first["state"], first["replayed"], second["replayed"]) == ("pending", False, True)
    assert first["requestId"] == second["requestId"]


def test_history_is_read_by_one_query(sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger)
    for _number in range(20):
        pay(sqlite_ledger, "1")
    seen: list[str] = []

    def listen(*arguments: Any) -> None:
        seen.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        assert len(recharge_history(sqlite_ledger)) == 20
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert len([statement for statement in seen if statement.startswith("SELECT")]) == 1
