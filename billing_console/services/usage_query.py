"""Pages of usage records by index seeks alone, whatever the filter, on both engines.

Every filter is answered from one of three index orders. A filter that skips a middle column of its index is split into
one branch per (provider, model) pair, merged newest first: each branch is then a seek, where a scan would pass over
millions of rows to find a rare match.

The SQL is spelled here: to put together a filter that it has not seen takes SQLAlchemy longer than the page takes to
find, and there are thousands of filters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlmodel import Session

from billing_console.services.usage_filter import Position, UsageFilter
from db.prepared import loaded, stored
from db.schema import UsageRecord
from db.values import UsageType

BRANCHES = 400
"""Branches in one statement; SQLite refuses more than 500."""

FEW = 8
"""By how much fewer keys of each branch than a page has are looked at first: most pages mix at least so many."""

COLUMNS = (
    "created_at",
    "id",
    "request_id",
    "user_id",
    "provider_id",
    "model_id",
    "usage_type",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "total_tokens",
    "quantity",
    "cost_amount",
    "status",
    "error_message",
)
"""What a page has of each record."""

Sql = tuple[str, tuple[Any, ...]]
"""A part of a statement, with a ? for each of its values, which are as the driver takes them."""

_BY_INDEX = (
    "SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true),"
    " set_config('max_parallel_workers_per_gather', '0', true)"
)
"""For some records of many PostgreSQL would start workers, each of which first reads the whole range of an index."""

_LISTED = ", ".join(f"usage_records.{name}" for name in COLUMNS)
_SAME_PAIR = "usage_records.provider_id = pair.provider_id AND usage_records.model_id = pair.model_id"


class UsageSql:
    """Spells and runs what asks for the usage records of a filter, on the engine of a session."""

    def __init__(self, session: Session, chosen: UsageFilter) -> None:
        """Look at the records of a filter in an open session."""
        self._connection = session.connection()
        self._is_sqlite = self._connection.dialect.name == "sqlite"
        self._chosen = chosen

    def page(self, limit: int, after: Position | None, oldest_first: bool) -> list[tuple[Any, ...]]:
        """Return the COLUMNS of up to `limit` records, in order, after a position."""
        rest = [*self._residual(), *self._time_range(after, oldest_first)]
        pairs = self.pairs()
        if pairs is None:
            where, values = _all([*self._seek("user_id", "provider_id", "model_id"), *rest])
            order = _order(limit, oldest_first)
            found = self.run(f"SELECT {_LISTED} FROM usage_records WHERE {where} {order}", values)
            return loaded(self._connection, UsageRecord, COLUMNS, found)
        if not self._is_sqlite:
            # Or a branch of few calls, as PostgreSQL takes them for, is read whole and sorted instead of in order.
            self._connection.exec_driver_sql("SET LOCAL enable_sort = off")
        merged = _merged_sqlite if self._is_sqlite else _merged_postgresql
        common = _all([*self._seek("user_id"), *rest])
        rows: list[Any] = []
        for start in range(0, len(pairs), BRANCHES):
            rows += self.run(*merged(pairs[start : start + BRANCHES], common, limit, oldest_first))
        rows.sort(key=itemgetter(0, 1), reverse=not oldest_first)
        return loaded(self._connection, UsageRecord, COLUMNS, rows[:limit])

    def sums(self, sums: str, columns: str, most: int | None) -> tuple[Any, ...]:
        """Return the sums over these columns of up to `most` records, unordered, or of all."""
        if most is not None and not self._is_sqlite:
            self._connection.exec_driver_sql(_BY_INDEX)
        matching, values = self._matching(columns, most)
        (found,) = self.run(f"SELECT {sums} FROM ({matching}) AS found", values)
        return tuple(found)

    def _matching(self, columns: str, most: int | None) -> Sql:
        rest = [*self._residual(), *self._time_range(None, oldest_first=False)]
        limit = "" if most is None else f" LIMIT {most}"
        pairs = self.pairs()
        if pairs is None:
            where, values = _all([*self._seek("user_id", "provider_id", "model_id"), *rest])
            return f"SELECT {columns} FROM usage_records WHERE {where}{limit}", values
        if not pairs:
            return f"SELECT {columns} FROM usage_records WHERE FALSE", ()
        where, values = _all([(_SAME_PAIR, ()), *self._seek("user_id"), *rest])
        if self._is_sqlite:
            named = f"WITH pair (provider_id, model_id) AS (VALUES {', '.join(['(?, ?)'] * len(pairs))})"
            given = (*chain.from_iterable(pairs), *values)
            return f"{named} SELECT {columns} FROM pair CROSS JOIN usage_records WHERE {where}{limit}", given
        pair, sides = _unnested(pairs)
        each = f"LATERAL (SELECT {columns} FROM usage_records WHERE {where}{limit})"
        return f"SELECT each.* FROM {pair} CROSS JOIN {each} AS each{limit}", (*sides, *values)

    def pairs(self) -> list[tuple[str, str]] | None:
        """Return the (provider, model) pairs to merge over, or None where one index seek answers the filter."""
        chosen = self._chosen
        one_pair = chosen.wanted("provider_id") is not None and chosen.wanted("model_id") is not None
        any_pair = (chosen.wanted("user_id"), chosen.provider_id, chosen.model_id) == (None,) * 3
        # With a type the statistics are asked: a model that is never called for it would be gone through in vain.
        if chosen.usage_type is None and (one_pair or any_pair):
            return None
        known: Sql = ("SELECT provider_id, model_id FROM models", ())
        if chosen.usage_type is not None:
            excluded = "usage_type" in chosen.negated
            types = tuple(each.value for each in UsageType if (each == chosen.usage_type) is not excluded)
            # The limit keeps PostgreSQL from joining the statistics of all days: one look into an index for each.
            called = (
                "SELECT 1 FROM daily_cost_stats AS stats WHERE stats.provider_id = models.provider_id"
                f" AND stats.model_id = models.model_id AND stats.usage_type IN ({', '.join('?' * len(types))}) LIMIT 1"
            )
            known = f"{known[0]} WHERE ({called}) IS NOT NULL", types
        # The sum keeps SQLite from going through all records to look for each in the outbox, which is all but empty.
        waiting = (
            "SELECT usage_records.provider_id, usage_records.model_id FROM usage_records"
            " JOIN usage_outbox ON usage_outbox.usage_id + 0 = usage_records.id"
        )
        where, values = _all(self._on("provider_id", "model_id"))
        every = f"SELECT provider_id, model_id FROM ({known[0]} UNION {waiting}) AS every WHERE {where}"
        return [(provider, model) for provider, model in self.run(every, (*known[1], *values))]

    def run(self, sql: str, values: tuple[Any, ...]) -> Sequence[Any]:
        """Run a statement and return its rows as the driver gives them."""
        marked = sql if self._is_sqlite else sql.replace("?", "%s")
        return self._connection.exec_driver_sql(marked, values).all()

    def _seek(self, *names: str) -> list[Sql]:
        seek = ((name, self._chosen.wanted(name)) for name in names)
        return [(f"{name} = ?", (value,)) for name, value in seek if value is not None]

    def _on(self, *names: str) -> list[Sql]:
        differs = "IS NOT" if self._is_sqlite else "IS DISTINCT FROM"
        others = ((name, self._chosen.unwanted(name)) for name in names)
        return [
            *self._seek(*names),
            *((f"{name} {differs} ?", (value,)) for name, value in others if value is not None),
        ]

    def _residual(self) -> list[Sql]:
        conditions = self._on("usage_type")
        if not self._is_sqlite:
            # PostgreSQL takes the type for independent of the model, so for rare: it would read and sort all calls of
            # one. Of a CASE it assumes that half of them match, and reads them in order until it has a page.
            conditions = [(f"CASE WHEN {sql} THEN TRUE END", values) for sql, values in conditions]
        if self._chosen.unwanted("user_id") is not None:
            conditions += self._on("user_id")
        if self._chosen.status is not None:
            # Spelled out, not bound: only a literal lets the planner choose the partial indexes of failed calls.
            conditions.append((f"status = '{self._chosen.status.value}'", ()))
        return conditions

    def _time_range(self, after: Position | None, oldest_first: bool) -> list[Sql]:
        """Bound the time, by one bound on each side: of two, SQLite would use only one of them."""
        chosen = self._chosen
        bounds: list[Sql] = []
        if after is not None and _outside(chosen, after, oldest_first):
            after = None
        if chosen.start is not None and not (after and oldest_first):
            bounds.append(("created_at >= ?", (self._instant(chosen.start),)))
        if chosen.end is not None and not (after and not oldest_first):
            bounds.append(("created_at < ?", (self._instant(chosen.end),)))
        if after is not None:
            side, instant = (">" if oldest_first else "<"), self._instant(after.created_at)
            bounds.append((f"(created_at, id) {side} (?, ?)", (instant, after.id)))
            if not self._is_sqlite:
                # The partitions that the pair leaves, which PostgreSQL does not see in it.
                bounds.append((f"created_at {side}= ?", (instant,)))
        return bounds

    def _instant(self, instant: datetime) -> Any:
        ((value,),) = stored(self._connection, UsageRecord, {"created_at": [instant]})
        return value


def _outside(chosen: UsageFilter, after: Position, oldest_first: bool) -> bool:
    """Tell whether a position, kept from another filter, lies before the first row of the range."""
    if oldest_first:
        return chosen.start is not None and after.created_at < chosen.start
    return chosen.end is not None and after.created_at >= chosen.end


def _all(conditions: Iterable[Sql]) -> Sql:
    texts, values = zip(("TRUE", ()), *conditions, strict=True)
    return " AND ".join(texts), tuple(chain.from_iterable(values))


def _order(limit: int, oldest_first: bool) -> str:
    direction = "ASC" if oldest_first else "DESC"
    return f"ORDER BY created_at {direction}, id {direction} LIMIT {limit}"


def _merged_sqlite(pairs: Sequence[tuple[str, str]], common: Sql, limit: int, oldest_first: bool) -> Sql:
    """Merge the branches as a UNION ALL under one ORDER BY, which SQLite streams from the branches' indexes."""
    where, values = common
    branch = f"SELECT created_at, id FROM usage_records WHERE provider_id = ? AND model_id = ? AND {where}"
    keys = f"{' UNION ALL '.join([branch] * len(pairs))} {_order(limit, oldest_first)}"
    given = chain.from_iterable((*pair, *values) for pair in pairs)
    return f"SELECT {_LISTED} FROM ({keys}) AS keys CROSS JOIN usage_records USING (id)", tuple(given)


def _merged_postgresql(pairs: Sequence[tuple[str, str]], common: Sql, limit: int, oldest_first: bool) -> Sql:
    """Take each branch's first keys with LATERAL, so that the planner plans one branch, not one per pair.

    A few of each tell how far back a whole page can reach at most: no branch is read beyond that.
    """
    where, values = common
    pair, sides = _unnested(pairs)

    def first(most: int, within: str = "") -> str:
        each = (
            f"SELECT created_at, id FROM usage_records WHERE {_SAME_PAIR} AND {where}{within}"
            f" {_order(most, oldest_first)}"
        )
        return f"SELECT each.* FROM {pair} CROSS JOIN LATERAL ({each}) AS each {_order(limit, oldest_first)}"

    farthest, ever, side = ("max", "infinity", "<=") if oldest_first else ("min", "-infinity", ">=")
    last = (
        f"SELECT CASE WHEN count(*) = {limit} THEN {farthest}(created_at) ELSE '{ever}'::timestamptz END"
        f" FROM ({first(limit // FEW + 1)}) AS few"
    )
    keys = first(limit, f" AND created_at {side} ({last})")
    page = f"SELECT {_LISTED} FROM ({keys}) AS keys JOIN usage_records USING (created_at, id)"
    return page, (*sides, *values, *sides, *values)


def _unnested(pairs: Sequence[tuple[str, str]]) -> Sql:
    """Give pairs as two arrays to PostgreSQL: a parameter a name takes its driver longer than the server the query."""
    sides = tuple([pair[side] for pair in pairs] for side in (0, 1))
    return "unnest(?::text[], ?::text[]) AS pair (provider_id, model_id)", sides
