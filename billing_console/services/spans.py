"""Ranges of ids, as the audit log spells them: sorted, none touching the next, both ends included."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

Span = tuple[int, int]


def spans_of(numbers: Iterable[int]) -> list[Span]:
    """Return the ranges of ids that come in order."""
    found: list[Span] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


class Taken:
    """Ids that were taken out, to see what is left of others."""

    def __init__(self, spans: Iterable[Span]) -> None:
        """Take ranges in any order; they may overlap."""
        self._spans: list[Span] = []
        for first, last in sorted(spans):
            if self._spans and first <= self._spans[-1][1] + 1:
                self._spans[-1] = (self._spans[-1][0], max(last, self._spans[-1][1]))
            else:
                self._spans.append((first, last))
        self._firsts = [first for first, _last in self._spans]

    def left(self, spans: Sequence[Span]) -> list[Span]:
        """Return what is left of ranges."""
        found: list[Span] = []
        for first, last in spans:
            place = max(bisect_right(self._firsts, first) - 1, 0)
            while place < len(self._spans) and self._spans[place][0] <= last:
                out_first, out_last = self._spans[place]
                if out_first > first:
                    found.append((first, out_first - 1))
                first = max(first, out_last + 1)
                place += 1
            if first <= last:
                found.append((first, last))
        return found
