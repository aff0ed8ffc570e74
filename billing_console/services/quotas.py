"""User quotas: grant, take back, and look at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

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
from billing_console.services.paging import Part, part_of
from billing_console.services.periodic_quotas import PeriodicView, periodic_view
from billing_console.services.quota_booking import (
    GrantView,
    QuotaChange,
    QuotaView,
    book,
    change_of,
    frozen,
    grant_view,
    grants_with_approver,
    known_grant,
    lock_quota,
    new_quota,
    quota_view,
    require_allowed,
    require_future,
    wanted_grant,
)
from billing_console.services.quota_due import book_due, due_amount, left_of_grants
from billing_console.services.quota_list import QuotaOrder, QuotaPage, QuotaSort, list_quotas, quota_page
from billing_console.services.quota_use import UserUse, use_of
from billing_console.services.session import reading
from billing_console.services.usage import UsageRow, recent_usage
from billing_console.text import storable
from db.damage import require_sound
from db.schema import PeriodicQuota, QuotaGrant, UserQuota

__all__ = [
    "GrantView",
    "QuotaChange",
    "QuotaDetails",
    "QuotaOrder",
    "QuotaPage",
    "QuotaSort",
    "QuotaView",
    "grant_page",
    "grant_quota",
    "list_quotas",
    "preview_grant",
    "quota_details",
    "quota_page",
    "revoke_quota",
]

RECENT = 20
"""How many of a user's newest calls the details show."""


@dataclass(frozen=True, slots=True)
class QuotaDetails:
    """A user's quota, what it is used for a day, its grants newest first, and the newest calls."""

    quota: QuotaView
    use: UserUse
    grants: tuple[GrantView, ...]
    left: dict[int, Decimal]
    """What is left of each grant of which something is left, by its id, in yuan, by the rows that are booked."""
    periodic: PeriodicView | None
    recent: tuple[UsageRow, ...]


def quota_details(ledger: Ledger, user_id: str) -> QuotaDetails:
    """Return a user's quota whole; raise NotFound, with the nearest id, for a user never seen."""
    with reading(ledger.database) as session:
        require_sound(session, UserQuota)
        quota = _found(session, user_id)
        query = grants_with_approver().where(QuotaGrant.user_id == user_id).order_by(col(QuotaGrant.id).desc())
        return QuotaDetails(
            quota=quota_view(ledger, quota, due_amount(session, ledger, quota)),
            use=use_of(session, ledger, user_id),
            grants=tuple(grant_view(*row, replayed=False) for row in session.exec(query)),
            left=left_of_grants(session, quota).left,
            periodic=periodic_view(session.get(PeriodicQuota, user_id)),
            recent=recent_usage(session, user_id, RECENT),
        )


def grant_page(ledger: Ledger, user_id: str, *, limit: int, offset: int = 0) -> Part[GrantView]:
    """Return a user's grants, newest first, after the first `offset`; raise NotFound for a user never seen."""
    query = grants_with_approver().where(QuotaGrant.user_id == user_id).order_by(col(QuotaGrant.id).desc())
    with reading(ledger.database) as session:
        _found(session, user_id)
        rows, total = part_of(session, query, limit, offset)
        return Part(tuple(grant_view(*row, replayed=False) for row in rows), total)


def _found(session: Session, user_id: str) -> UserQuota:
    quota = session.get(UserQuota, user_id)
    if quota is None:
        known = list(session.exec(select(UserQuota.user_id).limit(50_000)))
        raise not_found(_("user"), user_id, known, _("List them with: billing-console quotas list"))
    return quota


def preview_grant(ledger: Ledger, user_id: str, amount: Decimal, *, revoke: bool = False) -> QuotaChange:
    """Return what a grant or revocation would change, by its own rules, writing nothing.

    A first grant to a user who was not limited can be less than what was used already: the next call is refused then.
    """
    check_amount(amount)
    user_id = storable(user_id, "userId")

    def look(session: Session) -> QuotaChange:
        quota = session.get(UserQuota, user_id) or new_quota(ledger, user_id)
        signed, due = -amount if revoke else amount, due_amount(session, ledger, quota)
        require_allowed(ledger, quota, signed, due)
        if not revoke:
            limits.enforce(session, ledger, amount)
        waits = not revoke and limits.needs_approval(session, amount)
        return change_of(ledger, quota, signed, due, needs_approval=waits)

    return consider(ledger, Action.REVOKE if revoke else Action.GRANT, user_id, look)


def grant_quota(
    ledger: Ledger,
    user_id: str,
    amount: Decimal,
    *,
    reference: str,
    key: str | None = None,
    expires_at: datetime | None = None,
) -> GrantView | ApprovalView:
    """Let a user, known or new, spend `amount` yuan more, until `expires_at` if it is given.

    More than the limit `approval_above` becomes a request, which is returned, for another person to approve.

    The same key with the same content answers with the first result; with other content it raises Conflict.
    Raises InvalidInput for an amount that is not positive or an expiry that is past, Refused beyond a limit.
    """
    check_amount(amount)
    wanted = wanted_grant(user_id, amount, reference, key, expires_at)

    def work(session: Session, trail: Trail) -> GrantView | ApprovalView:
        # Under the lock: who holds it now may be booking the same key.
        quota = lock_quota(session, ledger, wanted.subject)
        known = known_grant(session, wanted) or waiting(session, ledger, wanted)
        if known is not None:
            return known
        require_future(ledger, wanted)
        limits.enforce(session, ledger, amount)
        if limits.needs_approval(session, amount):
            require_allowed(ledger, quota, amount)
            return ask(session, ledger, trail, wanted)
        return _book(session, ledger, trail, quota, wanted, ledger.operator)

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
        return _book(session, ledger, trail, quota, wanted, ledger.operator)

    return change(ledger, Action.REVOKE, wanted.subject, work, key=wanted.idempotency_key)


def _book(session: Session, ledger: Ledger, trail: Trail, quota: UserQuota, wanted: Wanted, operator: str) -> GrantView:
    """Book what the rules allow, after what is due of that user at this instant."""
    ledger = frozen(ledger)
    book_due(session, ledger, trail, quota)
    require_allowed(ledger, quota, wanted.amount)
    return book(session, ledger, trail, quota, wanted, operator)


def book_approved(session: Session, ledger: Ledger, trail: Trail, wanted: Wanted, operator: str) -> GrantView:
    """Book a grant that `operator` asked for and the actor approved, by the rules as they are now."""
    quota = lock_quota(session, ledger, wanted.subject)
    require_future(ledger, wanted)
    limits.enforce(session, ledger, wanted.amount, operator=operator)
    return _book(session, ledger, trail, quota, wanted, operator)


def preview_approved(session: Session, ledger: Ledger, wanted: Wanted, operator: str) -> QuotaChange:
    """Return what `book_approved` would do to the quota, by its rules, writing nothing."""
    quota = session.get(UserQuota, wanted.subject) or new_quota(ledger, wanted.subject)
    due = due_amount(session, ledger, quota)
    require_future(ledger, wanted)
    require_allowed(ledger, quota, wanted.amount, due)
    limits.enforce(session, ledger, wanted.amount, operator=operator)
    return change_of(ledger, quota, wanted.amount, due, needs_approval=False)
