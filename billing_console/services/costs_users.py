"""Who spent most: added up from the usage records themselves, in slices, as far as a bound allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise

from sqlalchemy import case, func, select

from billing_console.clock import start_of
from billing_console.money import exact_sum
from billing_console.services.costs import STATS, CostFilter, within
from billing_console.services.costs_compare import share_of
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from db.schema import UsageRecord
from db.statements import table_of
from db.values import CallStatus

MOST_RECORDS = 2_000_000
"""Records looked at at most, unless one day alone has more."""

SLICE_RECORDS = 20_000
"""Records looked at in one go, about: between two slices the work can be stopped."""

Progress = Callable[[int, int], bool]
"""Told how many records have been looked at, of how many; answers whether to go on."""

_Pairs = dict[tuple[str, str], list[tuple[date, int]]]
_Sums = tuple[Decimal, int, int]


@dataclass(frozen=True, slots=True)
class UserCost:
    """What the calls of a user cost in yuan, and the share of all that was looked at in percent; None for no user."""

    user_id: str | None
    cost: Decimal
    call_count: int
    failed_count: int
    share: Decimal


@dataclass(frozen=True, slots=True)
class TopUsers:
    """The users who spent most, the dearest first, of `user_count` users with so many calls and so much cost in yuan.

    `start` and `end` are the days looked at: not from the filter's first day on where there are too many records.
    """

    users: tuple[UserCost, ...]
    user_count: int
    start: date
    end: date
    call_count: int
    total_cost: Decimal


def top_users(
    ledger: Ledger, chosen: CostFilter, progress: Progress, *, limit: int = 100, most: int = MOST_RECORDS
) -> TopUsers | None:
    """Add up the usage records of a filter by user; None if `progress` said to stop.

    Where the days of the filter hold more than `most` records, only the newest of them are looked at, but at least one.
    Records that are in no daily statistic yet do not count.
    """
    start, pairs = _pairs(ledger, chosen, most)
    whole = sum(calls for days in pairs.values() for _day, calls in days)
    found: dict[str | None, _Sums] = {}
    seen = 0
    for (provider, model), days in pairs.items():
        for since, until, calls in _slices(ledger, days):
            if not progress(seen, whole):
                return None
            _add(ledger, replace(chosen, provider_id=provider, model_id=model), since, until, found)
            seen += calls
    return _top(found, limit, start, chosen.end)


def _pairs(ledger: Ledger, chosen: CostFilter, most: int) -> tuple[date, _Pairs]:
    """Return the first day to look at, and the days with calls of every model, the newest first."""
    columns = (STATS.stat_date, STATS.provider_id, STATS.model_id)
    query = within(select(*columns, func.sum(STATS.call_count)), chosen).group_by(*columns)
    pairs: _Pairs = defaultdict(list)
    seen, start = 0, chosen.start
    with reading(ledger.database) as session:
        rows = session.connection().execute(query.order_by(STATS.stat_date.desc())).all()
    for day, group in groupby(rows, key=lambda row: row[0]):
        of_day = [(provider, model, int(calls)) for _day, provider, model, calls in group]
        calls_of_day = sum(calls for _provider, _model, calls in of_day)
        if seen and seen + calls_of_day > most:
            break
        start, seen = day, seen + calls_of_day
        for provider, model, calls in of_day:
            pairs[provider, model].append((day, calls))
    else:
        start = chosen.start
    return start, pairs


def _slices(ledger: Ledger, days: list[tuple[date, int]]) -> Iterator[tuple[datetime, datetime, int]]:
    """Cut the days into slices of about SLICE_RECORDS records: many days, or a part of one."""
    newest, oldest, waiting = days[0][0], days[0][0], 0
    for day, calls in days:
        if waiting and waiting + calls > SLICE_RECORDS:
            yield from _parts(ledger, oldest, newest, waiting)
            newest, waiting = day, 0
        oldest, waiting = day, waiting + calls
    yield from _parts(ledger, oldest, newest, waiting)


def _parts(ledger: Ledger, first: date, last: date, calls: int) -> Iterator[tuple[datetime, datetime, int]]:
    start, end = start_of(first, ledger.timezone), start_of(last + timedelta(days=1), ledger.timezone)
    parts = calls // SLICE_RECORDS + 1
    edges = [*(start + (end - start) * part / parts for part in range(parts)), end]
    for part, (since, until) in enumerate(pairwise(edges)):
        yield since, until, calls * (part + 1) // parts - calls * part // parts


def _add(ledger: Ledger, chosen: CostFilter, since: datetime, until: datetime, found: dict[str | None, _Sums]) -> None:
    columns = table_of(UsageRecord).c
    failed = case((columns.status == CallStatus.FAILED.value, 1), else_=0)
    query = select(columns.user_id, func.sum(columns.cost_amount), func.count(), func.sum(failed)).where(
        columns.provider_id == chosen.provider_id,
        columns.model_id == chosen.model_id,
        columns.created_at >= since,
        columns.created_at < until,
    )
    if chosen.usage_type is not None:
        query = query.where(columns.usage_type == chosen.usage_type.value)
    with reading(ledger.database) as session:
        for user, cost, calls, failures in session.connection().execute(query.group_by(columns.user_id)):
            cost_before, calls_before, failures_before = found.get(user, (Decimal(0), 0, 0))
            found[user] = (cost_before + (cost or 0), calls_before + int(calls), failures_before + int(failures))


def _top(found: dict[str | None, _Sums], limit: int, start: date, end: date) -> TopUsers:
    total = exact_sum([cost for cost, _calls, _failures in found.values()])
    dearest = sorted(found.items(), key=lambda item: (-item[1][0], -item[1][1], item[0] or ""))[:limit]
    users = tuple(
        UserCost(user, cost, calls, failures, share_of(cost, total)) for user, (cost, calls, failures) in dearest
    )
    return TopUsers(users, len(found), start, end, sum(calls for _cost, calls, _failures in found.values()), total)
