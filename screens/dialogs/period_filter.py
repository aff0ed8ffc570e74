"""The bases of filters with a period: one chosen by name, or days and times typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar
from zoneinfo import ZoneInfo

from textual import on
from textual.widgets import Input

from billing_console import clock
from billing_console.i18n import N_, _
from screens.dialogs.base import Result
from screens.dialogs.catalogue import complete_names
from screens.dialogs.form import Choice, Field, FormDialog

CUSTOM = "custom"
"""The period that the fields `start` and `end` describe."""

PERIODS = {
    "": N_("any time"),
    "today": N_("today"),
    "24h": N_("last 24 hours"),
    "7d": N_("last 7 days"),
    "month": N_("this month"),
    CUSTOM: N_("from … to …"),
}
"""The periods of what has happened at an instant."""

Value = TypeVar("Value", bound=StrEnum)


class PeriodFilterDialog(FormDialog[Result], Generic[Result]):
    """A filter with the fields `period`, `start` and `end`, which follow each other; Enter applies from any field."""

    ENTER_ACCEPTS: ClassVar[bool] = True

    def on_mount(self) -> None:
        """Let the fields complete."""
        self.complete()

    def complete(self) -> None:
        """Fetch what providers and models complete to."""
        if self.query("#provider_id"):
            complete_names(self)

    @on(Input.Changed, "#start, #end")
    def _times_typed(self, event: Input.Changed) -> None:
        if event.value.strip():
            self.query_one("#period", Choice).choose(CUSTOM)

    @on(Choice.Changed)
    def _period_chosen(self) -> None:
        if self.query_one("#period", Choice).value != CUSTOM:
            for name in ("#start", "#end"):
                self.query_one(name, Input).value = ""


class InstantFilterDialog(PeriodFilterDialog[Result], Generic[Result]):
    """A filter of things that happened at an instant; its last fields are those of `time_fields`."""

    def time_fields(self, period: str, start: datetime | None, end: datetime | None) -> Iterator[Field]:
        """Declare the period and its ends, as they are now."""
        hint, zone = _("2026-11-24 or 2026-11-24T09:30"), self.console.zone
        yield period_field(PERIODS, period)
        yield Field("start", N_("From"), self._instant, spell(start, zone), hint)
        yield Field("end", N_("To"), self._end, spell(end, zone, end=True), hint)

    def _instant(self, text: str) -> datetime | None:
        return clock.parse_instant(text, self._zone) if text.strip() else None

    def _end(self, text: str) -> datetime | None:
        return clock.parse_instant(text, self._zone, end=True) if text.strip() else None

    @property
    def _zone(self) -> ZoneInfo:
        assert self.console.ledger is not None
        return self.console.ledger.timezone

    def in_order(self, values: dict[str, Any]) -> bool:
        """Tell whether the period is one, or mark the field that is wrong."""
        start, end = values["start"], values["end"]
        if start and end and start >= end:
            self.rows[-1].fault(_("The end must come after the beginning."))
            self.rows[-1].focus_field()
            return False
        if values["period"] == CUSTOM and not (start or end):
            values["period"] = ""
        return True


def begin(period: str, now: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when a period of PERIODS begins; None for any time."""
    today = clock.day_of(now, zone)
    if period == "24h":
        return now - timedelta(hours=24)
    days = {"today": today, "7d": today - timedelta(days=6), "month": today.replace(day=1)}
    return clock.start_of(days[period], zone) if period in days else None


def spell(instant: datetime | None, zone: tzinfo | None, *, end: bool = False) -> str:
    """Spell an instant the way the form reads it back: a whole day by its date, the end of a day by that day."""
    if instant is None:
        return ""
    local = instant.astimezone(zone)
    if local.time() == time.min:
        return (local - timedelta(days=1 if end else 0)).date().isoformat()
    return local.replace(tzinfo=None).isoformat(timespec="auto")


def period_words(period: str, start: datetime | None, end: datetime | None, zone: tzinfo | None) -> Iterator[str]:
    """Yield the words of a period for the filter line."""
    if period not in ("", CUSTOM):
        yield _(PERIODS[period])
    if start:
        yield _("from %(value)s") % {"value": spell(start, zone)}
    if end:
        yield _("to %(value)s") % {"value": spell(end, zone, end=True)}


def period_field(periods: Mapping[str, str], chosen: str) -> Field:
    """Declare the choice of a period; `periods` maps values to words marked with N_()."""
    return Field("period", N_("Period"), initial=chosen, choices=tuple((key, _(word)) for key, word in periods.items()))


def optional_choice(name: str, label: str, words: Mapping[Value, str], chosen: Value | None) -> Field:
    """Declare a choice among a closed vocabulary, or any; `words` are marked with N_()."""
    values = {str(value): value for value in words}
    choices = (("", _("any")), *((str(value), _(word)) for value, word in words.items()))
    return Field(name, label, values.get, chosen or "", choices=choices)
