"""Grant quota to many users at once: all of them, or none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial

from sqlmodel import Session

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.money import check_amount, exact_sum
from billing_console.services import limits
from billing_console.services.actions import Action
from billing_console.services.approvals import ApprovalView, Wanted, ask, waiting
from billing_console.services.audit import Trail
from billing_console.services.changes import change, consider
from billing_console.services.ledger import Ledger
from billing_console.services.quota_booking import (
    GrantView,
    QuotaChange,
    change_of,
    checked_key,
    expiry_of,
    frozen,
    known_grant,
    lock_quota,
    new_quota,
    require_allowed,
    require_future,
    wanted_grant,
    write,
)
from billing_console.services.quota_due import book_due, due_amount
from billing_console.services.recharges import new_key
from billing_console.text import storable
from db.schema import UserQuota

MOST = 1000
"""Users of one bulk grant: their rows stay locked until all are booked."""


@dataclass(frozen=True, slots=True)
class BulkChange:
    """What a bulk grant would change, by user in order of id; the sum in yuan."""

    changes: tuple[tuple[str, QuotaChange], ...]
    sum: Decimal
    needs_approval: bool


@dataclass(frozen=True, slots=True)
class BulkGrant:
    """What a bulk grant did, in order of user: grants, or requests where it must be approved."""

    grants: tuple[GrantView, ...]
    requests: tuple[ApprovalView, ...]


def preview_bulk(ledger: Ledger, user_ids: Sequence[str], amount: Decimal) -> BulkChange:
    """Return what granting `amount` yuan to each would change, by the rules of `grant_each`, writing nothing."""
    check_amount(amount)
    users = _users(user_ids)

    def look(session: Session) -> BulkChange:
        total = exact_sum([amount] * len(users))
        limits.enforce(session, ledger, total)
        waits = limits.needs_approval(session, total)
        changes = []
        for user in users:
            quota = session.get(UserQuota, user) or new_quota(ledger, user)
            due = due_amount(session, ledger, quota)
            require_allowed(ledger, quota, amount, due)
            changes.append((user, change_of(ledger, quota, amount, due, needs_approval=waits)))
        return BulkChange(tuple(changes), total, waits)

    return consider(ledger, Action.GRANT, _target(users), look)


def grant_each(
    ledger: Ledger,
    user_ids: Sequence[str],
    amount: Decimal,
    *,
    reference: str,
    key: str | None = None,
    expires_at: datetime | None = None,
) -> BulkGrant:
    """Let each of these users spend `amount` yuan more, until `expires_at` if given: all in one transaction, or none.

    It is one operation: limits hold for its sum, and where that is above `approval_above` each grant becomes a request.
    Every user has a key of their own, derived from `key`: to repeat it grants nothing twice. Raises InvalidInput for no
    users or too many and for an amount that is not positive, Refused beyond a limit.
    """
    check_amount(amount)
    key = new_key() if key is None else checked_key(key, limit=150)
    wishes = [wanted_grant(user, amount, reference, key_for(key, user), expires_at) for user in _users(user_ids)]

    def work(session: Session, trail: Trail) -> BulkGrant:
        # Under the locks: who holds one now may be booking the same key.
        quotas = {wanted.subject: lock_quota(session, ledger, wanted.subject) for wanted in wishes}
        known = {wanted.subject: _known(session, ledger, wanted) for wanted in wishes}
        new = [wanted for wanted in wishes if known[wanted.subject] is None]
        total = exact_sum([wanted.amount for wanted in new])
        waits = limits.needs_approval(session, total)
        if new:
            require_future(ledger, new[0])
            limits.enforce(session, ledger, total)
        now = frozen(ledger)
        for wanted in new:
            quota = quotas[wanted.subject]
            if not waits:
                book_due(session, now, trail, quota)
            require_allowed(ledger, quota, amount)
            done = ask if waits else partial(write, quota=quota, operator=ledger.operator)
            known[wanted.subject] = done(session, now, trail, wanted=wanted)
        results = [result for result in known.values() if result is not None]
        if new:
            _note(trail, ledger, new, results)
        return BulkGrant(
            tuple(result for result in results if isinstance(result, GrantView)),
            tuple(result for result in results if isinstance(result, ApprovalView)),
        )

    return change(ledger, Action.GRANT, _target([wanted.subject for wanted in wishes]), work, key=key)


def key_for(key: str, user_id: str) -> str:
    """Return the idempotency key of one user's part of a bulk grant."""
    return f"{key}:{hashlib.sha256(user_id.encode()).hexdigest()[:32]}"


def _users(user_ids: Sequence[str]) -> list[str]:
    """Return the users in order of id, each once: whoever locks several does so in that order."""
    users = sorted({storable(user, "userId") for user in user_ids})
    if not 1 <= len(users) <= MOST:
        raise InvalidInput(_("A bulk grant is for 1 to %(most)d users.") % {"most": MOST}, field="userId")
    return users


def _known(session: Session, ledger: Ledger, wanted: Wanted) -> GrantView | ApprovalView | None:
    return known_grant(session, wanted) or waiting(session, ledger, wanted)


def _note(trail: Trail, ledger: Ledger, new: list[Wanted], results: list[GrantView | ApprovalView]) -> None:
    """Note all that is new in one row of the audit log."""
    done = [result for result in results if not result.replayed]
    grants = [result for result in done if isinstance(result, GrantView)]
    trail.note(
        {grant.user_id: grant.remaining_before for grant in grants} or None,
        {
            "users": [wanted.subject for wanted in new],
            "amount": new[0].amount,
            "sum": exact_sum([wanted.amount for wanted in new]),
            "grants": [grant.id for grant in grants],
            "requests": [result.id for result in done if isinstance(result, ApprovalView)],
            "reference": new[0].reference,
            "operator": ledger.operator,
        }
        | ({} if not new[0].note else {"expiresAt": expiry_of(new[0])}),
    )


def _target(users: Sequence[str]) -> str:
    """Name whom it is for in the audit log: the first of them, and how many more."""
    return users[0] if len(users) == 1 else f"{users[0]} +{len(users) - 1}"
