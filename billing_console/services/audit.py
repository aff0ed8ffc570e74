"""The audit log: one row for every change and every refusal, each chained to the one before it by its hash."""

from __future__ import annotations

import hashlib
import json
import logging
import syslog
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlmodel import Session, col
from sqlmodel import select as select_model

from billing_console.clock import iso
from billing_console.errors import BillingError
from billing_console.services.actions import Action
from billing_console.services.facts import Digest, spell_spans
from billing_console.services.identity import Actor
from billing_console.services.session import in_transaction, reading
from billing_console.services.spans import Span
from billing_console.text import storable_message
from billing_console.wire import jsonable
from db.engine import Database
from db.last import at_last
from db.prepared import Columns, by_column, stored
from db.schema import AuditEntry
from db.statements import is_sqlite, table_of
from db.values import Outcome

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger

log = logging.getLogger(__name__)

_CHAIN_LOCK = 0x62696C6C696E67
"""One writer at a time appends to the chain; SQLite has one writer anyway."""

State = dict[str, Any] | str | None


@dataclass(slots=True)
class Trail:
    """What a transaction did, for its row in the audit log; a transaction that notes nothing leaves none."""

    target: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    changed: bool = False
    facts: dict[str, Digest] = field(default_factory=dict)
    states: dict[str, dict[str, State]] = field(default_factory=dict)
    archived: Sequence[Span] = ()
    kept: list[tuple[str, Digest]] = field(default_factory=list)

    def note(self, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        """Say what changed, in the seed's field names; values are as services hold them."""
        self.before, self.after, self.changed = before, after, True

    def fact(self, kind: str, row: Mapping[str, Any]) -> None:
        """Vouch for one fact that was written, as `facts_of` does for many."""
        self.facts_of(kind, by_column([row]))

    def facts_of(self, kind: str, rows: Columns) -> None:
        """Vouch for facts that were written; those of a kind come in order of id."""
        self.changed = True
        self.facts.setdefault(kind, Digest(kind)).add(rows)

    def state(self, kind: str, name: str, value: State) -> None:
        """Vouch for what somebody decided about `name`, None for what no longer holds (see states.py)."""
        self.changed = True
        self.states.setdefault(kind, {})[name] = value

    def archive(self, spans: Sequence[Span], kept: Iterable[tuple[str, Digest]]) -> None:
        """Vouch that usage records were archived, and for those that stay of what one row vouched for with them."""
        self.archived, self.changed = spans, True
        self.kept += kept

    def proof(self) -> Mapping[str, Any] | None:
        """Return what `audit verify` compares with the tables."""
        facts = {kind: digest.spelled() for kind, digest in sorted(self.facts.items())}
        kept = [[kind, *digest.spelled()] for kind, digest in self.kept]
        parts = {"facts": facts, "states": self.states, "archived": spell_spans(self.archived), "kept": kept}
        return {name: part for name, part in parts.items() if part} or None


def append(
    session: Session,
    actor: Actor,
    now: datetime,
    action: Action,
    trail: Trail,
    *,
    outcome: Outcome = Outcome.DONE,
    reason: str = "",
) -> None:
    """Append a row to the chain when the transaction ends: on PostgreSQL others wait from then on."""
    row: dict[str, Any] = dict(
        created_at=now,
        operator=actor.name,
        uid=actor.uid,
        account=actor.account,
        login_uid=actor.login_uid,
        tty=actor.tty,
        ssh_client=actor.ssh_client,
        host=actor.host,
        action=action.value,
        target=storable_message(trail.target, 400),
        outcome=outcome.value,
        reason=storable_message(reason, 1000),
        before=_json(trail.before),
        after=_json(trail.after),
        proof=_json(trail.proof()),
    )
    connection = session.connection()
    if not is_sqlite(session):
        at_last(session, (f"SELECT pg_advisory_xact_lock({_CHAIN_LOCK})", ()))
    given = {name: row[name] for name in _GIVEN}
    values = tuple(value for (value,) in stored(connection, AuditEntry, by_column([given])))
    at_last(session, (_APPEND[connection.dialect.name], (*values, _spelled(given.values())[1:-1])))


def last_link(session: Session) -> tuple[int, str]:
    """Return id and hash of the newest row; 0 and nothing for an empty log."""
    newest = session.connection().exec_driver_sql("SELECT id, hash FROM audit_log ORDER BY id DESC LIMIT 1").first()
    return (0, "") if newest is None else (int(newest.id), str(newest.hash))


_COLUMNS = tuple(column.name for column in table_of(AuditEntry).columns)
_HASHED = _COLUMNS[:-1]
_GIVEN = _COLUMNS[1:-2]
"""All but those that depend on the row before: the id, its hash, and the hash of this row."""


def _appending(mark: str, sha256: str) -> str:
    """Spell the insert of a row after the last one; its last value is `hash_of`'s text of all that is given."""
    number, link = "coalesce(last.id, 0) + 1", "coalesce(last.hash, '')"
    text = f"'[' || ({number}) || ',' || {mark} || ',\"' || {link} || '\"]'"
    return (
        f"INSERT INTO audit_log ({', '.join(_COLUMNS)})"
        f" SELECT {number}, {', '.join([mark] * len(_GIVEN))}, {link}, {sha256.format(text)}"
        " FROM (SELECT 1) AS one LEFT JOIN (SELECT id, hash FROM audit_log ORDER BY id DESC LIMIT 1) AS last ON true"
    )


_APPEND = {
    "sqlite": _appending("?", "sha256({})"),
    "postgresql": _appending("%s", "encode(sha256(convert_to({}, 'UTF8')), 'hex')"),
}


def hash_of(row: Mapping[str, Any]) -> str:
    """Return the hash that chains a row: SHA-256 of all its other columns, the hash of the row before it included."""
    return hashlib.sha256(_spelled(row[name] for name in _HASHED).encode()).hexdigest()


def _spelled(values: Iterable[Any]) -> str:
    spelled = [iso(value) if isinstance(value, datetime) else value for value in values]
    return json.dumps(spelled, separators=(",", ":"))


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(jsonable(value), ensure_ascii=False, separators=(",", ":"))


def append_refusal(
    database: Database, actor: Actor, now: datetime, action: Action, target: str, error: BillingError
) -> None:
    """Record that somebody was refused, in a transaction of its own: the refused one was undone.

    Where the database takes no row (a viewer's account may have no right to write), the system log does.
    """
    trail = Trail(target)
    try:
        with database.for_writing() as writable:
            in_transaction(
                writable,
                lambda session: append(
                    session, actor, now, action, trail, outcome=Outcome.REFUSED, reason=error.message
                ),
            )
    except BillingError as failure:
        words = f"refused: {action} {target!r} by {actor.name} (uid {actor.uid}): {error.message!r}"
        syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_WARNING, f"billing-console: {words}")
        log.warning("%s; the audit log could not take it: %s", words, failure.message)


@dataclass(frozen=True, slots=True)
class AuditView:
    """A row of the audit log; `before` and `after` are JSON texts by the seed's field names, or None."""

    id: int
    created_at: datetime
    operator: str
    uid: int
    account: str
    login_uid: int | None
    tty: str | None
    ssh_client: str | None
    host: str
    action: str
    target: str
    outcome: Outcome
    reason: str
    before: str | None
    after: str | None
    hash: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows to list; `action` also takes the beginning of one, such as pools."""

    operator: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: Outcome | None = None
    start: datetime | None = None
    end: datetime | None = None


def list_audit(
    ledger: Ledger, wanted: AuditFilter | None = None, *, limit: int | None = 100, before_id: int | None = None
) -> tuple[AuditView, ...]:
    """List rows, newest first; `before_id` continues after a page that ended with that row."""
    query = select_model(AuditEntry).order_by(col(AuditEntry.id).desc())
    for condition in _conditions(wanted or AuditFilter()):
        query = query.where(condition)
    if before_id is not None:
        query = query.where(col(AuditEntry.id) < before_id)
    if limit is not None:
        query = query.limit(limit)
    with reading(ledger.database) as session:
        return tuple(_view(entry) for entry in session.exec(query))


def _conditions(wanted: AuditFilter) -> list[Any]:
    entry = AuditEntry
    conditions: list[Any] = []
    if wanted.operator is not None:
        conditions.append(entry.operator == wanted.operator)
    if wanted.action is not None:
        exactly = col(entry.action) == wanted.action
        conditions.append(exactly | col(entry.action).startswith(f"{wanted.action}.", autoescape=True))
    if wanted.target is not None:
        conditions.append(col(entry.target).icontains(wanted.target, autoescape=True))
    if wanted.outcome is not None:
        conditions.append(entry.outcome == wanted.outcome.value)
    if wanted.start is not None:
        conditions.append(entry.created_at >= wanted.start)
    if wanted.end is not None:
        conditions.append(entry.created_at < wanted.end)
    return conditions


def _view(entry: AuditEntry) -> AuditView:
    shown = {name: getattr(entry, name) for name in AuditView.__dataclass_fields__}
    return AuditView(**shown | {"outcome": Outcome(entry.outcome)})
