"""Draw the pictures of the README from the demo ledger, in both languages: make pictures."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path

from rich.cells import cell_len
from textual.widgets import DataTable

from billing_console import i18n
from billing_console.app import TABS, BillingConsoleApp
from billing_console.services.ledger import open_ledger
from billing_console.settings import data_file, sqlite_url
from billing_console.terminal import ConsoleOptions
from screens.widgets.table import RecordTable

IMAGES = Path(__file__).parent / "img"
SIZE = (110, 32)
TEXT = re.compile(r'textLength="([\d.]+)"([^>]*)>([^<]*)<')


async def draw(tab: str, name: str) -> None:
    """Draw one tab, with the cursor on its second row."""
    url = sqlite_url(data_file("demo.db"))
    app = BillingConsoleApp(ConsoleOptions(lambda: open_ledger(url), "demo.db"))
    async with app.run_test(size=SIZE) as pilot:
        app.show_tab(tab)
        for _round in range(5):
            await pilot.pause()
            await app.workers.wait_for_complete()
        await pilot.press("j")
        await pilot.pause()
        (IMAGES / name).write_text(in_cells(app.export_screenshot(title="billing-console")), encoding="utf-8")


def in_cells(svg: str) -> str:
    """Give Chinese text the room of two cells a character: Rich counts characters."""

    def fit(match: re.Match[str]) -> str:
        text = unescape(match[3])
        length = float(match[1]) * cell_len(text) / len(text)
        return f'textLength="{length:.1f}"{match[2]}>{match[3]}<'

    return TEXT.sub(fit, svg)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    # In a picture every cell has its own place: its font need not give Chinese twice the width of Latin.
    setattr(RecordTable, "render_line", DataTable.render_line)  # noqa: B010
    for lang, suffix in (("en", ""), ("zh", "-zh")):
        i18n.use_language(lang)
        for one in TABS:
            asyncio.run(draw(one.id, f"{one.id}{suffix}.svg"))
