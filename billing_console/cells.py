"""Values as files from outside spell them, read exactly or refused with the field named.

A value is text (CSV) or what JSON holds; None and empty text mean that there is none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.text import one_line

Choice = TypeVar("Choice", bound=StrEnum)

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?", re.ASCII)
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?) ?(Z|UTC|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII | re.I
)
_ISO_WITH_ZONE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_UNIX = re.compile(r"(\d{10})(\.\d{1,9})?|(\d{10})(\d{3})", re.ASCII)

MOST_DIGITS = 40
"""Digits a number may have; products of two such numbers are still exact."""

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Times outside are mistakes, such as a zero for an unknown time."""


def missing(field: str) -> InvalidInput:
    """Return the refusal of a row without a required field."""
    return InvalidInput(_("%(field)s is required.") % {"field": field}, field=field)


def as_text(value: Any, field: str) -> str | None:
    """Read text; a whole number in JSON is an id and is read as its digits."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _wrong(field, value, _("text"))


def as_choice(value: Any, field: str, choices: type[Choice]) -> Choice | None:
    """Read one word of a closed vocabulary."""
    text = as_text(value, field)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        raise InvalidInput(
            _("%(field)s “%(value)s” is not one of: %(choices)s.")
            % {"field": field, "value": one_line(text, 40), "choices": ", ".join(choices)},
            field=field,
        ) from None


def as_whole(value: Any, field: str) -> int | None:
    """Read a whole number; 12.0 is one, 1e3 is not."""
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if len(text) <= MOST_DIGITS and _WHOLE.fullmatch(text):
            return int(text.partition(".")[0])
    elif value is None:
        return None
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    elif isinstance(value, Decimal) and value.adjusted() < MOST_DIGITS and value == value.to_integral_value():
        return int(value)
    raise _wrong(field, value, _("a whole number"))


def as_decimal(value: Any, field: str) -> Decimal | None:
    """Read an exact number, an exponent allowed, as programs write small costs (8e-05); thousands separators are not.

    A comma is refused because it separates thousands in one country and decimals in another.
    """
    number: Decimal | None = None
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if len(text) <= MOST_DIGITS + 10 and _NUMBER.fullmatch(text):
            number = Decimal(text)
    elif value is None:
        return None
    elif isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        number = Decimal(value)
    if number is None or len(number.as_tuple().digits) > MOST_DIGITS or abs(number.adjusted()) > 1000:
        raise _wrong(field, value, _("a number like 0.0125"))
    return number


def as_instant(value: Any, field: str, zone: ZoneInfo) -> datetime | None:
    """Read a time as an instant in UTC: ISO 8601, without zone taken in `zone`, or Unix seconds or milliseconds.

    Digits beyond microseconds are dropped.
    """
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else "" if isinstance(value, bool) else str(value)
    if not text and isinstance(value, str):
        return None
    try:
        instant = _read_instant(text, zone)
    except (ValueError, OverflowError):
        instant = None
    if instant is None:
        raise _wrong(field, value, _("a time like 2026-11-24T09:30:00+08:00, or Unix seconds or milliseconds"))
    if not EARLIEST <= instant < LATEST:
        raise InvalidInput(_("%(field)s lies before the year 2000 or too far ahead.") % {"field": field}, field=field)
    return instant


def _read_instant(text: str, zone: ZoneInfo) -> datetime | None:
    if _ISO_WITH_ZONE.fullmatch(text):
        return datetime.fromisoformat(text).astimezone(UTC)
    iso = _INSTANT.fullmatch(text)
    if iso:
        day, time, offset = iso.groups()
        local = datetime.fromisoformat(f"{day}T{time}" if time else day)
        if offset is None:
            return local.replace(tzinfo=zone).astimezone(UTC)
        if offset in ("Z", "z") or offset.upper() == "UTC":
            return local.replace(tzinfo=UTC)
        return datetime.fromisoformat(f"{local.isoformat()}{offset}").astimezone(UTC)
    unix = _UNIX.fullmatch(text)
    if unix:
        seconds, fraction, whole, thousandths = unix.groups()
        micros = int(((fraction or "." + (thousandths or ""))[1:] + "000000")[:6])
        return datetime.fromtimestamp(int(seconds or whole), UTC).replace(microsecond=micros)
    return None


def _wrong(field: str, value: Any, wanted: str) -> InvalidInput:
    shown = one_line(value if isinstance(value, str) else type(value).__name__ if _nested(value) else str(value), 40)
    return InvalidInput(
        _("%(field)s “%(value)s” is not %(wanted)s.") % {"field": field, "value": shown, "wanted": wanted}, field=field
    )


def _nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name comes nearest to one that is not known, or which there are."""
    names = list(known)
    lower = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name.lower().replace("_", ""), lower, n=1, cutoff=0.5)
    if near:
        return _("Did you mean “%(near)s”?") % {"near": lower[near[0]]}
    return _("Known are: %(names)s.") % {"names": ", ".join(names)}
