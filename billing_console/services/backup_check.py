"""Whether a copy of a ledger is one: an undamaged database of this schema whose balances agree with its facts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from sqlalchemy import URL, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from billing_console import clock
from billing_console.atomic import SQLITE_BESIDE
from billing_console.errors import Refused, Unavailable
from billing_console.i18n import _, ngettext
from billing_console.services.audit_verify import verify_in
from billing_console.services.database_errors import explain
from billing_console.services.identity import this_person
from billing_console.services.ledger import Ledger
from billing_console.services.reconcile import compare
from billing_console.services.session import prepare
from billing_console.services.table_copy import count_rows
from db.engine import Database
from db.revision import HEAD, REVISIONS
from db.schema import LedgerInfo
from db.statements import table_of

Rows = dict[str, int]
"""How many rows each table has."""


def url_of(path: Path) -> str:
    """Return the database URL of an SQLite file, whatever characters are in its name."""
    return URL.create("sqlite", database=os.path.abspath(path)).render_as_string()


@contextmanager
def open_backup(path: Path, low_threshold: Decimal) -> Iterator[tuple[Ledger, Rows]]:
    """Open a backup for reading, checked, and yield it with its rows per table.

    Nobody has to be known to it: its people may be those of another host. Raises Unavailable for a file that is
    missing, damaged, no ledger or of another schema, Refused for one whose balances contradict its facts, and for one
    that was not closed properly.
    """
    if not path.is_file():
        raise Unavailable(_("There is no file %(path)s.") % {"path": path}, _("Check the name of the backup."))
    refuse_what_lies_beside(
        Path(os.path.realpath(path)),
        _("%(path)s is in use, or was not closed properly: %(beside)s lies beside it."),
        _("Make a backup of it with: billing-console --database sqlite:///FILE backup NEW_FILE"),
    )
    database = prepare(url_of(path), read_only=True)
    try:
        ledger = _ledger_on(database, _facts(database, path), low_threshold)
        rows, wrong = examine(ledger, str(path), if_damaged=_("Use another backup."))
        require_balance(
            wrong,
            str(path),
            _("Mend a copy of it with: billing-console --database sqlite:///COPY reconcile --repair"),
        )
        yield ledger, rows
    finally:
        database.close()


def _ledger_on(database: Database, facts: Mapping[str, str], low_threshold: Decimal) -> Ledger:
    return Ledger(
        database=database,
        timezone=clock.zone(facts["business_timezone"]),
        currency=facts["currency"],
        low_threshold=low_threshold,
        require_quota=False,
        actor=this_person(),
    )


def refuse_what_lies_beside(path: Path, words: str, hint: str) -> None:
    """Raise Refused if SQLite left a file beside `path`: the next one to open it would take that for its own."""
    for suffix in SQLITE_BESIDE:
        beside = Path(f"{path}{suffix}")
        if os.path.lexists(beside):
            raise Refused(words % {"path": path, "beside": beside.name}, hint)


def examine(ledger: Ledger, name: str, *, if_damaged: str) -> tuple[Rows, int]:
    """Check the SQLite file of a ledger, which people know as `name`; return its rows per table, and how much is wrong.

    What is wrong contradicts the facts, or the audit log. Raises Unavailable, with the hint given, if it is damaged.
    """
    try:
        with ledger.database.reading() as session:
            damage = _damage(session)
            if damage is None:
                wrong = len(compare(session, ledger)) + len(verify_in(session).findings)
                return count_rows(session), wrong
    except SQLAlchemyError as error:
        raise Unavailable(explain(error, ledger.database).message, if_damaged) from error
    raise Unavailable(_("%(name)s is damaged: %(reason)s.") % {"name": name, "reason": damage}, if_damaged)


def require_balance(wrong: int, name: str, hint: str) -> None:
    """Raise Refused if reconcile or the verification of the audit log found anything."""
    if wrong:
        raise Refused(contradiction(wrong, name), hint)


def contradiction(wrong: int, name: str) -> str:
    """Say how much is wrong in a ledger or its copy."""
    words = ngettext(
        "%(count)d value in %(name)s contradicts the facts or the audit log.",
        "%(count)d values in %(name)s contradict the facts or the audit log.",
        wrong,
    )
    return words % {"count": wrong, "name": name}


def require_rows(found: Rows, wanted: Rows, name: str) -> None:
    """Raise Unavailable unless a copy has as many rows in every table as it should."""
    for table, count in wanted.items():
        if found.get(table) != count:
            raise Unavailable(
                _("The copy of %(name)s has %(found)s rows in %(table)s instead of %(wanted)d; it was not kept.")
                % {"name": name, "found": found.get(table), "table": table, "wanted": count},
                _("Check the disk."),
            )


def _damage(session: Session) -> str | None:
    """Return SQLite's own words for the first fault in the file."""
    connection = session.connection()
    said = str(connection.execute(text("PRAGMA integrity_check(1)")).scalar_one())
    if said != "ok":
        return said.strip().splitlines()[-1][:200]
    orphan = connection.execute(text("PRAGMA foreign_key_check")).first()
    return None if orphan is None else f"foreign key {orphan[0]} → {orphan[2]}"


def _facts(database: Database, path: Path) -> Mapping[str, str]:
    """Return the facts of a ledger; raise Unavailable unless it has the schema that this program knows."""
    try:
        with database.reading() as session:
            found, facts = _revision_and_facts(session)
    except SQLAlchemyError as error:
        raise Unavailable(explain(error, database).message, _("Use another backup.")) from error
    names = {"path": path, "found": found, "known": HEAD}
    if found is None or not {"business_timezone", "currency"} <= facts.keys():
        raise Unavailable(_("%(path)s is no backup of a ledger.") % names, _("Use another backup."))
    if found not in REVISIONS:
        raise Unavailable(
            _("The schema of %(path)s (%(found)s) is newer than this program (%(known)s).") % names,
            _("Install the newer billing-console."),
        )
    if found != HEAD:
        raise Unavailable(
            _("The schema of %(path)s (%(found)s) is older than this program (%(known)s).") % names,
            _("Restore a copy of it, after: billing-console --database sqlite:///COPY upgrade"),
        )
    return facts


def _revision_and_facts(session: Session) -> tuple[str | None, Mapping[str, str]]:
    info, connection = table_of(LedgerInfo), session.connection()
    if not all(inspect(connection).has_table(name) for name in ("alembic_version", info.name)):
        return None, {}
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision, {row.name: row.value for row in connection.execute(select(info))}
