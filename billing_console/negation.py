"""How people write a filter on a field, or all but that: `alice`, `!alice`."""

from __future__ import annotations

NOT = "!"
_LITERAL = "\\!"
"""Begins a value that begins with an exclamation mark itself."""


def read(text: str) -> tuple[str | None, bool]:
    """Return the value a field is filtered by (None for any), and whether it is excluded."""
    stripped = text.strip()
    negated = stripped.startswith(NOT)
    value = stripped[1:].strip() if negated else stripped
    if value.startswith(_LITERAL):
        value = value[1:]
    return (value, negated) if value else (None, False)


def spell(value: str | None, negated: bool) -> str:
    """Write a filter the way `read` takes it."""
    if not value:
        return ""
    return (NOT if negated else "") + (f"\\{value}" if value.startswith((NOT, _LITERAL)) else value)
