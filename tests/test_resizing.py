"""Every screen and dialog on a terminal that becomes tiny and large again."""

from __future__ import annotations

from pathlib import Path

import pytest

from screens.widgets.keybar import KeyBar
from tests.tour import WAYS, every_screen, set_up_tour, touring

TINY, USUAL, LARGE = (40, 10), (80, 24), (200, 60)


@pytest.fixture(scope="module")
def toured_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{Path(tmp_path_factory.mktemp('toured')) / 'ledger.db'}"
    set_up_tour(url)
    return url


@pytest.mark.parametrize("way", WAYS)
async def test_a_screen_survives_every_size_and_looks_as_before_afterwards(toured_url: str, way: str) -> None:
    async with touring(toured_url, USUAL) as keys:
        await keys.press(*WAYS[way].keys)
        assert type(keys.app.screen).__name__ == WAYS[way].top
        before = keys.lines
        for frame in keys.app.screen.query(".dialog"):
            assert frame.query_one(KeyBar).region.bottom == frame.content_region.bottom
        for width, height in (TINY, LARGE, (1, 1), USUAL):
            await keys.pilot.resize_terminal(width, height)
            await keys.settled()
            assert len(keys.lines) == height
        assert keys.lines == before


def test_the_tour_leads_to_every_screen_and_dialog() -> None:
    assert sorted({kind.__name__ for kind in every_screen()} - {way.top for way in WAYS.values()}) == []
