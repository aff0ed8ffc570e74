"""Which cost statistics to look at: days, provider, model, type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from billing_console import clock
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _
from db.values import UsageType
from screens import words
from screens.dialogs.catalogue import text_or_none
from screens.dialogs.form import Field
from screens.dialogs.period_filter import CUSTOM, PeriodFilterDialog, optional_choice, period_field

if TYPE_CHECKING:
    from billing_console.services.costs import CostFilter
    from billing_console.services.ledger import Ledger

PERIODS = {
    "30d": N_("last 30 days"),
    "7d": N_("last 7 days"),
    "90d": N_("last 90 days"),
    "today": N_("today"),
    "month": N_("this month"),
    "last_month": N_("last month"),
    CUSTOM: N_("from … to …"),
}
"""The seed's default, the last 30 days, first."""

MOST_DAYS = 3660
YEARS = range(1970, 9000)
"""Years of days that can be asked for: some before and after them can still be reckoned with."""


@dataclass(frozen=True, slots=True)
class CostWish:
    """A filter as a person put it; a period such as “last 30 days” moves with the calendar."""

    provider_id: str | None = None
    model_id: str | None = None
    usage_type: UsageType | None = None
    period: str = "30d"
    start: date | None = None
    end: date | None = None

    def resolve(self, ledger: Ledger) -> CostFilter:
        """Turn the wish into business days; runs in a worker thread."""
        from billing_console.services.catalogue import provider_called
        from billing_console.services.costs import CostFilter

        provider = self.provider_id and provider_called(ledger, self.provider_id)
        start, end = self._days(clock.day_of(ledger.clock(), ledger.timezone))
        return CostFilter(start, end, provider, self.model_id, self.usage_type)

    def _days(self, today: date) -> tuple[date, date]:
        if self.period == CUSTOM:
            end = self.end or max(today, self.start or today)
            return self.start or end - timedelta(days=29), end
        month = today.replace(day=1)
        if self.period == "last_month":
            return (month - timedelta(days=1)).replace(day=1), month - timedelta(days=1)
        days = {"7d": 6, "30d": 29, "90d": 89, "today": 0}
        return month if self.period == "month" else today - timedelta(days=days[self.period]), today

    def text(self) -> str:
        """Describe the wish for the filter line; the period is always part of it."""
        parts = [
            _(PERIODS[self.period]) if self.period != CUSTOM else "",
            _("from %(value)s") % {"value": self.start} if self.start else "",
            _("to %(value)s") % {"value": self.end} if self.end else "",
            _("provider %(value)s") % {"value": self.provider_id} if self.provider_id else "",
            _("model %(value)s") % {"value": self.model_id} if self.model_id else "",
            _(words.USAGE_TYPES[self.usage_type]) if self.usage_type else "",
        ]
        return " · ".join(part for part in parts if part)


class CostFilterDialog(PeriodFilterDialog[CostWish | None]):
    """The filter of the cost statistics; Enter applies."""

    def __init__(self, wish: CostWish) -> None:
        """Start from the filter in force."""
        super().__init__()
        self.wish = wish

    def heading(self) -> str:
        """Return the title line."""
        return _("Filter cost statistics")

    def fields(self) -> Sequence[Field]:
        """Declare the fields of the seed's filters, and the type."""
        wish, any_ = self.wish, _("any")
        return (
            period_field(PERIODS, wish.period),
            Field("start", N_("From"), _day, str(wish.start or ""), "2026-11-24"),
            Field("end", N_("To"), _day, str(wish.end or ""), "2026-11-24"),
            Field("provider_id", N_("Provider"), text_or_none, wish.provider_id or "", any_),
            Field("model_id", N_("Model"), text_or_none, wish.model_id or "", any_),
            optional_choice("usage_type", N_("Type"), words.USAGE_TYPES, wish.usage_type),
        )

    def accept(self, values: dict[str, Any]) -> None:
        """Hand the wish to the tab."""
        start, end = values["start"], values["end"]
        if start and end and not 0 <= (end - start).days < MOST_DAYS:
            self.refused(InvalidInput(_("The end must come after the beginning, within ten years."), field="end"))
            return
        if values["period"] == CUSTOM and not (start or end):
            values["period"] = "30d"
        self.dismiss(CostWish(**values))


def _day(text: str) -> date | None:
    if not text.strip():
        return None
    try:
        day = date.fromisoformat(text.strip())
        if day.year not in YEARS:
            raise ValueError
    except ValueError:
        raise InvalidInput(_("“%(text)s” is not a date like 2026-11-24.") % {"text": text.strip()[:20]}) from None
    return day
