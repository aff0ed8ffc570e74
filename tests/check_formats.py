"""What check-pools writes for Prometheus, read strictly."""

from __future__ import annotations

import re

SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?\d+(?:\.\d+)?)')


def samples(text: str) -> dict[str, float]:
    """Read the text format strictly: help and type once before a metric's samples, no sample twice, a last newline."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    described: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            described.append(line.split(" ")[2])
            assert described.count(described[-1]) == 1
        elif line.startswith("#"):
            assert line == f"# TYPE {described[-1]} gauge"
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == described[-1]
            assert match[1] + (match[2] or "") not in found
            found[match[1] + (match[2] or "")] = float(match[3])
    return found
