"""How instants are spelled: in the business time zone, and never so that another year looks like this one."""

from __future__ import annotations

from datetime import UTC, datetime
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
