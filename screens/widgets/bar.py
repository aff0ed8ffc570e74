"""A level as a bar inside a table cell."""

from __future__ import annotations

from decimal import Decimal

from rich.text import Text

from screens import words

CELLS = 8
"""Width of the bar: with the number after it, a pool's columns still fit on 80."""

LEAST = -999
"""An overdraft beyond this many percent is only called that: the column is for levels, the details are exact."""


def bar(percent: Decimal, style: str) -> Text:
    """Draw blocks and the number; above zero there is always one block, and only 100 % is full."""
    filled = 0 if percent <= 0 else min(CELLS, max(1, int(percent * CELLS / 100)))
    text = Text("█" * filled, style=style, no_wrap=True, overflow="ellipsis", end="")
    text.append("░" * (CELLS - filled))
    number = words.percent(percent) if percent > LEAST else f"<{LEAST}%"
    return text.append(f" {number:>7}")
