"""The base of filters with a period: one chosen by name, or days and times typed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.widgets import Input

from billing_console.i18n import N_, _
from screens.dialogs.base import Result
from screens.dialogs.catalogue import complete_names
from screens.dialogs.form import Choice, Field, FormDialog

CUSTOM = "custom"
"""The period that the fields `start` and `end` describe."""

Value = TypeVar("Value", bound=StrEnum)


class PeriodFilterDialog(FormDialog[Result], Generic[Result]):
    """A filter with the fields `period`, `start` and `end`, which follow each other; Enter applies from any field."""

    ENTER_ACCEPTS: ClassVar[bool] = True

    def on_mount(self) -> None:
        """Fetch what providers and models complete to."""
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


def period_field(periods: Mapping[str, str], chosen: str) -> Field:
    """Declare the choice of a period; `periods` maps values to words marked with N_()."""
    return Field("period", N_("Period"), initial=chosen, choices=tuple((key, _(word)) for key, word in periods.items()))


def optional_choice(name: str, label: str, words: Mapping[Value, str], chosen: Value | None) -> Field:
    """Declare a choice among a closed vocabulary, or any; `words` are marked with N_()."""
    values = {str(value): value for value in words}
    choices = (("", _("any")), *((str(value), _(word)) for value, word in words.items()))
    return Field(name, label, values.get, chosen or "", choices=choices)
