from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from billing_console.services.alerts import list_alerts
from billing_console.services.ledger import Ledger
from tests.check_formats import samples
from tests.commands import NO_ENVIRONMENT, Answer, Commands, command, shell
from tests.factories import execute, gateway_insert, pool, query, spend


@pytest.fixture
def commands(database_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(database_url, capsys)


def bare(url: str, *arguments: str) -> Answer:
    """Run check-pools as cron does on the barest of machines."""
    return command("--database", url, "check-pools", *arguments, environment=NO_ENVIRONMENT)


def stock(ledger: Ledger, *statuses: str) -> None:
    """One pool per status, named after it."""
    for status in statuses:
        pool(ledger, status, "100")
        cost = {"sufficient": "1", "low": "90.01", "depleted": "100"}[status]
        spend(ledger, cost, provider_id=status)


@pytest.mark.parametrize(
    ("statuses", "code", "line"),
    [
        ((), 0, "POOLS OK - no pools"),
        (("sufficient",), 0, "POOLS OK - 1 ok"),
        (("sufficient", "low"), 1, "POOLS WARNING - 1 low, 1 ok"),
        (("sufficient", "low", "depleted"), 2, "POOLS CRITICAL - 1 depleted, 1 low, 1 ok"),
    ],
)
def test_exit_code_and_first_line_tell_the_worst_pool(
    commands: Commands, ledger: Ledger, statuses: tuple[str, ...], code: int, line: str
) -> None:
    stock(ledger, *statuses)
    answer = commands("check-pools")
    assert answer.code == code
    assert answer.out.splitlines()[0] == line
    assert answer.err == ""


def test_it_works_with_no_environment_at_all(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    stock(sqlite_ledger, "sufficient", "low", "depleted")
    answer = bare(sqlite_url)
    assert answer == Answer(
        2,
        "POOLS CRITICAL - 1 depleted, 1 low, 1 ok\n"
        "depleted: depleted, ¥0.00 of ¥100.00 left (0.00%), alert raised\n"
        "low: low, ¥9.99 of ¥100.00 left (9.99%), alert raised\n",
        "",
    )
    assert sorted(alert.provider_id for alert in list_alerts(sqlite_ledger, resolved=False)) == ["depleted", "low"]
    assert [bare(sqlite_url, "--provider", name).code for name in ("sufficient", "low", "depleted")] == [0, 1, 2]


def test_it_works_with_no_environment_on_postgresql(postgres_url: str) -> None:
    assert bare(postgres_url) == Answer(0, "POOLS OK - no pools\n", "")


def test_usage_that_a_gateway_inserted_is_settled_before_the_check(commands: Commands, ledger: Ledger) -> None:
    pool(ledger, "openai", "100")
    gateway_insert(ledger, cost_amount=95 * 10**9)
    assert commands("check-pools").code == 1
    assert query(ledger, "SELECT count(*) FROM usage_outbox") == [(0,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check-pools", "--bogus"),
        ("check-pools", "--format", "xml"),
        ("check-pools", "--timeout", "0"),
        ("check-pools", "--timeout", "soon"),
        ("check-pools", "surplus"),
        ("check-pools", "--provider"),
        ("--bogus", "check-pools"),
        ("--lang", "fr", "check-pools"),
        ("check-pools", "--provider", "nobody"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_unknown_and_says_why(
    sqlite_url: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    commands = Commands(sqlite_url, capsys)
    position = arguments.index("check-pools") + 1
    answers = {
        form: commands(*arguments[:position], f"--format={form}", *arguments[position:])
        for form in ("text", "json", "nagios", "prometheus")
    }
    assert {answer.code for answer in answers.values()} == {3}
    found = answers["json"].json
    assert found["error"]
    assert (found["status"], found["complete"], found["pools"]) == ("unknown", False, [])
    assert samples(answers["prometheus"].out) == {"billing_check_success": 0.0}
    for form in ("text", "nagios"):
        assert answers[form].out == f"POOLS UNKNOWN - {found['error']}\n"


def test_help_is_unknown_because_nothing_was_checked(commands: Commands) -> None:
    answer = commands("check-pools", "--help")
    assert answer.code == 3
    assert "--dry-run" in answer.out


def test_without_a_database_the_next_step_is_named_once(tmp_path: Path) -> None:
    answer = bare(f"sqlite:///{tmp_path / 'none.db'}")
    assert answer.code == 3
    assert answer.out == (
        f"POOLS UNKNOWN - There is no database at {tmp_path / 'none.db'}. "
        "Run: billing-console init, or try the product with: billing-console demo\n"
    )
    assert answer.err == ""
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_used_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_bytes(b"this is no database" * 100)
    empty = tmp_path / "empty.db"
    empty.touch()
    said = {}
    for name, url in (
        ("rubbish", f"sqlite:///{rubbish}"),
        ("empty", f"sqlite:///{empty}"),
        ("directory", f"sqlite:///{tmp_path}"),
        ("url", "mysql://nowhere"),
        ("server", "postgresql://nobody@/nothing?host=/nonexistent"),
    ):
        answer = Commands(url, capsys)("check-pools")
        assert answer.code == 3, name
        said[name] = answer.out
    assert "Restore it from a backup." in said["rubbish"]
    assert "Run: billing-console init" in said["empty"]
    assert "cannot be opened" in said["directory"]
    assert "sqlite:////path/to/billing.db" in said["url"]
    assert "did not answer" in said["server"]
    assert all(re.fullmatch(r"POOLS UNKNOWN - .*\n", line) for line in said.values())


def test_a_damaged_file_is_unknown(tmp_path: Path, sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    sqlite_ledger.close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    answer = bare(sqlite_url)
    assert answer.code == 3
    assert re.fullmatch(r"POOLS UNKNOWN - .* Restore it from a backup\.\n", answer.out)


def test_a_newer_schema_is_unknown(commands: Commands, ledger: Ledger) -> None:
    execute(ledger, "UPDATE alembic_version SET version_num = '9999'")
    answer = commands("check-pools")
    assert answer.code == 3
    assert "Install the newer billing-console." in answer.out


def test_a_lock_that_outlasts_the_timeout_is_unknown(sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = bare(sqlite_url, "--timeout", "1", "--format", "json")
    assert answer.code == 3
    assert "busy" in answer.json["error"]


def test_a_write_lock_that_outlasts_the_timeout_is_unknown_and_leaves_nothing(
    sqlite_url: str, sqlite_ledger: Ledger
) -> None:
    """Reading still works then; the write waits for longer than the timeout."""
    stock(sqlite_ledger, "low")
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = bare(sqlite_url, "--timeout", "1")
    assert answer.code == 3
    assert re.match("POOLS UNKNOWN - The (check did not end within 1 seconds|database .* stayed busy)", answer.out)
    assert list_alerts(sqlite_ledger) == ()


def test_settings_that_cannot_be_used_are_unknown(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(sqlite_url, capsys)
    config = tmp_path / "config.toml"
    for content, reason in (
        ("low_treshold_percent = 5", "low_threshold_percent"),
        ("lang = ", "not valid TOML"),
        ('currency = "USD"', "This ledger keeps the currency CNY"),
    ):
        config.write_text(content)
        answer = commands("--config", str(config), "check-pools", "--format", "json")
        assert answer.code == 3
        assert reason in answer.json["error"]
        assert answer.err == f"billing-console: {answer.json['error']}\n"
    answer = commands("--config", str(tmp_path), "check-pools")
    assert (answer.code, "Is a directory" in answer.out) == (3, True)


def test_a_crash_is_unknown_and_its_details_are_in_the_log(tmp_path: Path, sqlite_url: str) -> None:
    """A library that does not load, as after half an upgrade of the machine, is not foreseen."""
    (tmp_path / "tenacity.py").write_text("raise RuntimeError('half upgraded')")
    environment = {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(tmp_path)}
    answer = command("--database", sqlite_url, "check-pools", environment=environment)
    log = tmp_path / "state" / "billing-console" / "console.log"
    assert answer.code == 3
    assert answer.out.endswith(f"the details are in {log}\n")
    assert "Traceback" not in answer.out + answer.err
    assert "Traceback" in log.read_text()


def test_a_ledger_without_its_facts_is_unknown(sqlite_url: str) -> None:
    """Nothing but a hand in the database, or damage, leaves it so."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database:
        database.execute("DELETE FROM ledger_info")
        database.commit()
    answer = command("--database", sqlite_url, "check-pools")
    assert answer.code == 3
    assert "holds something that cannot be read" in answer.out and answer.out.count("\n") == 1


# Where the answer goes


@pytest.mark.parametrize("redirection", ['"$@" >&-', '"$@" >/dev/full', '"$@" >/dev/full 2>/dev/full'])
@pytest.mark.parametrize("arguments", [(), ("--bogus",), ("--help",)], ids=" ".join)
def test_output_that_is_lost_is_never_a_success(
    sqlite_url: str, redirection: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    answer = shell(redirection, "--database", sqlite_url, "check-pools", *arguments, environment=state)
    assert answer.code == 3
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert "Exception ignored" not in answer.err
    assert not (tmp_path / "state").exists()


def test_quiet_speaks_only_of_pools_that_are_not_sufficient_and_of_changes(commands: Commands, ledger: Ledger) -> None:
    pool(ledger, "openai", "100")
    assert commands("check-pools", "--quiet") == Answer(0, "", "")
    spend(ledger, "95")
    assert "alert raised" in commands("check-pools", "--quiet").out
    assert commands("check-pools", "--quiet").out == (
        "POOLS WARNING - 1 low\nopenai: low, ¥5.00 of ¥100.00 left (5.00%)\n"
    )
    execute(ledger, "UPDATE resource_pools SET total_balance = total_balance * 10")
    assert commands("check-pools", "--quiet").out == (
        "POOLS OK - 1 ok\nopenai: sufficient, ¥905.00 of ¥1,000.00 left (90.50%), alert resolved\n"
    )
    assert commands("check-pools", "--quiet").out == ""
    assert commands("check-pools", "--quiet", "--provider", "nobody").out.startswith("POOLS UNKNOWN")


def test_a_dry_run_says_what_a_check_would_do_and_writes_nothing(commands: Commands, ledger: Ledger) -> None:
    stock(ledger, "sufficient", "depleted")
    gateway_insert(ledger, provider_id="sufficient", cost_amount=95 * 10**9)
    before = query(ledger, "SELECT * FROM resource_pools"), query(ledger, "SELECT * FROM usage_outbox")
    answer = commands("check-pools", "--dry-run")
    assert answer.code == 2
    assert answer.out.splitlines()[1:] == [
        "depleted: depleted, ¥0.00 of ¥100.00 left (0.00%), alert raised",
        "sufficient: low, ¥4.00 of ¥100.00 left (4.00%), alert raised",
    ]
    assert (query(ledger, "SELECT * FROM resource_pools"), query(ledger, "SELECT * FROM usage_outbox")) == before
    assert list_alerts(ledger) == ()
    assert commands("--read-only", "check-pools", "--dry-run") == answer


def test_a_read_only_check_is_unknown_but_shows_the_balances(commands: Commands, ledger: Ledger) -> None:
    stock(ledger, "sufficient", "low")
    answer = commands("--read-only", "check-pools", "--format", "json")
    assert answer.code == 3
    assert {each["providerId"]: each["availableBalance"] for each in answer.json["pools"]} == {
        "low": "9.99",
        "sufficient": "99.00",
    }
    assert answer.json["complete"] is False
    assert list_alerts(ledger) == ()
    text = commands("--read-only", "check-pools").out
    assert text.startswith("POOLS UNKNOWN - This is a read-only session")
    assert "low: low, ¥9.99 of ¥100.00 left" in text


@pytest.mark.parametrize("locale", ["C", "xx_NOT.a-locale"])
def test_any_locale_can_say_any_language(sqlite_url: str, sqlite_ledger: Ledger, locale: str) -> None:
    pool(sqlite_ledger, "深度求索", "0.01")
    spend(sqlite_ledger, "1", provider_id="深度求索")
    answer = command(
        "--database", sqlite_url, "--lang", "zh", "check-pools", environment={"LANG": locale, "LC_ALL": locale}
    )
    assert answer.code == 2
    assert "深度求索" in answer.out
    assert "-¥0.99" in answer.out
    assert answer.err == ""
