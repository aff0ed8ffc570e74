"""The terminal that other tests read: half-painted wide characters do not hide the screen from them."""

from __future__ import annotations

import pyte
import pytest

from tests.terminal import painted


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("好的", "好的  "),
        ("好的\rx", "x 的  "),
        ("好的\r\x1b[Cx", " x的  "),
        ("好的\r\x1b[C的", " 的   "),
        ("x\r\x1b[4C好", "x   好"),
        ("e\u0301好", "é好   "),
    ],
)
def test_half_of_a_wide_character_is_blank(sent: str, seen: str) -> None:
    screen = pyte.Screen(6, 1)
    pyte.Stream(screen).feed(sent)
    assert painted(screen) == [seen]
