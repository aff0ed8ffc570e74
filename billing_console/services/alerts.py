"""Balance alerts, open and past, and who has taken notice of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import case
from sqlmodel import Session, col, select

from billing_console.clock import iso
from billing_console.errors import NotFound, Refused
from billing_console.i18n import _
from billing_console.services.actions import Action
from billing_console.services.audit import State, Trail
from billing_console.services.catalogue import require_provider
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.paging import Part, part_of
from billing_console.services.pools import lock_pool
from billing_console.services.session import reading
from billing_console.text import clean
from db.schema import BalanceAlert, Provider
from db.values import AlertLevel, AlertType


@dataclass(frozen=True, slots=True)
class AlertView:
    """An alert as the last check left it; `available_balance` in yuan, `resolved_at` None while it is open.

    Acknowledged means that somebody has taken notice of it as it is; only a check resolves it.
    """

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
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None

    @property
    def is_resolved(self) -> bool:
        """Tell whether the alert is over."""
        return self.resolved_at is not None


def list_alerts(
    ledger: Ledger, *, resolved: bool | None = None, provider_id: str | None = None, limit: int | None = 200
) -> tuple[AlertView, ...]:
    """List alerts: open ones first, critical before warning, then those nobody has acknowledged, then the newest."""
    query = _listed(resolved, provider_id)
    if limit is not None:
        query = query.limit(limit)
    with reading(ledger.database) as session:
        return tuple(view_of(row, name) for row, name in session.exec(query))


def alert_page(
    ledger: Ledger, *, resolved: bool | None = None, provider_id: str | None = None, limit: int, offset: int = 0
) -> Part[AlertView]:
    """Return the alerts after the first `offset` of `list_alerts`; raise NotFound for an unknown provider."""
    with reading(ledger.database) as session:
        if provider_id is not None:
            require_provider(session, provider_id)
        rows, total = part_of(session, _listed(resolved, provider_id), limit, offset)
        return Part(tuple(view_of(row, name) for row, name in rows), total)


def _listed(resolved: bool | None, provider_id: str | None) -> Any:
    alert = BalanceAlert
    query = select(alert, Provider.name).join(Provider, col(Provider.provider_id) == col(alert.provider_id))
    is_open = col(alert.resolved_at).is_(None)
    if resolved is not None:
        query = query.where(~is_open if resolved else is_open)
    if provider_id is not None:
        query = query.where(alert.provider_id == provider_id)
    return query.order_by(
        case((is_open, 0), else_=1),
        case((is_open & (col(alert.alert_level) == AlertLevel.CRITICAL.value), 0), else_=1),
        case((is_open & col(alert.acknowledged_at).is_(None), 0), else_=1),
        col(alert.created_at).desc(),
        col(alert.id).desc(),
    )


def acknowledge_alert(ledger: Ledger, alert_id: int) -> AlertView:
    """Record that the actor has taken notice of an open alert; the first who does so stays.

    It resolves nothing: the alert stays open until a check finds the pool sufficient. Raises NotFound for an unknown
    id, Refused for an alert that is over.
    """

    def work(session: Session, trail: Trail) -> AlertView:
        alert = _found(session, alert_id)
        # With the pool's lock, which a check holds while it escalates: what is acknowledged is what stands here.
        lock_pool(session, alert.provider_id)
        session.refresh(alert)
        if alert.resolved_at is not None:
            raise Refused(
                _("Alert %(id)d of %(provider)s has been over since %(time)s.")
                % {"id": alert_id, "provider": clean(alert.provider_id), "time": iso(alert.resolved_at)}
            )
        if alert.acknowledged_at is None:
            alert.acknowledged_by, alert.acknowledged_at = ledger.operator, ledger.clock()
            session.flush()
            trail.note(None, {"alert": alert_id, "provider": alert.provider_id, **_state_of(alert)})
            trail.state("acknowledgements", str(alert_id), _state_of(alert))
        return view_of(alert, session.get_one(Provider, alert.provider_id).name)

    return change(ledger, Action.ALERT_ACKNOWLEDGE, str(alert_id), work)


def alert_called(ledger: Ledger, which: str) -> int:
    """Return the id of the alert that a person means: the open one of a provider, or the one with this id.

    Raises NotFound where there is none; a provider whose id is a number comes first.
    """
    with reading(ledger.database) as session:
        if session.get(Provider, which) is None and which.isdecimal() and which.isascii():
            return int(which)
        require_provider(session, which)
        alert = open_alert(session, which)
    if alert is None or alert.id is None:
        raise NotFound(
            _("%(provider)s has no open alert.") % {"provider": clean(which)},
            _("List them with: billing-console alerts list"),
        )
    return alert.id


def withdraw_acknowledgement(alert: BalanceAlert, trail: Trail) -> None:
    """Have nobody's acknowledgement stand for an alert that became worse.

    Whoever acknowledged “low” knew of a warning. That the pool is empty now and its models are suspended is news: it
    must stand out again until somebody says that they know of that too.
    """
    if alert.acknowledged_at is not None:
        alert.acknowledged_by = alert.acknowledged_at = None
        trail.state("acknowledgements", str(alert.id), None)


def acknowledgements(session: Session) -> dict[str, State]:
    """Return who acknowledged which alerts, past ones included, as the audit log says it."""
    query = select(BalanceAlert).where(col(BalanceAlert.acknowledged_at).is_not(None))
    return {str(alert.id): _state_of(alert) for alert in session.exec(query)}


def _state_of(alert: BalanceAlert) -> dict[str, str | None]:
    at = alert.acknowledged_at
    return {"acknowledgedBy": alert.acknowledged_by, "acknowledgedAt": None if at is None else iso(at)}


def open_alert(session: Session, provider_id: str) -> BalanceAlert | None:
    """Return a pool's open alert; the database lets no second one exist."""
    query = select(BalanceAlert).where(BalanceAlert.provider_id == provider_id, col(BalanceAlert.resolved_at).is_(None))
    return session.exec(query).first()


def _found(session: Session, alert_id: int) -> BalanceAlert:
    alert = session.get(BalanceAlert, alert_id) if 0 <= alert_id < 2**63 else None
    if alert is None:
        raise NotFound(
            _("There is no alert %(id)d.") % {"id": alert_id}, _("List them with: billing-console alerts list")
        )
    return alert


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
        acknowledged_by=alert.acknowledged_by,
        acknowledged_at=alert.acknowledged_at,
    )
