"""Where an audit log begins: it vouches for everything that is in the ledger by then."""

from __future__ import annotations

from sqlalchemy import select
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
        query = select(*(kind.table.c[column] for column in kind.held)).order_by(kind.table.c[kind.key])
        if kind.table is records:
            query = query.where(~select(waiting).where(waiting == records.c.id).exists())
            if "cost_amount" in kind.columns:
                query = query.where(records.c.cost_amount.is_not(None))
        for row in session.connection().execute(query.execution_options(yield_per=2000)):
            trail.fact(name, dict(row._mapping))
    for name, decided in states.current(session).items():
        for thing, state in decided.items():
            trail.state(name, thing, state)
    trail.note(None, {name: len(decided) for name, decided in trail.states.items()})
    return trail
