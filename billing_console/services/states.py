"""What people decided and can decide again: operators, limits, budgets, thresholds, disabled models, periodic quotas,
acknowledged alerts and tokens; what stands for archived usage; and, decided once, the ledger's currency and time zone.

The audit log vouches for each decision, so the newest row about a thing must agree with what the tables say of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlmodel import Session, col
from sqlmodel import select as select_model

from billing_console.services import alerts, archived, budgets, limits, models, periodic_quotas, roles, tokens
from billing_console.services.audit import State
from billing_console.services.pools import THRESHOLDS, threshold_states
from db.schema import ApiToken, Budget, LedgerInfo, Limit, Model, Operator, PeriodicQuota


def _operators(session: Session) -> dict[str, State]:
    return {row.name: roles.state_of(row) for row in session.exec(select_model(Operator))}


def _limits(session: Session) -> dict[str, State]:
    return {row.name: limits.state_of(row.amount) for row in session.exec(select_model(Limit))}


def _budgets(session: Session) -> dict[str, State]:
    return {row.provider_id: budgets.state_of(row.amount) for row in session.exec(select_model(Budget))}


def _ledger_info(session: Session) -> dict[str, State]:
    """What every amount and every day of the ledger is to be read in; decided once, when it is set up."""
    rows = {row.name: row.value for row in session.exec(select_model(LedgerInfo))}
    return {name: rows[name] for name in ("business_timezone", "currency") if name in rows}


def _models(session: Session) -> dict[str, State]:
    disabled = select_model(Model).where(col(Model.disabled_at).is_not(None))
    return {f"{row.provider_id} {row.model_id}": models.state_of(row) for row in session.exec(disabled)}


def _periodic_quotas(session: Session) -> dict[str, State]:
    return {row.user_id: periodic_quotas.state_of(row) for row in session.exec(select_model(PeriodicQuota))}


def _tokens(session: Session) -> dict[str, State]:
    in_force = select_model(ApiToken).where(col(ApiToken.revoked_at).is_(None))
    return {row.name: tokens.state_of(row) for row in session.exec(in_force)}


READERS: dict[str, Callable[[Session], dict[str, State]]] = {
    "ledger_info": _ledger_info,
    "operators": _operators,
    "limits": _limits,
    "budgets": _budgets,
    "models": _models,
    "periodic_quotas": _periodic_quotas,
    **{decision: partial(threshold_states, kind=kind) for kind, (_c, _n, decision) in THRESHOLDS.items()},
    "acknowledgements": alerts.acknowledgements,
    "tokens": _tokens,
    "archived": archived.sums,
}


def current(session: Session) -> dict[str, dict[str, State]]:
    """Return every decision as it stands in the tables, by kind and name."""
    return {kind: read(session) for kind, read in READERS.items()}
