"""What the clock does to quotas: grants that expire, and those that a periodic quota gives anew.

A balance is right at once: what is due and not booked yet is counted where it is read. It is booked by the timer, and
before every other change of that user's quota, so that the order of the rows is the order of their instants.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import accumulate

from sqlalchemy import func, select, tuple_
from sqlmodel import Session

from billing_console.clock import iso
from billing_console.money import exact_sum
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.identity import SYSTEM
from billing_console.services.ledger import Ledger
from billing_console.services.quota_booking import add_row, frozen, lock_quota
from billing_console.services.quota_lots import Books, Due, Row, due, replay
from billing_console.services.quota_periods import coming
from billing_console.services.session import reading
from db.schema import Model, PeriodicQuota, QuotaGrant, UsageOutbox, UsageRecord, UserQuota
from db.statements import table_of

BOOKED_BY = f"{SYSTEM}quotas"
"""Who grants what a periodic quota gives, whoever's turn it was to book it: it counts for nobody's daily limit."""

BATCH = 200
"""Users of one transaction of the timer."""


def due_rows(session: Session, ledger: Ledger, quota: UserQuota) -> list[Due]:
    """Return what is due of a user and not booked yet."""
    rows, keys = _rows(session, quota.user_id)
    periodic = session.get(PeriodicQuota, quota.user_id)
    now = ledger.clock()
    given = coming(periodic, keys, now, ledger.timezone) if periodic is not None else []
    return due(rows, given, _Use(session, quota).before, now)


class _Use:
    """What a user had used before an instant; instants are asked for in order, and calls are read since the first."""

    def __init__(self, session: Session, quota: UserQuota) -> None:
        self._session, self._quota = session, quota
        self._instants: list[datetime] = []
        self._since: list[Decimal] | None = None

    def before(self, instant: datetime) -> Decimal:
        """Return what was used by calls made before an instant, as far as they are counted, in yuan."""
        if self._since is None:
            calls = _calls_since(self._session, self._quota.user_id, instant)
            self._instants = [at for at, _cost in calls]
            self._since = [Decimal(0), *accumulate(cost for _at, cost in reversed(calls))]
        later = len(self._instants) - bisect_left(self._instants, instant)
        return self._quota.used_amount - self._since[later]


def due_amount(session: Session, ledger: Ledger, quota: UserQuota) -> Decimal:
    """Return by how many yuan what is due changes what is left; nothing is read for users of whom nothing can be."""
    if not due_users(session, ledger.clock(), [quota.user_id]):
        return Decimal(0)
    return exact_sum([row.amount for row in due_rows(session, ledger, quota)])


def due_amounts(session: Session, ledger: Ledger, among: Sequence[str] | None = None) -> dict[str, Decimal]:
    """Return for each user of whom something is due, of all or of some, by how many yuan that changes what is left."""
    found = {}
    for user in due_users(session, ledger.clock(), among):
        rows = due_rows(session, ledger, session.get_one(UserQuota, user))
        if rows:
            found[user] = exact_sum([row.amount for row in rows])
    return found


def left_of_grants(session: Session, quota: UserQuota) -> Books:
    """Return what is left of each of a user's grants, by the rows that are booked."""
    return replay(_rows(session, quota.user_id)[0], quota.used_amount)


def book_due(session: Session, ledger: Ledger, trail: Trail, quota: UserQuota) -> list[Due]:
    """Book what is due of a locked quota; the caller notes it."""
    rows = due_rows(session, ledger, quota)
    ids: dict[int, int] = {}
    for number, row in enumerate(rows, 1):
        expires_id = ids.get(row.expires_id, row.expires_id) if row.expires_id is not None else None
        grant = add_row(
            session,
            ledger,
            trail,
            quota,
            amount=row.amount,
            reference=f"grant {expires_id} expired" if expires_id is not None else _reference(row),
            idempotency_key=row.key or f"expiry:{expires_id}",
            operator=BOOKED_BY,
            expires_at=row.expires_at,
            used_before=row.used_before,
            expires_id=expires_id,
        )
        ids[-number] = grant.id or 0
    return rows


def _reference(row: Due) -> str:
    return f"period until {iso(row.expires_at)}" if row.expires_at else ""


def book_all_due(ledger: Ledger) -> int:
    """Book what is due of every user, in batches with one row of the audit log each; return how many rows that were.

    Harmless at once by many consoles: under the lock of a user, what another one booked is not due any more.
    """
    with reading(ledger.database) as session:
        users = due_users(session, ledger.clock())
    booked = 0
    for start in range(0, len(users), BATCH):
        work = partial(_book, ledger=ledger, users=users[start : start + BATCH])
        booked += change(ledger, Action.DUE, "", work)
    return booked


def _book(session: Session, trail: Trail, ledger: Ledger, users: Sequence[str]) -> int:
    quotas = [lock_quota(session, ledger, user) for user in users]
    now = frozen(ledger)
    rows = [row for quota in quotas for row in book_due(session, now, trail, quota)]
    if rows:
        trail.note(
            None,
            {
                "users": len(users),
                "expired": -exact_sum([row.amount for row in rows if row.amount < 0]),
                "granted": exact_sum([row.amount for row in rows if row.amount > 0]),
            },
        )
    return len(rows)


def due_users(session: Session, now: datetime, among: Sequence[str] | None = None) -> list[str]:
    """Return, in order of id, the users of whom something may be due: a grant of theirs expired since their last row.

    Who has a periodic quota is among them by the grant of the period before. Who has nothing left has nothing that
    could expire. Each user takes two seeks, however many grants there are.
    """
    grants, quotas, periods = (table_of(model) for model in (QuotaGrant, UserQuota, PeriodicQuota))
    mine = grants.c.user_id == quotas.c.user_id
    ended = select(func.max(grants.c.expires_at)).where(mine, grants.c.expires_at <= now)
    last = select(grants.c.created_at).where(mine).order_by(grants.c.id.desc()).limit(1)
    periodic = select(periods.c.user_id).where(periods.c.user_id == quotas.c.user_id)
    query = (
        select(quotas.c.user_id)
        .where((quotas.c.granted_amount > quotas.c.used_amount) | periodic.exists())
        .where(ended.correlate(quotas).scalar_subquery() > last.correlate(quotas).scalar_subquery())
        .where(select(grants.c.id).where(grants.c.expires_at <= now).exists())
    )
    if among is not None:
        query = query.where(quotas.c.user_id.in_(among))
    return sorted(session.connection().execute(query).scalars())


def _rows(session: Session, user_id: str) -> tuple[list[Row], set[str]]:
    """Return a user's rows in order, and their keys."""
    column = table_of(QuotaGrant).c
    query = (
        select(
            column.id, column.amount, column.used_before, column.expires_at, column.expires_id, column.idempotency_key
        )
        .where(column.user_id == user_id)
        .order_by(column.id)
    )
    found = session.connection().execute(query).all()
    return [Row(*row[:5]) for row in found], {row.idempotency_key for row in found}


def _calls_since(session: Session, user_id: str, instant: datetime) -> list[tuple[datetime, Decimal]]:
    """Return when a user's calls since an instant were made and what they cost, as far as they are counted, in order.

    The user's index begins with the user, the provider and the model: with every pair known, it takes a seek for each.
    """
    records, models, outbox = (table_of(model) for model in (UsageRecord, Model, UsageOutbox))
    pairs = tuple_(records.c.provider_id, records.c.model_id).in_(select(models.c.provider_id, models.c.model_id))
    waiting = select(outbox.c.usage_id).where(outbox.c.usage_id == records.c.id)
    query = (
        select(records.c.created_at, records.c.cost_amount)
        .where(records.c.user_id == user_id, pairs, records.c.created_at >= instant, records.c.cost_amount != 0)
        .where(~waiting.exists())
        .order_by(records.c.created_at)
    )
    return [(at, cost) for at, cost in session.connection().execute(query)]
