"""Four eyes at the keyboard: who is asked, what they see before they decide, and what is booked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from billing_console.errors import Conflict, Refused
from billing_console.services.approvals import ApprovalState, ApprovalView, count_waiting, list_approvals
from billing_console.services.audit import list_audit
from billing_console.services.decisions import approve, preview_approval, reject
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota
from billing_console.services.recharges import recharge, reverse_recharge
from db.values import LimitName, Outcome, Role
from tests.factories import acting, everything, pay, pool, spend
from tests.keyboard import console

ASKER = "wang.fang"


@pytest.fixture
def asking(ledger: Ledger) -> Ledger:
    """Somebody whose recharge of 900 waits; the tester may approve it."""
    return _asking(ledger)


def _asking(ledger: Ledger) -> Ledger:
    pool(ledger, "openai", "100")
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(500))
    asker = acting(ledger, ASKER, Role.OPERATOR)
    waits(recharge(asker, "openai", Decimal(900), reference="INV-9", note="quarter", key="k-9"))
    return asker


def waits(result: object) -> ApprovalView:
    assert isinstance(result, ApprovalView)
    return result


async def test_who_may_approve_is_told_on_every_tab_and_approves_after_a_page(
    asking: Ledger, database_url: str
) -> None:
    async with console(database_url, size=(100, 24)) as keys:
        for number in "123456":
            await keys.press(number)
            assert "1 request waits for approval (A)" in keys.screen
        await keys.press("3", "A")
        line = keys.line("INV-9")
        for word in ("▲ pending", "recharge", "openai", "¥900.00", ASKER):
            assert word in line
        await keys.press("a")
        assert "¥100.00 → ¥1,000.00" in keys.screen
        shown = " ".join(keys.screen.replace("│", " ").split())
        assert (
            f"{ASKER} asks for a recharge of ¥900.00 for openai, reference “INV-9”." in shown
            and "Note: quarter" in shown
        )
        await keys.burst("enter", "enter")
        assert list_approvals(asking)[0].state is ApprovalState.PENDING
        await keys.burst("y", "y", "y")

        (request,) = list_approvals(asking)
        assert (request.state, request.decided_by) == (ApprovalState.APPROVED, "tester")
        assert "¥100.00 → ¥1,000.00" in keys.said
        assert "● approved" in keys.line("INV-9")
        await keys.press("escape")
        assert "¥1,000.00" in keys.line("● sufficient")
        assert "waits for approval" not in keys.screen
    assert get_pool(asking, "openai").total_balance == Decimal(1000)


async def test_a_rejection_needs_a_reason_and_books_nothing(asking: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("A", "x", "enter")
        assert "This cannot be empty." in keys.screen
        await keys.type("no invoice")
        await keys.press("enter")
        assert "pending → rejected" in keys.screen
        await keys.press("y")
        (request,) = list_approvals(asking)
        assert (request.state, request.reason) == (ApprovalState.REJECTED, "no invoice")
        assert "■ rejected" in keys.line("openai")
        await keys.press("x", "a")
        assert "Reject request" not in keys.screen and "Approve request" not in keys.screen
        await keys.press("enter")
        assert "no invoice" in keys.line("Reason") and "tester" in keys.line("Decided by")
    assert get_pool(asking, "openai").total_balance == Decimal(100)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_others_see_requests_and_are_not_asked(asking: Ledger, database_url: str, role: Role) -> None:
    acting(replace(asking, actor=replace(asking.actor, name="tester")), "li.na", role)
    before = everything(asking)
    async with console(database_url, name="li.na") as keys:
        assert "waits for approval" not in keys.screen
        await keys.press("A", "a", "x")
        assert "openai" in keys.screen
        assert "Approve" not in keys.screen and "Reject" not in keys.screen
        await keys.press("enter")
        assert "k-9" in keys.line("Idempotency key") and "quarter" in keys.line("Note")
    assert everything(asking) == before


async def test_nobody_approves_their_own_but_may_take_it_back(asking: Ledger, database_url: str) -> None:
    tester = replace(asking, actor=replace(asking.actor, name="tester"))
    acting(tester, ASKER, Role.ADMIN)
    async with console(database_url, name=ASKER) as keys:
        assert "waits for approval" not in keys.screen
        await keys.press("A", "a")
        assert "a Approve" not in keys.screen and "x Reject" in keys.screen
        await keys.press("x", "m", "enter", "y")
    assert list_approvals(asking)[0].state is ApprovalState.REJECTED


async def test_a_request_that_somebody_else_decided_meanwhile_says_so(asking: Ledger, database_url: str) -> None:
    tester = replace(asking, actor=replace(asking.actor, name="tester"))
    other = acting(tester, "li.na", Role.ADMIN)
    async with console(database_url) as keys:
        await keys.press("A", "a")
        assert "¥100.00 → ¥1,000.00" in keys.screen
        reject(other, 1, reason="wrong pool")
        await keys.press("y")
        assert "was decided by li.na already" in " ".join(keys.screen.replace("│", " ").split())
        await keys.press("escape")
        assert "■ rejected" in keys.line("openai")
    assert get_pool(asking, "openai").total_balance == Decimal(100)


async def test_a_request_that_the_rules_no_longer_allow_says_why(asking: Ledger, database_url: str) -> None:
    tester = replace(asking, actor=replace(asking.actor, name="tester"), role=Role.ADMIN)
    set_limit(tester, LimitName.PER_OPERATION, Decimal(800))
    async with console(database_url) as keys:
        await keys.press("A", "a")
        assert "Most for one recharge or grant" in " ".join(keys.screen.replace("│", " ").split())
        await keys.press("y")
        assert list_approvals(asking)[0].state is ApprovalState.PENDING
        await keys.press("escape")
        assert "▲ pending" in keys.screen


async def test_grants_and_overdrafts_are_approved_with_what_they_change(ledger: Ledger, database_url: str) -> None:
    asker = _asking(ledger)
    admin = acting(ledger, "li.na")
    waits(grant_quota(asker, "alice", Decimal(700), reference="T-1"))
    spend(ledger, "40")
    waits(reverse_recharge(admin, 1, reason="wrong bank", overdraw=True))
    async with console(database_url, size=(120, 24)) as keys:
        assert "3 requests wait for approval" in keys.screen
        await keys.press("A", "j", "a")
        assert "no quota → ¥660.00" in keys.screen
        await keys.press("y")
        assert "-¥40.00 → ¥660.00" in keys.said
        await keys.press("g", "j", "a")
        assert "¥60.00 → -¥40.00" in keys.screen
        await keys.press("y")
    assert get_pool(ledger, "openai").available_balance == Decimal(-40)


# The services behind it


def test_a_preview_of_an_approval_measures_the_limits_of_who_asked(ledger: Ledger) -> None:
    asker = _asking(ledger)
    set_limit(ledger, LimitName.PER_OPERATOR_DAY, Decimal(1000))
    pay(ledger, "400")
    pay(ledger, "400", key="another")
    change = preview_approval(ledger, 1)
    assert (change.before, change.after) == (Decimal(900), Decimal(1800))
    assert count_waiting(ledger) == 1 and count_waiting(asker) == 0
    approve(ledger, 1)
    assert count_waiting(ledger) == 0
    with pytest.raises(Conflict, match="was decided by"):
        preview_approval(ledger, 1)


def test_a_preview_refuses_what_approving_refuses_and_leaves_a_row(ledger: Ledger) -> None:
    asker = replace(_asking(ledger), role=Role.ADMIN)
    own = acting(ledger, ASKER, Role.ADMIN)
    with pytest.raises(Refused, match="is your own"):
        preview_approval(own, 1)
    assert list_audit(ledger, limit=1)[0].outcome is Outcome.REFUSED
    late = replace(ledger, clock=lambda: asker.clock() + timedelta(hours=25))
    with pytest.raises(Refused, match="has expired"):
        preview_approval(late, 1)
    assert count_waiting(late) == 0


def test_an_overdraft_can_be_asked_for_again_after_a_rejection_or_in_vain(ledger: Ledger) -> None:
    pool(ledger, "openai", "100")
    spend(ledger, "40")
    other = acting(ledger, ASKER)
    first = waits(reverse_recharge(ledger, 1, reason="wrong bank", overdraw=True))
    assert waits(reverse_recharge(ledger, 1, reason="wrong bank", overdraw=True)).id == first.id
    reject(other, first.id, reason="not yet")
    second = waits(reverse_recharge(ledger, 1, reason="wrong bank, really", overdraw=True))
    late = replace(ledger, clock=lambda: ledger.clock() + timedelta(hours=25))
    third = waits(reverse_recharge(late, 1, reason="wrong bank", overdraw=True))
    assert len({first.id, second.id, third.id}) == 3
    approve(replace(other, clock=late.clock), third.id)
    assert get_pool(ledger, "openai").available_balance == Decimal(-40)
    with pytest.raises(Conflict, match="already reversed"):
        reverse_recharge(ledger, 1, reason="wrong bank", overdraw=True)
