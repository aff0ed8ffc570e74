"""Where an audit log begins: it vouches for everything that is in the ledger by then."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select
from sqlmodel import Session

from billing_console.services import states
from billing_console.services.audit import Trail
from billing_console.services.facts import KINDS
from db.schema import UsageOutbox, UsageRecord
from db.statements import table_of


def everything_so_far(session: Session) -> Trail:
    """Return a trail that names every fact and every decision; usage that waits in the outbox is vouched for later."""
    trail = Trail("")
    records, waiting = table_of(UsageRecord), table_of(UsageOutbox).c.usage_id
    for name, kind in KINDS.items():
        conditions: list[ColumnElement[bool]] = []
        if kind.table is records:
            conditions.append(~select(waiting).where(waiting == records.c.id).exists())
            if "cost_amount" in kind.columns:
                conditions.append(records.c.cost_amount.is_not(None))
        for rows in kind.read(session, *conditions):
            trail.facts_of(name, rows)
    for name, decided in states.current(session).items():
        for thing, state in decided.items():
            trail.state(name, thing, state)
    trail.note(None, {name: len(decided) for name, decided in trail.states.items()})
    return trail
