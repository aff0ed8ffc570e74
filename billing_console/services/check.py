"""The pool check: the one function behind the scheduler, “check now”, every recharge and check-pools."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from sqlmodel import Session, col, select

from billing_console.services.actions import Action
from billing_console.services.alerts import AlertView, open_alert, withdraw_acknowledgement
from billing_console.services.alerts import view_of as alert_view
from billing_console.services.audit import Trail
from billing_console.services.catalogue import require_provider
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.pools import PoolView, lock_pool, no_pool, unsettled
from billing_console.services.pools import view_of as pool_view
from billing_console.services.session import reading
from db.schema import BalanceAlert, Provider, ResourcePool
from db.values import AlertLevel, AlertType, BalanceStatus

ALERT_FOR = {
    BalanceStatus.LOW: (AlertType.LOW_BALANCE, AlertLevel.WARNING),
    BalanceStatus.DEPLETED: (AlertType.INSUFFICIENT_BALANCE, AlertLevel.CRITICAL),
}
"""Which alert a pool's status calls for (DESIGN.md, section 5)."""


@dataclass(frozen=True, slots=True)
class PoolCheck:
    """A checked pool, its alert, and what the check did to it: raised, escalated, eased, resolved, or nothing."""

    pool: PoolView
    alert: AlertView | None
    change: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """A pool, its open alert and the usage that waits, as a check finds them, and what the check changes."""

    pool: PoolView
    alert: BalanceAlert | None
    waiting: dict[str, Decimal]
    change: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found; `skipped` counts the pools that somebody else checked recently enough."""

    checked_at: datetime
    pools: tuple[PoolCheck, ...]
    skipped: int


def check_pools(
    ledger: Ledger,
    provider_id: str | None = None,
    *,
    dry_run: bool = False,
    if_older_than: timedelta | None = None,
) -> CheckReport:
    """Check every pool, or one, each in its own transaction with its row locked; so many may do so at once.

    A dry run says what a check would do and writes nothing. `if_older_than` skips pools checked more recently.
    Raises NotFound for an unknown provider, Refused for one without a pool.
    """
    now = ledger.clock()
    checks: list[PoolCheck | None] = []
    providers = _pools_to_check(ledger, provider_id)
    for provider in providers:
        if dry_run:
            with reading(ledger.database) as session:
                seen = _look(session, ledger, session.get_one(ResourcePool, provider))
                checks.append(_report(seen.pool, seen.alert, seen.change))
        else:
            work = partial(_check_locked, ledger=ledger, provider_id=provider, if_older_than=if_older_than)
            checks.append(change(ledger, Action.POOL_CHECK, provider, work))
    pools = tuple(check for check in checks if check is not None)
    return CheckReport(checked_at=now, pools=pools, skipped=len(providers) - len(pools))


def _pools_to_check(ledger: Ledger, provider_id: str | None) -> list[str]:
    with reading(ledger.database) as session:
        query = select(ResourcePool.provider_id).where(col(ResourcePool.opened_at).is_not(None))
        opened = list(session.exec(query.order_by(ResourcePool.provider_id)))
        if provider_id is None:
            return opened
        require_provider(session, provider_id)
        if provider_id not in opened:
            raise no_pool(provider_id)
        return [provider_id]


def _check_locked(
    session: Session, trail: Trail, ledger: Ledger, provider_id: str, if_older_than: timedelta | None
) -> PoolCheck | None:
    pool = lock_pool(session, provider_id)
    now = ledger.clock()
    if if_older_than is not None and pool.last_check_at is not None:
        age = now - pool.last_check_at
        if timedelta(0) <= age < if_older_than:
            return None
    was_suspended = pool.suspended_at is not None
    checked = apply_check(session, ledger, pool, trail)
    if checked.change:
        trail.note(
            {"suspended": was_suspended},
            {
                "alert": checked.change,
                "status": checked.pool.status,
                "availableBalance": checked.pool.available_balance,
                "suspended": checked.pool.suspended_at is not None,
            },
        )
    return checked


def apply_check(session: Session, ledger: Ledger, pool: ResourcePool, trail: Trail) -> PoolCheck:
    """Bring the alert and the suspension of a locked pool in line with its balance, inside the caller's transaction.

    Models that a person disabled are never touched: their suspension is a fact of the pool. The trail is told of an
    acknowledgement that ends; to note the rest is the caller's.
    """
    now = ledger.clock()
    seen = _look(session, ledger, pool)
    status, alert = seen.pool.status, seen.alert
    wanted = ALERT_FOR.get(status) if status else None
    # Clocks differ and are set back: an alert does not end before the check that last saw it.
    seen_at = now if alert is None else max(now, alert.updated_at)
    if wanted is None:
        if alert is not None:
            alert.resolved_at = alert.updated_at = seen_at
    else:
        found = _described(wanted, seen.pool)
        if alert is None:
            alert = BalanceAlert(provider_id=pool.provider_id, created_at=now, updated_at=now, **found)
            session.add(alert)
        elif any(getattr(alert, name) != value for name, value in found.items()):
            alert.sqlmodel_update(found | {"updated_at": seen_at})
        if seen.change == "escalated":
            withdraw_acknowledgement(alert, trail)
    pool.suspended_at = (pool.suspended_at or now) if status is BalanceStatus.DEPLETED else None
    pool.last_check_at = now
    session.flush()
    view = pool_view(session, ledger, pool, seen.pool.provider_name, seen.waiting)
    return _report(view, alert, seen.change)


def _described(wanted: tuple[AlertType, AlertLevel], pool: PoolView) -> dict[str, Any]:
    return {
        "alert_type": wanted[0].value,
        "alert_level": wanted[1].value,
        "balance_percentage": pool.balance_percentage,
        "available_balance": pool.available_balance,
    }


def _look(session: Session, ledger: Ledger, pool: ResourcePool) -> _Seen:
    name = session.exec(select(Provider.name).where(Provider.provider_id == pool.provider_id)).one()
    waiting = unsettled(session, pool.provider_id)
    view = pool_view(session, ledger, pool, name, waiting)
    alert = open_alert(session, pool.provider_id)
    wanted = ALERT_FOR.get(view.status) if view.status else None
    if wanted is None:
        change = "resolved" if alert else ""
    elif alert is None:
        change = "raised"
    elif alert.alert_type == wanted[0]:
        change = ""
    else:
        change = "escalated" if wanted[1] is AlertLevel.CRITICAL else "eased"
    return _Seen(view, alert, waiting, change)


def _report(pool: PoolView, alert: BalanceAlert | None, change: str) -> PoolCheck:
    return PoolCheck(pool, None if alert is None else alert_view(alert, pool.provider_name), change)
