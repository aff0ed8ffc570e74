"""Files that other programs read while they are written: whole or not there, never half."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from billing_console.errors import Unavailable
from billing_console.i18n import _


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
        raise Unavailable(
            _("%(path)s cannot be written: %(reason)s.") % {"path": path, "reason": error.strerror},
            _("Check the directory, its permissions and the space left."),
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
