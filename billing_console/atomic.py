"""Files that other programs read while they are written: whole or not there, never half."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from billing_console.errors import Refused, Unavailable
from billing_console.i18n import _

SQLITE_BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a database while it is used."""

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What file systems without hard links answer, as those of USB sticks and of some servers."""


@contextmanager
def replacing(path: Path, *, mode: int) -> Iterator[TextIO]:
    """Yield a file that takes the place of `path`, with these permissions, once it is whole and on the disk.

    It is written beside `path` under a hidden name without its suffix, which no collector of *.prom files reads.
    Raises Unavailable, and leaves the old file as it was, if that cannot be done.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise Unavailable(_("%(path)s is not a regular file.") % {"path": path}, _("Use - for standard output."))
    temporary = None
    try:
        number, temporary = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise unwritable(path, error.strerror) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`, for its owner alone, that gets that name once it is whole and on the disk.

    Raises Refused where the name is taken, now or by then, and Unavailable if the file cannot be written. Neither a
    failure nor a kill leaves anything under the name; a failure leaves nothing at all, of SQLite's own files either.
    """
    target = Path(os.path.abspath(path))
    temporary = None
    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "")
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(number)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        _put(temporary, target)
        _sync(target.parent)
    except FileExistsError as error:
        raise Refused(
            _("%(path)s is there already; it was left as it is.") % {"path": path}, _("Choose another name.")
        ) from error
    except OSError as error:
        raise unwritable(path, error.strerror) from error
    finally:
        if temporary is not None:
            for suffix in ("", *SQLITE_BESIDE):
                with suppress(OSError):
                    os.unlink(f"{temporary}{suffix}")


def unwritable(path: Path, reason: str | None) -> Unavailable:
    """Build the error for a file that cannot be written."""
    return Unavailable(
        _("%(path)s cannot be written: %(reason)s.") % {"path": path, "reason": reason},
        _("Check the directory, its permissions and the space left."),
    )


def _put(temporary: Path, target: Path) -> None:
    """Give a file its name, which a rename would also take from another file."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(temporary, target)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
