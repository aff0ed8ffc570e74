"""How PostgreSQL is connected to: time in UTC, nobody waits for ever, and a server that is gone is noticed."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

CONNECT_SECONDS = 10

# What the driver says of a connection that it lost it raises too; said by nobody else, it would go to stderr.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

NOTICED = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""A host that lost its power says nothing: a query would wait for it for a quarter of an hour."""

_HOST = r"[^@/?,:\[\]]+(?::\d+)?"
_SEVERAL_HOSTS = re.compile(rf"([\w+]+://(?:[^@/?]*@)?)({_HOST}(?:,{_HOST})+)(/[^?]*)?(?:\?(.*))?")


def with_hosts_apart(text: str) -> str:
    """Spell a URL of several hosts with ports, `//one:5432,two:5433/name` as libpq takes it, for SQLAlchemy."""
    found = _SEVERAL_HOSTS.fullmatch(text)
    if found is None:
        return text
    start, hosts, path, query = found.groups()
    places = [f"host={host if ':' in host else host + ':5432'}" for host in hosts.split(",")]
    return f"{start}{path or '/'}?" + "&".join([*places, *([query] if query else [])])


def postgresql_engine(url: URL, timeout: int, *, connect_seconds: int = CONNECT_SECONDS) -> Engine:
    """Return an engine that waits `timeout` seconds for locks; what the URL says of connections goes before ours."""
    # Without jit: compiling a plan takes longer than any query of ours, and its price grows with every partition.
    options = f"-c timezone=UTC -c jit=off -c lock_timeout={timeout}s -c idle_in_transaction_session_timeout=5min"
    ours = {"connect_timeout": min(timeout, connect_seconds), "tcp_user_timeout": 2_000 * connect_seconds, **NOTICED}
    arguments: dict[str, object] = {
        "application_name": "billing-console",
        "options": options,
        **{name: value for name, value in ours.items() if name not in url.query},
    }
    if url.query.get("prepare_threshold") == "none":  # the driver's name for it, which a URL cannot spell
        arguments["prepare_threshold"] = None
    engine = create_engine(
        url, connect_args=arguments, pool_pre_ping=True, pool_size=4, max_overflow=8, hide_parameters=True
    )
    event.listen(engine, "checkin", _leave_to_the_server)
    return engine


def run_together(connection: Connection, statements: Sequence[tuple[str, Any]], *, commit: bool) -> None:
    """Send statements whose rows nobody reads, and COMMIT if asked for, in one round trip; raises as each would.

    Their locks are released before the commit is flushed to disk, so that those who wait for them share a flush (early
    lock release, Johnson et al., Aether, VLDB 2010). What comes after it in the log is flushed after it: nobody's
    commit outlives one that it builds on.
    """
    driver: Any = connection.connection.driver_connection
    failure = connection.dialect.loaded_dbapi.Error
    try:
        with driver.pipeline():
            if commit:
                driver.execute("SET LOCAL synchronous_commit TO off", prepare=False)
            for statement, values in statements:
                driver.execute(statement, values)
            if commit:
                driver.execute("COMMIT AND CHAIN", prepare=False)
                # A transaction that wrote to the log is flushed as the server is set to, and all before it with it.
                # Where the commit fails this is not prepared, though the driver would take it to be.
                driver.execute("SELECT pg_logical_emit_message(true, 'billing-console', '')", prepare=False)
                # SQLAlchemy's own commit then finds nothing to do.
                driver.commit()
    except failure as error:
        # A connection that broke before all was answered may not leave the pipeline, and is of no use then.
        lost = bool(driver.closed or driver.pgconn.pipeline_status)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, failure, hide_parameters=True, connection_invalidated=lost, dialect=connection.dialect
        ) from error


def _leave_to_the_server(connection: Any, _record: object) -> None:
    """Let the server say whether transactions may write: after a read, SQLAlchemy would ask for one that may."""
    if connection is not None:
        connection.read_only = None
