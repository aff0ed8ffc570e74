"""Resource pools at the keyboard: recharge, reverse, check now; the ledger is asked first, then the screen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from rich.cells import cell_len

from billing_console.money import LEDGER_LIMIT
from billing_console.services.alerts import list_alerts
from billing_console.services.approvals import list_approvals
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.models import get_model
from billing_console.services.operators import add_operator
from billing_console.services.pools import get_pool, list_pools
from billing_console.services.recharges import recharge_history
from db.values import AlertType, ApprovalKind, BalanceStatus, LimitName, ModelStatus, Role
from tests.factories import everything, pay, pool, price, spend
from tests.keyboard import console

HOSTILE = "[@click=app.quit]x[/]\x1b[2J\u202e"


@pytest.fixture
def depleted(ledger: Ledger) -> Ledger:
    """A pool of 100 yuan of which 130 are used: alert open, its model suspended."""
    pool(ledger, "openai", "100")
    price(ledger)
    spend(ledger, "130")
    check_pools(ledger)
    return ledger


async def test_recharge_lifts_alert_and_suspension_at_once(depleted: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        assert "CRITICAL" in keys.screen
        await keys.press("3", "c")
        await keys.type("1000.50")
        await keys.press("enter")
        await keys.type("INV-7")
        await keys.press("enter")
        assert "-¥30.00 → ¥970.50" in keys.screen
        await keys.burst("enter", "enter")
        assert len(recharge_history(depleted)) == 1
        await keys.press("y")

        booked = recharge_history(depleted)[0]
        assert (booked.amount, booked.reference, booked.operator) == (Decimal("1000.50"), "INV-7", "tester")
        assert get_pool(depleted, "openai").available_balance == Decimal("970.50")
        assert list_alerts(depleted, resolved=False) == ()
        assert get_model(depleted, "openai", "gpt-4o").status is ModelStatus.ENABLED
        assert "CRITICAL" not in keys.screen
        assert "● sufficient" in keys.line("openai")
        assert "-¥30.00 → ¥970.50" in keys.said
        assert f"recharge {booked.id}" in keys.said


async def test_however_often_y_and_enter_are_pressed_money_moves_once(depleted: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("3", "c")
        await keys.type("7")
        await keys.press("enter")
        await keys.type("INV-8")
        await keys.press("enter")
        await keys.burst("y", "y", "enter", "y", "enter")
    assert [entry.amount for entry in recharge_history(depleted)] == [Decimal(7), Decimal(100)]


async def test_keys_typed_ahead_reach_the_field_they_are_for(depleted: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("3", "c")
        await keys.burst(*"500", "enter", *"2026001", "enter", "y")
        assert "by ¥500.00, reference “2026001”" in keys.screen
        assert len(recharge_history(depleted)) == 1
        await keys.press("y")
    assert [(entry.amount, entry.reference) for entry in recharge_history(depleted)[:1]] == [(Decimal(500), "2026001")]


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("0", "greater than 0"),
        ("-5", "greater than 0"),
        ("1.234", "more than 2 decimals"),
        ("1e9", "not a number"),
        ("NaN", "not a number"),
        ("9223372036.86", "more than the ledger can hold"),
    ],
)
async def test_an_amount_is_checked_as_it_is_typed(
    depleted: Ledger, database_url: str, typed: str, complaint: str
) -> None:
    before = everything(depleted)
    async with console(database_url) as keys:
        await keys.press("3", "c")
        await keys.type(typed)
        assert complaint in keys.screen
        await keys.burst("enter", "enter")
        assert complaint in keys.screen
        assert keys.line("Amount").split()[2] == typed
    assert everything(depleted)["recharges"] == before["recharges"]


async def test_a_refused_recharge_keeps_what_was_typed(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "openai", str(LEDGER_LIMIT // 1))
    async with console(database_url) as keys:
        await keys.press("3", "c")
        await keys.type("5000")
        await keys.press("enter")
        await keys.type("INV-9")
        await keys.press("enter")
        assert "cannot hold that much" in keys.screen.replace("\n", " ")
        assert "5000" in keys.line("Amount")
        assert "INV-9" in keys.line("Reference")
        await keys.press("escape")
        assert "Resource pool" not in keys.screen.splitlines()[4]
    assert len(recharge_history(ledger)) == 1


async def test_the_note_is_optional_and_reached_with_the_arrow(depleted: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("3", "c")
        await keys.type("7")
        await keys.press("down")
        await keys.type("INV-8")
        await keys.press("down")
        await keys.type("paid by wire")
        await keys.press("enter")
        assert "Note: paid by wire" in " ".join(keys.screen.replace("│", " ").split())
        await keys.press("y")
    assert recharge_history(depleted)[0].note == "paid by wire"


async def test_escape_goes_from_the_page_to_the_form_to_the_tab(depleted: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("3", "c", "7", "enter", "r", "enter")
        assert "Press y" in keys.screen
        await keys.press("escape")
        assert "7" in keys.line("Amount")
        await keys.press("escape")
        assert "Recharge openai" not in keys.screen
    assert len(recharge_history(depleted)) == 1


async def test_escape_leads_back_to_the_field_it_left(depleted: Ledger, database_url: str) -> None:
    """What is typed next corrects the reference, not the note after it."""
    async with console(database_url) as keys:
        await keys.press("3", "c", "7", "enter", "r", "enter", "escape", "2", "enter", "y")
    booked = recharge_history(depleted)[0]
    assert (booked.reference, booked.note) == ("r2", "")


async def test_the_arrows_go_round_the_fields(depleted: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("3", "c", "down", "down", "down", "down", "5", "up", "up", "x")
        assert keys.line("Amount").split()[2] == "5"
        assert keys.line("Note").split()[2] == "x"


async def test_a_complaint_that_is_long_wraps(depleted: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("2", "slash")
        keys.app.screen.query_one("#end").focus()
        await keys.type("2026-02-3x and more")
        assert "is not a date like 2026-11-24" in " ".join(keys.screen.replace("│", " ").split())


async def test_a_first_recharge_opens_the_pool(ledger: Ledger, database_url: str) -> None:
    spend(ledger, "5", provider_id="moonshot")
    async with console(database_url) as keys:
        await keys.press("3")
        assert "○ no pool" in keys.line("moonshot")
        await keys.press("c", "8", "0", "enter", "r", "enter", "y")
        assert "● sufficient" in keys.line("moonshot")
    assert get_pool(ledger, "moonshot").available_balance == Decimal(75)


async def test_check_now_checks_pools_that_were_just_checked(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "openai", "100")
    async with console(database_url) as keys:
        await keys.press("3")
        first = get_pool(ledger, "openai").last_check_at
        spend(ledger, "90.01")
        await keys.press("n")

        after = get_pool(ledger, "openai")
        assert first is not None and after.last_check_at is not None and after.last_check_at > first
        assert [alert.alert_type for alert in list_alerts(ledger, resolved=False)] == [AlertType.LOW_BALANCE]
        assert "WARNING" in keys.lines[1]
        row = keys.line("░")
        assert "▲ low" in row and "█░░░░░░░   9.99%" in row
        assert "1 pool checked" in keys.said and "openai: alert raised" in keys.said
        spend(ledger, "20")
        await keys.press("n")
        assert "openai: alert escalated" in keys.said


async def test_a_recharge_is_reversed_from_the_history_with_a_reason(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "openai", "100")
    pay(ledger, "50", reference="twice by mistake")
    async with console(database_url) as keys:
        await keys.press("3", "H")
        assert "twice by mistake" in keys.screen
        await keys.press("v")
        await keys.type("booked twice")
        await keys.press("enter")
        assert "¥150.00 → ¥100.00" in keys.screen
        await keys.burst("y", "y")

        reversal, reversed_, _first = recharge_history(ledger, "openai")
        assert (reversal.amount, reversal.reverses_id, reversal.reference) == (
            Decimal(-50),
            reversed_.id,
            "booked twice",
        )
        assert get_pool(ledger, "openai").available_balance == Decimal(100)
        assert f"reversed by {reversal.id}" in keys.line("twice by")
        await keys.press("g", "v")
        assert "Reverse recharge" not in keys.screen
        await keys.press("escape")
        assert "¥100.00" in keys.line("● sufficient")


async def test_the_history_tells_all_of_an_entry(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "openai")
    entry = pay(ledger, "50", reference="r" * 70, note="paid by wire after a long talk with the bank about fees")
    async with console(database_url) as keys:
        await keys.press("3", "H", "enter")
        for text in ("r" * 50, "paid by wire after a long talk", entry.idempotency_key, "tester"):
            assert text in keys.screen


async def test_a_reversal_that_would_overdraw_asks_for_approval_in_place(depleted: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("3", "H", "v", "x", "enter")
        assert "-¥30.00 → -¥130.00" in keys.screen
        assert "Ask another admin to approve it?" in keys.line("would overdraw")
        await keys.press("escape")
        assert list_approvals(depleted) == ()
        await keys.press("enter", "y")
        (request,) = list_approvals(depleted)
        assert (request.kind, request.amount, request.reference) == (ApprovalKind.REVERSAL, Decimal(-100), "x")
        assert f"Request {request.id} waits" in keys.said
    assert len(recharge_history(depleted)) == 1


async def test_a_recharge_above_the_limit_says_that_it_will_wait(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "openai", "100")
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(500))
    async with console(database_url) as keys:
        await keys.press("3", "c", *"500", "enter", "r", "enter")
        assert "another admin's approval" not in keys.screen
        await keys.press("escape", "up", "1", "enter", "enter")
        assert "It will wait for another admin's approval." in keys.screen
        await keys.burst("y", "y")
        (request,) = list_approvals(ledger)
        assert request.amount == Decimal(5001)
        assert f"Request {request.id} waits" in keys.said
    assert get_pool(ledger, "openai").total_balance == Decimal(100)


async def test_details_tell_balances_alert_models_and_recharges(depleted: Ledger, database_url: str) -> None:
    async with console(database_url, size=(80, 50)) as keys:
        await keys.press("3", "enter")
        assert "-¥30.00" in keys.line("Available balance")
        assert "10.00%" in keys.line("Low below")
        assert "insufficient balance" in keys.line("Open alert")
        assert "■ insufficient funds  0  ¥0.00  gpt-4o" in keys.screen
        assert "1 model cannot be called" in keys.screen
        assert "bank 1" in keys.screen


def burn_daily(ledger: Ledger, cost: str = "10", days: int = 14) -> None:
    """The same cost on each of the last whole days, so that the range is none."""
    now = datetime.now(UTC)
    for ago in range(1, days + 1):
        spend(ledger, cost, created_at=now - timedelta(days=ago))


async def test_the_table_says_how_long_a_pool_lasts_or_why_it_cannot(ledger: Ledger, database_url: str) -> None:
    burn_daily(ledger)
    pool(ledger)
    pay(ledger, "640.50")  # 500.50 are left: 50 days and an hour
    pool(ledger, "young", "100")
    pool(ledger, "bare")
    async with console(database_url) as keys:
        await keys.press("3")
        assert "¥500.50" in keys.line("openai") and " 50 d " in keys.line("openai")
        assert "not enough history" in keys.line("young")
        assert "empty" in keys.line("■ depleted")
        assert "burn ¥10.00 a day" in keys.line("3 pools")
    async with console(database_url, size=(120, 24)) as keys:
        await keys.press("3")
        assert "█" in keys.line("openai").partition("¥10.00")[2]


async def test_the_amount_for_some_days_is_filled_in_and_can_be_changed(ledger: Ledger, database_url: str) -> None:
    burn_daily(ledger)
    pool(ledger)
    pay(ledger, "240.50")  # 100.50 are left
    async with console(database_url) as keys:
        await keys.press("3", "c")
        assert "burn ¥10.00 a day" in keys.line("lasts: 10 d")
        assert "recharge ¥200" in keys.line("for 30 days")
        await keys.press("up", "right")
        assert "no recharge needed" in keys.line("for 7 days")
        await keys.press("right")
        assert keys.line("Amount  ").split()[2] == "40"
        assert "recharge ¥40" in keys.line("for 14 days")
        await keys.press("down", "5")
        assert "as typed" in keys.line("Amount for")
        await keys.press("enter", "r", "enter")
        assert "¥100.50 → ¥505.50" in keys.line("Available balance")
        assert "Lasts              10 d → 50 d" in keys.screen
        await keys.press("y")
    assert recharge_history(ledger)[0].amount == Decimal(405)


async def test_without_history_no_amount_is_suggested(ledger: Ledger, database_url: str) -> None:
    pool(ledger)
    async with console(database_url) as keys:
        await keys.press("3", "c", "7", "up", "right", "right")
        assert "for 14 days: not enough history" in keys.screen
        assert keys.line("Amount  ").split()[2] == "7"


async def test_details_tell_where_a_pool_is_heading_and_whom_it_would_hit(ledger: Ledger, database_url: str) -> None:
    burn_daily(ledger)
    spend(ledger, "0.5", created_at=datetime.now(UTC), user_id=None)
    pool(ledger)
    pay(ledger, "240.50")
    async with console(database_url, size=(80, 50)) as keys:
        await keys.press("3", "enter")
        assert "¥10.00, by weekday over the last 14 days" in keys.line("Burn per day")
        assert "recharge ¥200" in keys.line("For 30 days")
        assert "7  ¥60.50  gpt-4o" in keys.line("● enabled")
        assert "6  ¥60.00" in keys.line("alice") and "1   ¥0.50" in keys.line("no user")


async def test_thresholds_are_set_by_an_admin_and_act_at_once(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "openai", "100", low_threshold=Decimal("12.5"))
    async with console(database_url) as keys:
        await keys.press("3", "t")
        assert "12.5" in keys.line("Percent")
        await keys.press("enter")
        await keys.type("0")
        assert "greater than 0" in keys.screen
        await keys.press("backspace", *"150", "enter", *"400", "enter")
        assert "between 1 and 365" in keys.screen
        await keys.press("backspace", "enter")
        assert "off → ¥150.00" in keys.line("Amount") and "off → 40" in keys.line("Days left")
        assert get_pool(ledger, "openai").low_amount is None
        await keys.press("y")
        assert "¥100.00" in keys.line("▲ low") and "WARNING" in keys.lines[1]
        assert "openai is low below 12.50% or ¥150.00 or 40 days now." in keys.said
        await keys.press("enter")
        assert "▲ low, below ¥150.00" in keys.line("Status  ")
        await keys.press("escape")
        await keys.press(
            "t", *["backspace"] * 4, "enter", *["backspace"] * 6, "enter", "backspace", "backspace", "enter"
        )
        assert "12.50% → 10.00%" in keys.line("Percent")
        await keys.press("y")
    found = get_pool(ledger, "openai")
    assert (found.own_threshold, found.low_amount, found.low_days) == (None, None, None)
    assert found.status is BalanceStatus.SUFFICIENT
    assert list_alerts(ledger, resolved=False) == ()


async def test_thresholds_are_offered_to_admins_alone(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "openai", "100")
    add_operator(ledger, "bob", Role.OPERATOR)
    async with console(database_url, name="bob", size=(120, 24)) as keys:
        await keys.press("3", "t")
        assert "Thresholds" not in keys.screen


async def test_read_only_offers_and_does_no_write(depleted: Ledger, database_url: str) -> None:
    before = everything(depleted)
    async with console(database_url, read_only=True, size=(120, 24)) as keys:
        await keys.press("3", "c", "n", "H", "v")
        assert "Recharge history of openai" in keys.screen
        assert "Reverse" not in keys.screen
        await keys.press("escape")
        assert "c Recharge" not in keys.screen and "n Check now" not in keys.screen
        await keys.press("question_mark")
        assert "Check now" not in keys.screen
    assert everything(depleted) == before


async def test_hostile_names_stay_text_in_every_dialog(ledger: Ledger, database_url: str) -> None:
    pool(ledger, HOSTILE, "100")
    async with console(database_url, size=(200, 30)) as keys:
        await keys.press("3")
        assert r"[@click=app.quit]x[/]" in keys.screen
        for key in ("enter", "H", "c"):
            await keys.press(key)
            assert "[@click=app.quit]x[/]\\x1b[2J\\u202e" in keys.screen
            assert "\x1b" not in keys.screen and "\u202e" not in keys.screen
            if key != "c":
                await keys.press("escape")
        await keys.press("5", "enter")
        await keys.type(HOSTILE[:5])
        await keys.press("enter", "y")
    assert get_pool(ledger, HOSTILE).total_balance == Decimal(105)


@pytest.mark.parametrize("width", [80, 120])
async def test_every_number_is_whole_and_rows_are_aligned(ledger: Ledger, database_url: str, width: int) -> None:
    pool(ledger, "东京云服务-团队-非常长的名字-第二部分", "1234567.89")
    pool(ledger, "openai", "9200000000")
    async with console(database_url, size=(width, 24)) as keys:
        await keys.press("3")
        assert "¥9,200,000,000.00" in keys.line("openai")
        rows = [line for line in keys.lines if "100.00%" in line]
        assert len(rows) == 2
        assert len({cell_len(row.split("100.00%")[0]) for row in rows}) == 1


async def test_an_overdraft_is_drawn_as_an_empty_bar(ledger: Ledger, database_url: str) -> None:
    pool(ledger, "openai", "1")
    spend(ledger, "500")
    async with console(database_url) as keys:
        await keys.press("3")
        assert "░░░░░░░░  <-999%" in keys.line("■ depleted")
    assert list_pools(ledger)[0].status is BalanceStatus.DEPLETED
