"""What a ledger in trouble makes of each command: the right exit code, one line, and nothing half-written."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from billing_console.cli import run
from billing_console.errors import Unavailable
from billing_console.services.pools import list_pools
from billing_console.services.session import prepare
from db.revision import HEAD, REVISIONS
from tests.commands import Answer
from tests.factories import pay
from tests.torture.children import (
    IS_ROOT,
    USAGE,
    Content,
    Place,
    a_file_system,
    a_place,
    alike,
    ask,
    can_mount,
    clear,
    held,
    locked,
    make_ledger,
    open_one,
    own,
    start,
)
from tests.torture.operations import chosen_seed, is_long

READS: Mapping[str, tuple[str, ...]] = {
    "pools list": ("pools", "list", "--format", "csv"),
    "usage list": ("usage", "list", "--format", "csv"),
    "costs": ("costs", "--from", "2026-03-01", "--to", "2026-03-31", "--format", "csv"),
    "reconcile": ("reconcile", "--format", "csv"),
}
WRITES: Mapping[str, tuple[str, ...]] = {
    "pools recharge": ("pools", "recharge", "openai", "5", "--reference", "fault", "--key", "fault", "--yes"),
    "quotas grant": ("quotas", "grant", "u-00042", "5", "--reference", "fault", "--key", "fault", "--yes"),
    "models disable": ("models", "disable", "openai", "gpt-4o", "--reason", "fault"),
    "prices set": (
        *("prices", "set", "openai", "gpt-4o", "text_generation"),
        *("--input", "1", "--output", "2", "--from", "2027-04-01"),
    ),
    "usage import": ("usage", "import", "USAGE"),
    "settle": ("settle",),
    "check-pools": ("check-pools",),
}
SET_UP: Mapping[str, tuple[str, ...]] = {"init": ("init",), "upgrade": ("upgrade",)}
"""On a ledger that is there and current these two only look at it."""

ALL = {**READS, **WRITES, **SET_UP}
CHECK = "check-pools"
LATER = "2026-03-11"
"""Whatever bears a later instant was written by the command under test."""


@dataclass(frozen=True)
class Ready:
    """A ledger's file, what it holds, and what each command answers and makes of it when nothing is wrong."""

    file: bytes
    before: Content
    answers: Mapping[str, Answer]
    after: Mapping[str, Content]


def spelled(place: Place, name: str) -> tuple[str, ...]:
    return tuple(str(place.usage) if part == "USAGE" else part for part in ALL[name])


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Also imports all that a child needs, since every command is run once here, by a user who may do so."""
    url = f"sqlite:///{tmp_path_factory.mktemp('ready') / 'ledger.db'}"
    make_ledger(url)
    file = Path(url.removeprefix("sqlite:///")).read_bytes()
    before = alike(held(url), LATER)
    answers, after = {}, {}
    _import_everything(tmp_path_factory.mktemp("warm"), file)
    with a_place() as place:
        for name in ALL:
            place.put(file)
            answers[name] = ask(place, *spelled(place, name))
            after[name] = alike(place.held(), LATER)
    assert {name: answer.code for name, answer in answers.items() if answer.code} == {CHECK: 2}
    assert [name for name in ALL if after[name] != before] == list(WRITES)
    return Ready(file, before, answers, after)


def _import_everything(directory: Path, file: bytes) -> None:
    """Run what the children will run in this process, so that they find it imported."""
    (directory / "usage.csv").write_text(USAGE)
    (directory / "ledger.db").write_bytes(file)
    url = f"sqlite:///{directory / 'ledger.db'}"
    for arguments in (*ALL.values(), ("usage", "export", "-"), ("pools", "lists")):
        warm(url, *(str(directory / "usage.csv") if part == "USAGE" else part for part in arguments))
    warm(f"sqlite:///{directory / 'new.db'}", "init")


def warm(url: str, *arguments: str) -> None:
    """Run one command line in this process, and throw away what it says."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        run(["--database", url, *arguments])


@pytest.fixture
def place(ready: Ready) -> Iterator[Place]:
    """A directory with the ledger in it."""
    with a_place() as found:
        found.put(ready.file)
        yield found


def failed(name: str, answer: Answer, *said: str, label: str) -> None:
    """The answer of a command that could not know: one line with the database and the next step, no data."""
    assert answer.code == 3, (name, answer)
    line = answer.out.splitlines()[0] if name == CHECK else answer.err
    assert all(part in line for part in (label, *said)), (name, answer)
    assert "error in the program" not in answer.out + answer.err
    if name == CHECK:
        assert line.startswith("POOLS UNKNOWN - ") and answer.err == ""
    else:
        lines = answer.err.splitlines()
        assert len(lines) == 1 or (name == "usage import" and lines[0] == "Nothing was imported."), answer
        assert lines[-1].startswith("billing-console: ") and answer.out == ""
    assert line.rstrip().endswith((".", "demo", "init", "upgrade", "reconcile", "--key fault"))


def as_ever(name: str, answer: Answer, ready: Ready) -> None:
    """The answer that the command gives when nothing is wrong."""
    usual = ready.answers[name]
    if name in READS:
        assert answer == usual, name
    else:
        assert (answer.code, answer.err) == (usual.code, usual.err), (name, answer)


def whole(name: str, content: Content, answer: Answer, ready: Ready) -> None:
    """The ledger holds what it held, or after a success the whole operation."""
    content = alike(content, LATER)
    assert content == (ready.before if answer.code == 3 else ready.after[name]), (name, answer)


# The disk is full, or files may not grow


def _sizes() -> Iterator[int]:
    """How many pages are free: each number up to what any command needs, in the short form fewer of them."""
    free = 0
    while True:
        yield free
        free += 1 if is_long() or free < 4 else free // 2


def _grow(place: Place, ready: Ready, name: str, limited: Callable[[int], int | None], *said: str) -> int:
    """Give a command more and more room until it succeeds; every failure before must leave everything as it was."""
    failures = 0
    for free in _sizes():
        place.put(ready.file)
        answer = ask(place, *spelled(place, name), largest_file=limited(free))
        if answer.code == 3:
            failed(name, answer, *said, label=str(place.path / "ledger.db"))
            failures += 1
        else:
            as_ever(name, answer, ready)
        whole(name, place.held(), answer, ready)
        if answer.code != 3:
            return failures
    raise AssertionError("never reached")


@pytest.mark.parametrize("name", ALL)
def test_files_that_may_not_grow(place: Place, ready: Ready, name: str) -> None:
    """As `ulimit -f` and disk quotas have it: a real error of the file system that every machine can make."""
    failures = _grow(place, ready, name, lambda free: free * 4096, "limit on the size of files")
    assert bool(failures) == (name in WRITES)


def _filled(place: Place, free: int) -> None:
    """Fill the file system but for so many pages."""
    filler = place.seen / "filler"
    filler.unlink(missing_ok=True)
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            size = filler.stat().st_size
        file.truncate(max(0, size - free * 4096))


@pytest.mark.parametrize("name", ALL)
def test_a_full_disk(ready: Ready, name: str) -> None:
    if not can_mount():
        with a_place() as place:
            _grow(place, ready, name, lambda free: free * 4096)
        return
    with a_file_system("2m") as place:

        def fill(free: int) -> None:
            _filled(place, free)

        failures = _grow(place, ready, name, fill, "disk", "full", "Free some space")
    assert bool(failures) == (name in WRITES)


def test_a_ledger_is_set_up_on_a_full_disk_wholly_or_not_at_all(ready: Ready) -> None:
    failures = 0
    with a_file_system("2m") if can_mount() else a_place() as place:
        for free in _sizes():
            place.put(b"")
            clear(place.file)
            if place.mount is not None:
                _filled(place, free)
            answer = ask(place, "init", largest_file=None if place.mount is not None else free * 4096)
            if answer.code == 0:
                break
            failed("init", answer, label=str(place.path / "ledger.db"))
            failures += 1
            assert place.file.read_bytes() == b""
            assert [path.name for path in place.seen.iterdir() if path.name != "filler"] == ["ledger.db"]
        assert failures > 3
        for name in ("pools list", "reconcile"):
            assert ask(place, *READS[name]).code == 0


# The file system or its permissions stand in the way


def _mode(file: int, directory: int, mine: bool = True) -> Callable[[Place], None]:
    def strike(place: Place) -> None:
        if not mine and IS_ROOT:
            os.chown(place.file, 0, 0)
        place.file.chmod(file)
        place.path.chmod(directory)

    return strike


READABLE = {
    "a file of mine that is read-only": _mode(0o444, 0o755),
    "a directory that is read-only": _mode(0o600, 0o555),
    "both": _mode(0o444, 0o555),
}
UNREADABLE = {"a file without permissions": _mode(0, 0o755), "a directory without permissions": _mode(0o600, 0)}
if IS_ROOT:
    READABLE["somebody else's file that I may read"] = _mode(0o644, 0o755, mine=False)
    UNREADABLE["somebody else's file"] = _mode(0o600, 0o755, mine=False)


def _mended(place: Place) -> None:
    place.path.chmod(0o755)
    place.file.chmod(0o600)
    own(place.file)


@pytest.mark.parametrize("fault", READABLE)
def test_what_may_only_be_read_is_read(place: Place, ready: Ready, fault: str) -> None:
    for name in ALL:
        READABLE[fault](place)
        answer = ask(place, *spelled(place, name))
        _mended(place)
        _only_read(place, ready, name, answer)


def _only_read(place: Place, ready: Ready, name: str, answer: Answer) -> None:
    if name in WRITES:
        failed(name, answer, "cannot be written", "Check the permissions", label=str(place.path / "ledger.db"))
    else:
        as_ever(name, answer, ready)
    if name == CHECK:
        assert "openai" in answer.out or "deepseek" in answer.out
    assert alike(place.held(), LATER) == ready.before
    assert [path.name for path in place.seen.iterdir()] == ["ledger.db"]


@pytest.mark.parametrize("fault", UNREADABLE)
def test_what_may_not_be_read_is_said_to_be_so(place: Place, ready: Ready, fault: str) -> None:
    for name in ALL:
        UNREADABLE[fault](place)
        answer = ask(place, *spelled(place, name))
        _mended(place)
        failed(name, answer, label=str(place.path / "ledger.db"))
        assert alike(place.held(), LATER) == ready.before


@contextmanager
def _read_only_file_system(ready: Ready) -> Iterator[Place]:
    """One that is mounted so, or where that may not be done, a directory and a file that cannot be written."""
    if not can_mount():
        with a_place() as place:
            place.put(ready.file)
            _mode(0o444, 0o555)(place)
            yield place
        return
    with a_file_system("2m") as place:
        place.put(ready.file)
        place.shell(f"mount -o remount,ro {place.path}")
        yield place


def test_a_read_only_file_system(ready: Ready) -> None:
    with _read_only_file_system(ready) as place:
        for name in ALL:
            answer = ask(place, *spelled(place, name))
            _only_read(place, ready, name, answer)
        failed("init", ask(place, "init", url=f"{place.url}.new"), "cannot be created", label=f"{place.path}")


# Somebody holds a lock


def _hold_until_all_gave_up(place: Place, ready: Ready, names: tuple[str, ...], kind: str) -> None:
    """Every command at once; the lock outlasts the timeout of each, a minute at least: that of the check."""
    with locked(place.file, kind):
        patient = {CHECK: ("--timeout", "60")}
        children = {name: start(place, *spelled(place, name), *patient.get(name, ())) for name in names}
        answers = {name: child.answer() for name, child in children.items()}
    for name, answer in answers.items():
        if kind == "IMMEDIATE" and name not in WRITES:
            as_ever(name, answer, ready)
        elif name == CHECK:
            assert answer.code == 3 and "busy" in answer.out.splitlines()[0]
        else:
            failed(name, answer, "stayed busy", "Try again", label=str(place.file))
    assert alike(place.held(), LATER) == ready.before


@pytest.mark.parametrize("kind", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_lock_that_stays(place: Place, ready: Ready, kind: str) -> None:
    """The short form has check-pools, whose timeout can be chosen; the long form every command, with its 30 seconds."""
    if is_long():
        _hold_until_all_gave_up(place, ready, tuple(ALL), kind)
        return
    with locked(place.file, kind):
        answer = ask(place, CHECK, "--timeout", "2")
    assert answer.code == 3 and answer.err == ""
    assert answer.out.startswith("POOLS UNKNOWN - The ") and "busy" in answer.out.splitlines()[0]
    assert alike(place.held(), LATER) == ready.before


@pytest.mark.parametrize("name", ALL)
def test_a_lock_of_a_moment_is_waited_for(place: Place, ready: Ready, name: str) -> None:
    with locked(place.file, "EXCLUSIVE"):
        child = start(place, *spelled(place, name))
        assert not child.ended(0.3)
    answer = child.answer()
    as_ever(name, answer, ready)
    whole(name, place.held(), answer, ready)


# The schema is another one


@pytest.mark.parametrize("revision", [*REVISIONS[:-1], "9999", "0000", "", "x\x1b[2Jy" * 30])
def test_another_schema_is_neither_read_nor_written(place: Place, ready: Ready, revision: str) -> None:
    _set_revision(place.url, revision)
    before = place.file.read_bytes()
    how = "older" if revision in REVISIONS else "newer"
    for name in [name for name in ALL if name != "upgrade" or how == "newer"]:
        answer = ask(place, *spelled(place, name))
        if name == "init":
            assert (answer.code, answer.err) == (0, "") and "already set up" in answer.out
        else:
            failed(name, answer, how, f"({HEAD})", label=str(place.file))
        assert place.file.read_bytes() == before
    _set_revision(place.url, HEAD)
    assert alike(place.held(), LATER) == ready.before


def _set_revision(url: str, revision: str) -> None:
    database = prepare(url)
    with database.writing() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()


# The file is damaged, or is none


def _untouched(place: Place, names: Mapping[str, tuple[str, ...]] | tuple[str, ...], *said: str) -> None:
    before = place.file.read_bytes()
    for name in names:
        answer = ask(place, *spelled(place, name))
        failed(name, answer, *said, label=str(place.file))
        assert place.file.read_bytes() == before, name


def test_a_file_cut_off_within_its_first_pages(place: Place, ready: Ready) -> None:
    for size in range(512, 4 * 4096 + 1, 512):
        place.put(ready.file[:size])
        names = ALL if is_long() else ("pools list", "pools recharge", CHECK, "init")
        _untouched(place, names, "damaged or not a database", "backup")


def test_a_file_cut_off_anywhere(place: Place, ready: Ready) -> None:
    """Within its last page SQLite does not see it; then too, nothing ends in a traceback."""
    choose = random.Random(f"{chosen_seed('cut')} cut")
    sizes = [choose.randrange(4 * 4096, len(ready.file) - 4096) for _ in range(200 if is_long() else 10)]
    for size in sizes:
        place.put(ready.file[:size])
        _untouched(place, tuple(ALL) if is_long() else ("usage list", "settle"), "damaged or not a database")
    for size in range(len(ready.file) - 4096, len(ready.file), 64 if is_long() else 512):
        for name in ALL if is_long() else ("usage list", "costs", "reconcile", "settle"):
            place.put(ready.file[:size])
            _never_a_crash(name, ask(place, *spelled(place, name)))


def _never_a_crash(name: str, answer: Answer) -> None:
    assert answer.code in ((0, 1, 2, 3) if name == CHECK else (0, 1, 3)), (name, answer)
    assert "error in the program" not in answer.out + answer.err, (name, answer)
    assert len(answer.err.splitlines()) <= 2


def test_bytes_overwritten_anywhere_never_end_in_a_traceback(place: Place, ready: Ready) -> None:
    """Damage inside a row can go unseen, since SQLite has no checksums; a crash or a wrong exit code cannot."""
    seed = chosen_seed("overwrite")
    choose = random.Random(f"{seed} overwrite")
    for _number in range(600 if is_long() else 40):
        content = bytearray(ready.file)
        for _byte in range(choose.choice((1, 8, 200))):
            content[choose.randrange(100, len(content))] = choose.randrange(256)
        place.put(bytes(content))
        name = choose.choice(tuple(ALL))
        _never_a_crash(name, ask(place, *spelled(place, name)))


@pytest.mark.parametrize(
    ("word", "said"), [(b"audio_tts", "cannot be read"), (b"success", "cannot be read"), (b"2026-03-0", "damaged")]
)
def test_a_word_that_nobody_can_have_stored_is_damage(place: Place, ready: Ready, word: bytes, said: str) -> None:
    """Of a closed vocabulary, or a time: what shows it says so, and nothing else crashes on it."""
    assert word in ready.file
    place.put(ready.file.replace(word, b"\x1e" + word[1:]))
    answer = ask(place, *spelled(place, "usage list"))
    failed("usage list", answer, said, label=str(place.file))
    for name in ALL:
        _never_a_crash(name, ask(place, *spelled(place, name)))


def _header(content: bytes) -> Callable[[Path, bytes], None]:
    def strike(path: Path, file: bytes) -> None:
        path.write_bytes(content + file[len(content) :])

    return strike


def _becomes(make: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    def strike(path: Path, _file: bytes) -> None:
        path.unlink()
        make(path)
        if not path.is_symlink():
            own(path)

    return strike


NO_DATABASE: Mapping[str, tuple[Callable[[Path, bytes], None], str]] = {
    "zeros in its header": (_header(bytes(100)), "damaged or not a database"),
    "a header of another make": (_header(b"SQLite format 4\0"), "damaged or not a database"),
    "a page size that is none": (_header(b"SQLite format 3\0\x00\x03"), "damaged or not a database"),
    "text": (_becomes(lambda path: path.write_text("provider,balance\nopenai,5\n" * 500)), "damaged or not a database"),
    "a directory": (_becomes(Path.mkdir), "cannot be opened"),
    "a pipe": (_becomes(os.mkfifo), "cannot be opened"),
    "a pipe that may only be read": (_becomes(lambda path: os.mkfifo(path, 0o444)), "cannot be opened"),
    "a link to itself": (_becomes(lambda path: path.symlink_to(path)), "cannot be opened"),
}


@pytest.mark.parametrize("fault", NO_DATABASE)
def test_what_is_no_database(place: Place, ready: Ready, fault: str) -> None:
    strike, said = NO_DATABASE[fault]
    strike(place.file, ready.file)
    for name in ALL:
        answer = ask(place, *spelled(place, name))
        words = ("cannot be",) if name == "init" else (said,)
        failed(name, answer, *(words if said == "cannot be opened" else (said,)), label=str(place.file))
    assert [path.name for path in place.seen.iterdir()] == ["ledger.db"]


@pytest.mark.parametrize(("kind", "said"), [("empty", "is not set up"), ("dangling", "There is no database")])
def test_an_empty_file_and_a_link_to_nothing_lead_to_init(place: Place, ready: Ready, kind: str, said: str) -> None:
    place.file.unlink()
    target = place.path / "target.db"
    if kind == "empty":
        place.file.touch()
        own(place.file)
    else:
        place.file.symlink_to(target)
    for name in [name for name in ALL if name != "init"]:
        failed(name, ask(place, *spelled(place, name)), said, "billing-console init", label=str(place.file))
        assert not target.exists()
    assert ask(place, "init").code == 0
    assert ask(place, *READS["pools list"]).code == 0


@pytest.mark.parametrize("name", ["x" * 300 + ".db", "none/ledger.db", "ledger.db/ledger.db"])
def test_paths_that_lead_nowhere(place: Place, ready: Ready, name: str) -> None:
    for command in [command for command in ALL if command != "init"]:
        answer = ask(place, *spelled(place, command), url=f"sqlite:///{place.path / name}")
        failed(command, answer, label=name)
    assert [path.name for path in place.seen.iterdir()] == ["ledger.db"]


def test_services_wait_as_long_as_they_are_told(place: Place, ready: Ready) -> None:
    ledger = open_one(place.url, timeout=1)
    with locked(place.file, "EXCLUSIVE"):
        for work in (lambda: pay(ledger, "5"), lambda: list_pools(ledger)):
            with pytest.raises(Unavailable, match=r"stayed busy; nothing was changed\. Try again"):
                work()
    pay(ledger, "5")
    ledger.close()
