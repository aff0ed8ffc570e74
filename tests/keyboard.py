"""The console as a person at a keyboard meets it: keys in, the text of the screen out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from textual import events
from textual.pilot import Pilot
from textual.widgets._toast import Toast

from billing_console.app import BillingConsoleApp
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.terminal import ConsoleOptions
from tests.factories import TESTER

PATIENCE_SECONDS = 30
"""How long a test waits for what must come at some time."""


class Keyboard:
    """Presses keys and waits until everything they set off is done."""

    def __init__(self, app: BillingConsoleApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, each when what the one before set off is done."""
        for key in keys:
            await self.pilot.press(key)
            await self.settled()

    async def burst(self, *keys: str) -> None:
        """Press keys all at once, as they arrive over a slow line."""
        for key in keys:
            self.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await self.settled()

    async def type(self, text: str) -> None:
        """Type characters into the field that has the focus."""
        await self.pilot.press(*("space" if character == " " else character for character in text))
        await self.settled()

    async def settled(self) -> None:
        """Wait until every key typed has had its effect, no question is under way and every answer is drawn."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if not self.app.is_running:  # a key has left it
                return
            await self.pilot.pause()
            waiting = [worker.wait() for worker in self.app.workers if not worker.is_finished]
            if waiting:
                await asyncio.gather(*waiting, return_exceptions=True)
            elif self.app.ledger is not None and self.app.keys.idle:
                return
        raise AssertionError("the console does not come to rest")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, without a key, until the console shows something by itself."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"it never came:\n{self.screen}"
            await self.pilot.pause(0.02)

    @property
    def lines(self) -> list[str]:
        """What the terminal shows."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    @property
    def screen(self) -> str:
        """What the terminal shows, as one text."""
        return "\n".join(self.lines)

    def line(self, text: str) -> str:
        """The first line that holds a text."""
        found = next((line for line in self.lines if text in line), None)
        assert found is not None, f"{text!r} is not on the screen:\n{self.screen}"
        return found

    @property
    def said(self) -> str:
        """The notifications that are shown."""
        return "\n".join(toast._notification.message for toast in self.app.screen.query(Toast))


@asynccontextmanager
async def console(
    url: str,
    *,
    size: tuple[int, int] = (80, 24),
    read_only: bool = False,
    refresh_seconds: float = 5.0,
    kind: type[BillingConsoleApp] = BillingConsoleApp,
    name: str = TESTER.name,
    opening: Callable[[], Ledger] | None = None,
    **looks: Any,
) -> AsyncIterator[Keyboard]:
    """The console on a ledger, open and at rest, in the hands of the operator of this name."""
    options = ConsoleOptions(
        opening or (lambda: open_ledger(url, read_only=read_only, actor=replace(TESTER, name=name))),
        "a ledger",
        read_only=read_only,
        refresh_seconds=refresh_seconds,
        **looks,
    )
    app = kind(options)
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            keyboard = Keyboard(app, pilot)
            await keyboard.settled()
            yield keyboard
    finally:
        # The end of the process closes it elsewhere; a server would run out of connections.
        if app.ledger is not None:
            app.ledger.close()
