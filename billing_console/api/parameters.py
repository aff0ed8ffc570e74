"""The parameters of the seed's endpoints, read exactly: what is not known here, or not right, is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from billing_console import clock
from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.services.costs import CostFilter, last_days
from billing_console.services.ledger import Ledger
from billing_console.services.usage_filter import Position, UsageFilter

DEFAULT_SIZE = 50
MOST = 1000
DEEPEST_PAGE = 10**9

STORABLE = r"^[^\x00]+$"
"""PostgreSQL has no NUL in its texts, so nothing that holds one can be found."""

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=STORABLE)]
PathText = Annotated[str, Path(min_length=1, max_length=200, pattern=STORABLE)]
Day = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        description="A day of the business time zone, or an ISO 8601 instant. Ranges are half-open: a day as the end"
        " is included whole, an instant as the end is not.",
        examples=["2026-03-10", "2026-03-10T09:30:00+08:00"],
    ),
]


class Parameters(BaseModel):
    """Query parameters; one that is not known is refused, since a filter that is not applied is a wrong answer."""

    model_config = ConfigDict(extra="forbid")


class Paged(Parameters):
    """Which page, counted from 1, and how many records it has."""

    page: int = Field(1, ge=1, le=DEEPEST_PAGE)
    size: int = Field(DEFAULT_SIZE, ge=1, le=MOST)

    @property
    def before(self) -> int:
        """Return how many records come before the page."""
        return (self.page - 1) * self.size


class UsageParameters(Paged):
    """Which usage records."""

    userId: Text | None = None
    providerId: Text | None = None
    modelId: Text | None = None
    startDate: Day | None = None
    endDate: Day | None = None
    cursor: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="The nextCursor of the page before; as fast as the first page, however deep."
    )


class CostParameters(Paged):
    """Which statistics; by default those of the last 30 days."""

    startDate: Day | None = None
    endDate: Day | None = None
    providerId: Text | None = None
    modelId: Text | None = None
    size: int = Field(MOST, ge=1, le=MOST)


class AlertParameters(Paged):
    """Which alerts."""

    isResolved: bool | None = None
    providerId: Text | None = None


class NoParameters(Parameters):
    """None at all."""


class ProviderParameters(Parameters):
    """One provider, or all."""

    providerId: Text | None = None


UsageQuery = Annotated[UsageParameters, Query()]
CostQuery = Annotated[CostParameters, Query()]
AlertQuery = Annotated[AlertParameters, Query()]
PagedQuery = Annotated[Paged, Query()]
NoQuery = Annotated[NoParameters, Query()]
ProviderQuery = Annotated[ProviderParameters, Query()]


def usage_filter(ledger: Ledger, asked: UsageParameters) -> UsageFilter:
    """Return the filter that was asked for; raise InvalidInput for a time that is none and an empty range."""
    start, end = between(ledger, asked.startDate, asked.endDate)
    return UsageFilter(user_id=asked.userId, provider_id=asked.providerId, model_id=asked.modelId, start=start, end=end)


def cost_filter(ledger: Ledger, asked: CostParameters) -> CostFilter:
    """Return the filter that was asked for: every business day that the range touches."""
    start, end = between(ledger, asked.startDate, asked.endDate)
    default = last_days(ledger)
    length = default.end - default.start
    last = default.end if end is None else clock.day_of(end - timedelta(microseconds=1), ledger.timezone)
    if start is None:
        first = _earlier(last, length)
    else:
        first = clock.day_of(start, ledger.timezone)
        last = last if end is not None else max(first, last)
    return CostFilter(start=first, end=last, provider_id=asked.providerId, model_id=asked.modelId)


def require_cursor(cursor: str) -> None:
    """Raise InvalidInput for a cursor that is none."""
    try:
        Position.decode(cursor)
    except InvalidInput as error:
        raise InvalidInput(error.message, error.hint, field="cursor") from None


def _earlier(day: date, length: timedelta) -> date:
    return max(day, date.min + length) - length


def between(ledger: Ledger, start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    """Return a half-open range of instants; raise InvalidInput for a time that is none and an empty range."""
    first = None if start is None else named("startDate", lambda: instant(ledger, start))
    last = None if end is None else named("endDate", lambda: instant(ledger, end, end=True))
    if first is not None and last is not None and last <= first:
        raise InvalidInput(_("startDate is not before endDate."), field="startDate")
    return first, last


def instant(ledger: Ledger, text: str, *, end: bool = False) -> datetime:
    """Read a time as `parse_instant` does, and refuse the ends of the calendar, where days cannot be counted."""
    found = clock.parse_instant(text, ledger.timezone, end=end)
    if not date.min.year < found.year < date.max.year:
        raise InvalidInput(_("“%(text)s” is too early or too late.") % {"text": text[:40]})
    return found


def named(field: str, read: Callable[[], Any]) -> Any:
    """Read a value; say that what is wrong is this field's, unless another field is named."""
    try:
        return read()
    except InvalidInput as error:
        raise InvalidInput(error.message, error.hint, field=error.field or field) from None
