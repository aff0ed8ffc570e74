"""Text from outside in every column of every CSV file: nothing in it is a formula, and it comes back as it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Integer, Text, func, select
from sqlmodel import Session, SQLModel
from textual.widgets import Input

import db.values
from billing_console import wire
from billing_console.cli.program import command as command_line
from billing_console.errors import InvalidInput
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.models import set_model_enabled
from billing_console.services.pools import open_pool
from billing_console.services.quotas import grant_quota
from billing_console.services.recharges import recharge, reverse_recharge
from billing_console.services.settlement import settle
from db.schema import (
    ApiToken,
    ApprovalDecision,
    ApprovalRequest,
    AuditEntry,
    BalanceAlert,
    Model,
    Operator,
    Price,
    Provider,
    QuotaGrant,
    Recharge,
    ResourcePool,
    UsageRecord,
    UserQuota,
)
from db.statements import table_of
from db.types import FixedPoint
from db.values import AlertLevel, AlertType, ApprovalKind, CallStatus, Outcome, PriceUnit, Role, Scope, UsageType
from tests.commands import Commands
from tests.conftest import OpenLedger
from tests.factories import NOON, price, query, set_up, usage
from tests.keyboard import console

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠", "|", "%")
BEFORE = ("", " ", "   ", "\u3000", "\xa0", '"', "'", "' \"", "\u200d")
"""What spreadsheets trim, or drop, before they look at a cell."""

BODY = "cmd|' /C calc'!A0"
PAYLOADS = tuple(f"{before}{start}{BODY}" for before in BEFORE for start in STARTS)
TRIMMED = ' \t\r\n\u3000\xa0"\0\u200d'
PLAIN = re.compile(r"-?\d+(\.\d+)?")

LISTS: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "usage list": (wire.USAGE, ("--limit", "5000")),
    "usage export": (wire.USAGE, ("-",)),
    "costs": (wire.COST, ("--from", "2026-03-01", "--to", "2026-03-31")),
    "pools list": (wire.OUTLOOK, ("--all",)),
    "pools history": (wire.RECHARGE, ("--limit", "5000")),
    "alerts list": (wire.ALERT, ("--limit", "5000")),
    "quotas list": (wire.QUOTA, ()),
    "models list": (wire.MODEL, ()),
    "prices list": (wire.PRICE, ("--all",)),
    "reconcile": (wire.FINDING, ()),
    "operators list": (wire.OPERATOR, ()),
    "tokens list": (wire.TOKEN, ()),
    "limits list": (wire.LIMIT, ()),
    "budgets list": (wire.BUDGET, ()),
    "approvals list": (wire.APPROVAL, ("--all", "--limit", "5000")),
    "audit list": (wire.AUDIT, ("--limit", "9000")),
    "audit verify": (wire.AUDIT_FINDING, ()),
}
"""Every command that writes CSV, with the fields it writes and what makes it write all."""

FINDINGS = ("reconcile", "audit verify")
"""Lists of what is wrong, which rows past the services are; these end with 1."""

NEVER_CSV = (
    "ANCHOR",
    "ARCHIVED",
    "BACKED_UP",
    "GRANT",
    "HOLD",
    "IMPORTED",
    "MAINTAINED",
    "PERIODIC",
    "POOL",
    "PRICES_ADDED",
    "REPRICED",
    "RESTORED",
    "SETTLED",
)
"""Records that only JSON has: parts of one thing, and results."""

OF_OUR_OWN = {"budgetStatus", "cursor", "what", "stored", "computed", "state", "problem"}
"""Text that the program itself makes."""

VOCABULARY = {
    word.value
    for words in vars(db.values).values()
    if isinstance(words, type) and issubclass(words, StrEnum)
    for word in words
}


def runs(cell: str) -> bool:
    """Whether a spreadsheet would take a cell for more than text or a number; an apostrophe makes it text."""
    return not PLAIN.fullmatch(cell) and (cell[:1] in tuple("\t\r\n\0") or cell.lstrip(TRIMMED)[:1] in STARTS)


# Hostile text wherever it can get


def _row(session: Session, model: type[SQLModel], text: str, **fixed: Any) -> None:
    """One row past the services, with the text in every column that takes text."""
    row: dict[str, Any] = {}
    for column in table_of(model).columns:
        if column.name in fixed:
            row[column.name] = fixed[column.name]
        elif isinstance(column.type, Text):
            row[column.name] = text
        elif column.nullable or column.server_default is not None or column.name == "id":
            continue
        else:
            row[column.name] = _filling(column.type)
    session.connection().execute(table_of(model).insert().values(row))


def _filling(kind: Any) -> object:
    return Decimal(7) if isinstance(kind, FixedPoint) else 7 if isinstance(kind, Integer) else NOON


def _past_the_services(session: Session, text: str, number: int) -> None:
    kind = UsageType.TEXT_GENERATION.value
    _row(session, Provider, text)
    _row(session, Model, text, disabled_at=NOON)
    _row(session, ResourcePool, text, opened_at=NOON)
    _row(session, Price, text, usage_type=kind, unit=PriceUnit.MILLION_TOKENS.value)
    _row(session, Recharge, text, reverses_id=None)
    _row(
        session,
        BalanceAlert,
        text,
        alert_type=AlertType.LOW_BALANCE.value,
        alert_level=AlertLevel.WARNING.value,
        resolved_at=NOON if number % 2 else None,
    )
    _row(session, UserQuota, text, granted_amount=Decimal(7))
    _row(session, QuotaGrant, text)
    _row(session, Operator, text, role=Role.VIEWER.value)
    _row(session, ApiToken, text, scopes=Scope.READ.value)
    _row(session, ApprovalRequest, text, kind=ApprovalKind.RECHARGE.value)
    requested = session.connection().execute(select(func.max(table_of(ApprovalRequest).c.id))).scalar_one()
    _row(session, ApprovalDecision, text, request_id=requested, approved=number % 2 == 0)
    log = table_of(AuditEntry)
    last = session.connection().execute(select(log.c.id, log.c.hash).order_by(log.c.id.desc()).limit(1)).one()
    _row(session, AuditEntry, text, id=last.id + 1, previous_hash=last.hash, outcome=Outcome.REFUSED.value)
    _row(session, UsageRecord, text, usage_type=kind, status=CallStatus.FAILED.value, cost_amount=Decimal(0))


def _through_the_services(ledger: Ledger, text: str) -> bool:
    """The same by the services; tells whether they take the text as it is."""
    call = usage(
        provider_id=text,
        model_id=text,
        user_id=text,
        request_id=text,
        usage_type=UsageType.IMAGE_GENERATION,
        quantity=Decimal("0.000001"),
        input_tokens=0,
        output_tokens=0,
        status=CallStatus.FAILED,
        error_message=text,
    )
    try:
        record_usage(ledger, [replace(call)])
    except InvalidInput:
        return False
    if text != text.strip():
        return False
    open_pool(ledger, text, name=text)
    price(ledger, provider_id=text, model_id=text, usage_type=UsageType.IMAGE_GENERATION, unit=None)
    paid = recharge(ledger, text, Decimal("12.5"), reference=text, note=text, key=text)
    reverse_recharge(ledger, paid.id, reason=text)
    set_model_enabled(ledger, text, text, False, reason=text)
    grant_quota(ledger, text, Decimal(3), reference=text, key=text)
    return True


@pytest.fixture
def hostile(database_url: str, opened: OpenLedger) -> Ledger:
    """A ledger with each of the texts in every column of text; PostgreSQL has no NUL."""
    ledger = opened(database_url, durable=False)
    accepted = sum(_through_the_services(ledger, text) for text in PAYLOADS)
    assert accepted >= 50
    with ledger.database.writing() as session:
        for number, text in enumerate(PAYLOADS):
            if "\0" not in text or ledger.database.is_sqlite:
                _past_the_services(session, f"{text} {number}", number)
    settle(ledger)
    return ledger


# What comes out


def _commands(group: Any, path: str = "") -> Iterator[str]:
    """Every command that can write CSV, by walking through the program's own; an import only reads it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path}{name} ")
        elif name != "import":
            choices = (getattr(each.type_descriptor, "choices", None) or () for each in command.params)
            if any("csv" in map(str, each) for each in choices):
                yield f"{path}{name}"


def test_every_list_and_every_record_is_known_here() -> None:
    assert set(_commands(command_line())) == set(LISTS)
    records = {name: fields for name, fields in vars(wire).items() if name.isupper() and isinstance(fields, Mapping)}
    listed = [fields for fields, _options in LISTS.values()]
    assert {name for name, fields in records.items() if fields not in listed} == set(NEVER_CSV)


def test_no_cell_is_a_formula_and_numbers_are_numbers(hostile: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    commands = Commands(hostile.database.url.render_as_string(hide_password=False), capsys)
    cells = negative = 0
    for name, (fields, options) in LISTS.items():
        answer = commands(*name.split(), *options, "--format", "csv")
        assert answer.code == (1 if name in FINDINGS else 0)
        header, *rows = csv.reader(io.StringIO(answer.out))
        assert header == list(fields) and len(rows) > (0 if fields is wire.LIMIT else 50)
        assert [cell for row in rows for cell in row if runs(cell)] == []
        cells += len(rows) * len(header)
        exact = commands(*name.split(), *options, "--format", "jsonl").jsonl
        for position, column in enumerate(header):
            column_cells = [row[position] for row in rows]
            _is_of_one_kind(column, column_cells, [record[column] for record in exact])
            negative += any(cell.startswith("-") for cell in column_cells)
    print(f"csv on {hostile.database.engine.dialect.name}: {cells} cells, {len(PAYLOADS)} texts, 0 formulas")
    assert negative


def _is_of_one_kind(column: str, cells: list[str], values: list[Any]) -> None:
    """Numbers in plain decimals, times, words of ours, or text from outside, which then must have been tried."""
    given = [(cell, value) for cell, value in zip(cells, values, strict=True) if value is not None]
    numeric = [PLAIN.fullmatch(str(value)) or isinstance(value, (int, float)) for _cell, value in given]
    if column in OF_OUR_OWN or all(value in VOCABULARY or isinstance(value, bool) for _cell, value in given):
        return
    if all(numeric):
        assert all(PLAIN.fullmatch(cell) for cell, _value in given), column
        assert all(Decimal(cell) == Decimal(str(value)) for cell, value in given), column
    elif not all(_is_time(cell) for cell, _value in given):
        assert sum(BODY in cell for cell, _value in given) > 50, f"{column}: nothing hostile was put there"


def _is_time(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        return False
    return True


async def test_no_cell_of_a_file_the_console_writes_is_a_formula(
    sqlite_url: str, opened: OpenLedger, tmp_path: Path
) -> None:
    ledger = opened(sqlite_url, durable=False)
    with ledger.database.writing() as session:
        for position, text in enumerate(PAYLOADS):
            if "\0" not in text:
                _past_the_services(session, f"{text} {position}", position)
    # Of today too, which is what the tabs begin with.
    now = ledger.clock() - timedelta(hours=1)
    texts = [text for text in PAYLOADS if text == text.strip() and "\0" not in text]
    record_usage(ledger, [usage(provider_id=text, model_id=text, user_id=text, created_at=now) for text in texts])
    settle(ledger)
    async with console(sqlite_url) as keys:
        for number in "123456":
            file = tmp_path / f"{number}.csv"
            await keys.press(number, "e")
            keys.app.screen.query_one("#path", Input).value = str(file)
            await keys.press("enter")
            rows = list(csv.reader(io.StringIO(file.read_text())))
            assert sum(BODY in cell for row in rows for cell in row) > 20
            assert [cell for row in rows for cell in row if runs(cell)] == []


# What comes back


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_that_is_imported_again_is_the_same(
    form: str, hostile: Ledger, capsys: pytest.CaptureFixture[str], tmp_path: Path, opened: OpenLedger
) -> None:
    """Ids with blanks around them are beyond every import, which trims, and control characters beyond CSV."""
    commands = Commands(hostile.database.url.render_as_string(hide_password=False), capsys)
    file = tmp_path / f"usage.{form}"
    assert commands("usage", "export", str(file)).code == 0
    set_up(f"sqlite:///{tmp_path / 'second.db'}")
    second = Commands(f"sqlite:///{tmp_path / 'second.db'}", capsys)
    answer = second("usage", "import", str(file), "--summary", "json", "--rejects", str(tmp_path / "rejects"))
    assert answer.json["imported"] > 100
    columns = "provider_id, request_id, model_id, user_id, error_message"
    sql = f"SELECT {columns} FROM usage_records"
    ours = {row for row in query(hostile, sql) if _comes_back(row, form)}
    theirs = set(query(opened(second.url), sql))
    assert len(ours) > 50 and ours - theirs == set()
    again = second("usage", "import", str(file), "--summary", "json", "--rejects", str(tmp_path / "rejects"))
    assert again.json["imported"] == 0


def _comes_back(row: tuple[str, ...], form: str) -> bool:
    return all(
        text == text.strip() and "\0" not in text and (form == "jsonl" or not set(text) & set("\t\r\n\u200d"))
        for text in row
    )
