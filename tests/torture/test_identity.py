"""Who is at work is the kernel's word, and what somebody may not do is refused on every path and written down."""

from __future__ import annotations

import io
import os
import pwd
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel

from billing_console.cli import run
from billing_console.cli.program import command as command_line
from billing_console.errors import NotPermitted
from billing_console.services.actions import Action
from billing_console.services.audit import AuditView, list_audit
from billing_console.services.decisions import approve, reject
from billing_console.services.identity import account_of, system
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.limits import set_limit
from billing_console.services.operators import add_operator, remove_operator
from billing_console.services.pools import get_pool, set_thresholds
from billing_console.services.recharges import recharge
from billing_console.services.reconcile import reconcile
from billing_console.services.setup import init
from billing_console.services.tokens import create_token, revoke_token
from db.values import LimitName, Outcome, Role, Scope
from tests.commands import Answer, Commands, command
from tests.conftest import OpenLedger
from tests.factories import TESTER, acting, pay, pool, price, query, spend
from tests.postgres_server import open_to_everyone
from tests.torture.operations import chosen_seed

ME = account_of(os.getuid())
FORGED = {
    "USER": "mallory",
    "LOGNAME": "mallory",
    "SUDO_USER": "mallory",
    "SUDO_UID": "4242",
    "HOME": "/tmp/mallory",
    "USERNAME": "mallory",
    "LNAME": "mallory",
    "BILLING_CONSOLE_OPERATOR": "mallory",
    "NSS_WRAPPER_PASSWD": "/tmp/passwd-of-mallory",
    "LIBUSER_CONF": "/tmp/conf-of-mallory",
}
"""What anybody can put into an environment; the last two are read by libraries that look accounts up."""


@dataclass(frozen=True)
class Line:
    """A command with the fewest arguments that are right; `action` is what it changes, None where it only reads.

    `code` is what a stranger gets, and what a session without the right to write gets from a change.
    """

    command: str
    arguments: str = ""
    action: Action | None = None
    code: int = 77


LINES = (
    Line("usage list"),
    Line("usage show", "1"),
    Line("usage export", "-"),
    Line("usage import", "CALLS", Action.IMPORT),
    Line("usage import", "CALLS --strict", Action.IMPORT),
    Line("usage reprice", "", Action.REPRICE),
    Line("costs"),
    Line("pools list"),
    Line("pools show", "openai"),
    Line("pools history"),
    Line("pools add", "newcomer", Action.POOL_OPEN),
    Line("pools recharge", "openai 5 --reference r --yes", Action.RECHARGE),
    Line("pools recharge", "openai 5 --reference r", Action.RECHARGE),
    Line("pools reverse", "1 --reason r --yes", Action.REVERSE),
    Line("pools reverse", "1 --reason r", Action.REVERSE),
    Line("alerts list"),
    Line("alerts acknowledge", "1", Action.ALERT_ACKNOWLEDGE),
    Line("quotas list"),
    Line("quotas show", "alice"),
    Line("quotas grant", "alice 5 --reference r --yes", Action.GRANT),
    Line("quotas grant", "alice 5 --reference r", Action.GRANT),
    Line("quotas grant-many", "USERS 5 --reference r --yes", Action.GRANT),
    Line("quotas grant-many", "USERS 5 --reference r", Action.GRANT),
    Line("quotas revoke", "alice 5 --reference r --yes", Action.REVOKE),
    Line("quotas period", "alice day 5 --yes", Action.PERIOD),
    Line("quotas period", "alice off --yes", Action.PERIOD),
    Line("models list"),
    Line("models enable", "openai gpt-4o --reason r", Action.MODEL_ENABLE),
    Line("models disable", "openai gpt-4o --reason r", Action.MODEL_DISABLE),
    Line("prices list"),
    Line("prices set", "openai gpt-4o text_generation --input 1", Action.PRICE),
    Line("prices import", "PRICES", Action.PRICE),
    Line("prices what-if", "openai gpt-4o text_generation --input 1 --output 2"),
    Line("reconcile"),
    Line("reconcile", "--repair", Action.REPAIR),
    Line("settle", "", Action.SETTLE),
    Line("maintain", "", Action.MAINTAIN),
    Line("maintain", "--keep-months 1 --archive ARCHIVE", Action.MAINTAIN),
    Line("operators list"),
    Line("operators add", "newcomer --role viewer", Action.OPERATOR_ADD),
    Line("operators remove", "tester", Action.OPERATOR_REMOVE),
    Line("tokens list"),
    Line("tokens create", "gateway --scope meter", Action.TOKEN_CREATE),
    Line("tokens revoke", "gateway", Action.TOKEN_REVOKE),
    Line("audit list"),
    Line("audit verify"),
    Line("audit anchor", "--output ANCHORS"),
    Line("backup", "BACKUP", Action.BACKUP),
    Line("pools threshold", "openai --percent 20", Action.POOL_THRESHOLD),
    Line("limits list"),
    Line("limits set", "per_operation 5", Action.LIMIT),
    Line("budgets list"),
    Line("budgets set", "5000", Action.BUDGET),
    Line("budgets off", "--provider openai", Action.BUDGET),
    Line("approvals list"),
    Line("approvals approve", "1 --yes", Action.APPROVE),
    Line("approvals reject", "1 --reason r", Action.REJECT),
)

BY_ITSELF = {
    "check-pools": "acts as system:check-pools, whoever starts it; tests of its own below",
    "demo": "has a ledger of its own, where whoever runs it is the admin",
    "init": "says that there is a ledger already, and nothing of what is in it",
    "restore": "goes to a database that holds no ledger yet; only an admin of the backup or root may, see test_backup",
    "serve": "goes on until it is stopped; its callers have tokens, see test_api",
    "upgrade": "opens no session that could be read only; a test of its own below",
}


def _commands(group: Any, path: str = "") -> Iterator[str]:
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from _commands(found, f"{path}{name} ")
        else:
            yield f"{path}{name}"


THERE = frozenset(_commands(command_line()))
WRITING = [line for line in LINES if line.action is not None]
READING = [line for line in LINES if line.action is None]


def _spelled(line: Line) -> str:
    return f"{line.command} {line.arguments}".strip()


def test_every_command_of_the_program_is_in_the_table() -> None:
    """A command that is new here must say what it needs to be tried, and whether it changes anything."""
    known = {line.command for line in LINES} | BY_ITSELF.keys()
    assert THERE - known == set()


@pytest.fixture
def files(tmp_path: Path) -> Mapping[str, str]:
    """The files that commands are given."""
    calls = tmp_path / "calls.csv"
    calls.write_text(
        "requestId,userId,providerId,modelId,usageType,inputTokens,outputTokens,createdAt\n"
        "new-1,alice,openai,gpt-4o,text_generation,1,1,2026-03-10T04:00:00Z\n"
    )
    prices = tmp_path / "prices.csv"
    prices.write_text(
        "providerId,modelId,usageType,unit,inputPrice,outputPrice\nopenai,o,text_generation,1m_tokens,1,2\n"
    )
    users = tmp_path / "users.csv"
    users.write_text("userId\nalice\n")
    return {
        "CALLS": str(calls),
        "USERS": str(users),
        "PRICES": str(prices),
        "ANCHORS": str(tmp_path / "anchors"),
        "BACKUP": str(tmp_path / "backup.db"),
        "ARCHIVE": str(tmp_path),
    }


@pytest.fixture
def theirs(sqlite_url: str, opened: OpenLedger, files: Mapping[str, str]) -> Ledger:
    """A ledger that belongs to the tester, with something of everything; nobody knows the account that runs this."""
    ledger = opened(sqlite_url)
    price(ledger)
    pool(ledger, amount="50")
    spend(ledger, "1")
    acting(ledger, "second")
    remove_operator(ledger, ME)
    return ledger


@pytest.fixture
def commands(theirs: Ledger, capfd: pytest.CaptureFixture[str]) -> Commands:
    """Command lines on that ledger."""
    return Commands(f"sqlite:///{theirs.label}", capfd)


def _arguments(line: Line, files: Mapping[str, str]) -> list[str]:
    return [*line.command.split(), *(files.get(word, word) for word in shlex.split(line.arguments))]


def _all_but_the_log(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    tables = [table.name for table in SQLModel.metadata.sorted_tables if table.name != "audit_log"]
    return {table: sorted(query(ledger, f"SELECT * FROM {table}"), key=repr) for table in tables}


def _audited(ledger: Ledger, work: Callable[[], Any]) -> tuple[Any, tuple[AuditView, ...]]:
    """What something gave back, and the rows it left in the audit log, newest first."""
    before = list_audit(ledger, limit=1)[0].id
    given = work()
    return given, tuple(row for row in list_audit(ledger, limit=20) if row.id > before)


def _one_line(answer: Answer) -> str:
    assert answer.out == ""
    assert answer.err.count("\n") == 1 and answer.err.endswith("\n"), answer.err
    return answer.err


@pytest.mark.parametrize("line", [*READING, *WRITING], ids=_spelled)
def test_somebody_unknown_is_refused_everything(
    line: Line, theirs: Ledger, commands: Commands, files: Mapping[str, str]
) -> None:
    before = _all_but_the_log(theirs)
    answer, rows = _audited(theirs, lambda: commands(*_arguments(line, files)))
    assert answer.code == 77
    assert f"{ME} (uid {os.getuid()}) is no operator of this ledger. Ask an admin" in _one_line(answer)
    assert "second, tester" in answer.err
    ((row),) = rows
    assert (row.outcome, row.action, row.uid, row.account) == (Outcome.REFUSED, Action.OPEN, os.getuid(), ME)
    assert row.target == line.command
    assert _all_but_the_log(theirs) == before


@pytest.mark.parametrize("line", WRITING, ids=_spelled)
@pytest.mark.parametrize("role", [Role.VIEWER, "read-only"])
def test_who_may_only_look_changes_nothing(
    line: Line, role: Role | str, theirs: Ledger, commands: Commands, files: Mapping[str, str]
) -> None:
    add_operator(theirs, ME, Role.VIEWER if role is Role.VIEWER else Role.ADMIN)
    before = _all_but_the_log(theirs)
    options = [] if role is Role.VIEWER else ["--read-only"]
    answer, rows = _audited(theirs, lambda: commands(*options, *_arguments(line, files)))
    assert answer.code == line.code
    said = "read-only session" if options else "has the role “viewer”"
    assert said in _one_line(answer)
    assert [(row.outcome, row.action, row.operator, row.uid) for row in rows] == [
        (Outcome.REFUSED, line.action, ME, os.getuid())
    ]
    assert _all_but_the_log(theirs) == before


@pytest.mark.parametrize("line", READING, ids=_spelled)
def test_who_may_only_look_can_see_everything(
    line: Line, theirs: Ledger, commands: Commands, files: Mapping[str, str]
) -> None:
    add_operator(theirs, ME, Role.VIEWER)
    for options in ([], ["--read-only"]):
        answer, rows = _audited(theirs, lambda: commands(*options, *_arguments(line, files)))  # noqa: B023
        assert (answer.code, rows) == (0, ()), answer.err


def test_an_upgrade_is_an_admins_alone(theirs: Ledger, commands: Commands) -> None:
    for role in (None, Role.VIEWER, Role.OPERATOR):
        if role is not None:
            add_operator(theirs, ME, role)
        answer, rows = _audited(theirs, lambda: commands("upgrade"))
        assert answer.code == 77 and "Only an admin" in _one_line(answer)
        assert [(row.outcome, row.action) for row in rows] == [(Outcome.REFUSED, Action.UPGRADE)]
    add_operator(theirs, ME, Role.ADMIN)
    assert commands("upgrade").code == 0
    for tried in ("upgrade", "init"):
        answer, rows = _audited(theirs, lambda: commands("--read-only", tried))  # noqa: B023
        assert answer.code == 77 and "read-only session" in _one_line(answer)
        assert [(row.outcome, row.action, row.target, row.operator) for row in rows] == [
            (Outcome.REFUSED, Action.OPEN, tried, ME)
        ]


ADMINS_ONLY: tuple[tuple[Action, Callable[[Ledger], object]], ...] = (
    (Action.PRICE, price),
    (Action.OPERATOR_ADD, lambda ledger: add_operator(ledger, "olga", Role.ADMIN)),
    (Action.OPERATOR_REMOVE, lambda ledger: remove_operator(ledger, "second")),
    (Action.LIMIT, lambda ledger: set_limit(ledger, LimitName.PER_OPERATION, None)),
    (Action.TOKEN_CREATE, lambda ledger: create_token(ledger, "new", [Scope.READ])),
    (Action.TOKEN_REVOKE, lambda ledger: revoke_token(ledger, "new")),
    (Action.POOL_THRESHOLD, lambda ledger: set_thresholds(ledger, "openai", {"percent": Decimal(3)})),
    (Action.REPAIR, lambda ledger: reconcile(ledger, repair=True)),
    (Action.APPROVE, lambda ledger: approve(ledger, 1)),
    (Action.REJECT, lambda ledger: reject(ledger, 1, reason="r")),
)
ADMINS_LINES = {Action.PRICE, Action.REVERSE, Action.REPAIR, *(action for action, _work in ADMINS_ONLY)}


@pytest.mark.parametrize("line", [line for line in WRITING if line.action in ADMINS_LINES], ids=_spelled)
def test_an_operator_sets_no_rules(line: Line, theirs: Ledger, commands: Commands, files: Mapping[str, str]) -> None:
    add_operator(theirs, ME, Role.OPERATOR)
    before = _all_but_the_log(theirs)
    answer, rows = _audited(theirs, lambda: commands(*_arguments(line, files)))
    assert answer.code == 77 and "needs the role “admin”" in _one_line(answer)
    assert [(row.outcome, row.action) for row in rows] == [(Outcome.REFUSED, line.action)]
    assert _all_but_the_log(theirs) == before


@pytest.mark.parametrize(("action", "work"), ADMINS_ONLY, ids=[action.value for action, _work in ADMINS_ONLY])
def test_an_operator_is_refused_by_the_services(
    action: Action, work: Callable[[Ledger], object], ledger: Ledger
) -> None:
    pool(ledger, amount="50")
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(100))
    acting(ledger, "second")
    pay_later = acting(ledger, "olaf", Role.OPERATOR)
    recharge(pay_later, "openai", Decimal(500), reference="r", key="k")
    operator = acting(ledger, "olga", Role.OPERATOR)
    before = _all_but_the_log(ledger)
    _none, rows = _audited(ledger, lambda: _refused(lambda: work(operator)))
    assert [(row.outcome, row.action, row.operator) for row in rows] == [(Outcome.REFUSED, action, "olga")]
    assert _all_but_the_log(ledger) == before


def _refused(work: Callable[[], object]) -> None:
    with pytest.raises(NotPermitted, match="needs the role"):
        work()


def test_cron_checks_pools_for_whom_nobody_knows_and_does_nothing_else(theirs: Ledger, commands: Commands) -> None:
    spend(theirs, "48", request_id="dear")
    answer, rows = _audited(theirs, lambda: commands("check-pools"))
    assert answer.code == 1 and answer.out.startswith("POOLS WARNING")
    assert [(row.operator, row.uid, row.action, row.outcome) for row in rows] == [
        ("system:check-pools", os.getuid(), Action.POOL_CHECK, Outcome.DONE)
    ]
    acting_by_itself = replace(theirs, actor=system("check-pools"), role=None)
    before = _all_but_the_log(theirs)
    for work in (
        lambda: pay(acting_by_itself, "5"),
        lambda: price(acting_by_itself),
        lambda: spend(acting_by_itself, "1"),
        lambda: reconcile(acting_by_itself, repair=True),
        lambda: add_operator(acting_by_itself, ME, Role.ADMIN),
    ):
        _none, rows = _audited(theirs, lambda: _refused(work))  # noqa: B023
        assert [(row.operator, row.outcome) for row in rows] == [("system:check-pools", Outcome.REFUSED)]
    assert _all_but_the_log(theirs) == before


def test_a_read_only_check_says_what_it_may_not_do(theirs: Ledger, commands: Commands) -> None:
    add_operator(theirs, ME, Role.ADMIN)
    before = _all_but_the_log(theirs)
    answer, rows = _audited(theirs, lambda: commands("--read-only", "check-pools"))
    assert answer.code == 3 and "read-only session" in answer.out
    assert [(row.operator, row.outcome) for row in rows] == [("system:check-pools", Outcome.REFUSED)]
    assert _all_but_the_log(theirs) == before


def test_nobody_takes_the_name_of_a_part_of_the_program(theirs: Ledger) -> None:
    """A forced command that names system:check-pools is a person of that name, whom nobody can make an operator."""
    posing = replace(theirs, actor=replace(TESTER, name="system:check-pools"), role=None)
    with pytest.raises(NotPermitted):
        pay(posing, "5")
    assert get_pool(theirs, "openai").total_balance == 50


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every account can write to."""
    place = Path(tempfile.mkdtemp(prefix="billing-identity-", dir=open_to_everyone()))
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


def another_uid() -> int:
    """The uid of an account that is not root, where this process can become it; else its own."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.getuid()


def _as(uid: int, arguments: list[str], environment: Mapping[str, str], place: Path) -> Answer:
    """Run the program in a forked child that has become somebody else for good, real uid and all.

    It forks with everything imported: another account need not be able to read where Python lies.
    """
    out, err = place / "out", place / "err"
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
            sys.stdout, sys.stderr = io.TextIOWrapper(io.FileIO(1, "w")), io.TextIOWrapper(io.FileIO(2, "w"))
            if uid != os.getuid():
                os.setgroups([])
                os.setresuid(uid, uid, uid)
            os.environ.update(environment)
            code = run(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _pid, status = os.waitpid(child, 0)
    return Answer(os.waitstatus_to_exitcode(status), out.read_text(), err.read_text())


@pytest.fixture
def known(shared: Path) -> Iterator[str]:
    """A ledger, founded by the tester, in which the other account is an operator; all of it is imported by then."""
    url = f"sqlite:///{shared / 'ledger.db'}"
    init(url, founder=TESTER)
    (shared / "ledger.db").chmod(0o666)
    ledger = open_ledger(url, actor=TESTER)
    pool(ledger, amount="50")
    add_operator(ledger, account_of(another_uid()), Role.OPERATOR)
    ledger.close()
    assert run(["--database", url, "pools", "list", "--format", "json"]) == 77 or another_uid() == os.getuid()
    yield url


LINE = ("pools", "recharge", "openai", "5", "--reference", "r", "--yes")


def test_forged_variables_do_not_change_who_it_was(known: str, shared: Path, opened: OpenLedger) -> None:
    seed = chosen_seed("identity")
    ledger = opened(known)
    uid = another_uid()
    for number, (name, value) in enumerate([*FORGED.items(), ("all of them", seed)]):
        forged = FORGED if name == "all of them" else {name: value}
        arguments = ["--database", known, *LINE, "--key", f"{number}"]
        answer, rows = _audited(ledger, lambda: _as(uid, arguments, forged, shared))  # noqa: B023
        assert answer.code == 0, answer.err
        assert [(row.operator, row.account, row.uid, row.outcome) for row in rows] == [
            (account_of(uid), account_of(uid), uid, Outcome.DONE)
        ], name
        assert "mallory" not in repr(rows)
    assert get_pool(ledger, "openai").total_balance == 50 + 5 * (len(FORGED) + 1)


def test_a_stranger_with_forged_variables_is_a_stranger(known: str, shared: Path, opened: OpenLedger) -> None:
    ledger = opened(known)
    remove_operator(ledger, account_of(another_uid()))
    forged = {name: "tester" for name in FORGED} | {"SUDO_UID": "0"}
    answer, rows = _audited(ledger, lambda: _as(another_uid(), ["--database", known, *LINE], forged, shared))
    assert answer.code == 77 and "Ask an admin of this ledger: tester." in answer.err
    assert [(row.account, row.uid, row.outcome) for row in rows] == [
        (account_of(another_uid()), another_uid(), Outcome.REFUSED)
    ]
    checked, rows = _audited(ledger, lambda: _as(another_uid(), ["--database", known, "check-pools"], forged, shared))
    assert checked.code == 0 and checked.out.startswith("POOLS OK") and rows == ()


def test_the_program_itself_believes_no_variable(theirs: Ledger) -> None:
    add_operator(theirs, ME, Role.OPERATOR)
    environment = {**os.environ, **FORGED, "SSH_CONNECTION": "203.0.113.7 5022 192.0.2.1 22"}
    url = f"sqlite:///{theirs.label}"
    answer, rows = _audited(theirs, lambda: command("--database", url, *LINE, environment=environment))
    assert answer.code == 0, answer.err
    ((row),) = rows
    assert (row.operator, row.account, row.uid, row.ssh_client) == (ME, ME, os.getuid(), "203.0.113.7")


@pytest.mark.parametrize(
    "claim",
    ["\x1b[2J\x1b]52;c;eA==\x07", "\u202e7.0.0.01", "x" * 10_240, "'; DROP TABLE audit_log; --", "\udcff\udcfe"],
)
def test_where_somebody_comes_from_is_a_claim_and_stays_inert(
    claim: str, theirs: Ledger, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    add_operator(theirs, ME, Role.OPERATOR)
    monkeypatch.setenv("SSH_CONNECTION", f"{claim} 1 2 3")
    answer, rows = _audited(theirs, lambda: commands(*LINE))
    assert answer.code == 0, answer.err
    ((row),) = rows
    assert (row.operator, row.uid) == (ME, os.getuid())
    assert row.ssh_client and row.ssh_client.isprintable() and len(row.ssh_client) <= 100
