from __future__ import annotations

import os
import re
import stat
import threading
from pathlib import Path

import pytest

from billing_console.check_output import CheckFormat, Outcome
from billing_console.cli.check import Report
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from tests.check_formats import samples
from tests.commands import Answer, Commands
from tests.factories import pool, spend

HOSTILE = (
    "a|b",
    "it's",
    "a=b",
    "two\nlines",
    '"quoted"',
    "back\\slash",
    "深度求索",
    "\x1b]52;c;aGk=\x07",
    "\u202egnp",
    "a{b}",
)


@pytest.fixture
def commands(database_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(database_url, capsys)


# JSON


def test_json_has_the_fields_of_the_seed_and_money_as_text(commands: Commands, ledger: Ledger) -> None:
    pool(ledger, "openai", "100")
    spend(ledger, "90.000000001")
    answer = commands("check-pools", "--format", "json")
    (found,) = answer.json["pools"]
    assert answer.json["status"] == "warning"
    assert answer.json["complete"] is True
    assert found["totalBalance"] == "100.00"
    assert found["usedAmount"] == "90.000000001"
    assert found["availableBalance"] == "9.999999999"
    assert found["balancePercentage"] == 9.99
    assert found["isLowBalance"] is True
    assert found["changed"] == "raised"
    assert found["alert"]["alertType"] == "low_balance"
    assert found["lastCheckDate"].endswith("Z")


# Nagios

PERFORMANCE = re.compile(
    r"'(?P<label>[^'=]+)'=(?P<value>-?\d+(\.\d+)?)(?P<unit>%?)"
    r";(?P<warn>[\d.@~:-]*);(?P<crit>[\d.@~:-]*)(;(?P<min>-?[\d.]*)(;(?P<max>-?[\d.]*))?)?"
)
"""Performance data of the Monitoring Plugins guidelines, quoted labels only."""


def test_nagios_output_keeps_to_its_grammar_whatever_providers_are_called(commands: Commands, ledger: Ledger) -> None:
    for name in HOSTILE:
        pool(ledger, name, "100")
    spend(ledger, "200", provider_id=HOSTILE[0])
    spend(ledger, "95", provider_id=HOSTILE[3])
    answer = commands("check-pools", "--format", "nagios")
    assert answer.code == 2
    line, end = answer.out[:-1], answer.out[-1]
    assert end == "\n"
    assert line.isprintable()
    words, bar, data = line.partition(" | ")
    assert bar
    assert words.startswith("POOLS CRITICAL - 1 depleted, 1 low, 8 ok; ")
    assert "|" not in words + data
    found = list(PERFORMANCE.finditer(data))
    assert " ".join(match.group() for match in found) == data
    assert len(found) == 2 * len(HOSTILE)
    assert len({match["label"] for match in found}) == len(found)
    by_label = {match["label"]: match for match in found}
    assert by_label["深度求索_avail_pct"].group() == "'深度求索_avail_pct'=100.00%;10:;@~:0"
    assert by_label[r"a\x7cb_avail"]["value"] == "-100.00"


def test_nagios_data_of_a_pool_reads_as_the_guidelines_say(commands: Commands, ledger: Ledger) -> None:
    pool(ledger, "openai", "10000")
    spend(ledger, "9250")
    answer = commands("check-pools", "--format", "nagios")
    assert answer.code == 1
    assert answer.out == (
        "POOLS WARNING - 1 low; openai: low, ¥750.00 of ¥10,000.00 left (7.50%), alert raised"
        " | 'openai_avail_pct'=7.50%;10:;@~:0 'openai_avail'=750.00;;@~:0;0;10000.00\n"
    )


# Prometheus


def test_prometheus_output_parses_whatever_providers_are_called(commands: Commands, ledger: Ledger) -> None:
    for name in HOSTILE:
        pool(ledger, name, "100")
    spend(ledger, "90.01", provider_id="深度求索")
    answer = commands("check-pools", "--format", "prometheus")
    found = samples(answer.out)
    assert answer.code == 1
    assert found["billing_check_success"] == 1
    assert found['billing_pool_available_balance{provider="深度求索"}'] == 9.99
    assert found['billing_pool_balance_ratio{provider="深度求索"}'] == 0.0999
    assert found['billing_pool_state{provider="深度求索",state="low"}'] == 1
    assert found['billing_pool_state{provider="深度求索",state="sufficient"}'] == 0
    assert found['billing_pool_total_balance{provider="back\\\\slash"}'] == 100
    assert found['billing_pool_total_balance{provider="\\"quoted\\""}'] == 100
    assert found['billing_open_alerts{severity="warning"}'] == 1
    assert found['billing_open_alerts{severity="critical"}'] == 0
    assert sum(name.startswith("billing_pool_total_balance") for name in found) == len(HOSTILE)


def test_a_prometheus_file_is_readable_by_all_and_alone(commands: Commands, ledger: Ledger, tmp_path: Path) -> None:
    pool(ledger, "openai", "100")
    place = tmp_path / "textfile"
    place.mkdir()
    target = place / "billing.prom"
    umask = os.umask(0o077)
    try:
        answer = commands("check-pools", "--format", "prometheus", "--output", str(target))
    finally:
        os.umask(umask)
    assert answer == Answer(0, "", "")
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert list(place.iterdir()) == [target]
    assert samples(target.read_text())['billing_pool_available_balance{provider="openai"}'] == 100


def test_after_a_failure_the_file_says_only_that_it_failed(
    commands: Commands, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool(ledger, "openai", "100")
    target = tmp_path / "billing.prom"
    assert commands("check-pools", "--format", "prometheus", "--output", str(target)).code == 0
    missing = Commands(f"sqlite:///{tmp_path / 'none.db'}", capsys)
    answer = missing("check-pools", "--format", "prometheus", "--output", str(target))
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("billing-console: There is no database at ")
    assert samples(target.read_text()) == {"billing_check_success": 0.0}


def test_a_file_that_cannot_be_written_is_unknown(commands: Commands, tmp_path: Path) -> None:
    for target in (tmp_path / "no" / "such.prom", tmp_path, Path("/dev/full")):
        answer = commands("check-pools", "--format", "prometheus", "--output", str(target))
        assert (answer.code, answer.out) == (3, "")
        assert answer.err.startswith(f"billing-console: {target} ")


def test_output_to_a_dash_is_standard_output(commands: Commands) -> None:
    assert commands("check-pools", "--output", "-").out == "POOLS OK - no pools\n"


def test_a_reader_never_sees_a_part_of_the_file(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    for number in range(20):
        pool(sqlite_ledger, f"provider-{number}")
    found = check_pools(sqlite_ledger, dry_run=True)
    outcome = Outcome(found.checked_at, found.pools)
    target = tmp_path / "billing.prom"
    report = Report(CheckFormat.PROMETHEUS, target, quiet=False)
    report.publish(outcome)
    whole = len(samples(target.read_text()))
    done = threading.Event()
    counts: list[int] = []

    def read() -> None:
        while not done.is_set():
            counts.append(len(samples(target.read_text())))

    reader = threading.Thread(target=read)
    reader.start()
    for _round in range(300):
        report.publish(outcome)
    done.set()
    reader.join()
    assert set(counts) == {whole}
