"""Anchors: the head of the audit log written down outside the database, so that a cut or rewritten end is found."""

from __future__ import annotations

import os
import re
import syslog
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from billing_console.clock import iso
from billing_console.errors import Unavailable
from billing_console.i18n import _
from billing_console.services.audit import last_link
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.text import one_line


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of the log at an instant: id and hash of its newest row."""

    id: int
    hash: str
    taken_at: datetime | None = None


_LINE = re.compile(r"billing-console-anchor (\d+) ([0-9a-f]{64})\b")


def take_anchor(ledger: Ledger, file: Path | None) -> Anchor:
    """Write the head of the log down: appended to `file`, or without one to the system log (facility authpriv).

    Raises Unavailable for a file that cannot be written.
    """
    with reading(ledger.database) as session:
        number, digest = last_link(session)
    anchor = Anchor(number, digest, ledger.clock())
    words = f"billing-console-anchor {number} {digest}"
    if file is None:
        syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_NOTICE, words)
        return anchor
    try:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, f"{iso(ledger.clock())} {words}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise Unavailable(
            _("%(path)s cannot be written: %(reason)s.") % {"path": one_line(str(file)), "reason": error.strerror},
            _("Check the directory, its permissions and the space left."),
        ) from None
    return anchor


def read_anchors(file: Path) -> tuple[Anchor, ...]:
    """Read the anchors of a file, also of a system log, whatever stands around them; raise Unavailable for none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Unavailable(
            _("%(path)s cannot be read: %(reason)s.") % {"path": one_line(str(file)), "reason": error.strerror},
            _("Check the path and its permissions."),
        ) from None
    found = tuple(Anchor(int(number), digest) for number, digest in _LINE.findall(text))
    if not found:
        raise Unavailable(
            _("%(path)s holds no anchor.") % {"path": one_line(str(file))},
            _("Write one with: billing-console audit anchor --output FILE"),
        )
    return found
