"""Who may do what: the real user id decides, the role is looked at in every transaction, and refusals are audited."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing_console.errors import ExitCode, InvalidInput, NotFound, NotPermitted, Refused
from billing_console.services.actions import Action
from billing_console.services.audit import AuditFilter, AuditView, list_audit
from billing_console.services.budgets import set_budget
from billing_console.services.check import check_pools
from billing_console.services.decisions import approve, reject
from billing_console.services.identity import this_person
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.limits import set_limit
from billing_console.services.models import set_model_enabled
from billing_console.services.operators import add_operator, list_operators, remove_operator
from billing_console.services.periodic_quotas import set_periodic
from billing_console.services.pools import get_pool, list_pools, open_pool, set_thresholds
from billing_console.services.quota_due import book_all_due
from billing_console.services.quotas import grant_quota, revoke_quota
from billing_console.services.recharges import preview_recharge, recharge, reverse_recharge
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import reprice, settle
from billing_console.services.tokens import create_token, revoke_token
from db.values import LimitName, Outcome, Period, Role, Scope
from tests.commands import Commands
from tests.conftest import OpenLedger
from tests.factories import (
    NOON,
    TESTER,
    acting,
    at,
    everything,
    execute,
    gateway_insert,
    pay,
    pool,
    price,
    query,
    set_up,
    spend,
)
from tests.people import NOBODY, as_uid, command_as
from tests.postgres_server import open_to_everyone

ME = this_person().name

Write = Callable[[Ledger], Any]

WRITES: dict[Action, tuple[Role, Write]] = {
    Action.POOL_OPEN: (Role.OPERATOR, lambda ledger: open_pool(ledger, "new")),
    Action.POOL_CHECK: (Role.OPERATOR, check_pools),
    Action.RECHARGE: (Role.OPERATOR, lambda ledger: recharge(ledger, "openai", Decimal(5), reference="r")),
    Action.GRANT: (Role.OPERATOR, lambda ledger: grant_quota(ledger, "alice", Decimal(50), reference="r")),
    Action.REVOKE: (Role.OPERATOR, lambda ledger: revoke_quota(ledger, "alice", Decimal(1), reference="r")),
    Action.DUE: (Role.OPERATOR, book_all_due),
    Action.MODEL_DISABLE: (
        Role.OPERATOR,
        lambda ledger: set_model_enabled(ledger, "openai", "gpt-4o", False, reason="r"),
    ),
    Action.MODEL_ENABLE: (
        Role.OPERATOR,
        lambda ledger: set_model_enabled(ledger, "openai", "gpt-4o", True, reason="r"),
    ),
    Action.METER: (Role.OPERATOR, lambda ledger: spend(ledger, "1")),
    Action.SETTLE: (Role.OPERATOR, settle),
    Action.REPRICE: (Role.OPERATOR, reprice),
    Action.PRICE: (Role.ADMIN, price),
    Action.POOL_THRESHOLD: (Role.ADMIN, lambda ledger: set_thresholds(ledger, "openai", {"percent": Decimal(20)})),
    Action.PERIOD: (Role.ADMIN, lambda ledger: set_periodic(ledger, "alice", Period.DAY, Decimal(5))),
    Action.LIMIT: (Role.ADMIN, lambda ledger: set_limit(ledger, LimitName.PER_OPERATION, Decimal(1000))),
    Action.BUDGET: (Role.ADMIN, lambda ledger: set_budget(ledger, "openai", Decimal(1000))),
    Action.TOKEN_CREATE: (Role.ADMIN, lambda ledger: create_token(ledger, "gateway", [Scope.METER])),
    Action.TOKEN_REVOKE: (Role.ADMIN, lambda ledger: revoke_token(ledger, "gateway")),
    Action.OPERATOR_ADD: (Role.ADMIN, lambda ledger: add_operator(ledger, "carol", Role.VIEWER)),
    Action.OPERATOR_REMOVE: (Role.ADMIN, lambda ledger: remove_operator(ledger, "carol")),
    Action.REVERSE: (Role.ADMIN, lambda ledger: reverse_recharge(ledger, 1, reason="r")),
    Action.APPROVE: (Role.ADMIN, lambda ledger: approve(ledger, 1)),
    Action.REJECT: (Role.ADMIN, lambda ledger: reject(ledger, 2, reason="r")),
    Action.REPAIR: (Role.ADMIN, lambda ledger: reconcile(ledger, repair=True)),
}
"""What people change, the least role it takes, and a way to do it; in an order in which all of it can be done."""

ALLOWED = {
    Role.VIEWER: frozenset[Action](),
    Role.OPERATOR: frozenset(action for action, (role, _work) in WRITES.items() if role is Role.OPERATOR),
    Role.ADMIN: frozenset(WRITES),
}


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def refusals(ledger: Ledger, operator: str) -> list[AuditView]:
    """What the audit log says was refused to somebody, oldest first."""
    return list(list_audit(ledger, AuditFilter(operator=operator, outcome=Outcome.REFUSED), limit=None))[::-1]


def prepare(ledger: Ledger) -> None:
    """What every write needs: a pool, a call, a user, and two requests of somebody else."""
    pool(ledger, amount="100")
    spend(ledger, "1")
    grant_quota(ledger, "alice", Decimal(10), reference="first")
    grant_quota(at(ledger, NOON), "bob", Decimal(10), reference="first", expires_at=NOON + timedelta(hours=1))
    gateway_insert(ledger, cost_amount=10**9)
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(200))
    for number in (1, 2):
        recharge(ledger, "openai", Decimal(300), reference=f"big {number}")


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_what_it_may_and_every_refusal_is_audited(ledger: Ledger, role: Role) -> None:
    prepare(ledger)
    person = acting(ledger, "bob", role)
    refused = []
    for action, (least, work) in WRITES.items():
        before = everything(ledger)
        assert person.may(action) is (action in ALLOWED[role])
        if action in ALLOWED[role]:
            work(person)
            continue
        with pytest.raises(NotPermitted, match=f"bob has the role “{role}”.*needs the role “{least}”") as caught:
            work(person)
        assert caught.value.exit_code is ExitCode.NO_PERMISSION
        assert caught.value.hint == f"Ask an admin of this ledger: {ME}, tester."
        assert everything(ledger) == before
        refused.append(action.value)
    assert [entry.action for entry in refusals(ledger, "bob")] == refused
    assert len(list_pools(person)) == 1 + (role is not Role.VIEWER)


def test_looking_at_what_a_write_would_do_takes_the_same_role(ledger: Ledger) -> None:
    pool(ledger)
    with pytest.raises(NotPermitted):
        preview_recharge(acting(ledger, "bob", Role.VIEWER), "openai", Decimal(5))
    assert [(entry.action, entry.target) for entry in refusals(ledger, "bob")] == [("pools.recharge", "openai")]


def test_a_role_that_is_taken_is_lost_at_once_in_an_open_ledger(ledger: Ledger) -> None:
    pool(ledger)
    bob = acting(ledger, "bob", Role.OPERATOR)
    pay(bob, "1")
    add_operator(ledger, "bob", Role.VIEWER)
    with pytest.raises(NotPermitted, match="has the role “viewer”"):
        pay(bob, "1")
    remove_operator(ledger, "bob")
    with pytest.raises(NotPermitted, match="has the role “-”"):
        pay(bob, "1")
    assert get_pool(ledger, "openai").total_balance == 1


def test_a_part_of_the_program_that_only_checks_may_only_check(ledger: Ledger) -> None:
    from billing_console.services.identity import system

    prepare(ledger)
    cron = replace(ledger, actor=system("check-pools"), role=None)
    for action, (_least, work) in WRITES.items():
        if action in (Action.POOL_CHECK, Action.SETTLE, Action.DUE):
            work(cron)
            continue
        with pytest.raises(NotPermitted):
            work(cron)
    assert {entry.uid for entry in refusals(ledger, "system:check-pools")} == {os.getuid()}


# Operators


def test_operators_are_added_changed_and_removed(ledger: Ledger) -> None:
    added = add_operator(ledger, " carol ", Role.VIEWER)
    assert (added.name, added.uid, added.role, added.added_by) == ("carol", None, Role.VIEWER, "tester")
    assert add_operator(ledger, "carol", Role.ADMIN).role is Role.ADMIN
    assert add_operator(ledger, "nobody", Role.VIEWER).uid == NOBODY
    assert [one.name for one in list_operators(ledger)] == sorted([ME, "carol", "nobody", "tester"])
    assert remove_operator(ledger, "carol").role is Role.ADMIN
    with pytest.raises(NotFound):
        remove_operator(ledger, "carol")
    for name in ("", "system:check-pools", "x" * 101):
        with pytest.raises(InvalidInput):
            add_operator(ledger, name, Role.VIEWER)


def test_the_last_admin_stays(ledger: Ledger) -> None:
    remove_operator(ledger, ME)
    for attempt in (remove_operator, lambda at, name: add_operator(at, name, Role.OPERATOR)):
        with pytest.raises(Refused, match="only admin"):
            attempt(ledger, "tester")
    add_operator(ledger, "carol", Role.ADMIN)
    remove_operator(ledger, "tester")
    assert [(one.name, one.role) for one in list_operators(ledger)] == [("carol", Role.ADMIN)]


def test_two_admins_who_remove_each_other_at_once_leave_one(ledger: Ledger) -> None:
    remove_operator(ledger, ME)

    def attempt(who: Ledger, whom: str) -> bool:
        try:
            remove_operator(who, whom)
        except (NotPermitted, Refused):
            return False
        return True

    for round_ in range(5):
        other = f"carol{round_}"
        carol = acting(ledger, other)
        with ThreadPoolExecutor(2) as threads:
            done = [threads.submit(attempt, ledger, other), threads.submit(attempt, carol, "tester")]
            assert sorted(one.result() for one in done) == [False, True]
        (left,) = list_operators(ledger)
        if left.name != "tester":
            add_operator(carol, "tester", Role.ADMIN)
            remove_operator(ledger, other)


# Who somebody is


def test_name_and_uid_must_both_be_known(database_url: str, opened: OpenLedger) -> None:
    ledger = opened(database_url)
    for change in ("uid = uid + 1", "uid = NULL", f"name = 'other', uid = {os.getuid()}"):
        before = query(ledger, "SELECT name, uid FROM operators WHERE name <> 'tester'")
        execute(ledger, f"UPDATE operators SET {change} WHERE name <> 'tester'")
        with pytest.raises(NotPermitted, match=rf"{ME} \(uid {os.getuid()}\) is no operator"):
            open_ledger(database_url, purpose="pools")
        execute(
            ledger,
            "UPDATE operators SET name = :name, uid = :uid WHERE name <> 'tester'",
            {
                "name": before[0][0],
                "uid": before[0][1],
            },
        )
    assert [(entry.action, entry.target) for entry in refusals(ledger, ME)] == [("ledger.open", "pools")] * 3
    open_ledger(database_url).close()


@pytest.fixture
def shared(capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[Path, str]]:
    """A directory and a ledger in it that every user of the machine can write."""
    place = Path(tempfile.mkdtemp(prefix="billing-people-", dir=open_to_everyone()))
    url = f"sqlite:///{place / 'ledger.db'}"
    set_up(url)
    place.chmod(0o777)
    (place / "ledger.db").chmod(0o666)
    Commands(url, capsys)("pools", "list")  # so that everything is imported before somebody else needs it
    yield place, url
    shutil.rmtree(place)


def test_unknown_people_get_77_and_are_told_whom_to_ask(shared: tuple[Path, str], opened: OpenLedger) -> None:
    _place, url = shared
    answer = command_as(NOBODY, "--database", url, "pools", "list")
    assert (answer.code, answer.out) == (77, "")
    assert answer.err == (
        f"billing-console: nobody (uid {NOBODY}) is no operator of this ledger."
        f" Ask an admin of this ledger: {ME}, tester.\n"
    )
    (entry,) = refusals(opened(url), "nobody")
    assert (entry.uid, entry.account, entry.action, entry.target) == (NOBODY, "nobody", "ledger.open", "pools list")


def test_no_environment_variable_makes_somebody_else_of_you(
    shared: tuple[Path, str], opened: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "LOGNAME", "USERNAME", "LNAME", "SUDO_USER", "BILLING_CONSOLE_OPERATOR", "BILLING_CONSOLE_AS"):
        monkeypatch.setenv(name, ME)
    monkeypatch.setenv("SUDO_UID", str(os.getuid()))
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22")
    _place, url = shared
    assert command_as(NOBODY, "--database", url, "pools", "add", "x").code == 77
    (entry,) = refusals(opened(url), "nobody")
    assert (entry.operator, entry.uid, entry.ssh_client) == ("nobody", NOBODY, "192.0.2.7")


def test_an_account_that_the_machine_does_not_know_is_known_by_its_number(
    shared: tuple[Path, str], opened: OpenLedger
) -> None:
    _place, url = shared
    assert add_operator(opened(url), "uid:54321", Role.OPERATOR).uid == 54321
    assert command_as(54321, "--database", url, "pools", "add", "x").code == 0
    assert command_as(54322, "--database", url, "pools", "add", "y").code == 77
    assert [entry.operator for entry in list_audit(opened(url), AuditFilter(action="pools.add"))] == ["uid:54321"]


# Shared accounts


def forced(place: Path, url: str, *arguments: str) -> tuple[str, ...]:
    return ("--database", url, "--config", str(place / "config.toml"), "--as", "alice", *arguments)


def test_a_forced_name_is_honoured_where_a_file_that_root_alone_can_write_says_so(
    shared: tuple[Path, str], opened: OpenLedger
) -> None:
    place, url = shared
    ledger = opened(url)
    add_operator(ledger, "alice", Role.OPERATOR)
    config = place / "config.toml"
    config.write_text('shared_accounts = ["ops", "nobody"]\n')
    config.chmod(0o644)
    assert command_as(NOBODY, *forced(place, url, "pools", "add", "x")).code == 0
    (entry,) = list_audit(ledger, AuditFilter(action="pools.add"))
    assert (entry.operator, entry.uid, entry.account) == ("alice", NOBODY, "nobody")
    unknown = command_as(NOBODY, *forced(place, url)[:-1], "mallory", "pools", "list")
    assert (unknown.code, "mallory" in unknown.err) == (77, True)
    assert command_as(NOBODY, "--database", url, "--config", str(config), "pools", "list").code == 77


@pytest.mark.parametrize("wrong", ["group", "others", "owner", "another", "nobody named", "none", "no list"])
def test_a_forced_name_is_refused_and_audited_where_no_such_file_allows_it(
    shared: tuple[Path, str], opened: OpenLedger, wrong: str
) -> None:
    place, url = shared
    ledger = opened(url)
    add_operator(ledger, "alice", Role.OPERATOR)
    config = place / "config.toml"
    named = {"another": '["ops"]', "nobody named": "[]", "no list": '"nobody"'}.get(wrong, '["nobody"]')
    config.write_text("" if wrong == "none" else f"shared_accounts = {named}\n")
    config.chmod({"group": 0o664, "others": 0o646}.get(wrong, 0o644))
    if wrong == "owner":
        os.chown(config, NOBODY, -1)
    answer = command_as(NOBODY, *forced(place, url, "pools", "add", "x"))
    assert (answer.code, answer.out) == (77, "")
    assert answer.err.startswith("billing-console: The account nobody may not use --as. Root allows it")
    assert len(list_pools(ledger)) == 0
    (entry,) = refusals(ledger, "nobody")
    assert (entry.uid, entry.action, entry.target) == (NOBODY, "ledger.open", "pools add")


def test_the_settings_file_is_judged_as_it_is_read_and_not_by_its_name(
    shared: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A symbolic link that is turned round after the look must not bring in a file of one's own."""
    from billing_console import settings_file

    place, _url = shared
    (place / "mine.toml").write_text('shared_accounts = ["nobody"]\n')
    os.chown(place / "mine.toml", NOBODY, -1)
    roots = Path("/etc/passwd").stat()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", lambda *_args, **_options: roots)
        assert not settings_file.may_act_as_others("nobody", place / "mine.toml")


# The command line


def test_operators_on_the_command_line(run: Commands) -> None:
    added = run("operators", "add", "carol", "--role", "operator")
    assert (added.code, added.err) == (0, "")
    assert added.out.startswith("carol has the role “operator” now. This machine has no such account")
    assert run("operators", "add", "carol", "--role", "viewer", "--format", "json").json["role"] == "viewer"
    listed = run("operators", "list", "--format", "json").json
    assert [(one["name"], one["uid"], one["role"], one["addedBy"]) for one in listed] == sorted(
        [(ME, os.getuid(), "admin", ME), ("carol", None, "viewer", ME), ("tester", None, "admin", ME)]
    )
    assert run("operators", "list").out.count("\n") == 4
    assert run("operators", "list", "--format", "csv").out.startswith("name,uid,role,addedBy,addedAt\n")
    assert run("operators", "remove", "carol").out == "carol is no operator any more.\n"
    assert run("operators", "remove", "carol").code == 1
    assert run("operators", "remove", "tester").code == 0
    last = run("operators", "remove", ME)
    assert (last.code, last.err.startswith(f"billing-console: {ME} is the only admin")) == (1, True)
    assert run("operators", "add", "carol", "--role", "king").code == 2
    assert run("operators", "add", "carol").code == 2


def test_a_viewer_reads_and_every_writing_command_is_77(run: Commands, sqlite_ledger: Ledger) -> None:
    prepare(sqlite_ledger)
    add_operator(sqlite_ledger, ME, Role.VIEWER)
    for words in (
        "pools list",
        "usage list",
        "quotas list",
        "approvals list",
        "limits list",
        "operators list",
        "audit list",
        "audit verify",
        "reconcile",
    ):
        assert run(*words.split()).code == 0, words
    writes = (
        "pools add new",
        "pools recharge openai 5 --reference r --yes",
        "pools reverse 1 --reason r --yes",
        "pools threshold openai --percent 20",
        "quotas grant alice 5 --reference r --yes",
        "quotas revoke alice 5 --reference r --yes",
        "models disable openai gpt-4o --reason r",
        "models enable openai gpt-4o --reason r",
        "prices set openai gpt-4o text_generation --input 1 --output 1",
        "operators add mallory --role admin",
        "operators remove tester",
        "limits set per_operation off",
        "approvals approve 1 --yes",
        "approvals reject 1 --reason r",
        "usage reprice",
        "settle",
        "reconcile --repair",
    )
    before = everything(sqlite_ledger)
    for words in writes:
        answer = run(*words.split())
        assert (answer.code, answer.out) == (77, ""), words
        assert f"{ME} has the role “viewer”" in answer.err
    assert everything(sqlite_ledger) == before
    assert len(refusals(sqlite_ledger, ME)) == len(writes)
    assert {entry.uid for entry in refusals(sqlite_ledger, ME)} == {os.getuid()}


def test_cron_checks_with_no_role_at_all(shared: tuple[Path, str], opened: OpenLedger) -> None:
    _place, url = shared
    pool(opened(url), amount="5")
    assert as_uid(NOBODY, lambda: _check(url)).code == 0
    assert TESTER.name not in {entry.operator for entry in refusals(opened(url), "nobody")}


def _check(url: str) -> int:
    from billing_console.cli import run as run_line

    return run_line(["--database", url, "check-pools"])
