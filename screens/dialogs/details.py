"""The base of every details dialog: load once in a thread, then facts and lists as aligned text that scrolls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.content import Content

from billing_console.i18n import _
from billing_console.text import clean, one_line
from screens.console import ask
from screens.dialogs.base import Body, Dialog
from screens.widgets.line import Line

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger

Answer = TypeVar("Answer")
GAP = "  "
FRAME = 5
"""Columns of a dialog that are not text: border, padding and scrollbar."""


class DetailsDialog(Dialog[None], Generic[Answer]):
    """What the ledger knows about one thing. Subclasses give `work` and `parts`."""

    def work(self) -> Callable[[Ledger], Answer]:
        """Return what asks the ledger, in a thread."""
        raise NotImplementedError

    def parts(self, answer: Answer) -> Iterator[Content]:
        """Yield the paragraphs that show the answer."""
        raise NotImplementedError

    def compose_content(self) -> ComposeResult:
        """Yield the text, filled once it is loaded."""
        yield Line(_("Loading…"), classes="details")

    def on_mount(self) -> None:
        """Load."""
        self.query_one(Body).focus()
        ask(self, self.work(), self._show, lambda error: self.say(f"✖ {error}"), keys_wait=True, to_show=True)

    def _show(self, answer: Answer) -> None:
        self.query_one(".details", Line).say(Content("\n\n").join(list(self.parts(answer))))

    @property
    def room(self) -> int:
        """Columns a line of text may take."""
        return room_in(self.app)


def room_in(app: App[Any]) -> int:
    """Columns of text that fit into a dialog on this terminal."""
    return min(76, app.size.width) - FRAME


def facts(pairs: Iterable[tuple[str, str]], *, room: int) -> Content:
    """Align labels and their values, which are bold and wrap beside their label."""
    rows = list(pairs)
    width = max(Text(label).cell_len for label, _value in rows)
    lines = []
    for label, value in rows:
        for text in Content(clean(value)).wrap(max(1, room - width - len(GAP))):
            lines.append(Content.assemble(_padded(label, width), GAP, (str(text), "bold")))
            label = ""
    return Content("\n").join(lines)


def grid(title: str, rows: Iterable[Sequence[str]], *, room: int, numbers: Iterable[int] = ()) -> Content:
    """Align rows of cells under a title, columns of numbers to the right; the last column gives way where it must."""
    right = set(numbers)
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(Text(row[i]).cell_len for row in cells) for i in range(len(cells[0]))] if cells else []
    lines = [Content.assemble((clean(title), "bold"))]
    for row in cells:
        padded = [
            _padded(cell, width, right=i in right) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = Text(GAP + GAP.join(padded).rstrip())
        line.truncate(room, overflow="ellipsis")
        lines.append(Content(line.plain))
    return Content("\n").join(lines)


def _padded(text: str, width: int, *, right: bool = False) -> str:
    pad = " " * (width - Text(text).cell_len)
    return pad + text if right else text + pad


def named(name: str, identity: str) -> str:
    """Spell something that has a name and an id, once if both are the same."""
    return name if name == identity else f"{name} ({identity})"
