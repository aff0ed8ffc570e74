"""A line (or a few) of text that is painted only when it changes."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from billing_console.text import clean


class Line(Static):
    """Text from anywhere, never markup; saying the same thing again sends nothing to the terminal."""

    def __init__(self, text: str = "", *, id: str | None = None, classes: str | None = None) -> None:
        """Start with this text."""
        super().__init__(_content(text), markup=False, id=id, classes=classes)

    def say(self, text: str | Content) -> None:
        """Show this text instead, if it is another one."""
        content = text if isinstance(text, Content) else _content(text)
        if self.content != content:
            self.update(content)

    @property
    def plain(self) -> str:
        """The text shown."""
        return str(self.content)


def _content(text: str) -> Content:
    return Content("\n".join(clean(line) for line in text.split("\n")))


def paragraphs(first: str, *others: str) -> Content:
    """Put a bold sentence above others, with blank lines between."""
    parts: list[str | tuple[str, str]] = [(clean(first), "bold")]
    for other in others:
        if other:
            parts.append("\n\n" + clean(other))
    return Content.assemble(*parts)
