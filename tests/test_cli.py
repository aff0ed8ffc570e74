from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from billing_console.cli.beforehand import FLAGS, WITH_VALUE, console_options
from billing_console.cli.context import Root
from billing_console.cli.program import command as command_line
from billing_console.services.ledger import Ledger
from billing_console.services.recharges import recharge_history
from tests.commands import Commands, command, shell
from tests.factories import pool, spend
from tests.terminal import terminal

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07",
    "[/]",
    "[@click=app.quit]x[/]",
    "\u202egnp.exe",
    "two\nlines\ttab",
    "zero\u200bwidth",
    "深度求索",
    "👩‍💻 dev",
    "\x9b31m",
)
"""Ids as an attacker, or a careless gateway, may choose them."""

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "＝1", "\t=1")
GROUPS = (
    "usage",
    "pools",
    "alerts",
    "quotas",
    "models",
    "prices",
    "operators",
    "limits",
    "budgets",
    "approvals",
    "audit",
)


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def every_command(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with the words that call it."""
    command = command or command_line()
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from every_command(child, (*path, name))


def width(text: str) -> int:
    """Columns that a terminal gives to a text."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


# Help and usage


def test_every_command_and_option_says_what_it_does() -> None:
    silent = [(path, option.name) for path, command in every_command() for option in command.params if not option.help]
    assert silent == []
    assert [path for path, command in every_command() if not command.help] == []
    assert len(list(every_command())) > 25


def test_the_readme_names_every_command() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    commands = [" ".join(path) for path, command in every_command() if path and not hasattr(command, "commands")]
    assert [name for name in commands if not re.search(rf"\b{name}\b", readme)] == []


def test_help_is_data_and_every_group_has_some(run: Commands) -> None:
    for arguments in ((), *((group,) for group in GROUPS), ("usage", "list")):
        answer = run(*arguments, "--help")
        assert (answer.code, answer.err) == (0, ""), arguments
        assert answer.out.startswith(f"Usage: billing-console {' '.join(arguments)}".rstrip())
    assert run("--version").out.startswith("billing-console 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pols",), "Did you mean"),
        (("pools", "lst"), "pools --help"),
        (("pools", "list", "--formt", "json"), "There is no option --formt. Did you mean --format?"),
        (("pools", "list", "--format", "xml"), "--format takes one of: table, json, jsonl, csv."),
        (("pools", "recharge", "openai", "5", "--yes"), "--reference is missing."),
        (("pools", "show"), "PROVIDER is missing."),
        (("usage", "show", "first"), "ID takes a whole number"),
        (("usage", "list", "--limit", "0"), "--limit takes a whole number"),
        (("--lang", "fr", "pools", "list"), "--lang"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_one_line_with_the_next_step(run: Commands, arguments: tuple[str, ...], said: str) -> None:
    answer = run(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert re.fullmatch(r"billing-console: .* See: billing-console.* --help\n", answer.err)


@pytest.mark.parametrize("place", ["none.db", ".", "rubbish.db"])
def test_a_database_that_cannot_be_used_is_one_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "rubbish.db").write_text("rubbish " * 1000)
    run = Commands(f"sqlite:///{tmp_path / place}", capsys)
    for arguments in (("pools", "list", "--format", "json"), ("reconcile",), ("upgrade",)):
        answer = run(*arguments)
        assert (answer.code, answer.out) == (3, "")
        assert re.fullmatch(r"billing-console: .*\n", answer.err)


# Confirmation


def recharge_on(url: str, *options: str) -> tuple[str, ...]:
    return ("--database", url, "pools", "recharge", "openai", "100", "--reference", "BT-1", *options)


@pytest.mark.parametrize(
    ("keys", "code", "moved"), [("y\n", 0, 1), ("yes\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0), ("\x04", 1, 0)]
)
def test_money_moves_only_after_a_yes_on_the_terminal(
    sqlite_url: str, sqlite_ledger: Ledger, keys: str, code: int, moved: int
) -> None:
    pool(sqlite_ledger, "openai")
    with terminal(*recharge_on(sqlite_url), size=(120, 24)) as shown:
        shown.until("Recharge openai by ¥100.00 (BT-1): available ¥0.00 → ¥100.00? [y/N]")
        shown.type(keys)
        assert shown.end() == code
        assert ("Nothing was changed." in shown.screen) is not bool(moved)
    assert len(recharge_history(sqlite_ledger)) == moved


def test_ctrl_c_at_the_question_changes_nothing_and_is_130(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai")
    with terminal(*recharge_on(sqlite_url), size=(120, 24)) as shown:
        shown.until("[y/N]")
        shown.type("\x03")
        assert shown.end() == 130
        assert "Traceback" not in shown.screen
    assert recharge_history(sqlite_ledger) == ()


def test_without_a_terminal_yes_is_needed_even_if_somebody_types_it(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai")
    answer = command(*recharge_on(sqlite_url), given="y\n")
    assert (answer.code, answer.out) == (2, "")
    assert "Add --yes" in answer.err
    assert recharge_history(sqlite_ledger) == ()
    assert command(*recharge_on(sqlite_url, "--yes")).code == 0
    assert len(recharge_history(sqlite_ledger)) == 1


def test_a_hostile_reference_cannot_hide_what_is_asked(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "openai")
    arguments = [*recharge_on(sqlite_url)[:-1], "\x1b[2K\rRecharge by 1"]
    with terminal(*arguments, size=(160, 24)) as shown:
        shown.until(r"Recharge openai by ¥100.00 (\x1b[2K\x0dRecharge by 1)")
        shown.type("n\n")
        assert shown.end() == 1


# Text from outside


def test_hostile_text_is_inert_in_tables_and_columns_stay_aligned(run: Commands, sqlite_ledger: Ledger) -> None:
    for name in HOSTILE:
        spend(sqlite_ledger, "1", user_id=name, provider_id=name, model_id=name, error_message=name)
        pool(sqlite_ledger, name, "100")
    for words in ("usage list", "pools list", "quotas list", "models list", "pools history"):
        answer = run(*words.split())
        assert answer.code == 0
        lines = answer.out.splitlines()
        assert len(lines) == len(HOSTILE) + 1
        assert all(character.isprintable() for line in lines for character in line)
        assert any("[@click=app.quit]x[/]" in line for line in lines)
        assert {width(line) for line in lines} == {width(lines[0])}
    record = run("usage", "list", "--format", "json").json[-1]["id"]
    assert run("usage", "show", str(record)).out.replace("\n", "").isprintable()


def test_hostile_text_is_escaped_but_whole_in_json(run: Commands, sqlite_ledger: Ledger) -> None:
    for name in HOSTILE:
        spend(sqlite_ledger, "1", user_id=name)
    answer = run("usage", "list", "--format", "jsonl")
    assert {row["userId"] for row in answer.jsonl} == set(HOSTILE)
    assert len(answer.out.splitlines()) == len(HOSTILE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e]", answer.out)


def test_errors_show_hostile_text_inertly(run: Commands) -> None:
    hostile = "\x1b[2J"
    for arguments in (
        ("pools", "show", hostile),
        (hostile,),
        ("pools", "list", f"--{hostile}"),
        ("usage", "show", hostile),
    ):
        answer = run(*arguments)
        assert answer.code in (1, 2)
        assert answer.err[:-1].isprintable()


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_spreadsheet_runs_no_formula_of_ours(run: Commands, sqlite_ledger: Ledger, formula: str) -> None:
    spend(sqlite_ledger, "1", user_id=formula, model_id=formula.strip(), error_message=formula)
    for words in ("usage list --format csv", "usage export -", "quotas list --format csv"):
        (row,) = csv.DictReader(io.StringIO(run(*words.split()).out))
        for name, cell in row.items():
            if name in ("costAmount", "quantity") or not cell:
                continue
            is_number = re.fullmatch(r"-\d+", cell)
            assert is_number or cell[0] not in "=+-@＝\t\r", (name, cell)


# Streams and signals


def test_a_reader_that_leaves_early_is_no_error_to_speak_of(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    for batch in range(3):
        spend(sqlite_ledger, "1", user_id=str(batch), error_message="x" * 4000)
    wide = shell('"$@" | head -n 1', "--database", sqlite_url, "usage", "export", "-", "--format", "jsonl")
    assert wide.out.count("\n") == 1
    assert "Traceback" not in wide.err
    helped = shell('"$@" | head -n 1', "--help")
    assert (helped.out, helped.err) == ("Usage: billing-console [OPTIONS] COMMAND [ARGS]...\n", "")


@pytest.mark.parametrize("redirection", ['"$@" >/dev/full', '"$@" >&-'])
@pytest.mark.parametrize("arguments", [("pools", "list", "--format", "csv"), ("--help",)], ids=" ".join)
def test_output_that_is_lost_is_exit_3_without_a_traceback(
    sqlite_url: str, redirection: str, arguments: tuple[str, ...]
) -> None:
    answer = shell(redirection, "--database", sqlite_url, *arguments)
    assert answer.code == 3
    assert "Traceback" not in answer.err
    assert "Exception ignored" not in answer.err


@pytest.mark.parametrize("redirection", ['"$@" 2>/dev/full', '"$@" 2>&-', '"$@" <&- 2>&-'])
def test_words_that_are_lost_leave_the_exit_code(sqlite_url: str, redirection: str) -> None:
    answer = shell(redirection, "--database", sqlite_url, "pools", "show", "nobody")
    assert (answer.code, answer.out, answer.err) == (1, "", "")


def test_a_locale_without_utf_8_can_say_everything(sqlite_url: str, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger, "深度求索", "1")
    environment = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "HOME": os.environ["HOME"],
    }
    answer = command("--database", sqlite_url, "--lang", "zh", "pools", "list", environment=environment)
    assert answer.code == 0
    assert "深度求索" in answer.out
    assert "¥1.00" in answer.out


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--database sqlite:////x.db",
        "--database=sqlite:////x.db --lang zh --ascii",
        "--config /c.toml --as alice --read-only",
        "--read-database postgresql://standby/billing",
        "--lang en --lang zh",
    ],
)
def test_a_line_that_opens_the_console_means_the_same_without_typer(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Root] = []
    monkeypatch.setattr("billing_console.cli.program.open_console", seen.append)
    arguments = line.split()
    command_line(arguments).main(args=arguments, standalone_mode=False)
    options = console_options(arguments)
    assert options is not None
    assert seen == [Root.of(options)]


@pytest.mark.parametrize(
    "line", ["--lang fr", "--data x", "--wrong", "pools", "--version", "--help", "--database", "--ascii=1", "-x", "x"]
)
def test_every_other_line_is_left_to_typer(line: str) -> None:
    assert console_options(line.split()) is None


def test_the_options_before_the_command_are_known_beforehand() -> None:
    options = [option for option in command_line([]).params if option.name not in ("help", "version")]
    assert sorted(name for option in options for name in option.opts) == sorted((*WITH_VALUE, *FLAGS))
    assert {name for option in options for name in option.opts if not option.is_flag} == set(WITH_VALUE)  # type: ignore[attr-defined]
