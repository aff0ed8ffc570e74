"""Limits on money operations: ceilings that an admin sets, and the amount above which a second person must approve."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from billing_console.clock import day_of, start_of
from billing_console.errors import Refused
from billing_console.i18n import N_, _
from billing_console.money import check_amount, shown_exact
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from db.schema import Limit, QuotaGrant, Recharge
from db.values import LimitName

MEANING = {
    LimitName.PER_OPERATION: N_("Most for one recharge or grant"),
    LimitName.PER_OPERATOR_DAY: N_("Most an operator may recharge and grant in a business day"),
    LimitName.PER_POOL_DAY: N_("Most that may be paid into one pool in a business day"),
    LimitName.APPROVAL_ABOVE: N_("A recharge or grant above this needs a second person's approval"),
}
"""What each limit is, for people."""


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limit in yuan; `amount` None means that it is off."""

    name: LimitName
    amount: Decimal | None


def list_limits(ledger: Ledger) -> tuple[LimitView, ...]:
    """List every limit, also those that are off."""
    with reading(ledger.database) as session:
        amounts = _amounts(session)
    return tuple(LimitView(name, amounts.get(name)) for name in LimitName)


def set_limit(ledger: Ledger, name: LimitName, amount: Decimal | None) -> LimitView:
    """Set a limit in yuan, or turn it off with None."""
    if amount is not None:
        check_amount(amount)

    def work(session: Session, trail: Trail) -> LimitView:
        row = session.get(Limit, name.value, with_for_update=True)
        before = None if row is None else row.amount
        if row is not None and amount is None:
            session.delete(row)
        elif row is not None and amount is not None:
            row.amount = amount
        elif amount is not None:
            session.add(Limit(name=name.value, amount=amount))
        if before != amount:
            trail.note({"amount": before}, {"amount": amount})
            trail.state("limits", name.value, state_of(amount))
        return LimitView(name, amount)

    return change(ledger, Action.LIMIT, name.value, work)


def state_of(amount: Decimal | None) -> str | None:
    """Return what the audit log says of a limit."""
    return None if amount is None else f"{amount.normalize():f}"


def enforce(
    session: Session, ledger: Ledger, amount: Decimal, *, operator: str | None = None, provider_id: str | None = None
) -> None:
    """Refuse a recharge of a pool, or a grant, that goes beyond a limit; `operator` is who asked, by default the actor.

    The operator's row and the pool's are locked by then, so that two at once cannot both pass.
    """
    operator = operator or ledger.operator
    amounts = _amounts(session)
    _within(ledger, amounts, LimitName.PER_OPERATION, Decimal(0), amount)
    today = day_of(ledger.clock(), ledger.timezone)
    since = start_of(today, ledger.timezone)
    until = start_of(today + timedelta(days=1), ledger.timezone)
    if LimitName.PER_OPERATOR_DAY in amounts:
        done = _sum(session, Recharge, since, until, Recharge.operator == operator)
        done += _sum(session, QuotaGrant, since, until, QuotaGrant.operator == operator)
        _within(ledger, amounts, LimitName.PER_OPERATOR_DAY, done, amount)
    if LimitName.PER_POOL_DAY in amounts and provider_id is not None:
        done = _sum(session, Recharge, since, until, Recharge.provider_id == provider_id)
        _within(ledger, amounts, LimitName.PER_POOL_DAY, done, amount)


def needs_approval(session: Session, amount: Decimal) -> bool:
    """Tell whether a recharge or grant of so much waits for a second person."""
    above = _amounts(session).get(LimitName.APPROVAL_ABOVE)
    return above is not None and amount > above


def _within(ledger: Ledger, amounts: dict[LimitName, Decimal], name: LimitName, done: Decimal, amount: Decimal) -> None:
    limit = amounts.get(name)
    if limit is None or done + amount <= limit:
        return
    words = _("%(meaning)s: %(limit)s; this would make it %(sum)s.")
    raise Refused(
        words
        % {
            "meaning": _(MEANING[name]),
            "limit": shown_exact(limit, symbol=ledger.symbol),
            "sum": shown_exact(done + amount, symbol=ledger.symbol),
        },
        _("Nothing was changed. An admin can see the limits with: billing-console limits list"),
    )


def _sum(session: Session, facts: Any, since: datetime, until: datetime, condition: Any) -> Decimal:
    """Add what was paid or granted in a day; what was taken back does not make room for more."""
    query = select(func.sum(facts.amount)).where(
        condition, facts.amount > 0, facts.created_at >= since, facts.created_at < until
    )
    return session.exec(query).one() or Decimal(0)


def _amounts(session: Session) -> dict[LimitName, Decimal]:
    rows = session.exec(select(Limit).order_by(col(Limit.name)))
    return {LimitName(row.name): row.amount for row in rows}
