"""Move old usage records to files: on PostgreSQL a partition at a time, else a month, in batches.

The sums of what was moved stay in the ledger, and its requests, so that every balance is still proved and no call is
counted twice. A file is written and read back before a record goes. Whenever it is killed, the ledger is right: either
the records are there or their sums are, and the next run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, text, tuple_
from sqlmodel import Session

from billing_console.clock import day_of
from billing_console.errors import Conflict, NotPermitted, Refused, Unavailable
from billing_console.i18n import _
from billing_console.services import archived
from billing_console.services.actions import Action
from billing_console.services.archive_file import Content, read_archive, write_archive
from billing_console.services.archive_units import (
    RECORDS,
    Archived,
    Unit,
    kept_from,
    months_of,
    next_unit,
    require_complete,
    sums_of,
)
from billing_console.services.audit import Trail
from billing_console.services.audit_verify import archived_ids, verify_in
from billing_console.services.changes import change, consider
from billing_console.services.facts import COSTS, KINDS, Digest, read_spans
from billing_console.services.ledger import Ledger
from billing_console.services.maintenance import PATIENCE_SECONDS
from billing_console.services.quota_due import book_all_due
from billing_console.services.reconcile import compare, stats_of
from billing_console.services.session import reading
from billing_console.services.settlement import settle
from billing_console.services.spans import Span, Taken, spans_of
from db.last import run_now
from db.partitions import drop_until, lock_until, may_make_partitions
from db.prepared import addition, by_column
from db.schema import (
    ArchivedCost,
    ArchivedRequest,
    ArchivedStat,
    AuditEntry,
    UsageArchive,
)
from db.statements import is_sqlite, table_of

BATCH = 20_000
"""Records that go in one transaction, for which other writers of an SQLite file wait."""

ARCHIVES = table_of(UsageArchive)
_BEGUN = select(ARCHIVES).where(ARCHIVES.c.removed < ARCHIVES.c.calls)


def archive_usage(ledger: Ledger, keep_months: int, directory: Path) -> tuple[Archived, ...]:
    """Move the records of all months but this one and the last `keep_months` before it to files of a directory.

    Raises InvalidInput for fewer than 1 month, Refused where the ledger does not prove itself, or calls of these months
    have no price or are not counted yet, NotPermitted for a role of the database that does not own the tables, and
    Unavailable for a directory that cannot be written. What was moved until then is in the audit log.
    """
    end = kept_from(ledger, keep_months)
    done: list[Archived] = []
    consider(ledger, Action.ARCHIVE, "", _require_owner)
    settle(ledger)
    book_all_due(ledger)
    proved = False
    while True:
        with reading(ledger.database) as session:
            begun = session.connection().execute(_BEGUN).first()
            unit = None if begun else next_unit(session, ledger, end)
            if unit is not None:
                if not proved:
                    _require_proof(session, ledger)
                    proved = True
                require_complete(session, unit)
        if begun is not None:
            if read_archive(directory / begun.file_name).sha256 != begun.sha256:
                raise Refused(_("%(file)s is not the file that was written.") % {"file": begun.file_name})
            done.append(_finish(ledger, begun.id))
        elif unit is None:
            return tuple(done)
        else:
            name, content = _write(ledger, unit, directory)
            done.append(_register(ledger, unit, name, content))


def _require_owner(session: Session) -> None:
    if not is_sqlite(session) and not may_make_partitions(session):
        raise NotPermitted(
            _("This role of the database does not own the tables; nothing was changed."),
            _("Run maintain with the role that ran init."),
        )


def _require_proof(session: Session, ledger: Ledger) -> None:
    """Refuse to take away what could still tell of a change past the program."""
    if compare(session, ledger) or verify_in(session).findings:
        raise Refused(
            _("The ledger does not prove itself; nothing was archived."),
            _("See billing-console reconcile and billing-console audit verify."),
        )


def _write(ledger: Ledger, unit: Unit, directory: Path) -> tuple[str, Content]:
    first, last = months_of(ledger, unit)
    stem = f"usage-{first:%Y-%m}" + (f"-to-{last:%Y-%m}" if last != first else "")
    with reading(ledger.database) as session:
        query = select(RECORDS).where(unit.condition).order_by(RECORDS.c.created_at, RECORDS.c.id)
        rows = session.connection().execute(query, execution_options={"yield_per": 2000})
        return write_archive(directory, stem, RECORDS.c.keys(), (dict(row._mapping) for row in rows))


def _register(ledger: Ledger, unit: Unit, name: str, content: Content) -> Archived:
    """Note in the ledger what is in the file, vouch for what stays of facts that one row vouched for with it, and move.

    A partition goes in this very transaction.
    """

    def work(session: Session, trail: Trail) -> tuple[int, Archived | None]:
        if not is_sqlite(session):
            session.connection().execute(text("LOCK TABLE usage_archives IN SHARE ROW EXCLUSIVE MODE"))
        if session.connection().execute(_BEGUN).first() is not None:
            raise _meanwhile()
        if unit.whole:
            session.connection().execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'"))
            lock_until(session, unit.end)
        _require_same(session, unit.condition, content.calls, content.cost)
        row = {
            "file_name": name,
            "sha256": content.sha256,
            "starts_at": unit.start,
            "ends_at": unit.end,
            "last_id": content.last_id,
            "calls": content.calls,
            "cost_amount": content.cost,
            "removed": 0,
            "operator": ledger.actor.name,
            "created_at": ledger.clock(),
        }
        number = session.connection().execute(insert(ARCHIVES).values(row).returning(ARCHIVES.c.id)).scalar_one()
        spans = spans_of(
            session.connection().execute(select(RECORDS.c.id).where(unit.condition).order_by("id")).scalars()
        )
        trail.archive((), _kept(session, spans))
        noted = {"file": name, "sha256": content.sha256, "calls": content.calls, "costAmount": content.cost}
        trail.note(None, noted)
        return number, _remove(session, trail, ledger, number, whole=True) if unit.whole else None

    number, moved = change(ledger, Action.ARCHIVE, name, work)
    return moved or _finish(ledger, number)


def _require_same(session: Session, condition: ColumnElement[bool], calls: int, cost: Decimal) -> None:
    if not calls or sums_of(session, condition) != (calls, cost):
        raise _meanwhile()  # another run may have moved them all


def _meanwhile() -> Conflict:
    return Conflict(
        _("Calls of these months came while they were archived; nothing was changed."), _("Run maintain again.")
    )


def _kept(session: Session, going: Sequence[Span]) -> Iterator[tuple[str, Digest]]:
    """Digest what stays of the facts that a row of the audit log vouches for together with some that go."""
    gone, before = Taken([*going, *archived_ids(session)]), Taken(archived_ids(session))
    entries = table_of(AuditEntry).c
    proofs = select(entries.proof).where(entries.proof.like('%"usage_%')).order_by(entries.id)
    for proof in session.connection().execute(proofs, execution_options={"yield_per": 2000}).scalars():
        for kind, (ids, _digest) in json.loads(proof).get("facts", {}).items():
            if kind not in ("usage_records", COSTS):
                continue
            spans = before.left(read_spans(ids))
            left = gone.left(spans)
            if left and left != spans:
                yield kind, _digested(session, kind, left)


def _digested(session: Session, kind: str, spans: Sequence[Span]) -> Digest:
    digest = Digest(kind)
    for span in spans:
        for rows in KINDS[kind].within(session, span):
            digest.add(rows)
    return digest


def _finish(ledger: Ledger, number: int) -> Archived:
    """Take the records of an archive out of the ledger, in batches between which others have their turn."""
    while True:
        done = change(ledger, Action.ARCHIVE, "", lambda session, trail: _remove(session, trail, ledger, number))
        if done is not None:
            return done


def _remove(session: Session, trail: Trail, ledger: Ledger, number: int, *, whole: bool = False) -> Archived | None:
    """Replace a batch of records by its sums, or those of a whole partition; return the archive when all have gone."""
    archive = session.get_one(UsageArchive, number, with_for_update=True)
    if archive.removed == archive.calls:
        # Another run that went on with it was quicker.
        return _archived(ledger, archive)
    unit = Unit(archive.starts_at, archive.ends_at, archive.last_id)
    condition = unit.condition if whole else _batch(session, unit.condition)
    ids = session.connection().execute(select(RECORDS.c.id).where(condition).order_by(RECORDS.c.id)).scalars().all()
    archive.removed += len(ids)
    if not ids or archive.removed > archive.calls:
        raise Unavailable(_("The records of %(file)s are not those that were archived.") % {"file": archive.file_name})
    _keep_sums(session, ledger, unit, condition)
    if whole:
        drop_until(session, unit.end)
    else:
        session.connection().execute(delete(RECORDS).where(condition))
    trail.target = archive.file_name
    trail.note(None, {**(trail.after or {}), "removed": len(ids)})
    trail.archive(spans_of(ids), ())
    for name, digest in archived.sums(session).items():
        trail.state("archived", name, digest)
    session.flush()
    return None if archive.removed < archive.calls else _archived(ledger, archive)


def _archived(ledger: Ledger, archive: UsageArchive) -> Archived:
    months = months_of(ledger, Unit(archive.starts_at, archive.ends_at, archive.last_id))
    return Archived(*months, archive.calls, archive.cost_amount, archive.file_name)


def _batch(session: Session, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Narrow a condition to the oldest records of it."""
    place = (RECORDS.c.created_at, RECORDS.c.id)
    query = select(*place).where(condition).order_by(*place).offset(BATCH - 1).limit(1)
    last = session.connection().execute(query).first()
    return condition if last is None else condition & (tuple_(*place) <= tuple(last))


def _keep_sums(session: Session, ledger: Ledger, unit: Unit, condition: ColumnElement[bool]) -> None:
    run = session.connection().execute
    first, last = run(select(func.min(RECORDS.c.created_at), func.max(RECORDS.c.created_at)).where(condition)).one()
    day, last_day = day_of(first, ledger.timezone), day_of(last, ledger.timezone)
    stats: list[dict[str, Any]] = []
    while day <= last_day:
        for keys, sums in stats_of(session, ledger, day, condition):
            stats.append(dict(zip((*archived.KEYS, *archived.SUMS), (*keys, *sums), strict=True)))
        day += timedelta(days=1)
    run_now(session, addition(session, ArchivedStat, by_column(stats), archived.KEYS, archived.SUMS))
    spent = select(RECORDS.c.user_id, func.sum(RECORDS.c.cost_amount).label("cost_amount"))
    spent = spent.where(condition, RECORDS.c.user_id.is_not(None))
    costs = [dict(row) for row in run(spent.group_by(RECORDS.c.user_id)).mappings()]
    if costs:
        run_now(session, addition(session, ArchivedCost, by_column(costs), ["user_id"], ["cost_amount"]))
    requests = table_of(ArchivedRequest)
    chosen = select(RECORDS.c.provider_id, RECORDS.c.request_id, RECORDS.c.id, RECORDS.c.created_at).where(condition)
    run(insert(requests).from_select([column.name for column in requests.columns], chosen))
