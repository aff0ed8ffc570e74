"""User quotas: grant, take back, and look at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import case
from sqlmodel import Session, col, select

from billing_console.errors import Conflict, Refused
from billing_console.i18n import _
from billing_console.money import LEDGER_LIMIT, check_amount, plain, shown_exact
from billing_console.services import limits
from billing_console.services.actions import Action
from billing_console.services.approvals import APPROVER, ApprovalView, Wanted, ask, waiting, with_approver
from billing_console.services.audit import Trail
from billing_console.services.catalogue import not_found
from billing_console.services.changes import change, consider
from billing_console.services.ledger import Ledger
from billing_console.services.pools import BalanceChange
from billing_console.services.recharges import new_key
from billing_console.services.session import reading
from billing_console.services.usage import UsageRow, recent_usage
from billing_console.text import clean, storable
from db.damage import require_sound
from db.schema import QuotaGrant, UserQuota
from db.statements import insert, row_of
from db.values import ApprovalKind

RECENT = 20
"""How many of a user's newest calls the details show."""


@dataclass(frozen=True, slots=True)
class QuotaView:
    """What a user may spend, in yuan; granted and remaining are None for a user who has no quota.

    `is_blocked` tells that the next call is refused: nothing is left, or there is none where the settings ask for one.
    """

    user_id: str
    has_quota: bool
    granted_amount: Decimal | None
    used_amount: Decimal
    remaining_amount: Decimal | None
    is_blocked: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant, or what was taken back (negative); amounts in yuan. `replayed` tells that it had been done before."""

    id: int
    user_id: str
    amount: Decimal
    reference: str
    idempotency_key: str
    granted_after: Decimal
    remaining_before: Decimal
    remaining_after: Decimal
    operator: str
    approved_by: str | None
    created_at: datetime
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaChange(BalanceChange):
    """What a user has left before and after, in yuan; whether there was a quota, and whether the next call passes."""

    had_quota: bool
    was_blocked: bool
    is_blocked: bool


@dataclass(frozen=True, slots=True)
class QuotaDetails:
    """A user's quota, its grants newest first, and the newest calls."""

    quota: QuotaView
    grants: tuple[GrantView, ...]
    recent: tuple[UsageRow, ...]


def list_quotas(
    ledger: Ledger, *, search: str = "", only_with_quota: bool = False, limit: int | None = None
) -> tuple[QuotaView, ...]:
    """List users whose id contains `search`: the least remaining first, those without a quota last."""
    quota = UserQuota
    query = select(quota).order_by(
        case((col(quota.granted_amount).is_(None), 1), else_=0),
        (col(quota.granted_amount) - col(quota.used_amount)),
        col(quota.used_amount).desc(),
        col(quota.user_id),
    )
    if search:
        query = query.where(col(quota.user_id).icontains(search, autoescape=True))
    if only_with_quota:
        query = query.where(col(quota.granted_amount).is_not(None))
    if limit is not None:
        query = query.limit(limit)
    with reading(ledger.database) as session:
        require_sound(session, UserQuota)
        return tuple(_quota_view(ledger, row) for row in session.exec(query))


def quota_details(ledger: Ledger, user_id: str) -> QuotaDetails:
    """Return a user's quota whole; raise NotFound, with the nearest id, for a user never seen."""
    with reading(ledger.database) as session:
        require_sound(session, UserQuota)
        quota = session.get(UserQuota, user_id)
        if quota is None:
            known = list(session.exec(select(UserQuota.user_id).limit(50_000)))
            raise not_found(_("user"), user_id, known, _("List them with: billing-console quotas list"))
        grants = session.exec(_with_approver().where(QuotaGrant.user_id == user_id).order_by(col(QuotaGrant.id).desc()))
        return QuotaDetails(
            quota=_quota_view(ledger, quota),
            grants=tuple(_grant_view(*row, replayed=False) for row in grants),
            recent=recent_usage(session, user_id, RECENT),
        )


def preview_grant(ledger: Ledger, user_id: str, amount: Decimal, *, revoke: bool = False) -> QuotaChange:
    """Return what a grant or revocation would change, by its own rules, writing nothing.

    A first grant to a user who was not limited can be less than what was used already: the next call is refused then.
    """
    check_amount(amount)
    user_id = storable(user_id, "userId")

    def look(session: Session) -> QuotaChange:
        quota = session.get(UserQuota, user_id) or _new_quota(ledger, user_id)
        signed = -amount if revoke else amount
        _require_allowed(ledger, quota, signed)
        if not revoke:
            limits.enforce(session, ledger, amount)
        return _changed(ledger, quota, signed, needs_approval=not revoke and limits.needs_approval(session, amount))

    return consider(ledger, Action.REVOKE if revoke else Action.GRANT, user_id, look)


def _changed(ledger: Ledger, quota: UserQuota, signed: Decimal, *, needs_approval: bool) -> QuotaChange:
    before = _remaining(quota)
    return QuotaChange(
        before=before,
        after=before + signed,
        had_quota=quota.granted_amount is not None,
        was_blocked=_quota_view(ledger, quota).is_blocked,
        is_blocked=before + signed <= 0,
        needs_approval=needs_approval,
    )


def grant_quota(
    ledger: Ledger, user_id: str, amount: Decimal, *, reference: str, key: str | None = None
) -> GrantView | ApprovalView:
    """Let a user, known or new, spend `amount` yuan more.

    More than the limit `approval_above` becomes a request, which is returned, for another person to approve.

    The same key with the same content answers with the first result; with other content it raises Conflict.
    Raises InvalidInput for an amount that is not positive, Refused beyond a limit.
    """
    check_amount(amount)
    wanted = _wanted(user_id, amount, reference, key)

    def work(session: Session, trail: Trail) -> GrantView | ApprovalView:
        # Under the lock: who holds it now may be booking the same key.
        quota = _lock_quota(session, ledger, wanted.subject)
        known = _known(session, wanted) or waiting(session, ledger, wanted)
        if known is not None:
            return known
        _require_allowed(ledger, quota, amount)
        limits.enforce(session, ledger, amount)
        if limits.needs_approval(session, amount):
            return ask(session, ledger, trail, wanted)
        return _book(session, ledger, trail, quota, wanted, ledger.operator)

    return change(ledger, Action.GRANT, wanted.subject, work, key=wanted.idempotency_key)


def revoke_quota(ledger: Ledger, user_id: str, amount: Decimal, *, reference: str, key: str | None = None) -> GrantView:
    """Take `amount` yuan of unused quota back; keys as for `grant_quota`. Raises Refused where so much is not left."""
    check_amount(amount)
    wanted = _wanted(user_id, -amount, reference, key)

    def work(session: Session, trail: Trail) -> GrantView:
        quota = _lock_quota(session, ledger, wanted.subject)
        known = _known(session, wanted)
        if known is not None:
            return known
        # A key that stands for a grant that waits for approval is refused here, before both of them are booked.
        waiting(session, ledger, wanted)
        _require_allowed(ledger, quota, -amount)
        return _book(session, ledger, trail, quota, wanted, ledger.operator)

    return change(ledger, Action.REVOKE, wanted.subject, work, key=wanted.idempotency_key)


def book_approved(session: Session, ledger: Ledger, trail: Trail, wanted: Wanted, operator: str) -> GrantView:
    """Book a grant that `operator` asked for and the actor approved, by the rules as they are now."""
    quota = _lock_quota(session, ledger, wanted.subject)
    _require_allowed(ledger, quota, wanted.amount)
    limits.enforce(session, ledger, wanted.amount, operator=operator)
    return _book(session, ledger, trail, quota, wanted, operator)


def preview_approved(session: Session, ledger: Ledger, wanted: Wanted, operator: str) -> QuotaChange:
    """Return what `book_approved` would do to the quota, by its rules, writing nothing."""
    quota = session.get(UserQuota, wanted.subject) or _new_quota(ledger, wanted.subject)
    _require_allowed(ledger, quota, wanted.amount)
    limits.enforce(session, ledger, wanted.amount, operator=operator)
    return _changed(ledger, quota, wanted.amount, needs_approval=False)


def _wanted(user_id: str, amount: Decimal, reference: str, key: str | None) -> Wanted:
    return Wanted(
        kind=ApprovalKind.GRANT,
        subject=storable(user_id, "userId"),
        amount=amount,
        reference=storable(reference, "reference"),
        note="",
        idempotency_key=new_key() if key is None else storable(key, "key"),
    )


def _known(session: Session, wanted: Wanted) -> GrantView | None:
    """Return the grant that this key stands for already, None if it is new."""
    query = _with_approver().where(QuotaGrant.idempotency_key == wanted.idempotency_key)
    earlier = session.exec(query).first()
    if earlier is None:
        return None
    grant, approver = earlier
    return _replay(grant, approver, (wanted.subject, wanted.amount, wanted.reference))


def _with_approver() -> Any:
    """Return a query of grants, each with who approved it."""
    query = select(QuotaGrant, APPROVER).select_from(QuotaGrant)
    return with_approver(query, col(QuotaGrant.idempotency_key), (ApprovalKind.GRANT,))


def _book(session: Session, ledger: Ledger, trail: Trail, quota: UserQuota, wanted: Wanted, operator: str) -> GrantView:
    """Write the grant and its effect on the quota together."""
    before = None if quota.granted_amount is None else _remaining(quota)
    quota.granted_amount = (quota.granted_amount or Decimal(0)) + wanted.amount
    quota.updated_at = ledger.clock()
    grant = QuotaGrant(
        user_id=wanted.subject,
        amount=wanted.amount,
        reference=wanted.reference,
        idempotency_key=wanted.idempotency_key,
        granted_after=quota.granted_amount,
        remaining_after=_remaining(quota),
        operator=operator,
        created_at=quota.updated_at,
    )
    session.add(grant)
    session.flush()
    trail.note(
        {"remaining": before},
        {
            "remaining": grant.remaining_after,
            "grant": grant.id,
            "amount": grant.amount,
            "reference": grant.reference,
            "operator": operator,
        },
    )
    trail.fact("quota_grants", row_of(grant))
    return _grant_view(grant, None if operator == ledger.operator else ledger.operator, replayed=False)


def _lock_quota(session: Session, ledger: Ledger, user_id: str) -> UserQuota:
    new = _new_quota(ledger, user_id)
    row = {"user_id": user_id, "used_amount": 0, "created_at": new.created_at, "updated_at": new.updated_at}
    session.execute(insert(session, UserQuota).on_conflict_do_nothing(), row)
    return session.exec(select(UserQuota).where(UserQuota.user_id == user_id).with_for_update()).one()


def _new_quota(ledger: Ledger, user_id: str) -> UserQuota:
    now = ledger.clock()
    return UserQuota(user_id=user_id, used_amount=Decimal(0), created_at=now, updated_at=now)


def _remaining(quota: UserQuota) -> Decimal:
    return (quota.granted_amount or Decimal(0)) - quota.used_amount


def _require_allowed(ledger: Ledger, quota: UserQuota, signed: Decimal) -> None:
    granted = (quota.granted_amount or Decimal(0)) + signed
    if granted > LEDGER_LIMIT:
        raise Refused(_("A quota cannot be more than %(limit)s in all.") % {"limit": plain(LEDGER_LIMIT)})
    if signed < 0 and _remaining(quota) + signed < 0:
        raise Refused(
            _("%(user)s has only %(remaining)s left; %(amount)s cannot be taken back.")
            % {
                "user": clean(quota.user_id),
                "remaining": shown_exact(_remaining(quota), symbol=ledger.symbol),
                "amount": shown_exact(-signed, symbol=ledger.symbol),
            }
        )


def _replay(earlier: QuotaGrant, approved_by: str | None, content: tuple[str, Decimal, str]) -> GrantView:
    stored = (earlier.user_id, earlier.amount, earlier.reference)
    if stored != content:
        raise Conflict(
            _("The key %(key)s already stands for another grant: %(stored)s. This one is: %(asked)s.")
            % {"key": clean(earlier.idempotency_key), "stored": _content(*stored), "asked": _content(*content)},
            _("Nothing was changed. Use a new key for another grant."),
        )
    return _grant_view(earlier, approved_by, replayed=True)


def _content(user_id: str, amount: Decimal, reference: str) -> str:
    return _("%(user)s, %(amount)s, reference “%(reference)s”") % {
        "user": clean(user_id),
        "amount": plain(amount),
        "reference": clean(reference),
    }


def _quota_view(ledger: Ledger, quota: UserQuota) -> QuotaView:
    has_quota = quota.granted_amount is not None
    remaining = _remaining(quota) if has_quota else None
    return QuotaView(
        user_id=quota.user_id,
        has_quota=has_quota,
        granted_amount=quota.granted_amount,
        used_amount=quota.used_amount,
        remaining_amount=remaining,
        is_blocked=ledger.require_quota if remaining is None else remaining <= 0,
        updated_at=quota.updated_at,
    )


def _grant_view(grant: QuotaGrant, approved_by: str | None, *, replayed: bool) -> GrantView:
    if grant.id is None:
        raise ValueError("a grant has an id once it is stored")
    return GrantView(
        id=grant.id,
        user_id=grant.user_id,
        amount=grant.amount,
        reference=grant.reference,
        idempotency_key=grant.idempotency_key,
        granted_after=grant.granted_after,
        remaining_before=grant.remaining_after - grant.amount,
        remaining_after=grant.remaining_after,
        operator=grant.operator,
        approved_by=approved_by,
        created_at=grant.created_at,
        replayed=replayed,
    )
