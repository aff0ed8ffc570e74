"""Time as the ledger sees it: instants in UTC, days in the business time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from billing_console.errors import InvalidInput
from billing_console.i18n import _


def now() -> datetime:
    """Return this instant in UTC."""
    return datetime.now(UTC)


def zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name such as Asia/Shanghai; raise InvalidInput for another."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(_("“%(name)s” is not a time zone like Asia/Shanghai.") % {"name": name}) from None


def day_of(instant: datetime, tz: ZoneInfo) -> date:
    """Return the business day an instant belongs to."""
    return instant.astimezone(tz).date()


def start_of(day: date, tz: tzinfo) -> datetime:
    """Return the first instant of a business day, in UTC."""
    return datetime.combine(day, time.min, tz).astimezone(UTC)


def parse_instant(text: str, tz: ZoneInfo, *, end: bool = False) -> datetime:
    """Read a date or an ISO 8601 instant, without zone taken in `tz`; a date as `end` means the end of that day.

    Ranges are half-open, so the end of a day is the start of the next. Raises InvalidInput for anything else.
    """
    stripped = text.strip()
    try:
        if len(stripped) <= 10:
            day = date.fromisoformat(stripped)
            return start_of(day + timedelta(days=1) if end else day, tz)
        instant = datetime.fromisoformat(stripped)
        return (instant if instant.tzinfo else instant.replace(tzinfo=tz)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(
            _("“%(text)s” is not a date like 2026-11-24 or a time like 2026-11-24T09:30.") % {"text": text[:40]}
        ) from None


def iso(instant: datetime) -> str:
    """Spell an instant for machines: ISO 8601 in UTC, with the zone."""
    return instant.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
