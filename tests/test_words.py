"""How instants and spans are spelled: in the business time zone, and never so that another year looks like this."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from screens import words

NOW = datetime(2026, 3, 10, 15, 30, tzinfo=ZoneInfo("Asia/Shanghai"))


@pytest.mark.parametrize(
    ("value", "long", "short", "whole"),
    [
        (datetime(2026, 3, 9, 16, 0, 1, tzinfo=UTC), "03-10 00:00:01", "03-10 00:00", "2026-03-10 00:00:01"),
        (datetime(2025, 12, 31, 15, 59, 59, tzinfo=UTC), "25-12-31 23:59", "2025-12-31", "2025-12-31 23:59:59"),
        (datetime(2025, 12, 31, 16, 0, tzinfo=UTC), "01-01 00:00:00", "01-01 00:00", "2026-01-01 00:00:00"),
        (None, "–", "–", "–"),
    ],
)
def test_an_instant_of_another_year_shows_it(value: datetime | None, long: str, short: str, whole: str) -> None:
    assert words.instant(value, NOW) == long
    assert words.instant(value, NOW, seconds=False) == short
    assert words.instant(value, NOW, year=True) == whole


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=59), "0 min"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=1), "1 h 0 min"),
        (timedelta(hours=23, minutes=59), "23 h 59 min"),
        (timedelta(days=1), "1 d 0 h"),
        (timedelta(days=400, hours=5, minutes=59), "400 d 5 h"),
        (timedelta(minutes=-5), "0 min"),
    ],
)
def test_a_span_is_spelled_by_its_two_largest_units(length: timedelta, said: str) -> None:
    assert words.span(length) == said
