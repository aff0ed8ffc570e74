"""Which rows of the audit log to look at: who, what, on what, how it ended, when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from textual.suggester import SuggestFromList
from textual.widgets import Input

from billing_console.i18n import N_, _
from billing_console.services.actions import Action
from db.values import Outcome
from screens import words
from screens.console import ask
from screens.dialogs.catalogue import text_or_none
from screens.dialogs.form import Field
from screens.dialogs.period_filter import CUSTOM, InstantFilterDialog, begin, optional_choice, period_words

if TYPE_CHECKING:
    from billing_console.services.audit import AuditFilter
    from billing_console.services.ledger import Ledger


@dataclass(frozen=True, slots=True)
class AuditWish:
    """A filter as a person put it; a period such as “today” moves with the clock."""

    operator: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: Outcome | None = None
    period: str = ""
    start: datetime | None = None
    end: datetime | None = None

    def resolve(self, ledger: Ledger) -> AuditFilter:
        """Turn the wish into a filter of instants; runs in a worker thread."""
        from billing_console.services.audit import AuditFilter

        start = self.start if self.period == CUSTOM else begin(self.period, ledger.clock(), ledger.timezone)
        return AuditFilter(self.operator, self.action, self.target, self.outcome, start, self.end)

    def text(self, zone: tzinfo | None) -> str:
        """Describe the wish for the filter line."""
        parts = [
            _("operator %(value)s") % {"value": self.operator} if self.operator else "",
            _("action %(value)s") % {"value": self.action} if self.action else "",
            _("target contains %(value)s") % {"value": self.target} if self.target else "",
            _(words.OUTCOMES[self.outcome]) if self.outcome else "",
            *period_words(self.period, self.start, self.end, zone),
        ]
        return " · ".join(part for part in parts if part)


class AuditFilterDialog(InstantFilterDialog[AuditWish | None]):
    """The filter of the audit log; every field is optional, Enter applies."""

    def __init__(self, wish: AuditWish) -> None:
        """Start from the filter in force."""
        super().__init__()
        self.wish = wish

    def heading(self) -> str:
        """Return the title line."""
        return _("Filter the audit log")

    def fields(self) -> Sequence[Field]:
        """Declare the fields; an action is found by its beginning too, such as pools."""
        wish, any_ = self.wish, _("any")
        action = _("any, such as pools or pools.recharge")
        return (
            Field("operator", N_("Operator"), text_or_none, wish.operator or "", any_),
            Field("action", N_("Action"), text_or_none, wish.action or "", action, suggestions=tuple(map(str, Action))),
            Field("target", N_("Target contains"), text_or_none, wish.target or "", any_),
            optional_choice("outcome", N_("Outcome"), words.OUTCOMES, wish.outcome),
            *self.time_fields(wish.period, wish.start, wish.end),
        )

    def on_mount(self) -> None:
        """Fetch whom operators complete to."""

        def suggest(names: tuple[str, ...]) -> None:
            self.query_one("#operator", Input).suggester = SuggestFromList(names, case_sensitive=False)

        ask(self, _operators, suggest, lambda _error: None, group="catalogue")

    def accept(self, values: dict[str, Any]) -> None:
        """Hand the wish to the list."""
        if self.in_order(values):
            self.dismiss(AuditWish(**values))


def _operators(ledger: Ledger) -> tuple[str, ...]:
    from billing_console.services.actions import SYSTEM_MAY
    from billing_console.services.operators import list_operators

    return (*(operator.name for operator in list_operators(ledger)), *SYSTEM_MAY)
