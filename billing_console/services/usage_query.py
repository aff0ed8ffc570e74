"""Pages of usage records by index seeks alone, whatever the filter, on both engines.

Every filter is answered from one of three index orders. A filter that skips a middle column of its index is split into
one branch per (provider, model) pair, merged newest first: each branch is then a seek, where a scan would pass over
millions of rows to find a rare match.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Select,
    TableValuedAlias,
    and_,
    bindparam,
    case,
    false,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
    tuple_,
    union,
    values,
)
from sqlalchemy import column as sa_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import Text
from sqlmodel import Session

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.text import clean
from db.schema import DailyCostStat, Model, UsageOutbox, UsageRecord
from db.statements import is_sqlite, table_of
from db.values import CallStatus, UsageType

RECORDS = table_of(UsageRecord)

BRANCHES = 400
"""Branches in one statement; SQLite refuses more than 500."""

FEW = 8
"""By how much fewer keys of each branch than a page has are looked at first: most pages mix at least so many."""


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which usage records to look at; None means any, times are instants in UTC, `end` is excluded.

    `negated` names the fields among the first four whose value is excluded; a call without a user is not one of alice.
    """

    user_id: str | None = None
    provider_id: str | None = None
    model_id: str | None = None
    usage_type: UsageType | None = None
    status: CallStatus | None = None
    start: datetime | None = None
    end: datetime | None = None
    negated: frozenset[str] = frozenset()

    def wanted(self, name: str) -> str | None:
        """Return the value a field must have; None where any will do, or all but one."""
        return None if name in self.negated else self._value(name)

    def unwanted(self, name: str) -> str | None:
        """Return the value a field must not have, if there is one."""
        return self._value(name) if name in self.negated else None

    def _value(self, name: str) -> str | None:
        """Spell a value as it is stored."""
        value = getattr(self, name)
        return value.value if isinstance(value, StrEnum) else value

    def on(self, columns: Any, *names: str) -> list[ColumnElement[bool]]:
        """Return the conditions on these fields, which `columns` has under the same names."""
        conditions: list[ColumnElement[bool]] = []
        for name in names:
            wanted, unwanted = self.wanted(name), self.unwanted(name)
            if wanted is not None:
                conditions.append(columns[name] == wanted)
            if unwanted is not None:
                conditions.append(columns[name].is_distinct_from(unwanted))
        return conditions


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order by time and id."""

    created_at: datetime
    id: int

    def encode(self) -> str:
        """Spell the position as an opaque cursor."""
        raw = f"{self.created_at.astimezone(UTC).isoformat()}|{self.id}"
        return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, cursor: str) -> Position:
        """Read a cursor back; raise InvalidInput for anything else."""
        try:
            raw = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
            instant, _bar, number = raw.partition("|")
            created_at = datetime.fromisoformat(instant)
            if created_at.tzinfo is None or not 0 <= int(number) < 2**63:
                raise ValueError
            return cls(created_at.astimezone(UTC), int(number))
        except (ValueError, OverflowError, binascii.Error):
            raise InvalidInput(
                _("“%(cursor)s” is not a cursor of this list.") % {"cursor": clean(cursor[:60])}, field="after"
            ) from None


def page_rows(
    session: Session, chosen: UsageFilter, limit: int, after: Position | None, oldest_first: bool
) -> list[Row[Any]]:
    """Return up to `limit` rows that match, in order, after a position."""
    rest = [*_residual(session, chosen), *_time_range(chosen, after, oldest_first)]
    if after is not None and not is_sqlite(session):
        # The partitions that the pair of time and id leaves, which PostgreSQL does not see in it.
        created_at = RECORDS.c.created_at
        rest.append(created_at >= after.created_at if oldest_first else created_at <= after.created_at)
    pairs = model_pairs(session, chosen)
    if pairs is None:
        query = select(RECORDS).where(*_seek(chosen), *rest)
        return list(session.connection().execute(query.order_by(*_order(RECORDS.c, oldest_first)).limit(limit)))
    merged = _merged_sqlite if is_sqlite(session) else _merged_postgresql
    if not is_sqlite(session):
        # Or a branch of few calls, as PostgreSQL takes them for, is read whole and sorted instead of in order.
        session.connection().exec_driver_sql("SET LOCAL enable_sort = off")
    rows: list[Row[Any]] = []
    for start in range(0, len(pairs), BRANCHES):
        chunk = pairs[start : start + BRANCHES]
        rows += session.connection().execute(merged(chosen, chunk, rest, limit, oldest_first))
    rows.sort(key=lambda row: (row.created_at, row.id), reverse=not oldest_first)
    return rows[:limit]


def matching(session: Session, chosen: UsageFilter, most: int | None) -> Select[Any]:
    """Return a query for up to `most` matching rows, or all, unordered, for totals."""
    rest = [*_residual(session, chosen), *_time_range(chosen, None, False)]
    pairs = model_pairs(session, chosen)
    if pairs is None:
        return select(RECORDS).where(*_seek(chosen), *rest).limit(most)
    if not pairs:
        return select(RECORDS).where(false())
    spelled = values(sa_column("provider_id", Text), sa_column("model_id", Text), name="pair").data(pairs)
    pair = spelled.cte("pair") if is_sqlite(session) else _unnested(pairs)
    same = and_(RECORDS.c.provider_id == pair.c.provider_id, RECORDS.c.model_id == pair.c.model_id)
    branch = select(RECORDS).where(*_seek(chosen), same, *rest)
    if is_sqlite(session):
        return branch.select_from(pair).limit(most)
    each = branch.correlate(pair).limit(most).lateral("each")
    return select(each).select_from(pair.join(each, true())).limit(most)


def _seek(chosen: UsageFilter) -> list[ColumnElement[bool]]:
    seek = ((name, chosen.wanted(name)) for name in ("user_id", "provider_id", "model_id"))
    return [RECORDS.c[name] == value for name, value in seek if value is not None]


def _residual(session: Session, chosen: UsageFilter) -> list[ColumnElement[bool]]:
    conditions = chosen.on(RECORDS.c, "usage_type")
    if not is_sqlite(session):
        # PostgreSQL takes the type for independent of the model, so for rare: it would read and sort all calls of one.
        # Of a CASE it assumes that half of the calls match, and reads them in order from the index until it has a page.
        conditions = [case((condition, true())) for condition in conditions]
    if chosen.unwanted("user_id") is not None:
        conditions += chosen.on(RECORDS.c, "user_id")
    if chosen.status is not None:
        # Spelled out, not bound: only a literal lets the planner choose the partial indexes of failed calls.
        conditions.append(RECORDS.c.status == literal_column(f"'{chosen.status.value}'"))
    return conditions


def _time_range(chosen: UsageFilter, after: Position | None, oldest_first: bool) -> list[ColumnElement[bool]]:
    """Bound the time, by one bound on each side: of two, SQLite would use only one of them."""
    created_at = RECORDS.c.created_at
    conditions: list[ColumnElement[bool]] = []
    if after is not None and _outside(chosen, after, oldest_first):
        after = None
    if chosen.start is not None and not (after and oldest_first):
        conditions.append(created_at >= chosen.start)
    if chosen.end is not None and not (after and not oldest_first):
        conditions.append(created_at < chosen.end)
    if after is not None:
        place = tuple_(created_at, RECORDS.c.id)
        edge = (after.created_at, after.id)
        conditions.append(place > edge if oldest_first else place < edge)
    return conditions


def _outside(chosen: UsageFilter, after: Position, oldest_first: bool) -> bool:
    """Tell whether a position, kept from another filter, lies before the first row of the range."""
    if oldest_first:
        return chosen.start is not None and after.created_at < chosen.start
    return chosen.end is not None and after.created_at >= chosen.end


def _order(columns: Any, oldest_first: bool) -> tuple[Any, Any]:
    if oldest_first:
        return columns.created_at.asc(), columns.id.asc()
    return columns.created_at.desc(), columns.id.desc()


def model_pairs(session: Session, chosen: UsageFilter) -> list[tuple[str, str]] | None:
    """Return the (provider, model) pairs to merge over, or None where one index seek answers the filter."""
    one_pair = chosen.wanted("provider_id") is not None and chosen.wanted("model_id") is not None
    any_pair = (chosen.wanted("user_id"), chosen.provider_id, chosen.model_id) == (None,) * 3
    # With a type the statistics are asked: a model that is never called for it would be gone through in vain.
    if chosen.usage_type is None and (one_pair or any_pair):
        return None
    stats, models, outbox = table_of(DailyCostStat).c, table_of(Model).c, table_of(UsageOutbox).c
    known = select(models.provider_id, models.model_id)
    if chosen.usage_type is not None:
        excluded = "usage_type" in chosen.negated
        types = [each.value for each in UsageType if (each == chosen.usage_type) is not excluded]
        of_model = and_(stats.provider_id == models.provider_id, stats.model_id == models.model_id)
        # The limit keeps PostgreSQL from joining the statistics of all days: one look into an index a model and type.
        called = select(literal(1)).where(of_model, stats.usage_type.in_(types)).limit(1)
        known = known.where(called.correlate(table_of(Model)).scalar_subquery().is_not(None))
    # The sum keeps SQLite from going through all records and looking for each in the outbox, which is all but empty.
    waiting = select(RECORDS.c.provider_id, RECORDS.c.model_id).join(
        table_of(UsageOutbox), outbox.usage_id + 0 == RECORDS.c.id
    )
    every = union(known, waiting).subquery()
    query = select(every.c.provider_id, every.c.model_id).where(*chosen.on(every.c, "provider_id", "model_id"))
    return [(provider, model) for provider, model in session.connection().execute(query)]


def _merged_sqlite(
    chosen: UsageFilter, pairs: list[tuple[str, str]], rest: list[ColumnElement[bool]], limit: int, oldest_first: bool
) -> Any:
    """Merge the branches as a UNION ALL under one ORDER BY, which SQLite streams from the branches' indexes.

    What they have in common is spelled once, and only keys are merged: a branch each, built from its columns and
    conditions, takes longer to put together than the page takes to find.
    """
    if not pairs:
        return select(RECORDS).where(false())
    user = [] if chosen.wanted("user_id") is None else [RECORDS.c.user_id == chosen.user_id]
    common = and_(true(), *user, *rest).compile(dialect=sqlite.dialect(paramstyle="named"))
    binds = [bindparam(name, bind.value, bind.type) for bind, name in common.bind_names.items()]
    names: dict[str, str] = {}
    branches = []
    for number, (provider, model) in enumerate(pairs):
        names |= {f"provider_{number}": provider, f"model_{number}": model}
        branches.append(
            "SELECT id, created_at FROM usage_records"
            f" WHERE provider_id = :provider_{number} AND model_id = :model_{number} AND {common}"
        )
    direction = "ASC" if oldest_first else "DESC"
    merged = text(
        f"{' UNION ALL '.join(branches)} ORDER BY created_at {direction}, id {direction} LIMIT :most"
    ).bindparams(*binds, most=limit, **names)
    keys = merged.columns(RECORDS.c.id, RECORDS.c.created_at).subquery()
    return select(RECORDS).join(keys, RECORDS.c.id == keys.c.id)


def _merged_postgresql(
    chosen: UsageFilter, pairs: list[tuple[str, str]], rest: list[ColumnElement[bool]], limit: int, oldest_first: bool
) -> Any:
    """Take each branch's first keys with LATERAL, so that the planner plans one branch, not one per pair.

    A few of each tell how far back a whole page can reach at most: no branch is read beyond that.
    """
    pair = _unnested(pairs)
    user = [] if chosen.wanted("user_id") is None else [RECORDS.c.user_id == chosen.user_id]
    same = (RECORDS.c.provider_id == pair.c.provider_id, RECORDS.c.model_id == pair.c.model_id)

    def first(most: int, *more: ColumnElement[bool]) -> Select[Any]:
        branch = select(RECORDS.c.id, RECORDS.c.created_at).where(*user, *same, *rest, *more)
        each = branch.order_by(*_order(RECORDS.c, oldest_first)).limit(most).lateral()
        found = select(each.c.id, each.c.created_at).select_from(pair.join(each, true()))
        return found.order_by(*_order(each.c, oldest_first))

    few = first(limit // FEW + 1).limit(limit).subquery()
    farthest = (func.max if oldest_first else func.min)(few.c.created_at)
    ever: ColumnElement[Any] = literal_column("'infinity'::timestamptz" if oldest_first else "'-infinity'::timestamptz")
    last = select(case((func.count() == limit, farthest), else_=ever)).select_from(few).scalar_subquery()
    within = RECORDS.c.created_at <= last if oldest_first else RECORDS.c.created_at >= last
    keys = first(limit, within).limit(limit).subquery()
    return select(RECORDS).join(keys, and_(RECORDS.c.id == keys.c.id, RECORDS.c.created_at == keys.c.created_at))


def _unnested(pairs: list[tuple[str, str]]) -> TableValuedAlias:
    """Give pairs as two arrays: a parameter for each name takes its driver longer than the server the query."""
    sides = [literal([pair[side] for pair in pairs], ARRAY(Text)) for side in (0, 1)]
    return func.unnest(*sides).table_valued("provider_id", "model_id").render_derived(name="pair")
