"""The console's peak memory after a walk through its tabs, filters and pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from bench.report import table
from bench.screen import DOWN, ESCAPE, running

WALK = ("1", DOWN * 5, "\x1b[6~", "G", "g", "f", "f", "\r", ESCAPE, "2", "3", "4", "5", "6", "1", "\x1b[6~")


def measure(url: str) -> float:
    """Return the peak resident memory in MB."""
    with running([sys.executable, "-m", "billing_console", "--database", url, "--lang", "en"]) as screen:
        for keys in WALK:
            screen.press(keys)
        status = Path(f"/proc/{screen.pid}/status").read_text(encoding="utf-8")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    if peak is None:
        raise RuntimeError("the console ended before it was measured")
    return int(peak[1]) / 1000


def spell(found: dict[tuple[str, int], float]) -> str:
    """Make the table."""
    return table(["calls", "peak MB"], [[f"{engine}, {size:,}", f"{mb:.0f}"] for (engine, size), mb in found.items()])
