"""Verify the audit log: the chain row by row, the facts it vouches for, what people decided, and the anchors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session

from billing_console.i18n import _
from billing_console.services import states
from billing_console.services.actions import Action
from billing_console.services.audit import hash_of
from billing_console.services.audit_anchor import Anchor
from billing_console.services.facts import KINDS, PAGE, Digest, read_spans, spell_spans
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.services.spans import Span, Taken
from db.schema import AuditEntry, UsageOutbox, UsageRecord
from db.statements import table_of
from db.values import Outcome

Progress = Callable[[int, int], None]
"""Told how many rows of the log have been verified, and how many there are."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """Something that was changed past the program: where (table and ids), and what is wrong with it."""

    where: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified: rows of the log, facts, and what was found to be wrong."""

    rows: int
    facts: int
    head: str
    findings: tuple[AuditFinding, ...]


@dataclass(slots=True)
class _Run:
    """One pass over the log: what it vouches for so far."""

    previous_id: int = 0
    previous_hash: str = ""
    anchored: int = 0
    rows: int = 0
    facts: int = 0
    covered: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    archived: Taken = field(default_factory=lambda: Taken(()))


def verify_audit(ledger: Ledger, anchors: Sequence[Anchor] = (), progress: Progress | None = None) -> Verified:
    """Verify the whole log and everything it vouches for, in one snapshot; `anchors` are heads written down before."""
    with reading(ledger.database) as session:
        return verify_in(session, anchors, progress)


def verify_in(session: Session, anchors: Sequence[Anchor] = (), progress: Progress | None = None) -> Verified:
    """Do the work of `verify_audit` on what a session sees."""
    run = _Run(archived=Taken(archived_ids(session)))
    wanted: dict[int, set[str]] = {}
    for anchor in anchors:
        wanted.setdefault(anchor.id, set()).add(anchor.hash)
    findings = list(_chain(session, run, wanted, progress or _nobody))
    findings += _coverage(session, run)
    findings += _decisions(session, run)
    findings += [
        AuditFinding(f"audit_log {missing}", _("is missing: an anchor names it, so the end was cut off"))
        for missing in sorted(wanted)
    ]
    return Verified(run.rows, run.facts, f"{run.previous_id} {run.previous_hash}", tuple(findings))


def _nobody(done: int, whole: int) -> None:
    """Tell nobody."""


def _chain(session: Session, run: _Run, anchors: dict[int, set[str]], progress: Progress) -> Iterator[AuditFinding]:
    columns = table_of(AuditEntry)
    whole = session.connection().execute(select(func.count()).select_from(columns)).scalar_one()
    last = -(2**63)
    while True:
        query = select(columns).where(columns.c.id > last).order_by(columns.c.id).limit(PAGE)
        page = session.connection().execute(query).all()
        for row in page:
            yield from _link(row, run)
            yield from _anchored(row, anchors.pop(row.id, set()), run)
            yield from _vouched(session, row, run)
            run.rows += 1
        progress(run.rows, whole)
        if len(page) < PAGE or page[-1].id <= last:
            return
        last = page[-1].id


def _link(row: Any, run: _Run) -> Iterator[AuditFinding]:
    where = f"audit_log {row.id}"
    if row.id != run.previous_id + 1:
        gap = spell_spans([(run.previous_id + 1, row.id - 1)]) if row.id > run.previous_id else str(row.id)
        yield AuditFinding(f"audit_log {gap}", _("is missing"))
    if hash_of(row._mapping) != row.hash:
        yield AuditFinding(where, _("was changed: its hash is that of other content"))
    if row.previous_hash != run.previous_hash:
        yield AuditFinding(
            where,
            _("does not follow row %(id)d: one of the two was changed, swapped or put in") % {"id": run.previous_id},
        )
    run.previous_id, run.previous_hash = row.id, row.hash


def _anchored(row: Any, hashes: set[str], run: _Run) -> Iterator[AuditFinding]:
    """Compare a row with the anchors that name it; one that differs tells of the rows since the last that agreed."""
    if not hashes:
        return
    if hashes == {row.hash}:
        run.anchored = row.id
        return
    yield AuditFinding(
        f"audit_log {spell_spans([(run.anchored + 1, row.id)])}",
        _("was written anew, here or there: row %(id)d is not the one that the anchor names") % {"id": row.id},
    )


def _vouched(session: Session, row: Any, run: _Run) -> Iterator[AuditFinding]:
    try:
        proof = json.loads(row.proof or "{}")
        for kind, (ids, digest) in proof.get("facts", {}).items():
            run.covered[kind] += read_spans(ids)
            yield from _facts(session, row.id, kind, ids, digest, run)
        for kind, ids, digest in proof.get("kept", ()):
            yield from _facts(session, row.id, kind, ids, digest, run)
        for kind, named in proof.get("states", {}).items():
            run.states.setdefault(kind, {}).update(named)
    except (ValueError, KeyError, TypeError, AttributeError):
        yield AuditFinding(f"audit_log {row.id}", _("holds a proof that cannot be read"))


def _facts(session: Session, entry: int, kind: str, ids: str, digest: str, run: _Run) -> Iterator[AuditFinding]:
    found = Digest(kind)
    spans = read_spans(ids)
    for span in spans:
        for rows in KINDS[kind].within(session, span):
            found.add(rows)
            run.facts += len(rows[KINDS[kind].key])
    left = run.archived.left(spans) if KINDS[kind].table is table_of(UsageRecord) else spans
    spelled, computed = found.spelled()
    if spelled != spell_spans(left):
        yield AuditFinding(
            f"{kind} {ids}", _("rows are missing; the audit log vouches for them in row %(id)d") % {"id": entry}
        )
    elif computed != digest and left == spans:
        yield AuditFinding(
            f"{kind} {ids}", _("was changed since row %(id)d of the audit log vouched for it") % {"id": entry}
        )


def archived_ids(session: Session) -> Iterator[Span]:
    """Return the ids of the records that were moved to files, by what the audit log says of it."""
    columns = table_of(AuditEntry).c
    done = (columns.action == Action.ARCHIVE.value) & (columns.outcome == Outcome.DONE.value)
    for proof in session.connection().execute(select(columns.proof).where(done)).scalars():
        with suppress(ValueError, AttributeError):
            yield from read_spans(json.loads(proof or "{}").get("archived", ""))


def _coverage(session: Session, run: _Run) -> Iterator[AuditFinding]:
    """Find facts that the log vouches for twice, or not at all: these were put in past the program."""
    for kind, spans in run.covered.items():
        after = -(2**63)
        gaps: list[tuple[int | None, int]] = [*sorted(spans), (None, after)]
        for first, last in gaps:
            if first is not None and first <= after:
                yield AuditFinding(f"{kind} {first}", _("is vouched for twice in the audit log"))
            unknown = list(_between(session, kind, after, first))
            if unknown:
                yield AuditFinding(
                    f"{kind} {spell_spans((one, one) for one in unknown)}",
                    _("was put in past the program: no row of the audit log vouches for it"),
                )
            after = max(after, last)


def _between(session: Session, kind: str, after: int, before: int | None) -> Iterator[int]:
    """Find the first facts between two ids, or after one.

    A usage record that still waits in the outbox is not to be counted yet.
    """
    fact = KINDS[kind]
    key = fact.table.c[fact.key]
    query = select(key).where(key > after)
    if before is not None:
        query = query.where(key < before)
    records, outbox = table_of(UsageRecord), table_of(UsageOutbox)
    if fact.table is records:
        query = query.where(~select(outbox.c.usage_id).where(outbox.c.usage_id == key).exists())
        if "cost_amount" in fact.columns:
            query = query.where(records.c.cost_amount.is_not(None) | records.c.price_id.is_not(None))
    for row in session.connection().execute(query.order_by(key).limit(20)):
        yield int(row[0])


def _decisions(session: Session, run: _Run) -> Iterator[AuditFinding]:
    for kind, now in states.current(session).items():
        said = run.states.get(kind, {})
        for name in sorted(now.keys() | said.keys()):
            if now.get(name) != said.get(name):
                yield AuditFinding(
                    f"{kind} {name}",
                    _("is %(now)s, but by the audit log it is %(said)s")
                    % {"now": _spelled(now.get(name)), "said": _spelled(said.get(name))},
                )


def _spelled(state: Any) -> str:
    return "-" if state is None else json.dumps(state, ensure_ascii=False)
