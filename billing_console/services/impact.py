"""Whom an empty pool would hit: the models of the provider in use, and the users who call them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import func, select
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.services.catalogue import require_provider
from billing_console.services.ledger import Ledger
from billing_console.services.models import ModelView, list_models
from billing_console.services.session import reading
from db.schema import DailyCostStat, UsageRecord
from db.statements import table_of

DAYS = 7
"""Business days that are looked at, today included."""

CALLS = 5000
"""Calls of a model that are read at most to find its users; with more, a shorter time is looked at."""

USERS = 10


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model, and its counted calls and their cost in yuan within the last 7 business days."""

    model: ModelView
    calls: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class UserUse:
    """A user's calls of a provider and their cost in yuan; `user_id` None stands for calls without a user."""

    user_id: str | None
    calls: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Impact:
    """What a provider's models did in the last days, the busiest first, and who spent most on them `since` then."""

    models: tuple[ModelUse, ...]
    users: tuple[UserUse, ...]
    since: datetime


def impact(ledger: Ledger, provider_id: str) -> Impact:
    """Return who would be hit if a provider's pool were empty; raise NotFound for an unknown provider.

    Models are counted from the daily statistics. Users have none, so their calls are read, at most 5000 a model: the
    time that is looked at begins so late that no model has more.
    """
    models = list_models(ledger, provider_id)
    first = day_of(ledger.clock(), ledger.timezone) - timedelta(days=DAYS - 1)
    since = start_of(first, ledger.timezone)
    stats = table_of(DailyCostStat).c
    query = select(stats.model_id, func.sum(stats.call_count), func.sum(stats.total_cost))
    query = query.where(stats.stat_date >= first, stats.provider_id == provider_id).group_by(stats.model_id)
    with reading(ledger.database) as session:
        require_provider(session, provider_id)
        found = {model: (int(calls), cost) for model, calls, cost in session.connection().execute(query)}
        since = max((_bounded(session, provider_id, model, since) for model in found), default=since)
        users = _users(session, provider_id, list(found), since)
    uses = [ModelUse(model, *found.get(model.model_id, (0, Decimal(0)))) for model in models]
    return Impact(tuple(sorted(uses, key=lambda use: (-use.cost, -use.calls))), users, since)


def _bounded(session: Session, provider_id: str, model_id: str, since: datetime) -> datetime:
    """Return from when on a model has at most so many calls, by walking that far back in the index."""
    call = table_of(UsageRecord).c
    query = select(call.created_at).where(call.provider_id == provider_id, call.model_id == model_id)
    query = query.where(call.created_at >= since).order_by(call.created_at.desc()).offset(CALLS).limit(1)
    earlier = session.connection().execute(query).scalar_one_or_none()
    return since if earlier is None else earlier + timedelta(microseconds=1)


def _users(session: Session, provider_id: str, models: list[str], since: datetime) -> tuple[UserUse, ...]:
    call = table_of(UsageRecord).c
    cost = func.sum(call.cost_amount)
    query = select(call.user_id, func.count(), cost).group_by(call.user_id)
    query = query.where(call.provider_id == provider_id, call.model_id.in_(models), call.created_at >= since)
    rows = session.connection().execute(query)
    uses = [UserUse(user, int(calls), spent or Decimal(0)) for user, calls, spent in rows]
    return tuple(sorted(uses, key=lambda use: (-use.cost, -use.calls, use.user_id or ""))[:USERS])
