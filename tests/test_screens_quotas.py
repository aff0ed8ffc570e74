"""User quotas at the keyboard: grant, take back, find a user."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from textual.widgets import Input

from billing_console.services.approvals import list_approvals
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.metering import record_usage
from billing_console.services.quotas import QuotaView, grant_quota, list_quotas, quota_details
from billing_console.services.settlement import settle
from db.values import LimitName, Role
from screens.quotas import MOST
from tests.factories import acting, everything, spend, usage
from tests.keyboard import Keyboard, console

HOSTILE = "[/]\x1b[2J\u202e[@click=app.quit]x[/]"


def quota(ledger: Ledger, user_id: str) -> QuotaView:
    return quota_details(ledger, user_id).quota


async def grant(keys: Keyboard, amount: str, reference: str) -> None:
    """Fill the form from its amount on, up to the page."""
    await keys.type(amount)
    await keys.press("enter")
    await keys.type(reference)
    await keys.press("enter")


async def test_grant_to_the_user_under_the_cursor(ledger: Ledger, database_url: str) -> None:
    grant_quota(ledger, "alice", Decimal(10), reference="first")
    grant_quota(ledger, "bob", Decimal(5), reference="first")
    spend(ledger, "5", user_id="bob")
    async with console(database_url) as keys:
        await keys.press("4")
        assert "■ exhausted" in keys.line("bob")
        await keys.press("c")
        await grant(keys, "12.000000001", "ticket 9")
        assert "¥0.000000000 → ¥12.000000001" in keys.screen
        assert quota(ledger, "bob").granted_amount == 5
        await keys.burst("y", "y", "y")

        details = quota_details(ledger, "bob")
        assert details.quota.remaining_amount == Decimal("12.000000001")
        assert [(entry.amount, entry.reference, entry.operator) for entry in details.grants[:-1]] == [
            (Decimal("12.000000001"), "ticket 9", "tester")
        ]
        assert "● available" in keys.line("bob")
        assert f"grant {details.grants[0].id}" in keys.said


async def test_the_first_grant_of_an_empty_ledger_is_typed_whole(ledger: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("4")
        assert "Press c to grant the first quota" in keys.screen
        await keys.press("c")
        await keys.type("东京团队")
        await keys.press("enter")
        await grant(keys, "3", "welcome")
        await keys.press("y")
        assert "¥3.00" in keys.line("东京团队")
    assert quota(ledger, "东京团队").remaining_amount == 3


async def test_take_back_what_is_not_used(ledger: Ledger, database_url: str) -> None:
    grant_quota(ledger, "alice", Decimal(10), reference="first")
    async with console(database_url) as keys:
        await keys.press("4", "v")
        await grant(keys, "11", "left the team")
        assert "alice has only ¥10.00 left" in keys.screen
        assert "11" in keys.line("Amount") and "left the team" in keys.line("Reference")
        await keys.press("up", "backspace", "enter", "enter")
        assert "¥10.00 → ¥9.00" in keys.screen
        await keys.burst("y", "y")
    assert [entry.amount for entry in quota_details(ledger, "alice").grants] == [Decimal(-1), Decimal(10)]


async def test_a_hostile_user_id_is_shown_inert_and_granted_exactly(ledger: Ledger, database_url: str) -> None:
    spend(ledger, "1", user_id=HOSTILE)
    async with console(database_url) as keys:
        await keys.press("4")
        assert "[/]\\x1b[2J\\u2" in keys.screen
        await keys.press("c")
        assert keys.app.screen.query_one("#userId", Input).value == HOSTILE
        assert "\x1b" not in keys.screen and "\u202e" not in keys.screen
        await grant(keys, "5", "r")
        assert "\x1b" not in keys.screen and "\\x1b[2J" in keys.screen
        await keys.press("y", "enter")
        assert "Quota of [/]\\x1b" in keys.screen and "\x1b" not in keys.screen
    assert quota(ledger, HOSTILE).granted_amount == 5


async def test_a_completed_user_id_is_drawn_inert_too(ledger: Ledger, database_url: str) -> None:
    spend(ledger, "1", user_id="zoe\x1b[2J")
    async with console(database_url) as keys:
        await keys.press("4", "c")
        await keys.press("up", *["backspace"] * 8)
        await keys.type("zo")
        assert "zoe�[2J" in keys.line("│ User ") and "\x1b" not in keys.screen


async def test_status_is_said_in_words(ledger: Ledger, database_url: str) -> None:
    grant_quota(ledger, "ok", Decimal(4), reference="r")
    spend(ledger, "1", user_id="ok")
    grant_quota(ledger, "over", Decimal(1), reference="r")
    spend(ledger, "3", user_id="over")
    spend(ledger, "3", user_id="free")
    async with console(database_url) as keys:
        await keys.press("4")
        assert [line.split()[:3] for line in keys.lines[4:7]] == [
            ["over", "■", "exhausted"],
            ["ok", "●", "available"],
            ["free", "○", "unlimited"],
        ]
        assert "██████░░  75.00%" in keys.lines[5]
        assert "-¥2.00" in keys.lines[4] and "-200.00%" in keys.lines[4]
        await keys.press("enter")
        assert "refused, the quota is exhausted" in keys.screen
        assert "gpt-4o" in keys.line("¥3.0000")


async def test_the_filter_finds_a_user_and_escape_shows_all(ledger: Ledger, database_url: str) -> None:
    for user in ("alice", "bob", "malice"):
        grant_quota(ledger, user, Decimal(1), reference="r")
    async with console(database_url) as keys:
        await keys.press("4", "slash")
        await keys.type("LICE")
        await keys.press("enter")
        assert "user id contains LICE" in keys.screen
        assert "2 users" in keys.screen and " bob " not in keys.screen
        await keys.press("escape")
        assert "3 users" in keys.screen and "contains" not in keys.screen


async def test_many_users_are_cut_honestly_on_the_screen_and_exported_whole(
    ledger: Ledger, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record_usage(ledger, [usage(user_id=f"user-{number:04}", cost_amount=Decimal(1)) for number in range(MOST + 1)])
    settle(ledger)
    async with console(database_url) as keys:
        await keys.press("4")
        assert f"the first {MOST} of {MOST + 1} users" in keys.screen
        await keys.press("e", "enter")
        exported = next(tmp_path.glob("quotas-*.csv"))
        with exported.open(encoding="utf-8", newline="") as file:
            assert {row["userId"] for row in csv.DictReader(file)} == {q.user_id for q in list_quotas(ledger)}


async def test_read_only_offers_and_does_no_write(ledger: Ledger, database_url: str) -> None:
    grant_quota(ledger, "alice", Decimal(1), reference="r")
    before = everything(ledger)
    async with console(database_url, read_only=True) as keys:
        await keys.press("4", "c", "v")
        assert "Grant" not in keys.lines[-1] and "Take back" not in keys.lines[-1]
        assert "quota" not in "\n".join(keys.lines[5:]).lower()
    assert everything(ledger) == before


async def test_a_first_grant_that_would_stop_a_user_says_so(ledger: Ledger, database_url: str) -> None:
    spend(ledger, "5.80", user_id="carol")
    async with console(database_url) as keys:
        await keys.press("4")
        assert "unlimited" in keys.line("carol")
        await keys.press("c")
        await grant(keys, "5", "ticket 1")
        assert "no quota → -¥0.80" in keys.screen
        assert "allowed → ■ refused" in keys.screen
        await keys.press("escape", "up")
        await keys.press(*["backspace"])
        await keys.type("9")
        await keys.press("enter", "enter")
        assert "allowed → allowed" in keys.screen


def stock_three(ledger: Ledger) -> None:
    """alice has 10 left, bob 5, carol none of her 3."""
    for user, amount in (("alice", 10), ("bob", 5), ("carol", 3)):
        grant_quota(ledger, user, Decimal(amount), reference="r")
    spend(ledger, "3", user_id="carol")


async def test_marked_users_are_granted_together_with_one_confirmation(ledger: Ledger, database_url: str) -> None:
    stock_three(ledger)
    async with console(database_url) as keys:
        await keys.press("4", "space", "down", "space")
        assert "2 marked" in keys.screen
        assert "✓ carol" in keys.screen and "✓ alice" in keys.screen and "✓ bob" not in keys.screen
        await keys.press("c")
        await grant(keys, "7.5", "June")
        assert "Grant ¥7.50 to each of 2 users, ¥15.00 in all, reference “June”?" in keys.screen
        assert "¥10.00 → ¥17.50" in keys.line("│ alice") and "¥0.00 → ¥7.50" in keys.line("│ carol")
        await keys.burst("y", "y")
        assert "2 users were granted ¥15.00 in all" in keys.said
        assert "marked" not in keys.screen and "✓" not in keys.screen
    assert [quota(ledger, user).remaining_amount for user in ("alice", "bob", "carol")] == [
        Decimal("17.5"),
        Decimal(5),
        Decimal("7.5"),
    ]


async def test_marks_stay_through_a_filter_and_escape_takes_them_away_first(ledger: Ledger, database_url: str) -> None:
    stock_three(ledger)
    async with console(database_url) as keys:
        await keys.press("4", "M")
        assert "3 marked" in keys.screen
        await keys.press("M", "space", "slash")
        await keys.type("bo")
        await keys.press("enter", "space")
        assert "2 marked" in keys.screen and "1 user " in keys.screen
        await keys.press("escape")
        assert "marked" not in keys.screen and "contains bo" in keys.screen
        await keys.press("escape")
        assert "3 users" in keys.screen


async def test_a_bulk_grant_beyond_a_limit_says_so_and_what_must_be_approved_waits(
    ledger: Ledger, database_url: str
) -> None:
    stock_three(ledger)
    set_limit(ledger, LimitName.PER_OPERATION, Decimal(20))
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(10))
    async with console(database_url) as keys:
        await keys.press("4", "M", "c")
        await grant(keys, "7", "June")
        assert "this would make it ¥21.00" in keys.screen
        await keys.press("up", "backspace", "4", "enter", "enter")
        assert "Each will wait for another admin's approval." in keys.screen
        await keys.press("y")
        assert "3 requests wait for another admin" in keys.said
    assert [request.subject for request in list_approvals(ledger)] == ["carol", "bob", "alice"]


async def test_sorting_is_done_in_the_database_over_all_users(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screens.quotas.MOST", 2)
    stock_three(ledger)
    async with console(database_url, size=(120, 40)) as keys:
        await keys.press("4")
        assert "the first 2 of 3 users · 1 blocked · least remaining first" in keys.screen
        assert " alice" not in keys.screen
        await keys.press("l", "l", "s", "s")
        assert "most granted first" in keys.screen and "Granted▼" in keys.screen
        assert [line.split()[0] for line in keys.lines[4:6]] == ["alice", "bob"]
        await keys.press("s")
        assert "least remaining first" in keys.screen
        assert [line.split()[0] for line in keys.lines[4:6]] == ["carol", "bob"]
        await keys.press("h", "s")
        assert "can be sorted by" in keys.said and "least remaining first" in keys.screen


async def test_exhausted_users_alone(ledger: Ledger, database_url: str) -> None:
    stock_three(ledger)
    async with console(database_url) as keys:
        await keys.press("4", "f")
        assert "Filter: exhausted only" in keys.screen and "1 user " in keys.screen and " bob " not in keys.screen
        await keys.press("f")
        assert "3 users" in keys.screen and "exhausted only" not in keys.screen


async def test_how_long_it_lasts_and_what_is_unusual_is_shown_with_its_numbers(
    ledger: Ledger, database_url: str
) -> None:
    grant_quota(ledger, "alice", Decimal(100), reference="r")
    now = ledger.clock()
    for days_ago in range(1, 9):
        spend(ledger, "2", created_at=now - timedelta(days=days_ago))
    spend(ledger, "4", created_at=now)
    spend(ledger, "1", user_id="bob", created_at=now)
    async with console(database_url) as keys:
        await keys.press("4")
        assert keys.line("alice").split()[-3:] == ["40", "d", "¥4.00"]
        spend(ledger, "0.5", created_at=now)
        await keys.press("r")
        assert keys.line("alice").split()[-2:] == ["▲", "¥4.50"]
        assert "▲ 1 unusual today" in keys.screen
        await keys.press("enter")
        assert "¥4.50  ▲ unusual" in keys.screen
        assert "8 days with use of the last 28" in keys.screen
        assert "¥2.00, half of the days within ×÷ 1.00" in keys.screen
        assert "¥4.00 (modified z-score" in keys.screen
        await keys.press("escape", "down", "enter")
        assert "not enough history" in keys.screen


async def test_a_poll_that_finds_nothing_new_computes_nothing(ledger: Ledger, database_url: str) -> None:
    stock_three(ledger)
    async with console(database_url) as keys:
        await keys.press("4")
        await keys.settled()
        asked: list[str] = []
        event.listen(Engine, "before_cursor_execute", lambda _c, _cur, statement, *_rest: asked.append(statement))
        await keys.press("r")
        assert asked and not [statement for statement in asked if "usage_records" in statement]


async def test_a_grant_that_expires_is_typed_after_the_reference(ledger: Ledger, database_url: str) -> None:
    grant_quota(ledger, "alice", Decimal(10), reference="first")
    async with console(database_url) as keys:
        await keys.press("4", "c")
        await keys.type("5")
        await keys.press("enter")
        await keys.type("June")
        await keys.press("down")
        await keys.type("2020-01-01")
        await keys.press("enter")
        assert "✖ This is past." in keys.screen
        await keys.press(*["backspace"] * 10)
        await keys.type("2099-12-31")
        await keys.press("enter")
        assert "Grant ¥5.00 to alice until 2099-12-31, reference “June”?" in keys.screen
        await keys.press("y", "enter")
        assert "to 2099-12-31, ¥5.00 left" in keys.screen
    assert quota_details(ledger, "alice").grants[0].expires_at == datetime(2099, 12, 31, 16, tzinfo=UTC)


async def test_marked_users_can_be_granted_for_some_days(ledger: Ledger, database_url: str) -> None:
    stock_three(ledger)
    async with console(database_url) as keys:
        await keys.press("4", "M", "c")
        await keys.type("1")
        await keys.press("enter")
        await keys.type("June")
        await keys.press("down", "3", "enter")
        assert "¥3.00 in all, until" in keys.screen
        await keys.press("y")
    ends = {quota_details(ledger, user).grants[0].expires_at for user in ("alice", "bob", "carol")}
    day = ledger.clock().astimezone(ledger.timezone).date() + timedelta(days=4)
    assert ends == {datetime(day.year, day.month, day.day, tzinfo=ledger.timezone)}


async def test_a_periodic_quota_is_set_and_ended(ledger: Ledger, database_url: str) -> None:
    grant_quota(ledger, "alice", Decimal(10), reference="first")
    async with console(database_url) as keys:
        await keys.press("4", "p")
        assert "‹ every month ›" in keys.screen
        await keys.press("right", "right", "enter", "enter")
        assert "Give an amount for each period" in keys.screen
        await keys.type("2.5")
        await keys.press("enter")
        assert "Give alice ¥2.50 every day from now on?" in keys.screen
        assert "off → ¥2.50 every day" in keys.screen and "¥10.00 → ¥12.50" in keys.screen
        await keys.burst("y", "y")
        assert "granted now ¥2.50, remaining ¥12.50" in keys.said
        await keys.press("enter")
        assert "¥2.50 every day" in keys.line("Periodic quota")
        await keys.press("escape", "p", "right", "enter")
        assert "Give alice no periodic quota any more?" in keys.screen
        await keys.press("y")
        assert "Periodic quota ended: remaining ¥12.50" in keys.said
    details = quota_details(ledger, "alice")
    assert details.periodic is None and len(details.grants) == 2


async def test_an_operator_is_not_offered_what_only_an_admin_decides(ledger: Ledger, database_url: str) -> None:
    grant_quota(ledger, "alice", Decimal(10), reference="first")
    acting(ledger, "olga", Role.OPERATOR)
    async with console(database_url, size=(160, 24), name="olga") as keys:
        await keys.press("4", "p")
        assert "Grant" in keys.lines[-1] and "Periodic" not in keys.lines[-1] and len(keys.app.screen_stack) == 1
