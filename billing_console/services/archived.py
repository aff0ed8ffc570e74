"""What stands in the ledger for usage records that were moved to files: their sums, and their requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlmodel import Session

from billing_console.money import plain
from db.schema import ArchivedCost, ArchivedRequest, ArchivedStat
from db.statements import one_of_pairs, table_of

if TYPE_CHECKING:
    from billing_console.services.audit import State

KEYS = ("stat_date", "provider_id", "model_id", "usage_type")
SUMS = ("total_usage", "total_cost", "call_count", "failed_count")


def archived_pool_costs(session: Session) -> dict[str, Decimal]:
    """Return what the archived records of each provider cost, in yuan."""
    stats = table_of(ArchivedStat).c
    query = select(stats.provider_id, func.sum(stats.total_cost)).group_by(stats.provider_id)
    return {provider: cost for provider, cost in session.connection().execute(query)}


def archived_user_costs(session: Session) -> dict[str, Decimal]:
    """Return what the archived records of each user cost, in yuan."""
    return {user: cost for user, cost in session.connection().execute(select(table_of(ArchivedCost)))}


def archived_stats(session: Session) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return what the archived records add to the daily statistics, by the keys of these."""
    stats = table_of(ArchivedStat).c
    rows = session.connection().execute(select(*(stats[name] for name in (*KEYS, *SUMS))))
    return {tuple(row[: len(KEYS)]): tuple(row[len(KEYS) :]) for row in rows}


def archived_requests(session: Session, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], datetime]:
    """Return when those of these requests were made whose record is archived, by provider and request id."""
    if not keys:
        return {}
    columns = table_of(ArchivedRequest).c
    query = select(columns.provider_id, columns.request_id, columns.created_at)
    query = query.where(one_of_pairs(session, columns.provider_id, columns.request_id, keys))
    return {(provider, request): at for provider, request, at in session.connection().execute(query)}


def sums(session: Session) -> dict[str, State]:
    """Return a digest of the sums, for the audit log to vouch for; nothing where nothing is archived."""
    found: dict[str, Any] = {
        "stats": {json.dumps(key, default=str): value for key, value in archived_stats(session).items()},
        "costs": archived_user_costs(session),
    }
    return {name: _digest(values) for name, values in found.items() if values}


def _digest(values: dict[str, Any]) -> str:
    spelled = json.dumps(values, sort_keys=True, default=lambda value: plain(value))
    return hashlib.sha256(spelled.encode()).hexdigest()
