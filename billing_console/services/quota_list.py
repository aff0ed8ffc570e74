"""Lists of user quotas, searched, narrowed and sorted in the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import case, func, or_
from sqlmodel import Session, col, select

from billing_console.services.ledger import Ledger
from billing_console.services.quota_booking import QuotaView, quota_view
from billing_console.services.quota_due import due_amounts
from billing_console.services.session import reading
from db.damage import require_sound
from db.schema import UserQuota
from db.types import Money


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
class _Filter:
    search: str = ""
    only_with_quota: bool = False
    only_blocked: bool = False


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
    with reading(ledger.database) as session:
        chosen = _Filter(search, only_with_quota, only_blocked)
        return _listed(session, ledger, chosen, _of_clock(session, ledger, chosen), order or QuotaOrder(), limit)


def quota_page(
    ledger: Ledger,
    *,
    search: str = "",
    only_blocked: bool = False,
    order: QuotaOrder | None = None,
    limit: int,
    offset: int = 0,
) -> QuotaPage:
    """Return the users of a filter after the first `offset`, and how many there are of it in all."""
    counts = select(func.count(), func.sum(case((_blocked(ledger), 1), else_=0))).select_from(UserQuota)
    chosen = _Filter(search, False, only_blocked)
    with reading(ledger.database) as session:
        users, blocked = session.exec(_matching(counts, ledger, _Filter(search))).one()
        moved = _of_clock(session, ledger, chosen)
        blocked = int(blocked or 0) + sum(now.is_blocked - booked.is_blocked for booked, now in moved)
        rows = _listed(session, ledger, chosen, moved, order or QuotaOrder(), limit, offset)
        return QuotaPage(rows, blocked if only_blocked else int(users), blocked)


Moved = list[tuple[QuotaView, QuotaView]]


def _of_clock(session: Session, ledger: Ledger, chosen: _Filter) -> Moved:
    """Return the users of whom something is due: as the database sorts them, and as they are now."""
    require_sound(session, UserQuota)
    found: Moved = []
    for user, amount in due_amounts(session, ledger).items():
        mine = _matching(select(UserQuota), ledger, _Filter(chosen.search, chosen.only_with_quota))
        for row in session.exec(mine.where(UserQuota.user_id == user)):
            found.append((quota_view(ledger, row), quota_view(ledger, row, amount)))
    return found


def _listed(
    session: Session,
    ledger: Ledger,
    chosen: _Filter,
    moved: Moved,
    order: QuotaOrder,
    limit: int | None,
    offset: int = 0,
) -> tuple[QuotaView, ...]:
    """Sort in the database, and put those whom the clock has moved where they are now."""
    query = _matching(select(UserQuota), ledger, chosen).order_by(*_in_order(ledger, order))
    if not moved:
        return tuple(quota_view(ledger, row) for row in session.exec(query.limit(limit).offset(offset)))
    end = None if limit is None else offset + limit
    rows = session.exec(query.limit(None if end is None else end + len(moved)))
    views = [quota_view(ledger, row) for row in rows]
    now = {view.user_id: view for _booked, view in moved}
    views = [view for view in views if view.user_id not in now]
    views += [view for view in now.values() if view.is_blocked or not chosen.only_blocked]
    return tuple(_sorted(views, ledger, order)[offset:end])


def _sorted(views: list[QuotaView], ledger: Ledger, order: QuotaOrder) -> list[QuotaView]:
    """Sort as `_in_order` does in the database."""
    by: dict[QuotaSort, Callable[[QuotaView], Any]] = {
        QuotaSort.REMAINING: lambda view: (
            -view.used_amount if ledger.require_quota and not view.has_quota else view.remaining_amount
        ),
        QuotaSort.GRANTED: lambda view: view.granted_amount,
        QuotaSort.USED: lambda view: view.used_amount,
        QuotaSort.USER: lambda view: view.user_id,
    }
    value = by[order.by]
    views = sorted(sorted(views, key=lambda view: view.user_id), key=lambda view: -view.used_amount)
    known = [view for view in views if value(view) is not None]
    return sorted(known, key=value, reverse=order.descending) + [view for view in views if value(view) is None]


_granted, _used = col(UserQuota.granted_amount), col(UserQuota.used_amount)


def _matching(query: Any, ledger: Ledger, chosen: _Filter) -> Any:
    if chosen.search:
        query = query.where(col(UserQuota.user_id).icontains(chosen.search, autoescape=True))
    if chosen.only_with_quota:
        query = query.where(_granted.is_not(None))
    return query.where(_blocked(ledger)) if chosen.only_blocked else query


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
