"""Holds: what a call may cost is set aside before it is made, so that calls at once cannot overdraw a quota."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping, delete, func, select
from sqlmodel import Session

from billing_console.errors import Conflict, InvalidInput, Refused
from billing_console.i18n import _
from billing_console.money import EXACT, LEDGER_LIMIT, NANO, shown_exact
from billing_console.services.archived import archived_requests
from billing_console.services.ledger import Ledger
from billing_console.services.quota_due import due_amounts
from billing_console.text import clean, storable
from db.last import at_last
from db.partitions import with_requests
from db.prepared import among, by_column, insert_rows
from db.schema import Hold, Model, ResourcePool, UsageOutbox, UsageRecord, UserQuota
from db.statements import is_sqlite, one_of_pairs, table_of
from db.values import UsageType

Key = tuple[str, str]
"""A provider and a request id, or a provider and a model."""

LASTS = timedelta(minutes=10)
"""A call that is not recorded by then holds nothing any more."""


class QuotaExceeded(Refused):
    """The user has not so much quota left."""


class ModelDisabled(Refused):
    """A person disabled the model."""


class PoolDepleted(Refused):
    """The provider's pool is used up."""


@dataclass(slots=True)
class NewHold:
    """A call that somebody wants to make, and what it may cost at most, in yuan."""

    request_id: str
    user_id: str
    provider_id: str
    model_id: str
    usage_type: UsageType
    estimated_cost: Decimal

    def validate(self) -> None:
        """Trim the ids; raise InvalidInput, naming the field, for what cannot be held."""
        self.request_id = storable(self.request_id, "requestId")
        self.user_id = storable(self.user_id, "userId")
        self.provider_id = storable(self.provider_id, "providerId")
        self.model_id = storable(self.model_id, "modelId")
        cost = self.estimated_cost
        exact = cost.is_finite() and 0 <= cost <= LEDGER_LIMIT and cost == cost.quantize(NANO, context=EXACT)
        if not exact:
            words = _("estimatedCost must be 0 or more, with at most 9 decimals.")
            raise InvalidInput(words, field="estimatedCost")


@dataclass(frozen=True, slots=True)
class HoldView:
    """What is set aside for a call; `remaining` is what the user may still spend then, None without a limit."""

    request_id: str
    provider_id: str
    user_id: str
    amount: Decimal
    remaining: Decimal | None
    expires_at: datetime
    replayed: bool


@dataclass(slots=True)
class Desk:
    """All that is needed to decide on some calls, read at once under the locks of their users.

    `lock_users` has locked them. `decide` looks at one call after the other, in their order; `write` keeps their holds.
    """

    ledger: Ledger
    now: datetime
    left: dict[str, Decimal | None]
    held: dict[Key, dict[str, Any]]
    recorded: set[Key]
    disabled: set[Key]
    depleted: set[str]
    _new: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, session: Session, ledger: Ledger, wanted: Sequence[NewHold], quotas: Sequence[RowMapping]) -> Desk:
        """Read what decides on these calls, whose users' quotas were locked."""
        now = ledger.clock()
        keys = sorted({(each.provider_id, each.request_id) for each in wanted})
        _forget_expired(session, now, sorted({each.user_id for each in wanted}), keys)
        return cls(
            ledger=ledger,
            now=now,
            left=_left(session, ledger, quotas),
            held=_held(session, keys),
            recorded=_recorded(session, keys),
            disabled=_disabled(session, sorted({(each.provider_id, each.model_id) for each in wanted})),
            depleted=_depleted(session, sorted({each.provider_id for each in wanted})),
        )

    def decide(self, wanted: NewHold) -> HoldView:
        """Set aside what a call may cost; the same call again has the hold it has.

        Raises QuotaExceeded, ModelDisabled or PoolDepleted where the call must not be made, Conflict for a request id
        that stands for another call or one that was recorded already.
        """
        key = wanted.provider_id, wanted.request_id
        known = self.held.get(key)
        if known is None:
            self._require_unknown(key)
            self._require_callable(wanted)
            self._require_quota(wanted)
            hold = _row(wanted, self.now + LASTS)
            self._new.append(hold)
            self.held[key] = hold
            left = self.left[wanted.user_id]
            if left is not None:
                self.left[wanted.user_id] = left - wanted.estimated_cost
        else:
            hold = known
            if hold != _row(wanted, hold["expires_at"]):
                raise Conflict(
                    _("The request id %(id)s holds quota for another call.") % {"id": clean(wanted.request_id)}
                )
        return HoldView(
            request_id=wanted.request_id,
            provider_id=wanted.provider_id,
            user_id=wanted.user_id,
            amount=hold["amount"],
            remaining=self.left[wanted.user_id],
            expires_at=hold["expires_at"],
            replayed=known is not None,
        )

    def write(self, session: Session) -> None:
        """Keep the new holds."""
        if self._new:
            insert_rows(session, Hold, by_column(self._new))

    def _require_unknown(self, key: Key) -> None:
        if key in self.recorded:
            raise Conflict(_("The call %(id)s was recorded already.") % {"id": clean(key[1])})

    def _require_callable(self, wanted: NewHold) -> None:
        """Refuse a model that a person disabled or a pool that is used up; what nobody has seen yet may be called."""
        names = {"provider": clean(wanted.provider_id), "model": clean(wanted.model_id)}
        if (wanted.provider_id, wanted.model_id) in self.disabled:
            raise ModelDisabled(_("%(model)s of %(provider)s is disabled.") % names)
        if wanted.provider_id in self.depleted:
            raise PoolDepleted(_("The pool of %(provider)s is used up.") % names)

    def _require_quota(self, wanted: NewHold) -> None:
        left = self.left[wanted.user_id]
        if left is None:
            if self.ledger.require_quota:
                raise QuotaExceeded(_("%(user)s has no quota.") % {"user": clean(wanted.user_id)})
        elif left <= 0 or left < wanted.estimated_cost:
            symbol = self.ledger.symbol
            raise QuotaExceeded(
                _("%(user)s has %(left)s left, and the call may cost %(cost)s.")
                % {
                    "user": clean(wanted.user_id),
                    "left": shown_exact(left, symbol=symbol),
                    "cost": shown_exact(wanted.estimated_cost, symbol=symbol),
                }
            )


def lock_users(session: Session, now: datetime, user_ids: Iterable[str]) -> Sequence[RowMapping]:
    """Lock these users' quotas in order of id, new users' too: all that changes what they have left waits for that."""
    table = table_of(UserQuota)
    users = sorted(set(user_ids))
    query = (
        select(table.c.user_id, table.c.granted_amount, table.c.used_amount)
        .where(table.c.user_id.in_(users))
        .order_by(table.c.user_id)
    )
    if not is_sqlite(session):
        query = query.with_for_update()
    connection = session.connection()
    found = connection.execute(query).mappings().all()
    if len(found) == len(users):
        return found
    known = {row["user_id"] for row in found}
    rows = [
        {"user_id": user, "used_amount": 0, "created_at": now, "updated_at": now} for user in users if user not in known
    ]
    insert_rows(session, UserQuota, by_column(rows), "DO NOTHING")
    return connection.execute(query).mappings().all()


def end_holds(session: Session, keys: Sequence[Key]) -> None:
    """End the holds of calls that were recorded; after the counting, which locks the users, and as late."""
    if keys:
        mine, values = among(session.connection(), keys)
        at_last(session, (f"DELETE FROM holds WHERE (provider_id, request_id) IN {mine}", values))


def _forget_expired(session: Session, now: datetime, users: list[str], keys: list[Key]) -> None:
    """Delete what these users held, and what these request ids stood for, perhaps for another user."""
    table = table_of(Hold)
    mine = table.c.user_id.in_(users) | one_of_pairs(session, table.c.provider_id, table.c.request_id, keys)
    session.connection().execute(delete(table).where(mine, table.c.expires_at <= now))


def _left(session: Session, ledger: Ledger, quotas: Sequence[RowMapping]) -> dict[str, Decimal | None]:
    """Return what each user may still spend: calls under way and calls that no counter holds yet are taken off.

    What has expired, and what a new period gives, counts from its instant on, also before a timer books it.
    """
    limited = [row["user_id"] for row in quotas if row["granted_amount"] is not None]
    left: dict[str, Decimal | None] = {row["user_id"]: None for row in quotas}
    if not limited:
        return left
    holds, records, outbox = table_of(Hold).c, table_of(UsageRecord).c, table_of(UsageOutbox).c
    held = select(holds.user_id, func.sum(holds.amount)).where(holds.user_id.in_(limited)).group_by(holds.user_id)
    # All users' calls that wait, by their ids: they are few, while one user may have made a million.
    waiting = (
        select(records.user_id, func.sum(records.cost_amount))
        .where(records.id.in_(select(outbox.usage_id)), records.cost_amount.is_not(None))
        .group_by(records.user_id)
    )
    connection = session.connection()
    taken: dict[str | None, Decimal] = {user: amount for user, amount in connection.execute(held)}
    for user, amount in connection.execute(waiting):
        taken[user] = taken.get(user, Decimal(0)) + amount
    due = due_amounts(session, ledger, limited)
    for row in quotas:
        if row["granted_amount"] is not None:
            user, nothing = row["user_id"], Decimal(0)
            left[user] = row["granted_amount"] + due.get(user, nothing) - row["used_amount"] - taken.get(user, nothing)
    return left


def _held(session: Session, keys: list[Key]) -> dict[Key, dict[str, Any]]:
    table = table_of(Hold)
    query = select(table).where(one_of_pairs(session, table.c.provider_id, table.c.request_id, keys))
    return {(row.provider_id, row.request_id): dict(row._mapping) for row in session.connection().execute(query)}


def _recorded(session: Session, keys: list[Key]) -> set[Key]:
    columns = table_of(UsageRecord).c
    query = select(columns.provider_id, columns.request_id).where(with_requests(session, keys))
    found = {(provider, request) for provider, request in session.connection().execute(query)}
    return found | archived_requests(session, keys).keys()


def _disabled(session: Session, pairs: list[Key]) -> set[Key]:
    columns = table_of(Model).c
    query = select(columns.provider_id, columns.model_id).where(
        one_of_pairs(session, columns.provider_id, columns.model_id, pairs), columns.disabled_at.is_not(None)
    )
    return {(provider, model) for provider, model in session.connection().execute(query)}


def _depleted(session: Session, providers: list[str]) -> set[str]:
    columns = table_of(ResourcePool).c
    query = select(columns.provider_id).where(
        columns.provider_id.in_(providers),
        columns.opened_at.is_not(None),
        columns.suspended_at.is_not(None) | (columns.total_balance <= columns.used_amount),
    )
    return set(session.connection().execute(query).scalars())


def _row(wanted: NewHold, expires_at: datetime) -> dict[str, Any]:
    return {
        "provider_id": wanted.provider_id,
        "request_id": wanted.request_id,
        "user_id": wanted.user_id,
        "model_id": wanted.model_id,
        "usage_type": wanted.usage_type.value,
        "amount": wanted.estimated_cost,
        "expires_at": expires_at,
    }
