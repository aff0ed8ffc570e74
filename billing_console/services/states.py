"""What people decided and can decide again: operators, limits, thresholds, disabled models, tokens;
and its currency and time zone, once.

The audit log vouches for each decision, so the newest row about a thing must agree with what the tables say of it.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlmodel import Session, col
from sqlmodel import select as select_model

from billing_console.money import plain
from billing_console.services import limits, models, roles, tokens
from billing_console.services.audit import State
from db.schema import ApiToken, LedgerInfo, Limit, Model, Operator, ResourcePool
from db.statements import table_of


def _operators(session: Session) -> dict[str, State]:
    return {row.name: roles.state_of(row) for row in session.exec(select_model(Operator))}


def _limits(session: Session) -> dict[str, State]:
    return {row.name: limits.state_of(row.amount) for row in session.exec(select_model(Limit))}


def _ledger_info(session: Session) -> dict[str, State]:
    """What every amount and every day of the ledger is to be read in; decided once, when it is set up."""
    rows = {row.name: row.value for row in session.exec(select_model(LedgerInfo))}
    return {name: rows[name] for name in ("business_timezone", "currency") if name in rows}


def _thresholds(session: Session) -> dict[str, State]:
    column = table_of(ResourcePool).c
    query = select(column.provider_id, column.low_threshold).where(column.low_threshold.is_not(None))
    return {provider: plain(percent) for provider, percent in session.connection().execute(query)}


def _models(session: Session) -> dict[str, State]:
    disabled = select_model(Model).where(col(Model.disabled_at).is_not(None))
    return {f"{row.provider_id} {row.model_id}": models.state_of(row) for row in session.exec(disabled)}


def _tokens(session: Session) -> dict[str, State]:
    in_force = select_model(ApiToken).where(col(ApiToken.revoked_at).is_(None))
    return {row.name: tokens.state_of(row) for row in session.exec(in_force)}


READERS: dict[str, Callable[[Session], dict[str, State]]] = {
    "ledger_info": _ledger_info,
    "operators": _operators,
    "limits": _limits,
    "thresholds": _thresholds,
    "models": _models,
    "tokens": _tokens,
}


def current(session: Session) -> dict[str, dict[str, State]]:
    """Return every decision as it stands in the tables, by kind and name."""
    return {kind: read(session) for kind, read in READERS.items()}
