"""The boundary where text from outside becomes safe to show (DESIGN.md, section 9)."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.money import plain

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = {"\u200d", "\ufe0f", *map(chr, range(0x1F3FB, 0x1F400))}
_FLAGS = set(map(chr, range(0x1F1E6, 0x1F200)))
"""Letters of flags: two make one picture on some terminals, and two of twice the width on others."""

_FORMULA = re.compile(r"(?!-\d+(?:\.\d+)?\Z)(?:[\t\r\n\0]|[\s'\"\0]*[=+\-@＝＋－＠|%])")
"""How a cell begins that a spreadsheet may run; some trim blanks and quotes first, | and % lead to other programs.

A negative number is none.
"""


def clean(text: str) -> str:
    """Make control characters, bidi marks, surrogates and other invisible characters visible, as \\x1b or \\u202e.

    Joiners and skin tones in emoji are dropped instead: terminals disagree on their width, which would break alignment.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in _JOINERS:
        return ""
    if unicodedata.category(character) not in _INVISIBLE and character not in _FLAGS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str, limit: int = 200) -> str:
    """Clean text for a table cell, cut to `limit` characters before anything expensive is done with it."""
    cleaned = clean(text[: limit + 1])
    whole = len(text) <= limit + 1 and len(cleaned) <= limit
    return cleaned if whole else cleaned[: limit - 1] + "…"


def storable(text: str, field: str, *, limit: int = 200, required: bool = True) -> str:
    """Return text that every database can hold, trimmed; raise InvalidInput naming the field if it cannot be.

    NUL and lone surrogates cannot be stored in PostgreSQL, so they are refused everywhere alike.
    """
    trimmed = text.strip()
    if required and not trimmed:
        raise InvalidInput(_("%(field)s is required.") % {"field": field}, field=field)
    if len(trimmed) > limit:
        raise InvalidInput(
            _("%(field)s is longer than %(limit)d characters.") % {"field": field, "limit": limit}, field=field
        )
    # Most ids are plain ASCII, of which this is known five times as fast as the pattern finds nothing.
    if "\0" in trimmed or (not trimmed.isascii() and _UNSTORABLE.search(trimmed)):
        raise InvalidInput(_("%(field)s holds a character that cannot be stored.") % {"field": field}, field=field)
    return trimmed


def require_storable(texts: Sequence[str], field: str, *, limit: int = 200) -> None:
    """Raise InvalidInput unless `storable` takes each of many texts, trimmed already."""
    if max(map(len, texts)) > limit or not all(texts) or _UNSTORABLE.search("".join(texts)):
        for text in texts:
            storable(text, field, limit=limit)


_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def storable_message(text: str, limit: int = 4000) -> str:
    """Return an error message as every database can hold it; what cannot be stored is replaced, not refused."""
    return _UNSTORABLE.sub("\ufffd", text[:limit])


_JSON_UNSAFE = re.compile(
    r"[\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Write JSON in which invisible and control characters are escaped, everything else is readable."""
    encoded = json.dumps(value, ensure_ascii=False, indent=indent)
    return _JSON_UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", encoded)


def inert_cell(value: str) -> str:
    """Prefix a text cell that a spreadsheet would run as a formula with an apostrophe (OWASP, CSV injection)."""
    return f"'{value}" if _FORMULA.match(value) else value


def cell_as_meant(cell: str) -> str:
    """Take away the apostrophe that `inert_cell` puts before a formula, and no other."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell, 1) else cell


def csv_line(values: Iterable[object]) -> str:
    """Write one CSV line; text is made visible and inert, numbers stay numbers."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(_csv_cell(value) for value in values)
    return buffer.getvalue()


def _csv_cell(value: object) -> object:
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    if isinstance(value, Decimal):
        return plain(value)
    return inert_cell(clean(value)) if isinstance(value, str) else value
