"""Which columns of the usage records are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from billing_console.i18n import N_, _
from screens.dialogs.form import Field, FormDialog
from screens.widgets.table import Column

if TYPE_CHECKING:
    from billing_console.services.usage import UsageRow

SHOWN, HIDDEN = "shown", "hidden"
WORDS = {SHOWN: N_("shown"), HIDDEN: N_("hidden")}


class UsageColumnsDialog(FormDialog[tuple[str, ...] | None]):
    """Each column, shown or hidden; the result are the keys of the hidden ones."""

    ENTER_ACCEPTS: ClassVar[bool] = True

    def __init__(self, columns: Sequence[Column[UsageRow]], hidden: Iterable[str]) -> None:
        """Start from what is hidden now."""
        super().__init__()
        self.columns, self.hidden = columns, frozenset(hidden)

    def heading(self) -> str:
        """Return the title line."""
        return _("Columns of the usage records")

    def fields(self) -> Sequence[Field]:
        """Declare a choice for each column."""
        choices = tuple((value, _(word)) for value, word in WORDS.items())
        return [
            Field(column.key, column.title, str, HIDDEN if column.key in self.hidden else SHOWN, choices=choices)
            for column in self.columns
        ]

    def accept(self, values: dict[str, Any]) -> None:
        """Hand over what is hidden; a table without columns shows nothing."""
        hidden = tuple(key for key, value in values.items() if value == HIDDEN)
        if len(hidden) == len(values):
            self.say("✖ " + _("At least one column must be shown."))
        else:
            self.dismiss(hidden)
