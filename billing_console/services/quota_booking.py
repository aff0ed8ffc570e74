"""How a user's quota changes: the rules, the row and its effect together, and what leaves the services of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlmodel import Session, col, select

from billing_console.clock import iso
from billing_console.errors import Conflict, InvalidInput, Refused
from billing_console.i18n import _
from billing_console.money import LEDGER_LIMIT, plain, shown_exact
from billing_console.services.approvals import APPROVER, Wanted, with_approver
from billing_console.services.audit import Trail
from billing_console.services.ledger import Ledger
from billing_console.services.pools import BalanceChange
from billing_console.services.recharges import new_key
from billing_console.text import clean, storable
from db.prepared import by_column, insert_rows
from db.schema import QuotaGrant, UserQuota
from db.statements import row_of
from db.values import ApprovalKind

ZERO = Decimal(0)
EXPIRES = "expires "
"""How the note of a request begins for a grant that expires; an instant follows."""

TIMER_KEYS = ("period:", "expiry:")
"""How the keys of rows begin that the timer writes."""

Content = tuple[str, Decimal, str, datetime | None]


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
    """A grant, or what was taken back (negative); amounts in yuan. `replayed` tells that it had been done before.

    `expires_id` names the grant whose rest a negative one took back when it expired.
    """

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
    expires_at: datetime | None
    expires_id: int | None
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaChange(BalanceChange):
    """What a user has left before and after, in yuan; whether there was a quota, and whether the next call passes."""

    had_quota: bool
    was_blocked: bool
    is_blocked: bool


def wanted_grant(
    user_id: str, amount: Decimal, reference: str, key: str | None, expires_at: datetime | None = None
) -> Wanted:
    """Return what is to be booked, its texts as the ledger can hold them; without a key it gets a new one.

    The note of a request for a grant that expires says when, for the person who approves it to read.
    """
    return Wanted(
        kind=ApprovalKind.GRANT,
        subject=storable(user_id, "userId"),
        amount=amount,
        reference=storable(reference, "reference"),
        note="" if expires_at is None else EXPIRES + iso(expires_at),
        idempotency_key=new_key() if key is None else checked_key(key),
    )


def expiry_of(wanted: Wanted) -> datetime | None:
    """Return when a wanted grant expires, None for never."""
    return datetime.fromisoformat(wanted.note.removeprefix(EXPIRES)) if wanted.note else None


def require_future(ledger: Ledger, wanted: Wanted) -> None:
    """Refuse a grant that would expire before it is booked."""
    expires_at = expiry_of(wanted)
    if expires_at is not None and expires_at <= ledger.clock():
        raise InvalidInput(
            _("The grant would have expired already (%(at)s).") % {"at": iso(expires_at)}, field="expires"
        )


def checked_key(key: str, *, limit: int = 200) -> str:
    """Return an idempotency key as the ledger can hold it; refuse those that the timer makes."""
    key = storable(key, "key", limit=limit)
    if key.startswith(TIMER_KEYS):
        raise InvalidInput(
            _("Keys that begin with %(start)s are those of the timer.") % {"start": " / ".join(TIMER_KEYS)}, field="key"
        )
    return key


def frozen(ledger: Ledger) -> Ledger:
    """Return the ledger at this one instant: what is due by then is booked before a row that is written then."""
    now = ledger.clock()
    return replace(ledger, clock=lambda: now)


def known_grant(session: Session, wanted: Wanted) -> GrantView | None:
    """Return the grant that this key stands for already, None if it is new; raise Conflict where it is another one."""
    query = grants_with_approver().where(QuotaGrant.idempotency_key == wanted.idempotency_key)
    earlier = session.exec(query).first()
    if earlier is None:
        return None
    grant, approver = earlier
    return _replay(grant, approver, (wanted.subject, wanted.amount, wanted.reference, expiry_of(wanted)))


def grants_with_approver() -> Any:
    """Return a query of grants, each with who approved it."""
    query = select(QuotaGrant, APPROVER).select_from(QuotaGrant)
    return with_approver(query, col(QuotaGrant.idempotency_key), (ApprovalKind.GRANT,))


def book(session: Session, ledger: Ledger, trail: Trail, quota: UserQuota, wanted: Wanted, operator: str) -> GrantView:
    """Write the grant and its effect on the quota together, and the note of it."""
    before = None if quota.granted_amount is None else remaining_of(quota)
    grant = write(session, ledger, trail, quota, wanted, operator)
    trail.note(
        {"remaining": before},
        {
            "remaining": grant.remaining_after,
            "grant": grant.id,
            "amount": grant.amount,
            "reference": grant.reference,
            "operator": operator,
        }
        | ({} if grant.expires_at is None else {"expiresAt": grant.expires_at}),
    )
    return grant


def write(session: Session, ledger: Ledger, trail: Trail, quota: UserQuota, wanted: Wanted, operator: str) -> GrantView:
    """Write the grant and its effect on the locked quota together; the caller notes it."""
    grant = add_row(
        session,
        ledger,
        trail,
        quota,
        amount=wanted.amount,
        reference=wanted.reference,
        idempotency_key=wanted.idempotency_key,
        operator=operator,
        expires_at=expiry_of(wanted),
        used_before=quota.used_amount,
    )
    return grant_view(grant, None if operator == ledger.operator else ledger.operator, replayed=False)


def add_row(
    session: Session, ledger: Ledger, trail: Trail, quota: UserQuota, *, amount: Decimal, **columns: Any
) -> QuotaGrant:
    """Write a row of any kind and its effect on the locked quota together; `columns` are the rest of the row."""
    quota.granted_amount = (quota.granted_amount or Decimal(0)) + amount
    quota.updated_at = ledger.clock()
    grant = QuotaGrant(
        user_id=quota.user_id,
        amount=amount,
        granted_after=quota.granted_amount,
        remaining_after=remaining_of(quota),
        created_at=quota.updated_at,
        **columns,
    )
    session.add(grant)
    session.flush()
    trail.fact("quota_grants", row_of(grant))
    return grant


def lock_quota(session: Session, ledger: Ledger, user_id: str) -> UserQuota:
    """Return a user's quota, locked until the transaction ends; the row is made for a user never seen."""
    new = new_quota(ledger, user_id)
    row = {"user_id": user_id, "used_amount": 0, "created_at": new.created_at, "updated_at": new.updated_at}
    insert_rows(session, UserQuota, by_column([row]), "DO NOTHING")
    return session.exec(select(UserQuota).where(UserQuota.user_id == user_id).with_for_update()).one()


def new_quota(ledger: Ledger, user_id: str) -> UserQuota:
    """Return the row of a user never seen, which is not written."""
    now = ledger.clock()
    return UserQuota(user_id=user_id, used_amount=Decimal(0), created_at=now, updated_at=now)


def remaining_of(quota: UserQuota, due: Decimal = ZERO) -> Decimal:
    """Return what is left, in yuan, with what is due and not booked; less than nothing after use without a quota."""
    return (quota.granted_amount or ZERO) + due - quota.used_amount


def require_allowed(ledger: Ledger, quota: UserQuota, signed: Decimal, due: Decimal = ZERO) -> None:
    """Refuse a grant beyond what the ledger can hold, and to take back (negative) more than is left."""
    granted = (quota.granted_amount or ZERO) + due + signed
    if granted > LEDGER_LIMIT:
        raise Refused(_("A quota cannot be more than %(limit)s in all.") % {"limit": plain(LEDGER_LIMIT)})
    remaining = remaining_of(quota, due)
    if signed < 0 and remaining + signed < 0:
        raise Refused(
            _("%(user)s has only %(remaining)s left; %(amount)s cannot be taken back.")
            % {
                "user": clean(quota.user_id),
                "remaining": shown_exact(remaining, symbol=ledger.symbol),
                "amount": shown_exact(-signed, symbol=ledger.symbol),
            }
        )


def change_of(
    ledger: Ledger, quota: UserQuota, signed: Decimal, due: Decimal = ZERO, *, needs_approval: bool
) -> QuotaChange:
    """Return what a grant, or taking back (negative), changes."""
    before = remaining_of(quota, due)
    return QuotaChange(
        before=before,
        after=before + signed,
        had_quota=quota.granted_amount is not None,
        was_blocked=quota_view(ledger, quota, due).is_blocked,
        is_blocked=before + signed <= 0,
        needs_approval=needs_approval,
    )


def _replay(earlier: QuotaGrant, approved_by: str | None, content: Content) -> GrantView:
    stored = (earlier.user_id, earlier.amount, earlier.reference, earlier.expires_at)
    if stored != content:
        raise Conflict(
            _("The key %(key)s already stands for another grant: %(stored)s. This one is: %(asked)s.")
            % {"key": clean(earlier.idempotency_key), "stored": _content(*stored), "asked": _content(*content)},
            _("Nothing was changed. Use a new key for another grant."),
        )
    return grant_view(earlier, approved_by, replayed=True)


def _content(user_id: str, amount: Decimal, reference: str, expires_at: datetime | None) -> str:
    words = _("%(user)s, %(amount)s, reference “%(reference)s”")
    if expires_at is not None:
        words = _("%(user)s, %(amount)s, reference “%(reference)s”, expires %(expires)s")
    return words % {
        "user": clean(user_id),
        "amount": plain(amount),
        "reference": clean(reference),
        "expires": expires_at and iso(expires_at),
    }


def quota_view(ledger: Ledger, quota: UserQuota, due: Decimal = ZERO) -> QuotaView:
    """Copy a quota into the frozen form that leaves the services, with what is due and not booked."""
    has_quota = quota.granted_amount is not None
    remaining = remaining_of(quota, due) if has_quota else None
    return QuotaView(
        user_id=quota.user_id,
        has_quota=has_quota,
        granted_amount=None if quota.granted_amount is None else quota.granted_amount + due,
        used_amount=quota.used_amount,
        remaining_amount=remaining,
        is_blocked=ledger.require_quota if remaining is None else remaining <= 0,
        updated_at=quota.updated_at,
    )


def grant_view(grant: QuotaGrant, approved_by: str | None, *, replayed: bool) -> GrantView:
    """Copy a grant into the frozen form that leaves the services."""
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
        expires_at=grant.expires_at,
        expires_id=grant.expires_id,
        replayed=replayed,
    )
