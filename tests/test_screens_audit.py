"""The audit log at the keyboard: who did what, what changed, who was refused."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest
from textual.widgets import Input

from billing_console.errors import Refused
from billing_console.services.audit import list_audit
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.quotas import grant_quota
from db.values import LimitName, Role
from screens.dialogs import audit
from screens.widgets.table import RecordTable
from tests.factories import acting, execute, pay, pool, query
from tests.keyboard import Keyboard, console

HOSTILE = "[@click=app.quit]x[/]\x1b[2J\u202e"


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    """A log with changes of two people and a refusal."""
    pool(ledger, "openai", "100")
    wang = acting(ledger, "wang.fang", Role.OPERATOR)
    pay(wang, "50", reference="INV-2")
    set_limit(ledger, LimitName.PER_OPERATION, Decimal(1000))
    with pytest.raises(Refused):
        pay(wang, "5000", reference="INV-3")
    return ledger


def rows(keys: Keyboard) -> list[str]:
    return [entry.action for entry in keys.app.screen.query_one(RecordTable).items]


async def test_everybody_can_read_what_happened_newest_first(told: Ledger, database_url: str) -> None:
    acting(told, "zhao.li", Role.VIEWER)
    async with console(database_url, name="zhao.li", size=(160, 24)) as keys:
        await keys.press("L")
        assert rows(keys) == [entry.action for entry in list_audit(told)]
        line = keys.line("■ refused")
        assert "wang.fang" in line and "pools.recharge" in line and "Most for one recharge" in line
        assert "availableBalance 100.00 → 150.00" in keys.screen


async def test_the_palette_opens_it(told: Ledger, database_url: str) -> None:
    async with console(database_url, size=(80, 60)) as keys:
        assert {"Audit log", "Approvals"} <= {c.title for c in keys.app.get_system_commands(keys.app.screen)}
        await keys.press("question_mark")
        assert "Audit log" in keys.screen


async def test_it_is_as_high_as_the_terminal(told: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("L")
        assert "Audit log" in keys.lines[1]
        assert "Esc Back" in keys.lines[-2]


async def test_a_row_is_shown_whole(told: Ledger, database_url: str) -> None:
    async with console(database_url, size=(80, 40)) as keys:
        await keys.press("L", "j", "j", "enter")
        entry = next(e for e in list_audit(told) if e.operator == "wang.fang" and e.after)
        keys.line("│ Operator  wang.fang")
        assert keys.line("│ availableBalance").split()[3:5] == ["100.00", "150.00"]
        assert keys.line("│ reference").split()[3:5] == ["–", "INV-2"]
        assert f"(uid {entry.uid})" in keys.line("Account")
        for label in ("Login uid", "Terminal", "SSH client", "Host"):
            keys.line(label)
        assert entry.hash[:40] in keys.screen


@pytest.mark.parametrize(
    ("field", "typed", "expected"),
    [
        ("#operator", "wang.fang", ["pools.recharge", "pools.recharge"]),
        ("#action", "limits", ["limits.set"]),
        ("#target", "WANG", ["operators.add"]),
        ("#start", "2999-01-01", []),
    ],
)
async def test_the_filter_narrows_the_rows_and_escape_widens_them(
    told: Ledger, database_url: str, field: str, typed: str, expected: list[str]
) -> None:
    async with console(database_url) as keys:
        await keys.press("L", "slash")
        keys.app.screen.query_one(field, Input).focus()
        await keys.type(typed)
        await keys.press("enter")
        assert rows(keys) == expected
        assert "Filter: " in keys.screen and typed in keys.line("Filter: ")
        assert expected or "Nothing matches the filter" in keys.screen
        await keys.press("escape")
        assert len(rows(keys)) == len(list_audit(told))
        assert "Filter: " not in keys.screen
        await keys.press("escape")
        assert len(keys.app.screen_stack) == 1


async def test_the_end_of_an_empty_list_is_no_row(told: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("L", "slash")
        await keys.type("nobody")
        await keys.press("enter", "end", "escape")
        assert rows(keys) == [entry.action for entry in list_audit(told)]


async def test_refusals_alone(told: Ledger, database_url: str) -> None:
    async with console(database_url) as keys:
        await keys.press("L", "slash", "down", "down", "down", "left", "enter")
        assert rows(keys) == ["pools.recharge"]
        assert "refused" in keys.line("Filter: ")


async def test_it_turns_pages_at_the_end(ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE", 30)
    for number in range(70):
        grant_quota(ledger, "alice", Decimal(1), reference=f"r{number}")
    everything = [entry.id for entry in list_audit(ledger, limit=None)]
    async with console(database_url) as keys:
        await keys.press("L")
        assert len(rows(keys)) == 30
        for _page in range(4):
            await keys.press("G")
        shown = keys.app.screen.query_one(RecordTable)
        assert [entry.id for entry in shown.items] == everything
        await keys.press("G")
        assert shown.current is not None and shown.current.id == 1


async def test_what_is_exported_is_whole(told: Ledger, database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"
    async with console(database_url) as keys:
        await keys.press("L", "e")
        keys.app.screen.query_one("#path", Input).value = str(file)
        await keys.press("enter")
        assert "rows written" in keys.said
    with file.open(newline="") as lines:
        written = list(csv.DictReader(lines))
    assert [row["hash"] for row in written] == [entry.hash for entry in list_audit(told, limit=None)]
    assert written[0]["outcome"] == "refused" and written[0]["sshClient"] == ""


async def test_hostile_and_damaged_rows_stay_text(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    grant_quota(sqlite_ledger, HOSTILE, Decimal(5), reference=HOSTILE)
    for trigger in _triggers(sqlite_ledger):
        execute(sqlite_ledger, f"DROP TRIGGER {trigger}")
    execute(sqlite_ledger, "UPDATE audit_log SET after = '[1, {\"a\"' WHERE id = 1")
    execute(sqlite_ledger, "UPDATE audit_log SET after = '[1]', before = '{\"x\": [1.50, true, null]}' WHERE id = 2")
    async with console(sqlite_url, size=(120, 40)) as keys:
        await keys.press("L")
        assert "[@click=app.quit]x[/]" in keys.line("quotas.grant")
        for _row in list_audit(sqlite_ledger):
            await keys.press("enter")
            assert "of the audit log" in keys.screen
            assert "\x1b" not in keys.screen and "\u202e" not in keys.screen
            await keys.press("escape", "j")


def _triggers(ledger: Ledger) -> list[str]:
    found = query(ledger, "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log'")
    return [name for (name,) in found]
