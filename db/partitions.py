"""How PostgreSQL keeps usage records: a partition for each month, and a table in which each request is unique.

A unique key of a partitioned table must hold the time, so `usage_request_ids` keeps what one over all partitions would.
SQLite has neither: there one table keeps its own key. What the months are is the caller's matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    Text,
    and_,
    false,
    func,
    select,
    text,
)
from sqlmodel import Session
from sqlmodel.sql.sqltypes import UTCDateTime

from db.prepared import Columns, given
from db.schema import ArchivedRequest, UsageRecord
from db.statements import is_sqlite, one_of_pairs, table_of

REQUEST_IDS = Table(
    "usage_request_ids",
    MetaData(),
    Column("provider_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("usage_id", BigInteger, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
)
"""Every request, and by what id and time its record is found; on PostgreSQL alone, made from the records."""

PREFIX = "usage_records_"
KEY = "uq_usage_records_request"
BEFORE = f"{PREFIX}before"
"""What is older than all months that have a partition."""

LATER = f"{PREFIX}later"
"""What is newer than these. With one for all others (DEFAULT) instead every page would be a merge of all months."""

_BOUNDS = re.compile(r"FROM \((?:'([^']+)'|MINVALUE)\) TO \((?:'([^']+)'|MAXVALUE)\)")


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of usage records, from an instant to before another; None is without end."""

    name: str
    start: datetime | None
    end: datetime | None


def partitions(session: Session) -> tuple[Partition, ...]:
    """Return all partitions, oldest first; each begins where the one before it ends."""
    rows = session.connection().execute(
        text(
            "SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) FROM pg_inherits"
            " JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = to_regclass('usage_records')"
        )
    )
    found = []
    for name, spelled in rows:
        bounds = _BOUNDS.search(spelled)
        if bounds is not None:
            found.append(Partition(name, _instant(bounds[1]), _instant(bounds[2])))
    return tuple(sorted(found, key=lambda partition: partition.start or datetime.min.replace(tzinfo=UTC)))


def _instant(spelled: str | None) -> datetime | None:
    """Read a bound, which PostgreSQL spells in UTC, the time zone of our sessions."""
    return None if spelled is None else datetime.fromisoformat(spelled)


def may_make_partitions(session: Session) -> bool:
    """Tell whether this role owns the table of usage records, as making a partition needs."""
    owns = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('usage_records')"
    return bool(session.connection().execute(text(owns)).scalar_one())


def newest(session: Session, start: datetime | None, end: datetime) -> datetime | None:
    """Return the time of the newest record from an instant to before another."""
    created_at = table_of(UsageRecord).c.created_at
    query = select(func.max(created_at)).where(created_at < end)
    if start is not None:
        query = query.where(created_at >= start)
    found: datetime | None = session.connection().execute(query).scalar_one()
    return found


def split_whole(session: Session, start: datetime) -> None:
    """Divide the one partition of a new ledger, which holds nothing, at an instant."""
    connection = session.connection()
    detach(connection, BEFORE)
    create(connection, LATER)
    attach(connection, BEFORE, None, start)
    attach(connection, LATER, start, None)


def split_before(session: Session, before: Partition, months: Sequence[Partition]) -> None:
    """Make partitions of the last months of the one that holds all before; none of them has a record yet."""
    connection = session.connection()
    detach(connection, before.name)
    attach(connection, before.name, None, months[0].start)
    for month in months:
        create(connection, month.name)
        attach(connection, month.name, month.start, month.end)


def split_later(session: Session, later: Partition, months: Sequence[Partition], shared: Partition | None) -> None:
    """Make partitions of the first months of the one that holds all to come, and put it behind them.

    What it holds of `shared`, the months up to the newest record in it, stays where it is. A record of a time after all
    of these is moved: a reader whose snapshot is older would miss it, if it looked for this time alone.
    """
    connection = session.connection()
    end = [month.end for month in (shared, *months) if month is not None][-1]
    detach(connection, later.name)
    connection.exec_driver_sql(f"ALTER TABLE {later.name} RENAME TO {PREFIX}split")
    _rename_keys(connection, f"{PREFIX}split", "split")
    create(connection, later.name)
    beyond = f"created_at >= '{end}'"
    connection.exec_driver_sql(f"INSERT INTO {later.name} SELECT * FROM {PREFIX}split WHERE {beyond}")
    connection.exec_driver_sql(f"DELETE FROM {PREFIX}split WHERE {beyond}")
    if shared is None:
        connection.exec_driver_sql(f"DROP TABLE {PREFIX}split")
    else:
        connection.exec_driver_sql(f"ALTER TABLE {PREFIX}split RENAME TO {shared.name}")
        attach(connection, shared.name, shared.start, shared.end)
    for month in months:
        create(connection, month.name)
        attach(connection, month.name, month.start, month.end)
    attach(connection, later.name, end, None)


def lock_until(session: Session, end: datetime) -> None:
    """Let nobody write records of times up to an instant before this transaction ends; others are written and read."""
    for partition in partitions(session):
        if partition.end is not None and partition.end <= end:
            session.connection().exec_driver_sql(f"LOCK TABLE {partition.name} IN SHARE MODE")


def drop_until(session: Session, end: datetime) -> None:
    """Drop the partitions of all times up to an instant, at which one ends, with all that they hold."""
    connection = session.connection()
    for partition in partitions(session):
        if partition.end is not None and partition.end <= end:
            detach(connection, partition.name)
            connection.exec_driver_sql(f"DROP TABLE {partition.name}")
    create(connection, BEFORE)
    attach(connection, BEFORE, None, end)


def create(connection: Connection, name: str) -> None:
    """Make the table of a partition, which is attached when its records are in it."""
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE usage_records INCLUDING ALL)")
    # With a key of its own ON CONFLICT DO NOTHING passes over a call sent again; the trigger could only fail.
    connection.exec_driver_sql(f"CREATE UNIQUE INDEX {KEY}_{_suffix(name)} ON {name} (provider_id, request_id)")


def attach(connection: Connection, name: str, start: datetime | None, end: datetime | None) -> None:
    """Make a table the partition of all times from an instant to before another, None being without end."""
    first = "MINVALUE" if start is None else f"'{start.isoformat()}'"
    last = "MAXVALUE" if end is None else f"'{end.isoformat()}'"
    connection.exec_driver_sql(
        f"ALTER TABLE usage_records ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({last})"
    )
    _rename_keys(connection, name, _suffix(name))


def detach(connection: Connection, name: str) -> None:
    """Take a partition out of the whole; its records are then in a table without triggers."""
    connection.exec_driver_sql(f"ALTER TABLE usage_records DETACH PARTITION {name}")


def _suffix(name: str) -> str:
    return name.removeprefix(PREFIX)


def _rename_keys(connection: Connection, table: str, suffix: str) -> None:
    """Name the indexes of a partition after those of the whole table."""
    rows = connection.execute(
        text(
            "SELECT child.relname AS name, coalesce(parent.relname, :key) AS whole FROM pg_index"
            " JOIN pg_class AS child ON child.oid = indexrelid LEFT JOIN pg_inherits ON inhrelid = indexrelid"
            " LEFT JOIN pg_class AS parent ON parent.oid = inhparent WHERE indrelid = to_regclass(:table)"
            " AND (inhparent IS NOT NULL OR child.relname LIKE :key || '%')"
        ),
        {"table": table, "key": KEY},
    ).all()
    for row in rows:
        if row.name != f"{row.whole}_{suffix}":
            connection.exec_driver_sql(f'ALTER INDEX "{row.name}" RENAME TO "{row.whole}_{suffix}"')


def insert_claimed(session: Session, rows: Columns) -> Iterable[Any]:
    """Insert the usage records whose request is new, in one statement; return provider, request and id of each.

    Who claims a request that another transaction is about to claim waits for it to end, so that none is counted twice.
    """
    connection = session.connection()
    spelled, values = given(connection, UsageRecord, rows)
    return connection.exec_driver_sql(_claiming(spelled, tuple(rows)), values)


@lru_cache
def _claiming(rows: str, names: tuple[str, ...]) -> str:
    new = ", ".join(f"given.{name}" for name in names)
    return (
        f"WITH given AS (SELECT * FROM {rows}), claimed AS ("
        "INSERT INTO usage_request_ids (provider_id, request_id, usage_id, created_at)"
        " SELECT provider_id, request_id, nextval('usage_records_id_seq'), created_at FROM given"
        " ON CONFLICT (provider_id, request_id) DO NOTHING RETURNING provider_id, request_id, usage_id)"
        f" INSERT INTO usage_records (id, {', '.join(names)}) SELECT claimed.usage_id, {new}"
        " FROM given JOIN claimed ON claimed.provider_id = given.provider_id AND claimed.request_id = given.request_id"
        " ORDER BY claimed.usage_id RETURNING provider_id, request_id, id"
    )


def with_requests(session: Session, keys: Sequence[tuple[str, str]]) -> ColumnElement[bool]:
    """Return the condition on usage records that they are of these (provider, request) pairs, few enough to bind."""
    records = table_of(UsageRecord).c
    if is_sqlite(session):
        return one_of_pairs(session, records.provider_id, records.request_id, keys)
    ids = REQUEST_IDS.c
    return _at(_places(session, one_of_pairs(session, ids.provider_id, ids.request_id, keys)))


def with_ids(session: Session, usage_ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition on usage records that they have these ids, few enough to bind."""
    if is_sqlite(session):
        return table_of(UsageRecord).c.id.in_(usage_ids)
    places = _places(session, REQUEST_IDS.c.usage_id.in_(usage_ids))
    if len(places) < len(usage_ids):
        # A trigger was off for a while: what waits to be counted is looked for everywhere, so that none is lost.
        return table_of(UsageRecord).c.id.in_(usage_ids)
    return _at(places)


def _places(session: Session, condition: ColumnElement[bool]) -> list[tuple[int, datetime]]:
    ids = REQUEST_IDS.c
    rows = session.connection().execute(select(ids.usage_id, ids.created_at).where(condition))
    return [(usage_id, created_at) for usage_id, created_at in rows]


def _at(places: Sequence[tuple[int, datetime]]) -> ColumnElement[bool]:
    """Name records by id, between the first and the last time of them, so that few partitions are looked at."""
    records = table_of(UsageRecord).c
    if not places:
        return false()
    times = [created_at for _usage_id, created_at in places]
    ids = [usage_id for usage_id, _created_at in places]
    return records.id.in_(ids) & records.created_at.between(min(times), max(times))


def unknown_requests(session: Session) -> int:
    """Count the records that were put in past the triggers, so that their request could be recorded once more."""
    found = [select(func.count()).select_from(table).where(_unknown(table, key)) for table, key in _REQUESTS]
    return sum(int(session.connection().execute(query).scalar_one()) for query in found)


def know_requests(session: Session) -> None:
    """Make every request known that has a record or had one, as after these were copied past the triggers.

    Of records that share a request one alone can stand for it: the others go on being unknown.
    """
    # Its dialects take a check of the pools on SQLite a thirtieth of its time.
    from sqlalchemy.dialects.postgresql import insert

    for table, key in _REQUESTS:
        columns = table.c
        found = select(columns.provider_id, columns.request_id, columns[key], columns.created_at)
        statement = insert(REQUEST_IDS).from_select(
            [each.name for each in REQUEST_IDS.columns], found.where(_unknown(table, key))
        )
        session.connection().execute(statement.on_conflict_do_nothing())


_REQUESTS = ((table_of(UsageRecord), "id"), (table_of(ArchivedRequest), "usage_id"))


def _unknown(table: Table, key: str) -> ColumnElement[bool]:
    ids = REQUEST_IDS.c
    same = and_(
        ids.provider_id == table.c.provider_id,
        ids.request_id == table.c.request_id,
        ids.usage_id == table.c[key],
        ids.created_at == table.c.created_at,
    )
    return ~select(ids.usage_id).where(same).exists()
