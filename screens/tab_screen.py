"""The screen below every dialog, which paints a tab once, filled, instead of empty and then filled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual.screen import Screen
from textual.timer import Timer

HOLD_SECONDS = 0.1
"""How long a tab may wait for its records before it is painted without them; longer would feel like a dead key."""


class TabScreen(Screen[None]):
    """The screen of the tabs. Made for the version of Textual that is pinned, as `LineTable` is."""

    AUTO_FOCUS = ""
    """Textual would give the keyboard to the first tab, shown or not."""

    def __init__(self, resumed: Callable[[], None]) -> None:
        """Paint as Textual does; `resumed` is called when nothing lies above any more and nothing has the keyboard."""
        super().__init__(id="_default")
        self._resumed = resumed
        self._holds: dict[object, Timer] = {}

    def on_screen_resume(self) -> None:
        """Give the keyboard back, if a dialog leaves it nowhere."""
        if self.focused is None and self.is_mounted:
            self._resumed()

    def hold(self, holder: object) -> None:
        """Paint nothing until `holder` releases it, or `HOLD_SECONDS` have passed; layout and focus go on.

        Over a slow line each of the paints between is 5 to 20 KB that nobody needs.
        """
        if holder in self._holds:
            self._holds[holder].stop()
        self._holds[holder] = self.set_timer(HOLD_SECONDS, partial(self._end, holder))

    def release(self, holder: object) -> None:
        """Paint once everything that has been asked for until now has had its effects."""
        # A widget is told its size by the first layout, and may draw itself anew before the second.
        self.call_after_refresh(self.call_after_refresh, self._end, holder)

    def _end(self, holder: object) -> None:
        limit = self._holds.pop(holder, None)
        if limit is not None:
            limit.stop()
            self._compositor_refresh()

    def _compositor_refresh(self) -> None:
        if self._holds:
            self._dirty_widgets.clear()  # the compositor knows their regions already
        else:
            super()._compositor_refresh()
