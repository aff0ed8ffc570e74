"""A filter of one line: what must occur in the rows that stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from screens.dialogs.form import Field, FormDialog


class TextFilterDialog(FormDialog[str | None]):
    """Asks for the text; an empty one shows everything."""

    ENTER_ACCEPTS: ClassVar[bool] = True

    def __init__(self, heading: str, label: str, text: str) -> None:
        """Start from the filter in force; `label` is marked with N_()."""
        super().__init__()
        self._heading, self._label, self._text = heading, label, text

    def heading(self) -> str:
        """Return the title line."""
        return self._heading

    def fields(self) -> Sequence[Field]:
        """Declare the one field."""
        return (Field("text", self._label, str.strip, self._text),)

    def accept(self, values: dict[str, Any]) -> None:
        """Hand the text to the tab."""
        self.dismiss(values["text"])


def matches(wanted: str, *texts: str | None) -> bool:
    """Tell whether every word of a filter occurs somewhere in a row, in upper or lower case."""
    row = "\n".join(text for text in texts if text).casefold()
    return all(word in row for word in wanted.casefold().split())
