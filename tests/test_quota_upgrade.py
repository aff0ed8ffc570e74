"""A ledger of the release before quota could expire: its grants stay vouched for, and pay for use as before."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from billing_console.services.actions import Action
from billing_console.services.audit import Trail, append
from billing_console.services.audit_verify import verify_audit
from billing_console.services.facts import Digest
from billing_console.services.ledger import open_ledger
from billing_console.services.quota_due import book_all_due
from billing_console.services.quotas import grant_quota, quota_details
from billing_console.services.reconcile import reconcile
from billing_console.services.roles import state_of
from billing_console.services.session import prepare
from billing_console.services.setup import upgrade
from db.revision import HEAD
from db.schema import Operator
from tests.factories import NOON, TESTER, at, execute, spend

GRANTS = (
    b'[1,"alice","9.00","T","g","9.00","9.00","tester","2026-03-10T04:00:00Z"]\n',
    b'[2,"alice","-1.00","T","h","8.00","8.00","tester","2026-03-10T04:00:00Z"]\n',
)
"""What the audit log of that release took the digest of."""


def old_ledger(url: str) -> None:
    """A ledger as that release left it, with a grant and what was taken back of it, written by SQL."""
    from alembic import command
    from alembic.config import Config

    import db.migrations

    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__path__[0])))
    database = prepare(url, create=True)
    now = {"at": f"{NOON:%Y-%m-%d %H:%M:%S.%f}" if database.is_sqlite else NOON, "uid": TESTER.uid}
    try:
        with database.writing() as session:
            config.attributes["connection"] = session.connection()
            command.upgrade(config, "0002")
            for statement in (
                "INSERT INTO ledger_info VALUES ('business_timezone', 'Asia/Shanghai'), ('currency', 'CNY'),"
                " ('demo', 'false'), ('created_at', '2026-01-01T00:00:00Z')",
                "INSERT INTO operators (name, uid, role, added_by, added_at)"
                " VALUES ('tester', :uid, 'admin', 'tester', :at)",
                "INSERT INTO user_quotas (user_id, granted_amount, used_amount, created_at, updated_at)"
                " VALUES ('alice', 8000000000, 0, :at, :at)",
                "INSERT INTO quota_grants (user_id, amount, reference, idempotency_key, granted_after,"
                " remaining_after, operator, created_at)"
                " VALUES ('alice', 9000000000, 'T', 'g', 9000000000, 9000000000, 'tester', :at),"
                " ('alice', -1000000000, 'T', 'h', 8000000000, 8000000000, 'tester', :at)",
            ):
                session.connection().execute(text(statement), now if ":" in statement else {})
            trail = Trail("alice")
            digest = trail.facts["quota_grants"] = Digest("quota_grants", [[1, 2]])
            for line in GRANTS:
                digest._hash.update(line)
            trail.states["ledger_info"] = {"business_timezone": "Asia/Shanghai", "currency": "CNY"}
            trail.states["operators"] = {TESTER.name: state_of(session.get_one(Operator, TESTER.name))}
            append(session, TESTER, NOON, Action.GRANT, trail)
    finally:
        database.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_grants_of_an_older_ledger_are_vouched_for_and_never_expire(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fresh = f"sqlite:///{tmp_path / 'old.db'}"
    url = fresh if engine == "sqlite" else request.getfixturevalue("empty_postgres_url")
    old_ledger(url)
    assert upgrade(url, founder=TESTER) == ("0002", HEAD)
    ledger = at(open_ledger(url, actor=TESTER), NOON)
    try:
        assert verify_audit(ledger).findings == ()
        spend(ledger, "3")
        grant_quota(ledger, "alice", Decimal(5), reference="r", expires_at=NOON + timedelta(hours=1))
        spend(ledger, "4")
        late = at(ledger, NOON + timedelta(hours=1))
        assert quota_details(late, "alice").quota.remaining_amount == 5
        assert book_all_due(late) == 1
        assert quota_details(late, "alice").left == {1: 5}
        assert reconcile(late) == () and verify_audit(late).findings == ()
        execute(
            ledger,
            "DROP TRIGGER quota_grants_no_update"
            if ledger.database.is_sqlite
            else "ALTER TABLE quota_grants DISABLE TRIGGER USER",
        )
        execute(ledger, "UPDATE quota_grants SET used_before = 1 WHERE id = 1")
        assert verify_audit(ledger).findings != ()
    finally:
        ledger.close()
