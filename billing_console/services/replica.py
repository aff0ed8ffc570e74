"""The read replica: which URL can be one, and how it stands."""

from __future__ import annotations

from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.services.ledger import Ledger
from db.engine import Database, parse_url
from db.replica import Standing, State


def follow(ledger: Ledger, url: str) -> None:
    """Let the replica at `url` answer what is only shown; one that is out of reach may come back later.

    Raises InvalidInput for a URL of what is no replica of this ledger.
    """
    if ledger.database.is_sqlite:
        raise InvalidInput(
            _("A read replica needs a ledger on PostgreSQL; this one is in an SQLite file."),
            _("Leave out --read-database and the setting read_database_url."),
        )
    try:
        parsed = parse_url(url)
    except (ArgumentError, NoSuchModuleError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() == "sqlite":
        raise InvalidInput(
            _("The URL of the read replica is not one of PostgreSQL."), _("Use postgresql://user@host/name.")
        )
    name = {"name": Database(parsed).label}
    state = ledger.database.follow(parsed).look().state
    if state is State.PROMOTED:
        raise InvalidInput(
            _("The database %(name)s is no replica: it takes changes itself.") % name,
            _("Name a standby of the ledger's server with --read-database, or leave it out."),
        )
    if state is State.FOREIGN:
        raise InvalidInput(
            _("The database %(name)s is a replica of another database than this ledger's.") % name,
            _("Name a standby of the ledger's server with --read-database, or leave it out."),
        )


def replica_standing(ledger: Ledger) -> Standing | None:
    """Look how the replica stands; None for a ledger without one."""
    replica = ledger.database.replica
    return None if replica is None else replica.look()
