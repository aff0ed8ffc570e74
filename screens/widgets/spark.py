"""A row of numbers as a line of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

BLOCKS = "▁▂▃▄▅▆▇█"
NOTHING = "_"
"""Drawn for 0 and less, so that an empty pool differs from one that is nearly empty."""


def sparkline(values: Sequence[Decimal], cells: int) -> str:
    """Draw values against the greatest of them, oldest first, in at most so many cells; each shows its last value."""
    step = max(1, -(-len(values) // cells))
    shown = values[::-1][::step][::-1]
    top = max(shown, default=Decimal(0))
    return "".join(NOTHING if value <= 0 else BLOCKS[_level(value, top)] for value in shown)


def _level(value: Decimal, top: Decimal) -> int:
    return min(len(BLOCKS) - 1, int(value * len(BLOCKS) / top))
