"""Rows changed past the program by somebody with the database's password: each found, and named."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import SQLModel

from billing_console.services.audit_anchor import Anchor, read_anchors, take_anchor
from billing_console.services.audit_verify import AuditFinding, verify_audit
from billing_console.services.facts import COSTS, KINDS, read_spans
from billing_console.services.ledger import Ledger
from billing_console.services.reconcile import reconcile
from tests.factories import pay
from tests.stocked import NOW
from tests.torture.intruder import LOG, Intruder, hashed
from tests.torture.operations import chosen_seed, is_long
from tests.torture.stocked_everywhere import stock_everything

SHANGHAI = ZoneInfo("Asia/Shanghai")
TAMPERINGS = 25
LONG_TAMPERINGS = 200

POOLS, QUOTAS, STATS, ALERTS = map(
    SQLModel.metadata.tables.__getitem__,
    (
        "resource_pools",
        "user_quotas",
        "daily_cost_stats",
        "balance_alerts",
    ),
)
RECORDS, OUTBOX, RECHARGES, GRANTS = map(
    SQLModel.metadata.tables.__getitem__,
    (
        "usage_records",
        "usage_outbox",
        "recharges",
        "quota_grants",
    ),
)
OPERATORS, LIMITS, BUDGETS, MODELS, INFO = map(
    SQLModel.metadata.tables.__getitem__,
    (
        "operators",
        "limits",
        "budgets",
        "models",
        "ledger_info",
    ),
)


@dataclass(frozen=True)
class Found:
    """What must be found: by which of the two, naming what; `by_anchor` where the log alone cannot tell."""

    by: str
    names: tuple[str, ...] = ()
    by_anchor: bool = False


Tampering = Callable[[Intruder], Found]


@dataclass(frozen=True)
class Kind:
    """A kind of tampering: what it is counted as, and one that does it."""

    name: str
    tamper: Tampering


# Rows of the audit log.


def _edit_log(column: str, rehash: str) -> Tampering:
    """Edit one column; leave the hash, or make it fit, in this row or in all that follow too."""

    def tamper(intruder: Intruder) -> Found:
        rows = [dict(row._mapping) for row in intruder.rows(LOG)]
        last = len(rows) if rehash != "own" else len(rows) - 1
        position = intruder.choose.randrange(last)
        number = rows[position]["id"]
        rows[position][column] = intruder.other(LOG.c[column], rows[position][column])
        if rehash == "own":
            rows[position] = hashed(rows[position])
        if rehash == "all":
            previous = rows[position - 1]["hash"] if position else ""
            for later in range(position, len(rows)):
                rows[later] = hashed(rows[later] | {"previous_hash": previous})
                previous = rows[later]["hash"]
        intruder.replace_log(rows)
        return Found("audit", (f"audit_log {number}",), by_anchor=rehash == "all")

    return tamper


def _cut_log(where: str) -> Tampering:
    def tamper(intruder: Intruder) -> Found:
        rows = intruder.rows(LOG)
        if where == "end":
            cut = rows[-intruder.choose.randrange(1, 4) :]
            intruder.remove(LOG, *cut)
            return Found("audit", (f"audit_log {rows[-1].id}",), by_anchor=True)
        gone = rows[0] if where == "start" else intruder.choose.choice(rows[1:-1])
        intruder.remove(LOG, gone)
        return Found("audit", (f"audit_log {gone.id}",))

    return tamper


def _swap_log(intruder: Intruder) -> Found:
    one, other = intruder.choose.sample(intruder.rows(LOG), 2)
    content = {name: value for name, value in one._mapping.items() if name != "id"}
    intruder.change(LOG, (one, {name: getattr(other, name) for name in content}), (other, content))
    return Found("audit", (f"audit_log {one.id}", f"audit_log {other.id}"))


def _insert_into_log(intruder: Intruder) -> Found:
    """Make room by renumbering what follows."""
    rows = [dict(row._mapping) for row in intruder.rows(LOG)]
    position = intruder.choose.randrange(1, len(rows))
    forged = hashed(rows[position] | {"operator": "somebody", "previous_hash": rows[position - 1]["hash"]})
    later = [row | {"id": row["id"] + 1} for row in rows[position:]]
    intruder.replace_log([*rows[:position], forged, *later])
    return Found("audit", (f"audit_log {later[0]['id']}",))


def _append_to_log(intruder: Intruder) -> Found:
    last = intruder.rows(LOG)[-1]
    intruder.put_in(LOG, last, id=last.id + 1, operator="somebody")
    return Found("audit", (f"audit_log {last.id + 1}",))


LOG_KINDS = [
    *(Kind("audit row edited", _edit_log(column.name, "")) for column in LOG.columns),
    *(
        Kind("audit row edited, its hash too", _edit_log(column.name, "own"))
        for column in LOG.columns
        if column.name not in ("hash", "id")
    ),
    *(
        Kind("audit row edited, all hashes from there on too", _edit_log(column.name, "all"))
        for column in LOG.columns
        if column.name not in ("hash", "id", "previous_hash")
    ),
    *(Kind(f"audit row deleted at the {where}", _cut_log(where)) for where in ("start", "middle", "end")),
    Kind("audit rows swapped", _swap_log),
    Kind("audit row put in", _insert_into_log),
    Kind("audit row put at the end", _append_to_log),
]


# Facts.


def _named(kind: str, number: int) -> tuple[str, ...]:
    return (f"{kind} {number}",)


def _edit_fact(kind: str, column: str) -> Tampering:
    fact = KINDS[kind]

    def tamper(intruder: Intruder) -> Found:
        row = intruder.one(fact.table)
        intruder.change(fact.table, (row, {column: intruder.other(fact.table.c[column], getattr(row, column))}))
        return Found("audit", _named(kind, getattr(row, fact.key)))

    return tamper


def _delete_fact(kind: str) -> Tampering:
    fact = KINDS[kind]

    def tamper(intruder: Intruder) -> Found:
        row = intruder.one(fact.table)
        intruder.remove(fact.table, row)
        return Found("audit", _named(kind, getattr(row, fact.key)))

    return tamper


UNIQUE = ("request_id", "idempotency_key", "reverses_id", "model_id")


def _insert_fact(kind: str) -> Tampering:
    fact = KINDS[kind]

    def tamper(intruder: Intruder) -> Found:
        rows = intruder.rows(fact.table)
        row = intruder.choose.choice(rows)
        number = getattr(rows[-1], fact.key) + intruder.choose.randrange(1, 5)
        new = {name: intruder.unused(fact.table.c[name], row, rows) for name in UNIQUE if name in fact.columns}
        if kind == "approval_decisions":
            new.clear()
        intruder.put_in(fact.table, row, **new | {fact.key: number})
        return Found("audit", _named(kind, number))

    return tamper


def _swap_amounts(kind: str, owner: str) -> Tampering:
    """Two people, or pools, get each other's money, and every sum of the ledger is as before."""
    table = KINDS[kind].table

    def tamper(intruder: Intruder) -> Found:
        rows = intruder.rows(table, table.c.amount > 0)
        one = intruder.choose.choice(rows)
        other = intruder.choose.choice([row for row in rows if getattr(row, owner) != getattr(one, owner)])
        intruder.change(table, (one, {"amount": other.amount}), (other, {"amount": one.amount}))
        return Found("audit", (f"{kind} {one.id}", f"{kind} {other.id}"))

    return tamper


FACT_KINDS = [
    *(
        Kind("fact edited", _edit_fact(kind, column))
        for kind, fact in KINDS.items()
        for column in fact.columns
        if not (kind == COSTS and column == "id")
    ),
    *(Kind("fact deleted", _delete_fact(kind)) for kind in KINDS if kind != COSTS),
    *(Kind("fact put in", _insert_fact(kind)) for kind in KINDS if kind != COSTS),
    Kind("amounts swapped", _swap_amounts("recharges", "provider_id")),
    Kind("amounts swapped", _swap_amounts("quota_grants", "user_id")),
]


# The same lie told in every place, so that all sums agree.


def _recharge_and_pool(intruder: Intruder) -> Found:
    row = intruder.one(RECHARGES)
    more = Decimal(intruder.choose.randrange(1, 10**6)) / 100
    intruder.add(RECHARGES, row, {"amount": more, "total_after": more, "available_after": more})
    (pool,) = intruder.rows(POOLS, POOLS.c.provider_id == row.provider_id)
    intruder.add(POOLS, pool, {"total_balance": more, "total_check": -more})
    return Found("audit", _named("recharges", row.id))


def _grant_and_quota(intruder: Intruder) -> Found:
    row = intruder.one(GRANTS)
    more = Decimal(intruder.choose.randrange(1, 10**6)) / 100
    intruder.add(GRANTS, row, {"amount": more, "granted_after": more, "remaining_after": more})
    (quota,) = intruder.rows(QUOTAS, QUOTAS.c.user_id == row.user_id)
    intruder.add(QUOTAS, quota, {"granted_amount": more, "granted_check": -more})
    return Found("audit", _named("quota_grants", row.id))


def _cost_and_all(intruder: Intruder) -> Found:
    row = intruder.one(RECORDS, (RECORDS.c.cost_amount > 0) & RECORDS.c.user_id.is_not(None))
    more = -row.cost_amount
    intruder.add(RECORDS, row, {"cost_amount": more})
    (pool,) = intruder.rows(POOLS, POOLS.c.provider_id == row.provider_id)
    intruder.add(POOLS, pool, {"used_amount": more, "used_check": -more})
    (quota,) = intruder.rows(QUOTAS, QUOTAS.c.user_id == row.user_id)
    intruder.add(QUOTAS, quota, {"used_amount": more, "used_check": -more})
    names = ("provider_id", "model_id", "usage_type")
    same = [STATS.c[name] == getattr(row, name) for name in names]
    day = row.created_at.astimezone(SHANGHAI).date()
    (stat,) = intruder.rows(STATS, (STATS.c.stat_date == day) & same[0] & same[1] & same[2])
    intruder.add(STATS, stat, {"total_cost": more})
    return Found("audit", _named(COSTS, row.id))


FRAUDS = [
    Kind("recharge and pool together", _recharge_and_pool),
    Kind("grant and quota together", _grant_and_quota),
    Kind("cost and all counters together", _cost_and_all),
]


# What people decided, and what follows from the facts.


def _edit(by: str, table: Any, column: str, condition: Any = None, *, copy: str = "", to: Any = None) -> Tampering:
    def tamper(intruder: Intruder) -> Found:
        row = intruder.one(table, condition)
        value = intruder.other(table.c[column], getattr(row, column)) if to is None else to
        values = {column: value} | ({copy: -value} if copy else {})
        intruder.change(table, (row, {name: None if new == "NULL" else new for name, new in values.items()}))
        return Found(by)

    return tamper


def _delete(by: str, table: Any, condition: Any = None) -> Tampering:
    def tamper(intruder: Intruder) -> Found:
        intruder.remove(table, intruder.one(table, condition))
        return Found(by)

    return tamper


def _new_admin(intruder: Intruder) -> Found:
    intruder.put_in(OPERATORS, intruder.rows(OPERATORS)[0], name="mallory", uid=1234, role="admin")
    return Found("audit", ("operators mallory",))


def _count_again(intruder: Intruder) -> Found:
    """Have a call counted a second time by the settler."""
    row = intruder.one(RECORDS, RECORDS.c.cost_amount > 0)
    intruder.put_in_row(OUTBOX, {"usage_id": row.id})
    return Found("reconcile")


DISABLED = MODELS.c.disabled_at.is_not(None)
OPEN = ALERTS.c.resolved_at.is_(None)

DECISION_KINDS = [
    Kind("decision edited", _edit("audit", OPERATORS, "role")),
    Kind("decision edited", _edit("audit", OPERATORS, "uid")),
    Kind("decision edited", _edit("audit", OPERATORS, "name")),
    Kind("decision edited", _new_admin),
    Kind("decision edited", _delete("audit", OPERATORS)),
    Kind("decision edited", _edit("audit", LIMITS, "amount")),
    Kind("decision edited", _delete("audit", LIMITS)),
    Kind("decision edited", _edit("audit", BUDGETS, "amount")),
    Kind("decision edited", _edit("audit", BUDGETS, "provider_id")),
    Kind("decision edited", _delete("audit", BUDGETS)),
    Kind("decision edited", _edit("audit", POOLS, "low_threshold", POOLS.c.low_threshold.is_not(None))),
    Kind("decision edited", _edit("audit", POOLS, "low_threshold", POOLS.c.low_threshold.is_(None))),
    Kind("decision edited", _edit("audit", MODELS, "disabled_at", DISABLED, to="NULL")),
    Kind("decision edited", _edit("audit", MODELS, "disabled_by", DISABLED)),
    Kind("decision edited", _edit("audit", MODELS, "disabled_reason", DISABLED)),
    Kind("decision edited", _edit("audit", MODELS, "disabled_at", ~DISABLED, to=NOW)),
    Kind("decision edited", _edit("audit", INFO, "value", INFO.c.name == "currency", to="USD")),
    Kind("decision edited", _edit("audit", INFO, "value", INFO.c.name == "business_timezone", to="UTC")),
]

COUNTER_KINDS = [
    *(Kind("counter edited", _edit("reconcile", STATS, name)) for name in ("total_usage", "total_cost", "call_count")),
    Kind("counter edited", _edit("reconcile", STATS, "failed_count")),
    Kind("counter edited", _edit("reconcile", STATS, "stat_date")),
    Kind("counter edited", _delete("reconcile", STATS)),
    *(
        Kind("balance edited, its copy too", _edit("reconcile", table, column, condition, copy=copy))
        for table, column, copy, condition in (
            (POOLS, "total_balance", "total_check", None),
            (POOLS, "used_amount", "used_check", None),
            (QUOTAS, "granted_amount", "granted_check", QUOTAS.c.granted_amount.is_not(None)),
            (QUOTAS, "used_amount", "used_check", None),
        )
    ),
    *(
        Kind("balance edited", _edit("reconcile", table, column))
        for table, column in (
            (POOLS, "total_balance"),
            (POOLS, "used_amount"),
            (POOLS, "total_check"),
            (POOLS, "used_check"),
            (QUOTAS, "used_amount"),
            (QUOTAS, "granted_amount"),
            (QUOTAS, "used_check"),
        )
    ),
    Kind("balance deleted", _delete("reconcile", POOLS, POOLS.c.used_amount > 0)),
    Kind("balance deleted", _delete("reconcile", QUOTAS, QUOTAS.c.used_amount > 0)),
    Kind("alert edited", _edit("reconcile", ALERTS, "alert_level", OPEN)),
    Kind("alert edited", _delete("reconcile", ALERTS, OPEN & (ALERTS.c.alert_type == "insufficient_balance"))),
    Kind("call counted again", _count_again),
    Kind("suspension edited", _edit("reconcile", POOLS, "suspended_at", POOLS.c.suspended_at.is_not(None), to="NULL")),
    Kind("suspension edited", _edit("reconcile", POOLS, "suspended_at", POOLS.c.suspended_at.is_(None), to=NOW)),
]

GROUPS = (LOG_KINDS, FACT_KINDS, FRAUDS, DECISION_KINDS, COUNTER_KINDS)


def _chosen(choose: random.Random) -> list[Kind]:
    """In the long form every kind at least once; in the short form at least two of every group."""
    every = [kind for group in GROUPS for kind in group]
    if not is_long():
        some = [kind for group in GROUPS for kind in choose.sample(group, 2)]
        return some + choose.sample(every, TAMPERINGS - len(some))
    return every + choose.choices(every, k=max(0, LONG_TAMPERINGS - len(every)))


def test_every_tampering_is_found_and_named(ledger: Ledger, tmp_path: Path) -> None:
    seed = chosen_seed("tamper")
    choose = random.Random(f"{seed} tamper")
    ledger = stock_everything(ledger, tmp_path)
    anchors = _anchors(ledger, tmp_path / "anchors")
    intruder = Intruder(ledger, choose)
    _nothing_is_found(ledger, anchors)
    counts: Counter[str] = Counter()
    for number, kind in enumerate(_chosen(choose), 1):
        expected = kind.tamper(intruder)
        said = f"tampering {number}, {kind.name}, {expected}"
        _found(ledger, anchors, expected, said)
        counts[kind.name] += 1
        intruder.put_back()
    _nothing_is_found(ledger, anchors)
    print(f"tamper on {ledger.database.engine.dialect.name}: {counts.total()}, all found: {dict(counts)}")


def _anchors(ledger: Ledger, file: Path) -> Sequence[Anchor]:
    """Heads of the log written down twice, the second time at its end."""
    take_anchor(ledger, file)
    for number in range(4):
        pay(ledger, "1.25", "openai", reference=f"after the anchor {number}")
    take_anchor(ledger, file)
    return read_anchors(file)


def _nothing_is_found(ledger: Ledger, anchors: Sequence[Anchor]) -> None:
    verified = verify_audit(ledger, anchors)
    assert verified.findings == () and verified.facts > 250
    assert reconcile(ledger) == ()


def _found(ledger: Ledger, anchors: Sequence[Anchor], expected: Found, said: str) -> None:
    if expected.by == "reconcile":
        assert reconcile(ledger) != (), said
        return
    findings = verify_audit(ledger, anchors if expected.by_anchor else ()).findings
    assert findings, said
    for name in expected.names:
        assert any(_names(finding, name) for finding in findings), f"{said}: {findings}"
    if expected.by_anchor:
        assert any("anchor" in finding.problem for finding in findings), f"{said}: {findings}"


def _names(finding: AuditFinding, name: str) -> bool:
    """Whether a finding names a row: by itself, as one of a batch, or as the row that the next one does not follow."""
    table, _space, number = name.rpartition(" ")
    where, _space, ids = finding.where.rpartition(" ")
    if table != where:
        return False
    if not number.isdecimal():
        return ids == number
    return f"row {number}:" in finding.problem or any(first <= int(number) <= last for first, last in read_spans(ids))
