"""Where the demo ledger lies: built beside its place, put there when it is whole, and not replaced under a console."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from billing_console.errors import Conflict, NotPermitted, Unavailable
from billing_console.i18n import _
from billing_console.services.setup import demo_facts

FRESH_FOR = timedelta(hours=24)
_BUILDING, _USING = 0, 1
"""The bytes of the lock file that stand for building the demo, by one process, and for using it, by many."""

_BESIDE = ("", "-journal", "-wal", "-shm")
"""What SQLite keeps of one database."""


@contextmanager
def held(
    path: Path, url: str, now: datetime, build: Callable[[Path], None] | None, waiting: Callable[[], None]
) -> Iterator[None]:
    """Make sure that a whole demo ledger of the last 24 hours is at `path`, and keep it there while the block runs.

    `build` makes one at the path it is given; without it, as in a read-only session, an older one will do. A demo that
    another console has open is kept however old it is: SQLite would mix the journal of the old file with the new one.
    `waiting` is called before waiting for another builder. Raises Conflict for a file at `path` that is no demo,
    NotPermitted where one is missing and must not be built, Unavailable for a place that cannot be used.
    """
    with _lock_file(path) as number:
        if not _lock(number, fcntl.LOCK_EX | fcntl.LOCK_NB, _BUILDING):
            waiting()
            _lock(number, fcntl.LOCK_EX, _BUILDING)
        if not _is_fresh(path, url, now):
            _replace(path, build, number)
        _lock(number, fcntl.LOCK_SH, _USING)
        _lock(number, fcntl.LOCK_UN, _BUILDING)
        yield


@contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    lock = path.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(lock, error) from error
    try:
        yield number
    finally:
        os.close(number)


def _lock(number: int, kind: int, byte: int) -> bool:
    """Take or leave a lock, and tell whether that worked; without LOCK_NB this waits."""
    try:
        fcntl.lockf(number, kind, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise Unavailable(
            _("The demo's directory cannot lock files: %(reason)s.") % {"reason": error.strerror},
            _("Choose another with the variable XDG_DATA_HOME."),
        ) from error
    return True


def _is_fresh(path: Path, url: str, now: datetime) -> bool:
    if not path.exists():
        return False
    try:
        found = demo_facts(url)
    except Unavailable:
        found = None
    if found is None:
        raise Conflict(
            _("%(path)s is not a demo ledger; it was left as it is.") % {"path": path},
            _("Move it away, then run: billing-console demo"),
        )
    return found.is_current and timedelta(0) <= now - found.made_at < FRESH_FOR


def _replace(path: Path, build: Callable[[Path], None] | None, number: int) -> None:
    """Build the demo anew where that may be done and nobody uses the old one."""
    if build is None and not path.exists():
        raise NotPermitted(
            _("There is no demo ledger yet, and a read-only session builds none."),
            _("Run once without --read-only: billing-console demo"),
        )
    if build is not None and (_lock(number, fcntl.LOCK_EX | fcntl.LOCK_NB, _USING) or not path.exists()):
        _rebuild(path, build)


def _rebuild(path: Path, build: Callable[[Path], None]) -> None:
    """Build under another name, and rename only what is whole and on the disk."""
    building = path.with_suffix(".building")
    try:
        _remove(building)
        try:
            build(building)
            with building.open("rb") as file:
                os.fsync(file.fileno())
            _remove(path)
            building.replace(path)
        finally:
            with suppress(OSError):
                _remove(building)
    except OSError as error:
        raise _unusable(path, error) from error


def _remove(path: Path) -> None:
    """Delete a database with what SQLite keeps beside it, the database first: a journal alone harms nobody."""
    for suffix in _BESIDE:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _unusable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        _("%(path)s cannot be written: %(reason)s.") % {"path": path, "reason": error.strerror},
        _("Check the directory, its permissions and the space left."),
    )
