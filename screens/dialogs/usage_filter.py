"""Which usage records to look at: user, provider, model, type, status, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from textual.widgets import Input

from billing_console.i18n import N_, _
from db.values import CallStatus, UsageType
from screens import words
from screens.dialogs.catalogue import UserSuggester, text_or_none
from screens.dialogs.form import Field
from screens.dialogs.period_filter import CUSTOM, InstantFilterDialog, begin, optional_choice, period_words

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.usage import UsageFilter


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
        start = self.start if self.period == CUSTOM else begin(self.period, ledger.clock(), ledger.timezone)
        return UsageFilter(self.user_id, provider, self.model_id, self.usage_type, self.status, start, self.end)

    def text(self, zone: tzinfo | None) -> str:
        """Describe the wish for the filter line."""
        parts = [
            _("user %(value)s") % {"value": self.user_id} if self.user_id else "",
            _("provider %(value)s") % {"value": self.provider_id} if self.provider_id else "",
            _("model %(value)s") % {"value": self.model_id} if self.model_id else "",
            _(words.USAGE_TYPES[self.usage_type]) if self.usage_type else "",
            _(words.CALL_STATUSES[self.status]) if self.status else "",
            *period_words(self.period, self.start, self.end, zone),
        ]
        return " · ".join(part for part in parts if part)


class UsageFilterDialog(InstantFilterDialog[UsageWish | None]):
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
        return (
            Field("user_id", N_("User"), text_or_none, wish.user_id or "", any_),
            Field("provider_id", N_("Provider"), text_or_none, wish.provider_id or "", any_),
            Field("model_id", N_("Model"), text_or_none, wish.model_id or "", any_),
            optional_choice("usage_type", N_("Type"), words.USAGE_TYPES, wish.usage_type),
            optional_choice("status", N_("Status"), words.CALL_STATUSES, wish.status),
            *self.time_fields(wish.period, wish.start, wish.end),
        )

    def on_mount(self) -> None:
        """Fetch what users complete to."""
        if self.console.ledger is not None:
            self.query_one("#user_id", Input).suggester = UserSuggester(self.console.ledger)

    def accept(self, values: dict[str, Any]) -> None:
        """Hand the wish to the tab."""
        if self.in_order(values):
            self.dismiss(UsageWish(**values))
