"""Which usage records to look at: user, provider, model, type, status, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from textual.widgets import Input

from billing_console import clock
from billing_console.i18n import N_, _
from db.values import CallStatus, UsageType
from screens import words
from screens.dialogs.catalogue import UserSuggester, text_or_none
from screens.dialogs.form import Field
from screens.dialogs.period_filter import CUSTOM, PeriodFilterDialog, optional_choice, period_field

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.usage import UsageFilter

PERIODS = {
    "": N_("any time"),
    "today": N_("today"),
    "24h": N_("last 24 hours"),
    "7d": N_("last 7 days"),
    "month": N_("this month"),
    CUSTOM: N_("from … to …"),
}


@dataclass(frozen=True, slots=True)
class UsageWish:
    """A filter as a person put it; a period such as “today” moves with the clock."""

    user_id: str | None = None
    provider_id: str | None = None
    model_id: str | None = None
    usage_type: UsageType | None = None
    status: CallStatus | None = None
    period: str = ""
    start: datetime | None = None
    end: datetime | None = None

    def resolve(self, ledger: Ledger) -> UsageFilter:
        """Turn the wish into a filter of instants; runs in a worker thread."""
        from billing_console.services.catalogue import provider_called
        from billing_console.services.usage import UsageFilter

        provider = self.provider_id and provider_called(ledger, self.provider_id)
        start = self.start if self.period == CUSTOM else _begin(self.period, ledger.clock(), ledger.timezone)
        return UsageFilter(self.user_id, provider, self.model_id, self.usage_type, self.status, start, self.end)

    def text(self, zone: tzinfo | None) -> str:
        """Describe the wish for the filter line."""
        parts = [
            _("user %(value)s") % {"value": self.user_id} if self.user_id else "",
            _("provider %(value)s") % {"value": self.provider_id} if self.provider_id else "",
            _("model %(value)s") % {"value": self.model_id} if self.model_id else "",
            _(words.USAGE_TYPES[self.usage_type]) if self.usage_type else "",
            _(words.CALL_STATUSES[self.status]) if self.status else "",
            _(PERIODS[self.period]) if self.period not in ("", CUSTOM) else "",
            _("from %(value)s") % {"value": _spell(self.start, zone)} if self.start else "",
            _("to %(value)s") % {"value": _spell(self.end, zone, end=True)} if self.end else "",
        ]
        return " · ".join(part for part in parts if part)


def _begin(period: str, now: datetime, zone: ZoneInfo) -> datetime | None:
    today = clock.day_of(now, zone)
    if period == "24h":
        return now - timedelta(hours=24)
    days = {"today": today, "7d": today - timedelta(days=6), "month": today.replace(day=1)}
    return clock.start_of(days[period], zone) if period in days else None


def _spell(instant: datetime | None, zone: tzinfo | None, *, end: bool = False) -> str:
    """Spell an instant the way the form reads it back: a whole day by its date, the end of a day by that day."""
    if instant is None:
        return ""
    local = instant.astimezone(zone)
    if local.time() == time.min:
        return (local - timedelta(days=1 if end else 0)).date().isoformat()
    return local.replace(tzinfo=None).isoformat(timespec="auto")


class UsageFilterDialog(PeriodFilterDialog[UsageWish | None]):
    """The filter of the usage records; every field is optional, Enter applies."""

    def __init__(self, wish: UsageWish) -> None:
        """Start from the filter in force."""
        super().__init__()
        self.wish = wish

    def heading(self) -> str:
        """Return the title line."""
        return _("Filter usage records")

    def fields(self) -> Sequence[Field]:
        """Declare the fields of the seed's filters, and two more."""
        wish, any_ = self.wish, _("any")
        time_hint = _("2026-11-24 or 2026-11-24T09:30")
        return (
            Field("user_id", N_("User"), text_or_none, wish.user_id or "", any_),
            Field("provider_id", N_("Provider"), text_or_none, wish.provider_id or "", any_),
            Field("model_id", N_("Model"), text_or_none, wish.model_id or "", any_),
            optional_choice("usage_type", N_("Type"), words.USAGE_TYPES, wish.usage_type),
            optional_choice("status", N_("Status"), words.CALL_STATUSES, wish.status),
            period_field(PERIODS, wish.period),
            Field("start", N_("From"), self._instant, _spell(wish.start, self.console.zone), time_hint),
            Field("end", N_("To"), self._end, _spell(wish.end, self.console.zone, end=True), time_hint),
        )

    def _instant(self, text: str) -> datetime | None:
        return clock.parse_instant(text, self._zone) if text.strip() else None

    def _end(self, text: str) -> datetime | None:
        return clock.parse_instant(text, self._zone, end=True) if text.strip() else None

    @property
    def _zone(self) -> ZoneInfo:
        assert self.console.ledger is not None
        return self.console.ledger.timezone

    def on_mount(self) -> None:
        """Fetch what users complete to."""
        if self.console.ledger is not None:
            self.query_one("#user_id", Input).suggester = UserSuggester(self.console.ledger)

    def accept(self, values: dict[str, Any]) -> None:
        """Hand the wish to the tab."""
        start, end = values["start"], values["end"]
        if start and end and start >= end:
            self.rows[-1].fault(_("The end must come after the beginning."))
            self.rows[-1].focus_field()
            return
        if values["period"] == CUSTOM and not (start or end):
            values["period"] = ""
        self.dismiss(UsageWish(**values))
