"""Money that may have moved although the command failed: how to repeat it without paying twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from billing_console.cli.output import flush, say
from billing_console.errors import Unavailable
from billing_console.i18n import _
from billing_console.text import clean


@contextmanager
def repeatable(key: str) -> Iterator[None]:
    """Name the idempotency key where it stays open whether money moved: no answer, no output, or interrupted."""
    words = _("To repeat it without moving money twice, add to the same command: --key %(key)s") % {"key": clean(key)}
    try:
        yield
        flush()
    except Unavailable as error:
        raise type(error)(error.message, f"{error.hint} {words}".strip()) from error
    except KeyboardInterrupt:
        say(words)
        raise
