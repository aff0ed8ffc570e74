"""A filter of usage records as a person put it: its parts, each of which can be taken off or turned round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from billing_console.i18n import _
from db.values import CallStatus, UsageType
from screens import words
from screens.dialogs.period_filter import CUSTOM, begin, period_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from billing_console.services.ledger import Ledger
    from billing_console.services.usage import UsageFilter

NEGATABLE = ("user_id", "provider_id", "model_id", "usage_type")
OTHER = {CallStatus.SUCCESS: CallStatus.FAILED, CallStatus.FAILED: CallStatus.SUCCESS}


@dataclass(frozen=True, slots=True)
class UsageWish:
    """A filter as a person put it; a period such as “today” moves with the clock.

    `negated` names the fields whose value is excluded.
    """

    user_id: str | None = None
    provider_id: str | None = None
    model_id: str | None = None
    usage_type: UsageType | None = None
    status: CallStatus | None = None
    period: str = ""
    start: datetime | None = None
    end: datetime | None = None
    negated: frozenset[str] = frozenset()

    def resolve(self, ledger: Ledger) -> UsageFilter:
        """Turn the wish into a filter of instants; runs in a worker thread."""
        from billing_console.services.catalogue import provider_called
        from billing_console.services.usage import UsageFilter

        provider = self.provider_id and provider_called(ledger, self.provider_id)
        start = self.start if self.period == CUSTOM else begin(self.period, ledger.clock(), ledger.timezone)
        return UsageFilter(
            self.user_id, provider, self.model_id, self.usage_type, self.status, start, self.end, self.negated
        )

    def parts(self, zone: tzinfo | None) -> tuple[tuple[str, str], ...]:
        """Return the field and the words of each part of the filter that is in force."""
        return tuple(self._parts(zone))

    def _parts(self, zone: tzinfo | None) -> Iterator[tuple[str, str]]:
        described = {
            "user_id": self.user_id and _("user %(value)s") % {"value": self.user_id},
            "provider_id": self.provider_id and _("provider %(value)s") % {"value": self.provider_id},
            "model_id": self.model_id and _("model %(value)s") % {"value": self.model_id},
            "usage_type": self.usage_type and _(words.USAGE_TYPES[self.usage_type]),
            "status": self.status and _(words.CALL_STATUSES[self.status]),
        }
        for field, text in described.items():
            if text:
                yield field, _("not %(filter)s") % {"filter": text} if field in self.negated else text
        times = {"period": (self.period, None, None), "start": ("", self.start, None), "end": ("", None, self.end)}
        for field, (period, start, end) in times.items():
            for text in period_words(period, start, end, zone):
                yield field, text

    def text(self, zone: tzinfo | None) -> str:
        """Describe the wish in one line."""
        return " · ".join(text for _field, text in self.parts(zone))

    def without(self, field: str) -> UsageWish:
        """Return the wish without one of its parts."""
        changes: dict[str, object] = {field: "" if field == "period" else None}
        if field in ("start", "end") and not (self.end if field == "start" else self.start):
            changes["period"] = ""
        return replace(self, negated=self.negated - {field}, **changes)  # type: ignore[arg-type]

    def turned(self, field: str) -> UsageWish:
        """Return the wish with one of its parts excluded instead of wanted, or wanted again; times stay."""
        if field == "status" and self.status is not None:
            return replace(self, status=OTHER[self.status])
        return replace(self, negated=self.negated ^ {field}) if field in NEGATABLE else self
