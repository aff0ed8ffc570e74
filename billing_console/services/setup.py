"""Create the ledger's schema, or bring an older one up to date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, select

from billing_console import clock
from billing_console.errors import Conflict, NotPermitted, Unavailable
from billing_console.i18n import _
from billing_console.services.actions import Action
from billing_console.services.audit import Trail, append, append_refusal, last_link
from billing_console.services.audit_start import everything_so_far
from billing_console.services.database_errors import explain
from billing_console.services.identity import Actor, this_person
from billing_console.services.maintenance import make_partitions
from billing_console.services.roles import found, role_of, whom_to_ask
from billing_console.services.session import prepare, reading, require_known, schema_revision
from db.engine import Database
from db.revision import HEAD
from db.schema import LedgerInfo, Operator
from db.statements import table_of
from db.values import Role

DEFAULT_TIMEZONE = "Asia/Shanghai"
DEFAULT_CURRENCY = "CNY"


def init(
    url: str,
    *,
    timezone: str = DEFAULT_TIMEZONE,
    currency: str = DEFAULT_CURRENCY,
    demo: bool = False,
    founder: Actor | None = None,
) -> None:
    """Create an empty ledger at `url`, its file readable by its owner alone; whoever does it is its first admin.

    Raises Conflict if there is one already, Unavailable if the place cannot be used.
    """
    clock.zone(timezone)
    database = prepare(url, create=True)
    try:
        if database.is_sqlite:
            _make_room(Path(str(database.url.database)))
        if schema_revision(database) is not None:
            raise Conflict(_("The database %(name)s is already set up.") % {"name": database.label})
        facts = {"business_timezone": timezone, "currency": currency, "demo": "true" if demo else "false"}
        _migrate(database, facts, founder or this_person(), Action.INIT)
    finally:
        database.close()


def upgrade(url: str, *, founder: Actor | None = None) -> tuple[str, str]:
    """Bring the schema at `url` to this program's revision; return the revision before and after.

    Whoever upgrades a ledger that had no operators yet is its first admin. Raises Unavailable for a database that is
    not set up or newer than this program, NotPermitted for anybody but an admin.
    """
    database = prepare(url)
    try:
        before = schema_revision(database)
        if before is None:
            raise Unavailable(
                _("The database %(name)s is not set up.") % {"name": database.label}, _("Run: billing-console init")
            )
        require_known(database, before)
        if before != HEAD:
            _migrate(database, {}, founder or this_person(), Action.UPGRADE, before)
        else:
            _refuse_all_but_admins(database, founder or this_person())
        return before, HEAD
    finally:
        database.close()


@dataclass(frozen=True, slots=True)
class DemoFacts:
    """When a demo ledger was made, and whether its schema is the one this program knows."""

    made_at: datetime
    is_current: bool


def demo_facts(url: str) -> DemoFacts | None:
    """Look at the demo ledger in an SQLite file, whatever its schema; return None for any other database.

    Raises Unavailable for a file that cannot be read.
    """
    # Beside the file of a process that was killed lies a journal, which only a writer can roll back.
    killed = Path(f"{url.removeprefix('sqlite:///')}-journal").exists()
    database = prepare(url, read_only=not killed)
    try:
        revision = schema_revision(database)
        with reading(database) as session:
            if not inspect(session.connection()).has_table(table_of(LedgerInfo).name):
                return None
            facts = {row.name: row.value for row in session.exec(select(LedgerInfo))}
    finally:
        database.close()
    if facts.get("demo") != "true":
        return None
    return DemoFacts(made_at=datetime.fromisoformat(facts["created_at"]), is_current=revision == HEAD)


def _make_room(path: Path) -> None:
    """Make the file if there is none; what is there already is only looked at, since it may be a pipe or read-only."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            _("%(path)s cannot be created: %(reason)s") % {"path": path, "reason": error.strerror},
            _("Choose another place with --database."),
        ) from error


def migrate(session: Session) -> None:
    """Run all migrations in the session's transaction, so that a kill leaves the old schema whole."""
    from alembic import command
    from alembic.config import Config

    import db.migrations

    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__path__[0])).replace("%", "%%"))
    config.attributes["connection"] = session.connection()
    command.upgrade(config, "head")


def _migrate(database: Database, facts: dict[str, str], founder: Actor, action: Action, before: str = "") -> None:
    """Migrate, and begin the audit log with all that is there already, so that it vouches for every fact.

    A log that has begun says of an upgrade only that it was made: it must not vouch anew for what was changed past it.
    """
    try:
        with database.writing() as session:
            migrate(session)
            _write_facts(session, facts)
            _require_admin(session, founder)
            if not database.is_sqlite:
                zone = clock.zone(session.get_one(LedgerInfo, "business_timezone").value)
                make_partitions(session, zone, clock.now())
            begun, _hash = last_link(session)
            trail = Trail("") if begun else everything_so_far(session)
            if begun:
                trail.note({"revision": before}, {"revision": HEAD})
            append(session, founder, clock.now(), action, trail)
    except SQLAlchemyError as error:
        raise explain(error, database) from error


def _require_admin(session: Session, founder: Actor) -> None:
    """Let only an admin change the schema; a ledger that has no operators yet gets its first."""
    if session.exec(select(Operator).limit(1)).first() is None:
        found(session, founder, clock.now())
    elif role_of(session, founder) is not Role.ADMIN:
        raise _only_admins(session)


def _refuse_all_but_admins(database: Database, actor: Actor) -> None:
    """Refuse an upgrade that has nothing to do just as one that has, and audit it."""
    with reading(database) as session:
        refusal = None if role_of(session, actor) is Role.ADMIN else _only_admins(session)
    if refusal is not None:
        append_refusal(database, actor, clock.now(), Action.UPGRADE, "", refusal)
        raise refusal


def _only_admins(session: Session) -> NotPermitted:
    return NotPermitted(_("Only an admin may upgrade this ledger; nothing was changed."), whom_to_ask(session))


def _write_facts(session: Session, facts: dict[str, str]) -> None:
    if facts:
        created = {"created_at": clock.iso(clock.now())}
        session.add_all([LedgerInfo(name=name, value=value) for name, value in (facts | created).items()])
