from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from tests.commands import Answer, Commands
from tests.factories import execute, gateway_insert, pool, price, spend, usage


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def rows(answer: Answer) -> list[dict[str, str]]:
    """The records of a CSV answer."""
    return list(csv.DictReader(io.StringIO(answer.out)))


def test_init_creates_a_ledger_once_and_upgrade_has_nothing_to_do(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path_factory.mktemp("new") / "deep" / "er" / "ledger.db"
    run = Commands(f"sqlite:///{path}", capsys)
    assert run("init", "--timezone", "Europe/Berlin", "--currency", "EUR").out == f"The ledger is set up: {path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    again = run("init")
    assert (again.code, again.out) == (0, f"The database {path} is already set up.\n")
    assert run("upgrade").out.startswith("The schema is up to date")
    assert run("pools", "add", "openai").code == 0
    assert "€5.00" in run("pools", "recharge", "openai", "5", "--reference", "r", "--yes").out


def test_a_pool_is_added_recharged_and_a_recharge_reversed_once(run: Commands) -> None:
    assert run("pools", "add", "openai", "--name", "OpenAI", "--low-threshold", "20%").code == 0
    assert run("pools", "add", "openai").code == 1
    paid = run("pools", "recharge", "openai", "1,500.50", "--reference", "BT-1", "--yes", "--format", "json").json
    assert (paid["amount"], paid["availableAfter"], paid["replayed"]) == ("1500.50", "1500.50", False)
    reverse = ("pools", "reverse", str(paid["id"]), "--reason", "typed wrong", "--yes", "--format", "json")
    assert run(*reverse).json["reversesId"] == paid["id"]
    assert run(*reverse).code == 1
    history = run("pools", "history", "openai", "--format", "json").json
    assert [(entry["amount"], entry["reference"]) for entry in history] == [
        ("-1500.50", "typed wrong"),
        ("1500.50", "BT-1"),
    ]
    shown = run("pools", "show", "openai", "--format", "json").json
    assert (shown["totalBalance"], shown["lowThreshold"], shown["status"]) == ("0.00", 20.0, "depleted")
    assert run("pools", "show", "opneai").err == (
        "billing-console: There is no provider “opneai”. Did you mean “openai”?\n"
    )
    assert [row["providerId"] for row in rows(run("pools", "list", "--format", "csv"))] == ["openai"]


@pytest.mark.parametrize("amount", ["0", "-5", "1e3", "NaN", "12.345", "99999999999", "ten", "1.2.3", "１２"])
def test_an_amount_that_is_none_is_wrong_usage_and_moves_nothing(
    run: Commands, sqlite_ledger: Ledger, amount: str
) -> None:
    pool(sqlite_ledger, "openai")
    answer = run("pools", "recharge", "--reference", "r", "--yes", "--", "openai", amount)
    assert (answer.code, answer.out) == (2, "")
    assert run("pools", "history", "--format", "json").json == []


@pytest.mark.parametrize(
    "write", [("pools", "recharge", "openai", "100"), ("quotas", "grant", "alice", "100")], ids=lambda w: w[0]
)
def test_the_same_key_moves_money_once_and_refuses_other_content(
    run: Commands, sqlite_ledger: Ledger, write: tuple[str, ...]
) -> None:
    pool(sqlite_ledger, "openai")
    options = ("--reference", "r", "--key", "k-1", "--yes")
    first = run(*write, *options, "--format", "json").json
    again = run(*write, *options, "--format", "json").json
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert {**first, "replayed": True} == again
    assert run(*write, *options).out.startswith("Already done before, nothing was changed now: ")
    other = run(*write[:-1], "200", *options)
    assert (other.code, other.out) == (1, "")
    assert "Nothing was changed. Use a new key" in other.err
    assert run("pools", "show", "openai", "--format", "json").json["totalBalance"] in ("100.00", "0.00")


def test_alerts_are_listed_open_and_past(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    pool(sqlite_ledger, "anthropic", "100")
    spend(sqlite_ledger, "95", provider_id="openai")
    spend(sqlite_ledger, "95", provider_id="anthropic")
    assert run("check-pools").code == 1
    assert run("pools", "recharge", "openai", "900", "--reference", "r", "--yes").code == 0
    assert [each["providerId"] for each in run("alerts", "list", "--unresolved", "--format", "json").json] == [
        "anthropic"
    ]
    (past,) = run("alerts", "list", "--resolved", "--format", "json").json
    assert (past["providerId"], past["alertType"], past["isResolved"]) == ("openai", "low_balance", True)
    assert len(rows(run("alerts", "list", "--format", "csv"))) == 2
    assert run("alerts", "list", "--provider", "anthropic").out.count("\n") == 2
    nothing = run("alerts", "list", "--provider", "anthropic", "--resolved")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "Nothing found.\n")


def test_an_alert_is_acknowledged_by_its_provider_or_its_id(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    spend(sqlite_ledger, "95")
    assert run("check-pools").code == 1
    (alert,) = run("alerts", "list", "--format", "json").json
    assert (alert["acknowledgedBy"], alert["acknowledgedAt"]) == (None, None)
    assert run("--read-only", "alerts", "acknowledge", "openai").code == 77
    done = run("alerts", "acknowledge", "openai")
    assert re.fullmatch(r"Alert \d+ of openai is acknowledged by \S+\.\n", done.out)
    again = run("alerts", "acknowledge", str(alert["id"]), "--format", "json").json
    assert again == run("alerts", "list", "--format", "json").json[0]
    assert again["acknowledgedBy"] and again["acknowledgedAt"] and again["isResolved"] is False
    wrong = run("alerts", "acknowledge", "opnai")
    assert (wrong.code, wrong.out) == (1, "")


def test_quota_is_granted_shown_and_taken_back(run: Commands, sqlite_ledger: Ledger) -> None:
    assert run("quotas", "grant", "alice", "20", "--reference", "T-7", "--yes").code == 0
    spend(sqlite_ledger, "12.5", user_id="alice")
    spend(sqlite_ledger, "1", user_id="bob")
    assert run("quotas", "revoke", "alice", "7.51", "--reference", "T-8", "--yes").code == 1
    taken = run("quotas", "revoke", "alice", "2.5", "--reference", "T-8", "--yes", "--format", "json").json
    assert (taken["amount"], taken["remainingAfter"]) == ("-2.50", "5.00")
    listed = run("quotas", "list", "--format", "json").json
    assert [(quota["userId"], quota["remainingAmount"]) for quota in listed] == [("alice", "5.00"), ("bob", None)]
    assert [quota["userId"] for quota in run("quotas", "list", "--granted", "--format", "json").json] == ["alice"]
    for option in ("--user", "--search"):
        assert [quota["userId"] for quota in run("quotas", "list", option, "BO", "--format", "json").json] == ["bob"]
    assert run("quotas", "list", "--exhausted", "--format", "json").json == []
    by_use = run("quotas", "list", "--sort", "used", "--limit", "1", "--format", "json").json
    assert [quota["userId"] for quota in by_use] == ["alice"]
    shown = run("quotas", "show", "alice").out
    assert "T-7" in shown
    assert "¥12.50" in shown
    assert len(run("quotas", "show", "alice", "--format", "json").json["grants"]) == 2
    assert run("quotas", "show", "alcie").code == 1


def test_quota_that_expires_and_comes_back_on_the_command_line(run: Commands, sqlite_ledger: Ledger) -> None:
    grant = ("quotas", "grant", "alice", "20", "--reference", "T-7", "--yes")
    until = run(*grant, "--expires", "2099-12-31", "--format", "json").json["expiresAt"]
    assert until == "2099-12-31T16:00:00Z"
    today = run(*grant, "--days", "0", "--format", "json").json["expiresAt"]
    assert today.endswith("T16:00:00Z") and "(until" in run("quotas", "show", "alice").out
    for wrong in (("--expires", "2020-01-01"), ("--expires", "soon"), ("--days", "1", "--expires", "2099-01-01")):
        assert run(*grant, *wrong).code == 2
    assert run("quotas", "period", "alice", "day", "5").code == 2  # no terminal to ask on
    given = run("quotas", "period", "alice", "day", "5", "--yes", "--format", "json").json
    assert (given["periodic"]["period"], given["periodic"]["amount"], given["grantedAmount"]) == ("day", "5.00", "5.00")
    assert given["remainingAmount"] == "45.00"
    shown = run("quotas", "show", "alice", "--format", "json").json
    assert (shown["periodic"]["amount"], shown["grants"][0]["leftAmount"]) == ("5.00", "5.00")
    assert "¥5.00 every day" in run("quotas", "show", "alice").out
    assert "granted now ¥0.00" in run("quotas", "period", "alice", "day", "6", "--yes").out
    assert "has no periodic quota; remaining ¥45.00" in run("quotas", "period", "alice", "off").out
    for words in ("off 5", "day", "year 5", "day 0"):
        assert run("quotas", "period", "alice", *words.split(), "--yes").code == 2
    assert run("audit", "verify").code == 0 and run("reconcile").code == 0


def test_a_model_is_disabled_and_enabled_with_a_reason(run: Commands, sqlite_ledger: Ledger) -> None:
    spend(sqlite_ledger, "1")
    assert run("models", "disable", "openai", "gpt-4o").code == 2
    assert run("models", "disable", "openai", "gpt-4o", "--reason", "wrong answers").out == (
        "openai gpt-4o is disabled.\n"
    )
    (model,) = run("models", "list", "--format", "json").json
    assert (model["status"], model["disabledReason"]) == ("disabled", "wrong answers")
    assert run("models", "enable", "openai", "gpt-4o", "--reason", "mended").out == "openai gpt-4o is enabled.\n"
    pool(sqlite_ledger, "openai")
    assert run("check-pools").code == 2
    (model,) = run("models", "list", "--provider", "openai", "--format", "json").json
    assert model["status"] == "insufficient_funds"
    assert run("models", "disable", "openai", "gpt-5", "--reason", "r").code == 1


def test_all_models_of_a_provider_are_disabled_and_enabled(run: Commands, sqlite_ledger: Ledger) -> None:
    for model in ("gpt-4o", "o3"):
        spend(sqlite_ledger, "1", model_id=model)
    spend(sqlite_ledger, "1", provider_id="qwen", model_id="max")
    everyone = ("models", "disable", "openai", "--all", "--reason", "contract ended")
    assert run(*everyone).out == "2 models of openai disabled.\n"
    assert run(*everyone, "--format", "json").json == {"providerId": "openai", "changed": 0, "models": []}
    listed = run("models", "list", "--format", "json").json
    assert [(model["modelId"], model["status"]) for model in listed] == [
        ("gpt-4o", "disabled"),
        ("o3", "disabled"),
        ("max", "enabled"),
    ]
    assert run("models", "enable", "openai", "o3", "--reason", "r").code == 0
    back = run("models", "enable", "openai", "--all", "--reason", "renewed", "--format", "json").json
    assert [model["modelId"] for model in back["models"]] == ["gpt-4o"]
    for wrong in (("openai",), ("openai", "o3", "--all")):
        assert run("models", "disable", *wrong, "--reason", "r").code == 2
    assert run("models", "disable", "opnai", "--all", "--reason", "r").code == 1


def test_prices_are_added_and_never_edited(run: Commands) -> None:
    set_price = ("prices", "set", "openai", "gpt-4o", "text_generation")
    assert run(*set_price, "--input", "18", "--output", "72", "--from", "2026-01-01").code == 0
    added = run(*set_price, "--input", "0.0000047", "--cached-input", "0", "--from", "2026-02-01", "--format", "json")
    assert (added.json["inputPrice"], added.json["cachedInputPrice"]) == ("0.0000047", "0.00")
    assert run(*set_price).code == 2
    assert run(*set_price, "--input", "-1").code == 2
    then = run("prices", "list", "--at", "2026-01-15", "--format", "json").json
    assert [each["inputPrice"] for each in then] == ["18.00"]
    versions = run("prices", "list", "--all", "--format", "json").json
    assert [each["inputPrice"] for each in versions] == ["0.0000047", "18.00"]
    assert run(*set_price, "--input", "1", "--from", "2100-01-01").code == 0
    table = run("prices", "list", "--all").out.splitlines()[1:]
    assert [line.rstrip().split("  ")[-1] for line in table] == ["to come", "in force", "past"]
    assert run("prices", "list", "--provider", "openai", "--type", "image_generation", "--format", "json").json == []


def test_a_price_is_tried_on_the_usage_of_30_days(run: Commands, sqlite_ledger: Ledger) -> None:
    now = datetime.now(UTC) - timedelta(seconds=1)
    price(sqlite_ledger)
    price(sqlite_ledger, provider_id="qwen", model_id="max", input_price=Decimal(5))
    record_usage(sqlite_ledger, [usage(input_tokens=1_000_000, output_tokens=0, created_at=now)])
    tried = ("prices", "what-if", "openai", "gpt-4o", "text_generation")
    found = run(*tried, "--input", "12.5", "--format", "json").json
    assert (found["billedAmount"], found["now"]["costAmount"], found["other"]["costAmount"]) == (
        "10.00",
        "10.00",
        "12.50",
    )
    assert (found["difference"], found["differencePercent"], found["callCount"]) == ("2.50", 25, 1)
    assert "priced once" in found["method"]
    drawn = run(*tried, "--like", "qwen/max")
    assert re.search(r"Difference +-¥5\.00 \(-50\.00%\)", drawn.out)
    assert "1 successful call from" in drawn.err and "priced once" in drawn.err
    assert run("--read-only", *tried, "--input", "1").code == 0
    for wrong in ((), ("--input", "1", "--like", "qwen/max"), ("--cached-input", "1"), ("--like", "qwen")):
        assert run(*tried, *wrong).code == 2, wrong
    assert run(*tried, "--like", "qwen/min").code == 1
    assert len(run("prices", "list", "--all", "--format", "json").json) == 2


def test_reconcile_finds_names_and_repairs_what_the_facts_contradict(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    clean = run("reconcile")
    assert (clean.code, clean.out) == (0, "")
    execute(sqlite_ledger, "UPDATE resource_pools SET total_balance = total_balance + 1")
    found = run("reconcile", "--format", "json")
    assert found.code == 1
    assert [(each["where"], each["stored"], each["computed"]) for each in found.json] == [
        ("openai", "100.000000001", "100.00")
    ]
    assert "reconcile --repair" in found.err
    assert run("reconcile", "--repair").code == 0
    assert run("reconcile").code == 0


def test_settle_counts_what_a_gateway_inserted_once(run: Commands, sqlite_ledger: Ledger) -> None:
    gateway_insert(sqlite_ledger, cost_amount=10**9)
    assert run("settle", "--format", "json").json == {"counted": 1, "unpriced": 0, "uncountable": []}
    assert run("settle").out == "Records counted: 0. Without a price: 0.\n"


def test_maintain_has_nothing_to_do_on_sqlite_and_reads_months(run: Commands) -> None:
    assert run("maintain", "--format", "json").json == {"made": [], "late": [], "archived": []}
    assert run("maintain", "--since", "2026-01").out == "There was nothing to do.\n"
    refused = run("maintain", "--since", "2026-13")
    assert refused.code == 2 and "“2026-13” is not a month like 2026-11." in refused.err


def test_a_read_only_session_reads_everything_and_refuses_every_write(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai", "100")
    spend(sqlite_ledger, "1")
    for read in (("usage", "list"), ("pools", "list"), ("quotas", "list"), ("models", "list"), ("reconcile",)):
        assert run("--read-only", *read).code == 0, read
    for write in (
        ("pools", "add", "new"),
        ("pools", "recharge", "openai", "5", "--reference", "r", "--yes"),
        ("pools", "reverse", "1", "--reason", "r", "--yes"),
        ("quotas", "grant", "alice", "5", "--reference", "r", "--yes"),
        ("models", "disable", "openai", "gpt-4o", "--reason", "r"),
        ("prices", "set", "openai", "gpt-4o", "text_generation", "--input", "1"),
        ("settle",),
        ("reconcile", "--repair"),
        ("usage", "reprice"),
        ("init",),
        ("upgrade",),
    ):
        answer = run("--read-only", *write)
        assert (answer.code, answer.out) == (77, ""), write
        assert answer.err.startswith("billing-console: This is a read-only session; nothing was changed."), write
