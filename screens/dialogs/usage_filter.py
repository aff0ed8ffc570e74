"""Which usage records to look at: user, provider, model, type, status, time; `!` before a value excludes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.app import ComposeResult
from textual.widgets import Input

from billing_console import negation
from billing_console.i18n import N_, _
from db.values import UsageType
from screens import words
from screens.dialogs.form import Field
from screens.dialogs.period_filter import InstantFilterDialog, optional_choice
from screens.dialogs.usage_known import KNOWN, KnownSuggester
from screens.usage_wish import NEGATABLE, UsageWish
from screens.widgets.line import Line

__all__ = ["UsageFilterDialog", "UsageWish"]


class UsageFilterDialog(InstantFilterDialog[UsageWish | None]):
    """The filter of the usage records; every field is optional, Enter applies."""

    def __init__(self, wish: UsageWish) -> None:
        """Start from the filter in force."""
        super().__init__()
        self.wish = wish

    def heading(self) -> str:
        """Return the title line."""
        return _("Filter usage records") + "  " + _("(! before a value: all others)")

    def fields(self) -> Sequence[Field]:
        """Declare the fields of the seed's filters, and two more."""
        wish = self.wish
        return (
            self._negatable("user_id", N_("User")),
            self._negatable("provider_id", N_("Provider")),
            self._negatable("model_id", N_("Model")),
            self._type(),
            optional_choice("status", N_("Status"), words.CALL_STATUSES, wish.status),
            *self.time_fields(wish.period, wish.start, wish.end),
        )

    def _negatable(self, field: str, label: str) -> Field:
        value = negation.spell(getattr(self.wish, field), field in self.wish.negated)
        return Field(field, label, negation.read, value, _("any"))

    def _type(self) -> Field:
        named = [(value.value, _(word)) for value, word in words.USAGE_TYPES.items()]
        excluded = [(negation.NOT + value, _("not %(filter)s") % {"filter": word}) for value, word in named]
        chosen = negation.spell(self.wish.usage_type, "usage_type" in self.wish.negated)
        return Field("usage_type", N_("Type"), _read_type, chosen, choices=(("", _("any")), *named, *excluded))

    def compose_content(self) -> ComposeResult:
        """Lay out the fields, and a line for the names that one can become."""
        yield from super().compose_content()
        yield Line(id="known")

    def complete(self) -> None:
        """Let the names complete to what the ledger knows."""
        say = self.query_one("#known", Line).say
        if self.console.ledger is not None:
            for field, known in KNOWN.items():
                self.query_one(f"#{field}", Input).suggester = KnownSuggester(self.console.ledger, known, say)

    def on_descendant_focus(self) -> None:
        """Forget the names of another field."""
        self.query_one("#known", Line).say("")

    def accept(self, values: dict[str, Any]) -> None:
        """Hand the wish to the tab."""
        if self.in_order(values):
            read = {field: values.pop(field) for field in NEGATABLE}
            named = {field: value for field, (value, _negated) in read.items()}
            negated = frozenset(field for field, (_value, negated) in read.items() if negated)
            self.dismiss(UsageWish(**named, **values, negated=negated))


def _read_type(text: str) -> tuple[UsageType | None, bool]:
    value, negated = negation.read(text)
    return (UsageType(value) if value else None), negated
