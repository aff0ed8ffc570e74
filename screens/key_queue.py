"""Keys typed ahead: each reaches the widget that the key before it put there, also when many arrive at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from textual import events
from textual.app import App
from textual.widget import Widget

ANSWER_SECONDS = 3.0
"""Keys that mean what a question to the ledger will show wait for its answer so long; a slow query must not block."""

REST_SECONDS = 1.0
"""How long the effects of one key may take before the next one is handed on all the same."""


Typed = events.Key | events.Paste | Callable[[], Awaitable[None]]
"""What waits in line: a key, a text pasted, or a command of the palette."""


class KeyQueue:
    """Hands over one key, waits until its effects are done (a dialog open, the focus moved), then the next.

    Textual sends a key to whatever has the focus when it arrives, and moves the focus later: of keys that arrive
    together all but the first would go to what is about to be left.
    """

    def __init__(self, app: App[Any], deliver: Callable[[events.Event], Awaitable[None]]) -> None:
        """Start with nothing typed; `deliver` sends an event on as Textual does."""
        self._app = app
        self._deliver = deliver
        self._typed: deque[Typed] = deque()
        self._questions: dict[object, object] = {}
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether every key has been handed over and had its effect."""
        return self._task is None and not self._typed

    async def take(self, event: events.Key | events.Paste) -> None:
        """Hand an event over now, or keep it until the one before has had its effect."""
        if self._questions and isinstance(event, events.Key) and event.key == "escape":
            self._typed.clear()
            await self._deliver(event)
            return
        self._typed.append(event)
        if self._task is None:
            await self._go_on()

    def afterwards(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something as if by a key that is typed now: when all that goes on has had its effect."""
        self._typed.append(work)
        if self._task is None:
            self._task = asyncio.create_task(self._until_ready())

    def forget(self) -> None:
        """Drop what was typed ahead: the page that opens must have been seen before anybody says yes to it."""
        self._typed.clear()

    def wait_for(self, place: object, question: object = None) -> None:
        """Keep keys until a question is answered, in the stead of one asked before in the same place."""
        self._questions[place] = question
        self._answered.clear()

    def waits_for(self, place: object) -> bool:
        """Tell whether keys wait for a question asked in this place."""
        return place in self._questions

    def answered(self, place: object, question: object = None) -> None:
        """Hand keys over again, if nothing else is waited for; a question that was replaced changes nothing."""
        if self._questions.get(place) is question:
            self._questions.pop(place, None)
        if not self._questions:
            self._answered.set()

    async def _go_on(self) -> None:
        """Hand over as far as possible; runs where the console handles its messages."""
        self._task = None
        while self._typed and not self._must_wait(self._typed[0]):
            event = self._typed.popleft()
            into_text = self._goes_into_text(event)
            if isinstance(event, events.Event):
                await self._deliver(event)
            else:
                await event()
            if not into_text:
                break
        else:
            if not self._typed:
                return
        self._task = asyncio.create_task(self._until_ready())

    async def _until_ready(self) -> None:
        await self._at_rest()
        if self._typed and self._must_wait(self._typed[0]):
            try:
                await asyncio.wait_for(self._answered.wait(), ANSWER_SECONDS)
            except TimeoutError:
                self._questions.clear()
            await self._at_rest()
        self._app.call_later(self._go_on)

    def _must_wait(self, event: Typed) -> bool:
        """Tell whether a key is meant for what a question will show; keys that work everywhere are not."""
        if not self._questions:
            return False
        active = self._app.screen.active_bindings.get(event.key) if isinstance(event, events.Key) else None
        return active is None or active.node is not self._app

    def _goes_into_text(self, event: Typed) -> bool:
        """Tell whether it only becomes text of the field that has the focus, which keeps the order by itself."""
        field = self._app.focused
        if field is None or not isinstance(event, events.Key):
            return False
        return field.check_consume_key(event.key, event.character)

    async def _at_rest(self) -> None:
        """Wait until no message is under way: what one widget tells another has arrived, what is mounted is there."""
        try:
            async with asyncio.timeout(REST_SECONDS):
                while True:
                    widgets = self._widgets()
                    while self._under_way(widgets):
                        await asyncio.sleep(0)  # not a pause: lets the widgets handle what they have
                    await self._round()
                    if widgets == self._widgets() and not self._under_way(widgets):
                        return
        except TimeoutError:
            return

    def _widgets(self) -> list[Widget]:
        return list(self._app.screen.walk_children(Widget, with_self=True))

    def _under_way(self, widgets: list[Widget]) -> bool:
        return bool(self._app.message_queue_size) or any(widget.message_queue_size for widget in widgets)

    async def _round(self) -> None:
        """Wait until all that a key passes has finished with it: the focused widget, those around it, the console."""
        done = asyncio.Event()
        left = 0

        def one_done() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                done.set()

        passed = (self._app.focused or self._app.screen).ancestors_with_self
        for node in passed:
            left += node.call_later(one_done)
        if left:
            await done.wait()
