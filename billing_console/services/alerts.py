"""Balance alerts, open and past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import case
from sqlmodel import Session, col, select

from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from db.schema import BalanceAlert, Provider
from db.values import AlertLevel, AlertType


@dataclass(frozen=True, slots=True)
class AlertView:
    """An alert as the last check left it; `available_balance` in yuan, `resolved_at` None while it is open."""

    id: int
    provider_id: str
    provider_name: str
    alert_type: AlertType
    alert_level: AlertLevel
    balance_percentage: Decimal
    available_balance: Decimal
    created_at: datetime
    updated_at: datetime
    resolved_at: datetime | None

    @property
    def is_resolved(self) -> bool:
        """Tell whether the alert is over."""
        return self.resolved_at is not None


def list_alerts(
    ledger: Ledger, *, resolved: bool | None = None, provider_id: str | None = None, limit: int | None = 200
) -> tuple[AlertView, ...]:
    """List alerts: open ones first, critical before warning, then the newest."""
    alert = BalanceAlert
    query = select(alert, Provider.name).join(Provider, col(Provider.provider_id) == col(alert.provider_id))
    if resolved is not None:
        open_or_not = col(alert.resolved_at).is_not(None) if resolved else col(alert.resolved_at).is_(None)
        query = query.where(open_or_not)
    if provider_id is not None:
        query = query.where(alert.provider_id == provider_id)
    query = query.order_by(
        case((col(alert.resolved_at).is_(None), 0), else_=1),
        case((col(alert.resolved_at).is_(None) & (col(alert.alert_level) == AlertLevel.CRITICAL.value), 0), else_=1),
        col(alert.created_at).desc(),
        col(alert.id).desc(),
    )
    if limit is not None:
        query = query.limit(limit)
    with reading(ledger.database) as session:
        return tuple(view_of(row, name) for row, name in session.exec(query))


def open_alert(session: Session, provider_id: str) -> BalanceAlert | None:
    """Return a pool's open alert; the database lets no second one exist."""
    query = select(BalanceAlert).where(BalanceAlert.provider_id == provider_id, col(BalanceAlert.resolved_at).is_(None))
    return session.exec(query).first()


def view_of(alert: BalanceAlert, provider_name: str) -> AlertView:
    """Copy an alert row into the frozen form that leaves the services."""
    if alert.id is None:
        raise ValueError("an alert has an id once it is stored")
    return AlertView(
        id=alert.id,
        provider_id=alert.provider_id,
        provider_name=provider_name,
        alert_type=AlertType(alert.alert_type),
        alert_level=AlertLevel(alert.alert_level),
        balance_percentage=alert.balance_percentage,
        available_balance=alert.available_balance,
        created_at=alert.created_at,
        updated_at=alert.updated_at,
        resolved_at=alert.resolved_at,
    )
