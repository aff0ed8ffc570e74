"""`backup` and `restore` on the command line: what they answer, and how they end when they cannot do it."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from billing_console.services.backup import restore
from billing_console.services.ledger import Ledger
from tests.commands import PATIENCE_SECONDS, PROGRAM, Commands, command, shell
from tests.conftest import OpenLedger
from tests.factories import everything
from tests.stocked import stock
from tests.terminal import terminal


@pytest.fixture
def run(database_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(database_url, capsys)


def test_both_commands_answer_in_words_and_in_json(
    run: Commands, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: OpenLedger
) -> None:
    stock(ledger)
    file, url = tmp_path / "b.db", f"sqlite:///{tmp_path / 'r.db'}"
    answer = run("backup", str(file))
    assert (answer.code, answer.err) == (0, "")
    assert re.match(rf"Backed up to {file}: [\d,]+ bytes, [\d,]+ rows, \d+\.\d\d s\.\n", answer.out)
    assert re.search(r"^  usage_records +241$", answer.out, re.MULTILINE)
    made = run("backup", str(tmp_path / "c.db"), "--format", "json").json
    assert (made["path"], made["size"]) == (str(tmp_path / "c.db"), (tmp_path / "c.db").stat().st_size)
    assert made["rows"]["usage_records"] == 241 and made["seconds"] >= 0
    there = Commands(url, capsys)
    put = there("restore", str(file), "--format", "json")
    assert (put.code, put.err) == (0, "")
    assert made["rows"] == put.json["rows"] | {"audit_log": put.json["rows"]["audit_log"] + 1}  # its own backup
    assert (put.json["path"], put.json["database"]) == (str(file), str(tmp_path / "r.db"))
    assert there("pools", "list", "--format", "json").out == run("pools", "list", "--format", "json").out
    said = Commands(f"sqlite:///{tmp_path / 's.db'}", capsys)("restore", str(file)).out
    assert said.startswith(f"Restored to {tmp_path / 's.db'}: ")


def test_how_they_end_tells_why(run: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "b.db"
    assert run("backup", str(file)).code == 0
    there = Commands(f"sqlite:///{tmp_path / 'r.db'}", capsys)
    for code, answer in (
        (1, run("backup", str(file))),
        (1, run("restore", str(file))),
        (2, run("backup")),
        (2, run("restore", str(file), "--format", "xml")),
        (3, run("backup", str(tmp_path / "none" / "b.db"))),
        (3, there("backup", str(tmp_path / "c.db"))),
        (3, there("restore", str(tmp_path / "none.db"))),
        (77, run("--read-only", "backup", str(tmp_path / "c.db"))),
        (77, there("--read-only", "restore", str(file))),
    ):
        assert (answer.code, answer.out) == (code, "")
        assert re.fullmatch(r"billing-console: .*\n", answer.err), answer.err
    assert sorted(path.name for path in tmp_path.glob("*.db")) in (["b.db"], ["b.db", "ledger.db"])
    assert (
        run("--lang", "zh", "backup", str(file)).err
        == f"billing-console: {file} 已存在，未作任何改动。 请换一个文件名。\n"
    )


@pytest.mark.parametrize("blocks", [0, 64, 200])
def test_a_disk_without_room_is_one_line_and_leaves_nothing(
    database_url: str, ledger: Ledger, tmp_path: Path, blocks: int
) -> None:
    """The limit on the length of a file stands for the disk's: both end a write in its middle."""
    stock(ledger)
    before = everything(ledger)
    place = tmp_path / "place"
    place.mkdir()
    full = f'ulimit -f {blocks}; exec "$@"'
    assert command("--database", database_url, "backup", str(tmp_path / "good.db")).code == 0
    for arguments in (
        ("--database", database_url, "backup", str(place / "b.db")),
        ("--database", f"sqlite:///{place / 'r.db'}", "restore", str(tmp_path / "good.db")),
    ):
        answer = shell(full, *arguments)
        assert (answer.code, answer.out) == (3, "")
        its_own_row = "The file system did not read or write the database .* the size of files"
        words = rf".*/place/[br]\.db cannot be written: .* space left|{its_own_row}"
        assert re.fullmatch(rf"billing-console: ({words})\.\n", answer.err)
        assert list(place.iterdir()) == []
    assert everything(ledger) == before


@pytest.mark.parametrize("number", ["TERM", "HUP", "INT"])
def test_a_backup_that_is_stopped_leaves_nothing(postgres_url: str, tmp_path: Path, number: str) -> None:
    dsn = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn, autocommit=True) as watcher:
        holder.execute("LOCK TABLE usage_records")
        process = subprocess.Popen(
            [PROGRAM, "--database", postgres_url, "backup", str(tmp_path / "b.db")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not watcher.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
            assert process.poll() is None
        assert len(list(tmp_path.glob(".b.db.*"))) == 1
        subprocess.run(["/bin/kill", f"-{number}", str(process.pid)], check=True)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, err) == (130, "", "")
    assert list(tmp_path.glob("*.db*")) + list(tmp_path.glob(".*")) == []


def test_of_two_restores_at_once_one_succeeds(
    sqlite_ledger: Ledger, empty_postgres_url: str, tmp_path: Path, opened: OpenLedger
) -> None:
    stock(sqlite_ledger)
    assert command("--database", f"sqlite:///{sqlite_ledger.label}", "backup", str(tmp_path / "b.db")).code == 0
    refused = []
    together = threading.Barrier(2)

    def put_back() -> None:
        together.wait()
        try:
            restore(empty_postgres_url, tmp_path / "b.db", lambda done, whole: None)
        except Exception as error:
            refused.append(str(error))

    people = [threading.Thread(target=put_back) for _person in range(2)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(refused) == 1 and "holds tables already" in refused[0]
    assert sorted(everything(opened(empty_postgres_url))) == sorted(everything(sqlite_ledger))


def test_a_terminal_shows_how_far_it_is_and_then_the_answer_alone(sqlite_url: str, tmp_path: Path) -> None:
    with terminal("--database", sqlite_url, "backup", str(tmp_path / "b.db"), size=(160, 40)) as shown:
        assert shown.end() == 0
        assert b"Backing up" in shown.raw
        assert shown.screen.startswith(f"Backed up to {tmp_path / 'b.db'}")
