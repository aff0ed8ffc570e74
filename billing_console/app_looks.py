"""Colours, and drawing with plain ASCII."""

from __future__ import annotations

from dataclasses import dataclass

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

from billing_console.i18n import N_


@dataclass(frozen=True)
class Look:
    """A choice of colours: its title, marked with N_(), and the name of Textual's theme."""

    title: str
    theme: str


THEMES = {
    "dark": Look(N_("dark"), "textual-dark"),
    "light": Look(N_("light"), "textual-light"),
    "high-contrast": Look(N_("high contrast"), "high-contrast"),
    "ansi": Look(N_("those of the terminal"), "ansi-dark"),
}
"""The themes by the names of the setting."""

HIGH_CONTRAST = Theme(
    name="high-contrast",
    primary="#00ffff",
    secondary="#00ffff",
    accent="#ffff00",
    warning="#ffff00",
    error="#ff5555",
    success="#00ff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    boost="#303030",
    text_alpha=1.0,
    variables={"block-cursor-background": "#ffffff", "block-cursor-foreground": "#000000", "text-muted": "#ffffff"},
)
"""Black and white, and signal colours that differ from both by at least 7:1 (WCAG AAA)."""

_ASCII = {
    **{ord(character): "#" for character in "█▉▊▓▇▆"},
    **{ord(character): "=" for character in "▋▌▍▅▄▒"},
    **{ord(character): "-" for character in "▎▏▃▂─━═╌╴╶–—"},
    **{ord(character): "." for character in "░▁"},
    **{ord(character): "|" for character in "│┃║▐▕·"},
    **{ord(character): "*" for character in "●◆"},
    ord("■"): "!",
    **{ord(character): '"' for character in "“”"},
    ord("○"): "o",
    ord("▲"): "^",
    ord("↑"): "^",
    ord("▼"): "v",
    ord("↓"): "v",
    ord("→"): ">",
    ord("›"): ">",
    ord("←"): "<",
    ord("‹"): "<",
    ord("✖"): "x",
    ord("×"): "x",
    ord("÷"): "/",
    ord("✓"): "+",
    ord("…"): "~",
    ord("≈"): "~",
    ord("±"): "~",
    ord("Δ"): "d",
    ord("∞"): "-",
    ord("�"): "?",
}


class AsciiFilter(LineFilter):
    """Replaces lines, blocks, arrows and marks by ASCII characters of the same width; letters of names stay."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments as they are drawn."""
        return [
            segment if segment.control or segment.text.isascii() else segment._replace(text=_plain(segment.text))
            for segment in segments
        ]


def _plain(text: str) -> str:
    return "".join(_ASCII.get(ord(character)) or _by_range(character) for character in text)


def _by_range(character: str) -> str:
    """Draw corners and crossings as +, what remains of blocks and dots as #: charts are made of these."""
    code = ord(character)
    if 0x2500 <= code < 0x2580:
        return "+"
    if 0x2580 <= code < 0x25A0 or 0x2800 <= code < 0x2900 or 0x1FB00 <= code < 0x1FC00:
        return " " if character == "\u2800" else "#"
    return character
