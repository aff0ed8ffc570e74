"""The audit log: one row for every change and refusal, a chain that shows what was changed past the program."""

from __future__ import annotations

import csv
import io
import json
import re
import syslog
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from billing_console.errors import Conflict, Refused, Unavailable
from billing_console.services.actions import Action
from billing_console.services.audit import AuditFilter, AuditView, Trail, append, hash_of, list_audit
from billing_console.services.audit_anchor import read_anchors, take_anchor
from billing_console.services.audit_verify import AuditFinding, verify_audit
from billing_console.services.budgets import ALL, set_budget
from billing_console.services.check import check_pools
from billing_console.services.decisions import approve, reject
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.limits import set_limit
from billing_console.services.metering import record_usage
from billing_console.services.models import set_model_enabled
from billing_console.services.operators import add_operator, remove_operator
from billing_console.services.pools import open_pool, set_thresholds
from billing_console.services.quotas import grant_quota, revoke_quota
from billing_console.services.recharges import recharge, reverse_recharge
from billing_console.services.reconcile import reconcile
from billing_console.services.session import prepare
from billing_console.services.settlement import reprice, settle
from billing_console.services.setup import upgrade
from db.last import run_last
from db.migrations.versions.r0006_partitions import INDEXES
from db.revision import HEAD
from db.schema import AuditEntry
from db.statements import row_of
from db.values import LimitName, Outcome, Role
from tests.commands import Commands
from tests.conftest import OpenLedger
from tests.factories import acting, at, execute, gateway_insert, pay, pool, price, query, spend, unbounded, usage
from tests.stocked import NOW, stock

Change = tuple[str, str, Callable[[Ledger], Any]]

AGAIN = (
    (
        "pools.recharge",
        "openai",
        lambda ledger: recharge(ledger, "openai", Decimal(50), reference="r", key="k"),
    ),
    ("quotas.grant", "alice", lambda ledger: grant_quota(ledger, "alice", Decimal(9), reference="r", key="g")),
    ("quotas.revoke", "alice", lambda ledger: revoke_quota(ledger, "alice", Decimal(1), reference="r", key="v")),
    (
        "models.disable",
        "openai gpt-4o",
        lambda ledger: set_model_enabled(ledger, "openai", "gpt-4o", False, reason="r"),
    ),
    ("models.enable", "openai gpt-4o", lambda ledger: set_model_enabled(ledger, "openai", "gpt-4o", True, reason="r")),
    ("pools.threshold", "openai", lambda ledger: set_thresholds(ledger, "openai", {"percent": Decimal(20)})),
    ("limits.set", "per_operation", lambda ledger: set_limit(ledger, LimitName.PER_OPERATION, Decimal(500))),
    ("budgets.set", "*", lambda ledger: set_budget(ledger, ALL, Decimal(9000))),
    ("budgets.set", "openai", lambda ledger: set_budget(ledger, "openai", Decimal(500))),
    ("operators.add", "carol", lambda ledger: add_operator(ledger, "carol", Role.VIEWER)),
    ("prices.add", "openai gpt-4o text_generation", price),
    ("usage.record", "", lambda ledger: record_usage(ledger, [usage(request_id="one", cost_amount=Decimal(1))])),
    ("usage.settle", "", settle),
    ("usage.reprice", "", reprice),
    ("pools.check", "openai", check_pools),
    ("ledger.repair", "", lambda ledger: reconcile(ledger, repair=True)),
)
"""Changes that do nothing when they are made a second time."""


def log(ledger: Ledger, **wanted: Any) -> list[AuditView]:
    """Rows of the log, oldest first."""
    return list(list_audit(ledger, AuditFilter(**wanted), limit=None))[::-1]


def findings(ledger: Ledger, *arguments: Any) -> tuple[AuditFinding, ...]:
    return verify_audit(ledger, *arguments).findings


def unlocked(ledger: Ledger) -> None:
    """Take the triggers away, as somebody who owns the file can."""
    if not ledger.database.is_sqlite:
        execute(ledger, "ALTER TABLE audit_log DISABLE TRIGGER USER")
        return
    for (name,) in query(ledger, "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log'"):
        execute(ledger, f"DROP TRIGGER {name}")


def written_anew(ledger: Ledger, change: str) -> None:
    """Change a row of the log and compute every hash after it, as somebody who knows the format can."""
    unlocked(ledger)
    execute(ledger, change)
    previous = ""
    with ledger.database.writing() as session:
        from sqlmodel import col, select

        for entry in session.exec(select(AuditEntry).order_by(col(AuditEntry.id))):
            entry.previous_hash = previous
            entry.hash = previous = hash_of(row_of(entry))


# What leaves a row


def prepared(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "0.5")
    gateway_insert(ledger, cost_amount=10**9)
    record_usage(ledger, [usage(model_id="gpt-4o-mini", request_id="unpriced")])


def test_a_change_leaves_one_row_and_the_same_again_none(ledger: Ledger) -> None:
    prepared(ledger)
    for action, target, work in AGAIN:
        if action == "usage.reprice":
            price(ledger, model_id="gpt-4o-mini")
        if action == "pools.check":
            spend(ledger, "200")
        if action == "ledger.repair":
            execute(ledger, "UPDATE user_quotas SET used_amount = used_amount + 1")
        before = len(log(ledger))
        work(ledger)
        (row,) = log(ledger)[before:]
        assert (row.action, row.target, row.outcome) == (action, target, Outcome.DONE)
        assert (row.operator, row.reason) == ("tester", "")
        assert row.after is not None and json.loads(row.after)
        work(ledger)
        assert len(log(ledger)) == before + 1, action
    assert findings(ledger) == ()


def test_the_other_changes_leave_one_row_each(ledger: Ledger) -> None:
    pool(ledger)
    asker = acting(ledger, "asker", Role.OPERATOR)
    paid = pay(ledger, "10")
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(100))
    changes: tuple[Change, ...] = (
        ("pools.add", "azure", lambda ledger: open_pool(ledger, "azure", low_threshold=Decimal(5))),
        ("pools.reverse", str(paid.id), lambda ledger: reverse_recharge(ledger, paid.id, reason="r")),
        ("pools.recharge", "openai", lambda _: recharge(asker, "openai", Decimal(500), reference="a", key="a")),
        ("approvals.approve", "1", lambda ledger: approve(ledger, 1)),
        ("quotas.grant", "alice", lambda _: grant_quota(asker, "alice", Decimal(500), reference="b", key="b")),
        ("approvals.reject", "2", lambda ledger: reject(ledger, 2, reason="r")),
        ("operators.remove", "asker", lambda ledger: remove_operator(ledger, "asker")),
        ("limits.set", "approval_above", lambda ledger: set_limit(ledger, LimitName.APPROVAL_ABOVE, None)),
        ("budgets.set", "openai", lambda ledger: set_budget(ledger, "openai", Decimal(5))),
        ("pools.threshold", "azure", lambda ledger: set_thresholds(ledger, "azure", {"percent": None})),
    )
    for action, target, work in changes:
        before = len(log(ledger))
        work(ledger)
        (row,) = log(ledger)[before:]
        assert (row.action, row.target, row.outcome) == (action, target, Outcome.DONE)
    assert findings(ledger) == ()


def test_a_row_says_what_was_before_and_after(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    spend(ledger, "95")
    check_pools(ledger)
    pay(at(ledger, NOW), "50", reference="INV-7")
    row = log(ledger)[-1]
    assert row.created_at == NOW
    assert row.before is not None and row.after is not None
    assert json.loads(row.before) == {"availableBalance": "5.00", "status": "low"}
    after = json.loads(row.after)
    assert (after["availableBalance"], after["status"], after["alert"]) == ("55.00", "sufficient", "resolved")
    assert (after["amount"], after["reference"], after["operator"]) == ("50.00", "INV-7", "tester")


def test_a_threshold_that_is_set_again_and_raises_an_alert_leaves_a_row(ledger: Ledger) -> None:
    pool(ledger, amount="100")
    set_thresholds(ledger, "openai", {"percent": Decimal(20)})
    spend(ledger, "90")
    before = len(log(ledger))
    set_thresholds(ledger, "openai", {"percent": Decimal(20)})
    (row,) = log(ledger)[before:]
    assert row.after is not None and json.loads(row.after)["alert"] == "raised"


def test_a_refusal_leaves_one_row_with_its_reason_and_nothing_else(ledger: Ledger) -> None:
    pool(ledger)
    pay(ledger, "5", key="k")
    before = len(log(ledger))
    with pytest.raises(Conflict):
        pay(ledger, "6", key="k")
    with pytest.raises(Refused):
        revoke_quota(ledger, "nobody", Decimal(1), reference="r")
    rows = log(ledger)[before:]
    assert [(row.action, row.target, row.outcome) for row in rows] == [
        ("pools.recharge", "openai", Outcome.REFUSED),
        ("quotas.revoke", "nobody", Outcome.REFUSED),
    ]
    assert "The key k already stands for" in rows[0].reason
    assert (rows[0].before, rows[0].after) == (None, None)
    assert findings(ledger) == ()


def test_a_read_only_session_cannot_write_but_its_refusal_is_written(
    database_url: str, opened: Callable[..., Ledger]
) -> None:
    looking = opened(database_url, read_only=True)
    before = len(log(looking))
    with pytest.raises(Exception, match="read-only session"):
        pool(looking)
    (row,) = log(looking)[before:]
    assert (row.action, row.outcome) == ("pools.add", Outcome.REFUSED)


def test_filters(ledger: Ledger) -> None:
    pool(at(ledger, NOW), amount="100")
    other = at(acting(ledger, "other"), NOW + timedelta(hours=1))
    pay(other, "1")
    with pytest.raises(Refused):
        reverse_recharge(other, 99, reason="r")
    assert {row.operator for row in log(ledger, operator="other")} == {"other"}
    assert [row.action for row in log(ledger, action="pools")] == [
        "pools.add",
        "pools.recharge",
        "pools.recharge",
        "pools.reverse",
    ]
    assert log(ledger, action="pool") == [] and len(log(ledger, action="pools.add")) == 1
    assert [row.target for row in log(ledger, outcome=Outcome.REFUSED)] == ["99"]
    assert len(log(ledger, target="OPENAI")) == 3
    assert log(ledger, target="%") == []
    assert len(log(ledger, start=NOW, end=NOW + timedelta(hours=1))) == 2
    assert len(log(ledger, start=NOW + timedelta(hours=1), end=NOW + timedelta(hours=2))) == 2
    whole = list_audit(ledger, limit=None)
    assert list_audit(ledger, limit=2) == whole[:2]
    assert list_audit(ledger, limit=2, before_id=whole[1].id) == whole[2:4]


# The chain


def test_the_chain_is_whole_on_a_stocked_ledger(ledger: Ledger) -> None:
    stock(ledger)
    told: list[tuple[int, int]] = []
    done = verify_audit(ledger, (), lambda rows, whole: told.append((rows, whole)))
    assert done.findings == ()
    rows = query(ledger, "SELECT id, hash, previous_hash FROM audit_log ORDER BY id")
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert [row[2] for row in rows] == ["", *(row[1] for row in rows[:-1])]
    assert (done.rows, done.head) == (len(rows), f"{rows[-1][0]} {rows[-1][1]}")
    assert told[-1] == (len(rows), len(rows))
    assert done.facts > 480


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("UPDATE audit_log SET operator = 'mallory' WHERE id = 4", "audit_log 4"),
        (
            "UPDATE audit_log SET created_at = (SELECT created_at FROM audit_log WHERE id = 1) WHERE id = 9",
            "audit_log 9",
        ),
        ("UPDATE audit_log SET after = NULL WHERE id = 5", "audit_log 5"),
        ("DELETE FROM audit_log WHERE id = 6", "audit_log 6"),
        ("UPDATE limits SET amount = 1", "limits per_operation"),
        ("DELETE FROM limits", "limits per_operation"),
        ("UPDATE budgets SET amount = 1", "budgets openai"),
        ("DELETE FROM budgets", "budgets openai"),
        ("UPDATE operators SET role = 'admin' WHERE name = 'carol'", "operators carol"),
        ("UPDATE resource_pools SET low_threshold = NULL", "thresholds openai"),
    ],
)
def test_what_is_changed_past_the_program_is_found_and_named(ledger: Ledger, change: str, where: str) -> None:
    pool(at(ledger, NOW), amount="100", low_threshold=Decimal(20))
    add_operator(ledger, "carol", Role.VIEWER)
    set_limit(ledger, LimitName.PER_OPERATION, Decimal(500))
    set_budget(ledger, "openai", Decimal(500))
    for number in range(4):
        grant_quota(ledger, f"u{number}", Decimal(1), reference="r")
    assert findings(ledger) == ()
    unlocked(ledger)
    execute(ledger, change)
    assert where in {finding.where for finding in findings(ledger)}


# An older ledger

OLD = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def old_ledger(url: str) -> None:
    """A ledger as the first release left it, with something of everything, written by SQL."""
    from alembic import command
    from alembic.config import Config

    import db.migrations

    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__path__[0])))
    database = prepare(url, create=True)
    at_ = f"{OLD:%Y-%m-%d %H:%M:%S.%f}" if database.is_sqlite else OLD
    now = {"at": at_}
    try:
        with database.writing() as session:
            config.attributes["connection"] = session.connection()
            command.upgrade(config, "0001")
            for statement in (
                "INSERT INTO ledger_info VALUES ('business_timezone', 'Asia/Shanghai'), ('currency', 'CNY'),"
                " ('demo', 'false'), ('created_at', '2026-01-01T00:00:00Z')",
                "INSERT INTO providers VALUES ('openai', 'OpenAI', :at)",
                "INSERT INTO models (provider_id, model_id, name, disabled_at, disabled_by, disabled_reason,"
                " created_at) VALUES ('openai', 'gpt-4o', 'gpt-4o', :at, 'old', 'why', :at)",
                "INSERT INTO prices (provider_id, model_id, usage_type, unit, input_price, output_price,"
                " effective_from, operator, created_at)"
                " VALUES ('openai', 'gpt-4o', 'text_generation', '1m_tokens', 7, 8, :at, 'old', :at)",
                "INSERT INTO resource_pools (provider_id, opened_at, total_balance, used_amount, low_threshold)"
                " VALUES ('openai', :at, 100000000000, 5, 2500)",
                "INSERT INTO recharges (provider_id, amount, reference, note, idempotency_key, total_after,"
                " available_after, operator, created_at)"
                " VALUES ('openai', 100000000000, 'INV', '', 'k', 100000000000, 100000000000, 'old', :at)",
                "INSERT INTO user_quotas VALUES ('alice', 9000000000, 5, :at, :at)",
                "INSERT INTO quota_grants (user_id, amount, reference, idempotency_key, granted_after,"
                " remaining_after, operator, created_at)"
                " VALUES ('alice', 9000000000, 'T', 'g', 9000000000, 9000000000, 'old', :at)",
                "INSERT INTO usage_records (request_id, user_id, provider_id, model_id, usage_type, input_tokens,"
                " cost_amount, status, created_at, counted_by_settler)"
                " VALUES ('r1', 'alice', 'openai', 'gpt-4o', 'text_generation', 10, 5, 'success', :at, false)",
                "INSERT INTO usage_records (request_id, provider_id, model_id, usage_type, status, created_at,"
                " counted_by_settler) VALUES ('r2', 'openai', 'new', 'text_generation', 'success', :at, false)",
                "INSERT INTO usage_records (request_id, provider_id, model_id, usage_type, cost_amount, status,"
                " created_at) VALUES ('r3', 'openai', 'gpt-4o', 'text_generation', 3, 'success', :at)",
                "INSERT INTO daily_cost_stats VALUES"
                " ('2026-01-02', 'openai', 'gpt-4o', 'text_generation', 10000000, 5, 1, 0),"
                " ('2026-01-02', 'openai', 'new', 'text_generation', 0, 0, 1, 0)",
            ):
                session.connection().execute(text(statement), now if ":at" in statement else {})
    finally:
        database.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_log_that_begins_with_an_upgrade_vouches_for_all_that_was_there(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fresh = f"sqlite:///{tmp_path / 'old.db'}"
    url = fresh if engine == "sqlite" else request.getfixturevalue("empty_postgres_url")
    old_ledger(url)
    with pytest.raises(Unavailable, match="billing-console upgrade"):
        open_ledger(url)
    assert upgrade(url) == ("0001", HEAD)
    ledger = open_ledger(url)
    try:
        done = verify_audit(ledger)
        assert (done.findings, done.rows) == ((), 1)
        # a recharge, a grant, a price, two records that are counted, and the cost of one of them
        assert done.facts == 6
        assert reconcile(ledger) == ()
        settle(ledger)
        set_model_enabled(ledger, "openai", "gpt-4o", True, reason="back")
        set_thresholds(ledger, "openai", {"percent": None})
        price(ledger, model_id="new")
        reprice(ledger)
        pay(ledger, "1")
        assert findings(ledger) == ()
        assert log(ledger)[0].action == "ledger.upgrade"
        trigger = "recharges_no_update" if ledger.database.is_sqlite else "recharges_no_change ON recharges"
        execute(ledger, f"DROP TRIGGER {trigger}")
        execute(ledger, "UPDATE recharges SET reference = 'other' WHERE id = 1")
        (found,) = findings(ledger)
        assert (found.where, "was changed since row 1" in found.problem) == ("recharges 1", True)
    finally:
        ledger.close()


def back_to_0002(ledger: Ledger) -> None:
    """Take away what later revisions added."""
    unbounded(ledger)
    if not ledger.database.is_sqlite:
        execute(ledger, "DROP FUNCTION usage_beyond()")
    grants = ("uq_quota_grants_expires", "ix_quota_grants_expiry", "ix_quota_grants_user_expiry")
    for index in (*grants, "ix_daily_cost_stats_model"):
        execute(ledger, f"DROP INDEX {index}")
    for table, columns in {
        "resource_pools": ("low_amount", "low_days"),
        "balance_alerts": ("acknowledged_by", "acknowledged_at"),
        "quota_grants": ("expires_at", "used_before", "expires_id"),
    }.items():
        for column in columns:
            execute(ledger, f"ALTER TABLE {table} DROP COLUMN {column}")
    for table in ("periodic_quotas", "budgets", "api_tokens", "holds", "request_keys"):
        execute(ledger, f"DROP TABLE {table}")
    if ledger.database.is_sqlite:
        execute(ledger, "DROP TRIGGER usage_records_archived")
    else:
        back_to_one_table(ledger)
    for table in ("usage_archives", "archived_stats", "archived_costs", "archived_requests"):
        execute(ledger, f"DROP TABLE {table}")
    execute(ledger, "UPDATE alembic_version SET version_num = '0002'")


def back_to_one_table(ledger: Ledger) -> None:
    """Put the usage records of all partitions into a table as it was before there were any."""
    for statement in (
        "CREATE TABLE one (LIKE usage_records INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        "INSERT INTO one SELECT * FROM usage_records",
        "ALTER SEQUENCE usage_records_id_seq OWNED BY one.id",
        "DROP TABLE usage_records, usage_request_ids",
        "DROP FUNCTION usage_stays",
        "ALTER TABLE one RENAME TO usage_records",
        "ALTER TABLE usage_records ADD CONSTRAINT usage_records_pkey PRIMARY KEY (id),"
        " ADD CONSTRAINT uq_usage_records_request UNIQUE (provider_id, request_id)",
        *(f"CREATE INDEX {name} ON usage_records {columns}" for name, columns in INDEXES.items()),
        *(
            f"CREATE TRIGGER usage_records_{name} BEFORE DELETE ON usage_records EXECUTE FUNCTION refuse_change()"
            for name in ("outbox", "no_update", "no_delete")
        ),
    ):
        execute(ledger, statement)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_log_that_has_begun_goes_on_vouching_for_what_it_knew_before_an_upgrade(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fresh = f"sqlite:///{tmp_path / 'old.db'}"
    url = fresh if engine == "sqlite" else request.getfixturevalue("empty_postgres_url")
    old_ledger(url)
    upgrade(url)
    ledger = open_ledger(url)
    try:
        set_thresholds(ledger, "openai", {"percent": Decimal(20)})
        pay(ledger, "1")
        back_to_0002(ledger)
        execute(ledger, "UPDATE resource_pools SET low_threshold = NULL")
        assert upgrade(url) == ("0002", HEAD)
        assert (log(ledger)[-1].before, log(ledger)[-1].after) == ('{"revision":"0002"}', f'{{"revision":"{HEAD}"}}')
        # The grant of revision 0001 is as it was, and what was changed past the program is not vouched for anew.
        (found,) = findings(ledger)
        assert found.where == "thresholds openai"
        set_thresholds(ledger, "openai", {"percent": Decimal(20)})
        assert findings(ledger) == ()
    finally:
        ledger.close()


def test_a_row_is_appended_without_a_look_at_all_others(postgres_url: str, opened: OpenLedger) -> None:
    ledger = opened(postgres_url)
    many = "SELECT {last} + n, created_at, operator, uid, account, host, action, target, outcome, reason, '', '' FROM"
    columns = "id, created_at, operator, uid, account, host, action, target, outcome, reason, previous_hash, hash"
    pool(ledger)
    last = query(ledger, "SELECT max(id) FROM audit_log")[0][0]
    rows = f"{many.format(last=last)} audit_log, generate_series(1, 5000) AS n WHERE id = {last}"
    execute(ledger, "ALTER TABLE audit_log DISABLE TRIGGER USER")
    execute(ledger, f"INSERT INTO audit_log ({columns}) {rows}")
    execute(ledger, "ALTER TABLE audit_log ENABLE TRIGGER USER")
    execute(ledger, "ANALYZE audit_log")
    with ledger.database.writing() as session:
        read = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'audit_log'")
        before = session.connection().execute(read).scalar_one()
        append(session, ledger.actor, NOW, Action.SETTLE, Trail(""))
        run_last(session)
        assert session.connection().execute(read).scalar_one() == before
    assert query(ledger, "SELECT max(id) FROM audit_log") == [(last + 5001,)]


# Anchors


def refuse_something(ledger: Ledger, times: int = 1) -> None:
    """Rows at the end that vouch for nothing, which is what a cut takes unseen."""
    for number in range(times):
        with pytest.raises(Refused):
            reverse_recharge(ledger, 1000 + number, reason="r")


def test_an_anchor_finds_a_tail_that_was_cut_off(ledger: Ledger, tmp_path: Path) -> None:
    pool(ledger)
    refuse_something(ledger, 3)
    taken = take_anchor(ledger, tmp_path / "anchors")
    refuse_something(ledger, 2)
    later = take_anchor(ledger, tmp_path / "anchors")
    anchors = read_anchors(tmp_path / "anchors")
    assert [(one.id, one.hash) for one in anchors] == [(taken.id, taken.hash), (later.id, later.hash)]
    assert findings(ledger, anchors) == ()
    unlocked(ledger)
    execute(ledger, f"DELETE FROM audit_log WHERE id > {taken.id}")
    assert findings(ledger) == () and findings(ledger, anchors[:1]) == ()
    (found,) = findings(ledger, anchors)
    assert (found.where, "cut off" in found.problem) == (f"audit_log {later.id}", True)


def test_an_anchor_finds_a_log_that_was_written_anew(ledger: Ledger, tmp_path: Path) -> None:
    pool(ledger)
    refuse_something(ledger, 3)
    taken = take_anchor(ledger, tmp_path / "anchors")
    written_anew(ledger, f"UPDATE audit_log SET operator = 'somebody else' WHERE id = {taken.id - 1}")
    assert findings(ledger) == ()
    anchors = read_anchors(tmp_path / "anchors")
    (found,) = findings(ledger, anchors)
    assert (found.where, "written anew" in found.problem) == (f"audit_log 1-{taken.id}", True)
    take_anchor(ledger, tmp_path / "anchors")
    assert findings(ledger, read_anchors(tmp_path / "anchors")) == (found,)
    assert len(read_anchors(tmp_path / "anchors")) == 2


def test_anchors_are_read_from_whatever_stands_around_them(ledger: Ledger, tmp_path: Path) -> None:
    taken = take_anchor(ledger, tmp_path / "anchors")
    line = (tmp_path / "anchors").read_text()
    assert re.fullmatch(rf"\S+Z billing-console-anchor {taken.id} {taken.hash}\n", line)
    (tmp_path / "auth.log").write_bytes(
        b"Nov 24 host sshd[1]: \xff\n<85>Nov 24 host billing-console[7]: " + line.encode()
    )
    (found,) = read_anchors(tmp_path / "auth.log")
    assert (found.id, found.hash) == (taken.id, taken.hash)
    (tmp_path / "empty").touch()
    for name in ("empty", "none"):
        with pytest.raises(Unavailable):
            read_anchors(tmp_path / name)
    with pytest.raises(Unavailable, match="cannot be written"):
        take_anchor(ledger, tmp_path / "none" / "anchors")


# The command line


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def test_the_log_is_listed_in_every_format(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(at(sqlite_ledger, NOW), "openai", "100")
    refuse_something(sqlite_ledger)
    rows = run("audit", "list", "--format", "json").json
    assert [row["action"] for row in rows] == [
        "pools.reverse",
        "pools.recharge",
        "pools.add",
        "operators.add",
        "ledger.init",
    ]
    assert run("audit", "list", "--format", "jsonl").jsonl == rows
    assert [row["hash"] for row in csv.DictReader(io.StringIO(run("audit", "list", "--format", "csv").out))] == [
        row["hash"] for row in rows
    ]
    table = run("audit", "list").out.splitlines()
    assert len(table) == 6 and "There is no recharge 1000." in table[1] and "refused" in table[1]
    for words, ids in (
        ("--operator tester", [5, 4, 3]),
        ("--action pools.recharge", [4]),
        ("--action pools --outcome done", [4, 3]),
        ("--target openai --limit 1", [4]),
        ("--target openai --after 4", [3]),
        ("--after 3", [2, 1]),
        ("--from 2026-03-10 --to 2026-03-10", [4, 3]),
        ("--outcome refused", [5]),
        ("--operator mallory", []),
    ):
        answer = run("audit", "list", *words.split(), "--format", "json")
        assert (answer.code, [row["id"] for row in answer.json]) == (0, ids), words
    assert run("audit", "list", "--from", "2026-03-11", "--to", "2026-03-10").code == 2
    assert run("audit", "list", "--outcome", "maybe").code == 2


def test_verify_is_0_for_a_whole_log_and_1_for_findings(run: Commands, sqlite_ledger: Ledger, tmp_path: Path) -> None:
    pool(sqlite_ledger, "openai", "100")
    whole = run("audit", "verify")
    assert (whole.code, whole.out) == (0, "")
    assert "The audit log is whole: 4 rows, which vouch for 1 facts." in whole.err and "--anchors" in whole.err
    assert run("audit", "verify", "--format", "json").json == []
    anchors = str(tmp_path / "anchors")
    taken = run("audit", "anchor", "--output", anchors, "--format", "json").json
    assert taken["id"] == 4 and taken["hash"] in (tmp_path / "anchors").read_text()
    assert run("audit", "verify", "--anchors", anchors).code == 0
    unlocked(sqlite_ledger)
    execute(sqlite_ledger, "UPDATE audit_log SET operator = 'mallory' WHERE id = 3")
    found = run("audit", "verify", "--anchors", anchors, "--format", "json")
    assert found.code == 1
    assert found.json == [
        {"where": "audit_log 3", "problem": "was changed: its hash is that of other content"},
    ]
    assert found.err == "1 finding: somebody changed the ledger past the program.\n"
    table = run("audit", "verify").out.splitlines()
    assert len(table) == 2 and table[1].startswith("audit_log 3")
    assert run("audit", "verify", "--anchors", str(tmp_path / "none")).code == 3
    assert run("audit", "anchor", "--output", str(tmp_path / "no" / "where")).code == 3


def test_an_anchor_goes_to_the_system_log(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda level, words: said.append((level, words)))
    answer = run("audit", "anchor")
    ((level, words),) = said
    assert level == syslog.LOG_AUTHPRIV | syslog.LOG_NOTICE
    assert re.fullmatch(r"billing-console-anchor 2 [0-9a-f]{64}", words)
    assert answer.out == f"Written down: row 2 of the audit log, {words.split()[-1]}\n"


# Money that may have moved


@pytest.mark.parametrize(
    ("line", "write"),
    [
        ("pools recharge openai 5", "recharges.recharge"),
        ("quotas grant alice 5", "quotas.grant_quota"),
        ("quotas revoke alice 5", "quotas.revoke_quota"),
    ],
)
def test_a_money_command_whose_outcome_is_unknown_names_its_key(
    run: Commands, sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch, line: str, write: str
) -> None:
    import importlib

    pool(sqlite_ledger)
    grant_quota(sqlite_ledger, "alice", Decimal(50), reference="r")
    module = importlib.import_module(f"billing_console.services.{write.partition('.')[0]}")
    name = write.partition(".")[2]
    real = getattr(module, name)

    def lost(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise Unavailable("The connection was lost.", "Try again.")

    words = (*line.split(), "--reference", "r", "--yes")
    with monkeypatch.context() as patched:
        patched.setattr(module, name, lost)
        answer = run(*words)
    assert (answer.code, answer.out) == (3, "")
    found = re.fullmatch(
        r"billing-console: The connection was lost\. Try again\."
        r" To repeat it without moving money twice, add to the same command: --key (\S+)\n",
        answer.err,
    )
    assert found
    assert run(*words, "--key", found[1], "--format", "json").json["replayed"] is True
