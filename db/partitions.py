"""How PostgreSQL keeps usage records: a partition for each month, and a table in which each request is unique.

A unique key of a partitioned table must hold the time, so `usage_request_ids` keeps what one over all partitions would.
SQLite has neither: there one table keeps its own key. What the months are is the caller's matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
    column,
    false,
    func,
    literal,
    literal_column,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session
from sqlmodel.sql.sqltypes import UTCDateTime

from db.schema import UsageRecord
from db.statements import is_sqlite, table_of

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

_BOUNDS = re.compile(r"FROM \((?:'([^']+)'|MINVALUE)\) TO \((?:'([^']+)'|MAXVALUE)\)")


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of usage records, from an instant to before another; None is without end."""

    name: str
    start: datetime | None
    end: datetime | None

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Tell whether a record of this stretch of time may have its place here."""
        return (self.start is None or self.start < end) and (self.end is None or start < self.end)


def partitions(session: Session) -> tuple[Partition, ...]:
    """Return all partitions but the one for what has no other, oldest first."""
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


def add_partition(session: Session, suffix: str, start: datetime, end: datetime) -> bool:
    """Make the partition for a stretch of time; return False where records of it lie in the one for all others.

    These stay where they are, since a reader whose snapshot is older would lose sight of records that are moved.
    """
    connection = session.connection()
    records = table_of(UsageRecord).c
    there = select(records.id).where(records.created_at >= start, records.created_at < end).limit(1)
    if connection.execute(there).first() is not None:
        return False
    name = f"{PREFIX}{suffix}"
    bounds = f"FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
    try:
        with session.begin_nested():
            connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE usage_records INCLUDING ALL)")
            # With a key of its own ON CONFLICT DO NOTHING passes over a call sent again; the trigger could only fail.
            connection.exec_driver_sql(f"CREATE UNIQUE INDEX {KEY}_{suffix} ON {name} (provider_id, request_id)")
            # To attach keeps others waiting for a moment; to create it in its place would lock out every reader.
            connection.exec_driver_sql(f"ALTER TABLE usage_records ATTACH PARTITION {name} FOR VALUES {bounds}")
            name_indexes(connection, name, suffix)
    except IntegrityError:
        return False
    return True


def name_indexes(connection: Connection, partition: str, suffix: str) -> None:
    """Name the indexes of a partition after those of the whole table."""
    rows = connection.execute(
        text(
            "SELECT child.relname AS name, parent.relname AS whole FROM pg_index"
            " JOIN pg_inherits ON inhrelid = indexrelid JOIN pg_class AS child ON child.oid = inhrelid"
            " JOIN pg_class AS parent ON parent.oid = inhparent WHERE indrelid = to_regclass(:partition)"
        ),
        {"partition": partition},
    ).all()
    for row in rows:
        connection.exec_driver_sql(f'ALTER INDEX "{row.name}" RENAME TO "{row.whole}_{suffix}"')


def insert_claimed(session: Session, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    """Insert the usage records whose request is new, in one statement; return the ids they got, by key.

    Who claims a request that another transaction is about to claim waits for it to end, so that none is counted twice.
    """
    table, ids, names = table_of(UsageRecord), REQUEST_IDS.c, list(rows[0])
    arrays = [literal([row[name] for row in rows], ARRAY(table.c[name].type)) for name in names]
    typed = (column(name, table.c[name].type) for name in names)
    given = select(func.unnest(*arrays).table_valued(*typed).render_derived()).cte("given")
    next_id: ColumnElement[int] = literal_column("nextval('usage_records_id_seq')")
    claims = select(given.c.provider_id, given.c.request_id, next_id, given.c.created_at)
    claim = postgresql_insert(REQUEST_IDS).from_select([each.name for each in ids], claims)
    claim = claim.on_conflict_do_nothing(index_elements=["provider_id", "request_id"])
    claimed = claim.returning(ids.provider_id, ids.request_id, ids.usage_id).cte("claimed")
    same = and_(claimed.c.provider_id == given.c.provider_id, claimed.c.request_id == given.c.request_id)
    new = select(claimed.c.usage_id, *given.c).select_from(given.join(claimed, same)).order_by(claimed.c.usage_id)
    statement = postgresql_insert(table).from_select(["id", *names], new)
    written = session.connection().execute(statement.returning(table.c.provider_id, table.c.request_id, table.c.id))
    return {(provider, request): row_id for provider, request, row_id in written}


def with_requests(session: Session, keys: Sequence[tuple[str, str]]) -> ColumnElement[bool]:
    """Return the condition on usage records that they are of these (provider, request) pairs, few enough to bind."""
    records = table_of(UsageRecord).c
    if is_sqlite(session):
        return tuple_(records.provider_id, records.request_id).in_(keys)
    ids = REQUEST_IDS.c
    return _at(_places(session, tuple_(ids.provider_id, ids.request_id).in_(keys)))


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
    query = select(func.count()).select_from(table_of(UsageRecord)).where(_unknown())
    return int(session.connection().execute(query).scalar_one())


def know_requests(session: Session) -> None:
    """Make every request known that has a record, as after these were copied past the triggers.

    Of records that share a request one alone can stand for it: the others go on being unknown.
    """
    records = table_of(UsageRecord).c
    found = select(records.provider_id, records.request_id, records.id, records.created_at).where(_unknown())
    statement = postgresql_insert(REQUEST_IDS).from_select([each.name for each in REQUEST_IDS.columns], found)
    session.connection().execute(statement.on_conflict_do_nothing())


def _unknown() -> ColumnElement[bool]:
    records, ids = table_of(UsageRecord).c, REQUEST_IDS.c
    same = and_(
        ids.provider_id == records.provider_id,
        ids.request_id == records.request_id,
        ids.usage_id == records.id,
        ids.created_at == records.created_at,
    )
    return ~select(ids.usage_id).where(same).exists()
