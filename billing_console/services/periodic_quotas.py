"""Set and turn off periodic quotas: what a user is given anew every day, week or month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlmodel import Session, select

from billing_console.errors import Refused
from billing_console.i18n import _
from billing_console.money import check_amount, exact_sum, plain, shown_exact
from billing_console.services import limits
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change, consider
from billing_console.services.ledger import Ledger
from billing_console.services.quota_booking import frozen, lock_quota, new_quota, remaining_of
from billing_console.services.quota_due import book_due, due_amount
from billing_console.services.quota_periods import coming
from billing_console.text import storable
from db.schema import PeriodicQuota, QuotaGrant, UserQuota
from db.values import Period


@dataclass(frozen=True, slots=True)
class PeriodicView:
    """A periodic quota: `amount` in yuan for every period, set by `operator` at `created_at`."""

    user_id: str
    period: Period
    amount: Decimal
    operator: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PeriodicSet:
    """What setting a periodic quota, or turning it off (None), left: the yuan given at once, and what remains now."""

    periodic: PeriodicView | None
    given: Decimal
    remaining: Decimal


@dataclass(frozen=True, slots=True)
class PeriodicChange:
    """What setting a periodic quota would change: the decision, and what remains in yuan, before and after."""

    was: PeriodicView | None
    before: Decimal
    after: Decimal


def preview_periodic(ledger: Ledger, user_id: str, period: Period | None, amount: Decimal | None) -> PeriodicChange:
    """Return what `set_periodic` would change, by its rules, writing nothing."""
    user_id = storable(user_id, "userId")
    if amount is not None:
        check_amount(amount)

    def look(session: Session) -> PeriodicChange:
        quota = session.get(UserQuota, user_id) or new_quota(ledger, user_id)
        before = remaining_of(quota, due_amount(session, ledger, quota))
        row = session.get(PeriodicQuota, user_id)
        given = Decimal(0)
        if period is not None and amount is not None and (row is None or state_of(row) != f"{period} {plain(amount)}"):
            _require_limits(session, ledger, amount)
            wanted = PeriodicQuota(
                user_id=user_id, period=period.value, amount=amount, operator="", created_at=ledger.clock()
            )
            keys = set(session.exec(select(QuotaGrant.idempotency_key).where(QuotaGrant.user_id == user_id)))
            given = exact_sum([grant.amount for grant in coming(wanted, keys, wanted.created_at, ledger.timezone)])
        return PeriodicChange(periodic_view(row), before, before + given)

    return consider(ledger, Action.PERIOD, user_id, look)


def set_periodic(ledger: Ledger, user_id: str, period: Period | None, amount: Decimal | None) -> PeriodicSet:
    """Give a user `amount` yuan for every period from now on, the current one at once; None turns it off.

    What is left of a period's grant expires with the period. A period that was given already is not given again: a new
    amount then holds from the next one on. Limits hold for the amount; one that would need approval each time is
    refused. Raises InvalidInput for an amount that is not positive.
    """
    user_id = storable(user_id, "userId")
    if amount is not None:
        check_amount(amount)

    def work(session: Session, trail: Trail) -> PeriodicSet:
        quota = lock_quota(session, ledger, user_id)
        now = frozen(ledger)
        book_due(session, now, trail, quota)
        row = session.get(PeriodicQuota, user_id, with_for_update=True)
        before = None if row is None else state_of(row)
        if period is None or amount is None:
            if row is not None:
                session.delete(row)
                row = None
        elif before != f"{period} {plain(amount)}":
            _require_limits(session, ledger, amount)
            wanted = PeriodicQuota(
                user_id=user_id, period=period.value, amount=amount, operator=ledger.operator, created_at=now.clock()
            )
            row = session.merge(wanted)
        session.flush()
        given = sum((due.amount for due in book_due(session, now, trail, quota)), Decimal(0))
        after = None if row is None else state_of(row)
        if before != after:
            trail.note({"period": before}, {"period": after, "granted": given})
            trail.state("periodic_quotas", user_id, after)
        return PeriodicSet(periodic_view(row), given, remaining_of(quota))

    return change(ledger, Action.PERIOD, user_id, work)


def _require_limits(session: Session, ledger: Ledger, amount: Decimal) -> None:
    limits.enforce(session, ledger, amount)
    if limits.needs_approval(session, amount):
        raise Refused(
            _("%(amount)s would need a second person's approval in every period; nothing was changed.")
            % {"amount": shown_exact(amount, symbol=ledger.symbol)},
            _("Set a smaller one. An admin can see the limits with: billing-console limits list"),
        )


def state_of(row: PeriodicQuota) -> str:
    """Return what the audit log says of a periodic quota."""
    return f"{row.period} {plain(row.amount)}"


def periodic_view(row: PeriodicQuota | None) -> PeriodicView | None:
    """Copy a periodic quota into the frozen form that leaves the services."""
    if row is None:
        return None
    return PeriodicView(row.user_id, Period(row.period), row.amount, row.operator, row.created_at)
