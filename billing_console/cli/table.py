"""Tables for people: as wide as the terminal, text from outside inert; Rich is imported only when one is drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from billing_console.cli.output import Column, View, write
from billing_console.i18n import N_, _
from billing_console.money import shown
from billing_console.services.ledger import Ledger
from billing_console.text import clean
from db.values import ApprovalKind, Outcome, Role
from screens import words

PIPED_WIDTH = 1000
"""Columns of a table that goes to a file or another program: nothing is wrapped there."""

ROLES = {Role.VIEWER: N_("viewer"), Role.OPERATOR: N_("operator"), Role.ADMIN: N_("admin")}
OUTCOMES = {Outcome.DONE: N_("done"), Outcome.REFUSED: N_("refused")}
APPROVAL_KINDS = {
    ApprovalKind.RECHARGE: N_("recharge"),
    ApprovalKind.REVERSAL: N_("reversal"),
    ApprovalKind.GRANT: N_("grant"),
}

NAMES: dict[Any, str] = {
    **words.USAGE_TYPES,
    **words.CALL_STATUSES,
    **words.BALANCE_STATUSES,
    **words.ALERT_TYPES,
    **words.ALERT_LEVELS,
    **words.MODEL_STATUSES,
    **words.UNITS,
    **ROLES,
    **OUTCOMES,
    **APPROVAL_KINDS,
}


def draw(rows: Sequence[View], columns: Sequence[Column[View]], ledger: Ledger) -> None:
    """Draw the rows; what does not fit its column goes on below, so that nothing is lost."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(_(column.title), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(column.value(row), ledger) for column in columns))
    _print(table)


def draw_facts(facts: Iterable[tuple[str, object]], ledger: Ledger) -> None:
    """Draw named facts below each other."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), _cell(value, ledger))
    _print(table)


def _print(table: Table) -> None:
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False)
    with console.capture() as drawn:
        console.print(table)
    write(drawn.get())


def _cell(value: object, ledger: Ledger) -> Text:
    if isinstance(value, StrEnum):
        style, _word = words.STATES.get(value, ("", ""))
        return Text(_(NAMES[value]), style=style)
    return Text(spell(value, ledger))


def spell(value: object, ledger: Ledger) -> str:
    """Spell a value for people: money with its symbol, times in the business time zone, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, Decimal):
        return shown(value, symbol=ledger.symbol)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value.astimezone(ledger.timezone):%Y-%m-%d %H:%M:%S}"
    return value.isoformat() if isinstance(value, date) else clean(str(value))
