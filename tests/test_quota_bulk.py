"""Bulk grants: all or nothing, once, within the limits, in one row of the audit log."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from billing_console.errors import Conflict, InvalidInput, Refused
from billing_console.money import LEDGER_LIMIT
from billing_console.services.approvals import list_approvals
from billing_console.services.audit import AuditFilter, list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.decisions import approve
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.quota_bulk import MOST, grant_each, preview_bulk
from billing_console.services.quotas import grant_quota, list_quotas, quota_details
from billing_console.services.reconcile import reconcile
from db.values import LimitName
from tests.commands import Commands
from tests.factories import acting, everything, spend

FIVE = Decimal(5)


def left(ledger: Ledger) -> dict[str, Decimal | None]:
    return {quota.user_id: quota.remaining_amount for quota in list_quotas(ledger)}


def test_everybody_gets_the_same_and_the_preview_said_so(ledger: Ledger) -> None:
    spend(ledger, "2", user_id="bob")
    before = everything(ledger)
    change = preview_bulk(ledger, ["carol", "bob", "alice", "bob"], FIVE)
    assert everything(ledger) == before
    assert change.sum == 15 and not change.needs_approval
    done = grant_each(ledger, ["carol", "bob", "alice", "bob"], FIVE, reference="June", key="k")
    assert [(user, view.before, view.after) for user, view in change.changes] == [
        (grant.user_id, grant.remaining_before, grant.remaining_after) for grant in done.grants
    ]
    assert left(ledger) == {"bob": Decimal(3), "alice": FIVE, "carol": FIVE}
    (entry,) = list_audit(ledger, AuditFilter(action="quotas.grant"))
    assert entry.target == "alice +2"
    assert json.loads(entry.after or "")["sum"] == "15.00"
    assert verify_audit(ledger).findings == () and reconcile(ledger) == ()


def test_the_same_key_grants_nobody_twice(ledger: Ledger) -> None:
    first = grant_each(ledger, ["alice", "bob"], FIVE, reference="r", key="k")
    before = everything(ledger)
    again = grant_each(ledger, ["bob", "alice"], FIVE, reference="r", key="k")
    assert again.grants == tuple(replace(grant, replayed=True) for grant in first.grants)
    assert everything(ledger) == before
    assert len(list_audit(ledger, AuditFilter(action="quotas.grant"))) == 1
    with pytest.raises(Conflict):
        grant_each(ledger, ["alice", "carol"], Decimal(6), reference="r", key="k")
    assert everything(ledger) == before


def test_where_one_is_refused_nobody_gets_anything(ledger: Ledger) -> None:
    grant_quota(ledger, "rich", LEDGER_LIMIT - 1, reference="r")
    before = everything(ledger)
    for attempt in (
        lambda users: preview_bulk(ledger, users, FIVE),
        lambda users: grant_each(ledger, users, FIVE, reference="r"),
    ):
        with pytest.raises(Refused):
            attempt(["alice", "rich", "zoe"])
    assert everything(ledger) == before


@pytest.mark.parametrize("users", [[], [" "], ["a\0"], [f"u{number}" for number in range(MOST + 1)]])
def test_nobody_and_too_many_are_refused(sqlite_ledger: Ledger, users: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        grant_each(sqlite_ledger, users, FIVE, reference="r")
    assert refused.value.field == "userId"


@pytest.mark.parametrize("name", [LimitName.PER_OPERATION, LimitName.PER_OPERATOR_DAY])
def test_a_limit_holds_for_the_sum(ledger: Ledger, name: LimitName) -> None:
    set_limit(ledger, name, Decimal(15))
    before = everything(ledger)
    users = ["a", "b", "c", "d"]
    for attempt in (lambda: preview_bulk(ledger, users, FIVE), lambda: grant_each(ledger, users, FIVE, reference="r")):
        with pytest.raises(Refused, match="20"):
            attempt()
    assert everything(ledger) == before
    grant_each(ledger, users[:3], FIVE, reference="r")


def test_a_sum_that_must_be_approved_becomes_a_request_for_each(ledger: Ledger) -> None:
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(9))
    assert preview_bulk(ledger, ["a", "b"], FIVE).needs_approval
    done = grant_each(ledger, ["a", "b"], FIVE, reference="r", key="k")
    assert (done.grants, [request.subject for request in done.requests]) == ((), ["a", "b"])
    assert quota_details(ledger, "a").quota.granted_amount is None
    second = acting(ledger, "second")
    for request in list_approvals(ledger):
        approve(second, request.id)
    assert left(ledger) == {"a": FIVE, "b": FIVE}
    again = grant_each(ledger, ["a", "b"], FIVE, reference="r", key="k")
    assert (len(again.grants), again.requests) == (2, ())
    assert verify_audit(ledger).findings == () and reconcile(ledger) == ()


def test_bulk_grants_at_once_do_not_block_each_other_for_ever(ledger: Ledger) -> None:
    users = [f"u{number}" for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: grant_each(ledger, users[number % 3 :][::-1], FIVE, reference="r"), range(8)))
    assert sum(quota.granted_amount or 0 for quota in list_quotas(ledger)) == 5 * sum(8 - n % 3 for n in range(8))
    assert reconcile(ledger) == ()


@pytest.fixture
def run(sqlite_ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_ledger.database.url.render_as_string(hide_password=False), capsys)


def test_a_list_of_users_is_granted_to_by_command(sqlite_ledger: Ledger, run: Commands, tmp_path: Path) -> None:
    """What `quotas list` writes is what `quotas grant-many` reads, in either form."""
    for user in ("bob", "=alice"):
        spend(sqlite_ledger, "2", user_id=user)
    for number, form in enumerate(("csv", "jsonl", "json"), 1):
        listed = tmp_path / f"users.{form}"
        listed.write_text(run("quotas", "list", "--format", form).out)
        words = ("quotas", "grant-many", str(listed), "5", "--reference", "June", "--key", form, "--yes")
        first = run(*words)
        assert (first.code, first.err) == (0, "") and "each of 2 users, ¥10.00 in all" in first.out
        again = run(*words, "--format", "json").json
        assert again["replayed"] and [grant["amount"] for grant in again["grants"]] == ["5.00", "5.00"]
        assert left(sqlite_ledger) == {"bob": 5 * number - 2, "=alice": 5 * number - 2}


@pytest.mark.parametrize(
    "content, said",
    [
        ("user\nalice\n", "the column userId is missing"),
        ('userId\nalice\n" "\n', "line 3: userId is required"),
        ('{"userId": "alice"}\n{"userId": [1]}\n', "line 2: userId"),
        ('{"userId": "alice"}\n{"userId"\n', "line 2"),
        ("userId\n", "1 to 1000 users"),
    ],
)
def test_a_list_that_cannot_be_read_grants_nothing(
    sqlite_ledger: Ledger, run: Commands, tmp_path: Path, content: str, said: str
) -> None:
    listed = tmp_path / ("users.jsonl" if content.startswith("{") else "users.csv")
    listed.write_text(content)
    before = everything(sqlite_ledger)
    answer = run("quotas", "grant-many", str(listed), "5", "--reference", "June", "--yes")
    assert answer.code == 2 and said in answer.err and answer.out == ""
    assert everything(sqlite_ledger) == before


def test_a_list_that_is_not_there_is_named(run: Commands, tmp_path: Path) -> None:
    answer = run("quotas", "grant-many", str(tmp_path / "nobody.csv"), "5", "--reference", "June", "--yes")
    assert answer.code == 3 and "nobody.csv" in answer.err
