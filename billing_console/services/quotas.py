"""User quotas: grant, take back, and look at them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import case, func, or_
from sqlmodel import Session, col, select

from billing_console.i18n import _
from billing_console.money import check_amount
from billing_console.services import limits
from billing_console.services.actions import Action
from billing_console.services.approvals import ApprovalView, Wanted, ask, waiting
from billing_console.services.audit import Trail
from billing_console.services.catalogue import not_found
from billing_console.services.changes import change, consider
from billing_console.services.ledger import Ledger
from billing_console.services.quota_booking import (
    GrantView,
    QuotaChange,
    QuotaView,
    book,
    change_of,
    grant_view,
    grants_with_approver,
    known_grant,
    lock_quota,
    new_quota,
    quota_view,
    require_allowed,
    wanted_grant,
)
from billing_console.services.quota_use import UserUse, use_of
from billing_console.services.session import reading
from billing_console.services.usage import UsageRow, recent_usage
from billing_console.text import storable
from db.damage import require_sound
from db.schema import QuotaGrant, UserQuota
from db.types import Money

__all__ = [
    "GrantView",
    "QuotaChange",
    "QuotaDetails",
    "QuotaOrder",
    "QuotaPage",
    "QuotaSort",
    "QuotaView",
    "grant_quota",
    "list_quotas",
    "preview_grant",
    "quota_details",
    "quota_page",
    "revoke_quota",
]

RECENT = 20
"""How many of a user's newest calls the details show."""


class QuotaSort(StrEnum):
    """What users can be sorted by."""

    REMAINING = "remaining"
    USED = "used"
    GRANTED = "granted"
    USER = "user"


@dataclass(frozen=True, slots=True)
class QuotaOrder:
    """An order of users; those without a value come last either way."""

    by: QuotaSort = QuotaSort.REMAINING
    descending: bool = False


@dataclass(frozen=True, slots=True)
class QuotaPage:
    """The first users of a filter, how many it has in all, and how many of these are blocked."""

    rows: tuple[QuotaView, ...]
    users: int
    blocked: int


@dataclass(frozen=True, slots=True)
class QuotaDetails:
    """A user's quota, what it is used for a day, its grants newest first, and the newest calls."""

    quota: QuotaView
    use: UserUse
    grants: tuple[GrantView, ...]
    recent: tuple[UsageRow, ...]


def list_quotas(
    ledger: Ledger,
    *,
    search: str = "",
    only_with_quota: bool = False,
    only_blocked: bool = False,
    order: QuotaOrder | None = None,
    limit: int | None = None,
) -> tuple[QuotaView, ...]:
    """List users whose id contains `search`; by default exhausted ones first, those who are not limited last."""
    query = _matching(select(UserQuota), ledger, search, only_with_quota, only_blocked)
    with reading(ledger.database) as session:
        return _listed(session, ledger, query, order, limit)


def quota_page(
    ledger: Ledger, *, search: str = "", only_blocked: bool = False, order: QuotaOrder | None = None, limit: int
) -> QuotaPage:
    """Return the first users of a filter, and how many there are of it in all."""
    counts = select(func.count(), func.sum(case((_blocked(ledger), 1), else_=0))).select_from(UserQuota)
    query = _matching(select(UserQuota), ledger, search, False, only_blocked)
    with reading(ledger.database) as session:
        users, blocked = session.exec(_matching(counts, ledger, search, False, only_blocked)).one()
        return QuotaPage(_listed(session, ledger, query, order, limit), int(users), int(blocked or 0))


def _listed(
    session: Session, ledger: Ledger, query: Any, order: QuotaOrder | None, limit: int | None
) -> tuple[QuotaView, ...]:
    require_sound(session, UserQuota)
    rows = session.exec(query.order_by(*_in_order(ledger, order or QuotaOrder())).limit(limit))
    return tuple(quota_view(ledger, row) for row in rows)


_granted, _used = col(UserQuota.granted_amount), col(UserQuota.used_amount)


def _matching(query: Any, ledger: Ledger, search: str, only_with_quota: bool, only_blocked: bool) -> Any:
    if search:
        query = query.where(col(UserQuota.user_id).icontains(search, autoescape=True))
    if only_with_quota:
        query = query.where(_granted.is_not(None))
    return query.where(_blocked(ledger)) if only_blocked else query


def _blocked(ledger: Ledger) -> Any:
    """Spell in SQL what `QuotaView.is_blocked` says."""
    exhausted = _granted <= _used
    return or_(_granted.is_(None), exhausted) if ledger.require_quota else exhausted


def _in_order(ledger: Ledger, order: QuotaOrder) -> tuple[Any, ...]:
    """Sort in the database, over all users; where a quota is required, nothing was granted to who has none."""
    granted = func.coalesce(_granted, 0, type_=Money) if ledger.require_quota else _granted
    by: Any = {
        QuotaSort.REMAINING: granted - _used,
        QuotaSort.GRANTED: _granted,
        QuotaSort.USED: _used,
        QuotaSort.USER: col(UserQuota.user_id),
    }[order.by]
    without = case((by.is_(None), 1), else_=0)
    return without, by.desc() if order.descending else by, _used.desc(), col(UserQuota.user_id)


def quota_details(ledger: Ledger, user_id: str) -> QuotaDetails:
    """Return a user's quota whole; raise NotFound, with the nearest id, for a user never seen."""
    with reading(ledger.database) as session:
        require_sound(session, UserQuota)
        quota = session.get(UserQuota, user_id)
        if quota is None:
            known = list(session.exec(select(UserQuota.user_id).limit(50_000)))
            raise not_found(_("user"), user_id, known, _("List them with: billing-console quotas list"))
        query = grants_with_approver().where(QuotaGrant.user_id == user_id).order_by(col(QuotaGrant.id).desc())
        return QuotaDetails(
            quota=quota_view(ledger, quota),
            use=use_of(session, ledger, user_id),
            grants=tuple(grant_view(*row, replayed=False) for row in session.exec(query)),
            recent=recent_usage(session, user_id, RECENT),
        )


def preview_grant(ledger: Ledger, user_id: str, amount: Decimal, *, revoke: bool = False) -> QuotaChange:
    """Return what a grant or revocation would change, by its own rules, writing nothing.

    A first grant to a user who was not limited can be less than what was used already: the next call is refused then.
    """
    check_amount(amount)
    user_id = storable(user_id, "userId")

    def look(session: Session) -> QuotaChange:
        quota = session.get(UserQuota, user_id) or new_quota(ledger, user_id)
        signed = -amount if revoke else amount
        require_allowed(ledger, quota, signed)
        if not revoke:
            limits.enforce(session, ledger, amount)
        return change_of(ledger, quota, signed, needs_approval=not revoke and limits.needs_approval(session, amount))

    return consider(ledger, Action.REVOKE if revoke else Action.GRANT, user_id, look)


def grant_quota(
    ledger: Ledger, user_id: str, amount: Decimal, *, reference: str, key: str | None = None
) -> GrantView | ApprovalView:
    """Let a user, known or new, spend `amount` yuan more.

    More than the limit `approval_above` becomes a request, which is returned, for another person to approve.

    The same key with the same content answers with the first result; with other content it raises Conflict.
    Raises InvalidInput for an amount that is not positive, Refused beyond a limit.
    """
    check_amount(amount)
    wanted = wanted_grant(user_id, amount, reference, key)

    def work(session: Session, trail: Trail) -> GrantView | ApprovalView:
        # Under the lock: who holds it now may be booking the same key.
        quota = lock_quota(session, ledger, wanted.subject)
        known = known_grant(session, wanted) or waiting(session, ledger, wanted)
        if known is not None:
            return known
        require_allowed(ledger, quota, amount)
        limits.enforce(session, ledger, amount)
        if limits.needs_approval(session, amount):
            return ask(session, ledger, trail, wanted)
        return book(session, ledger, trail, quota, wanted, ledger.operator)

    return change(ledger, Action.GRANT, wanted.subject, work, key=wanted.idempotency_key)


def revoke_quota(ledger: Ledger, user_id: str, amount: Decimal, *, reference: str, key: str | None = None) -> GrantView:
    """Take `amount` yuan of unused quota back; keys as for `grant_quota`. Raises Refused where so much is not left."""
    check_amount(amount)
    wanted = wanted_grant(user_id, -amount, reference, key)

    def work(session: Session, trail: Trail) -> GrantView:
        quota = lock_quota(session, ledger, wanted.subject)
        known = known_grant(session, wanted)
        if known is not None:
            return known
        # A key that stands for a grant that waits for approval is refused here, before both of them are booked.
        waiting(session, ledger, wanted)
        require_allowed(ledger, quota, -amount)
        return book(session, ledger, trail, quota, wanted, ledger.operator)

    return change(ledger, Action.REVOKE, wanted.subject, work, key=wanted.idempotency_key)


def book_approved(session: Session, ledger: Ledger, trail: Trail, wanted: Wanted, operator: str) -> GrantView:
    """Book a grant that `operator` asked for and the actor approved, by the rules as they are now."""
    quota = lock_quota(session, ledger, wanted.subject)
    require_allowed(ledger, quota, wanted.amount)
    limits.enforce(session, ledger, wanted.amount, operator=operator)
    return book(session, ledger, trail, quota, wanted, operator)


def preview_approved(session: Session, ledger: Ledger, wanted: Wanted, operator: str) -> QuotaChange:
    """Return what `book_approved` would do to the quota, by its rules, writing nothing."""
    quota = session.get(UserQuota, wanted.subject) or new_quota(ledger, wanted.subject)
    require_allowed(ledger, quota, wanted.amount)
    limits.enforce(session, ledger, wanted.amount, operator=operator)
    return change_of(ledger, quota, wanted.amount, needs_approval=False)
