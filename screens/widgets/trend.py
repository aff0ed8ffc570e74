"""The trend of costs: an area for one group, stacked bars for several, readable on 80x24 and without colour."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.content import Content
from textual.strip import Strip
from textual_plotext import PlotextPlot

from billing_console import money
from billing_console.i18n import _
from billing_console.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from billing_console.services.costs_trend import Trend

TICK_WIDTH = 12
"""Columns one date below the chart needs, the space to the next included."""

FILLS = (("█", "cyan"), ("▒", "orange"), ("%", "magenta"), ("+", "green"), ("·", "gray"))
"""What a group is drawn with, the dearest first: the character alone tells it apart."""

STYLES = {"orange": "ansi_yellow", "gray": ""}
"""The chart's colours by the names they have beside it, where these differ."""


class TrendChart(PlotextPlot, can_focus=False):
    """Costs in yuan by day, week or month; it is drawn again only for other data or another size."""

    def __init__(self, *, id: str) -> None:
        """Start without data."""
        super().__init__(id=id)
        self.trend: Trend | None = None
        self._symbol = ""

    def show(self, trend: Trend, symbol: str) -> None:
        """Draw this trend."""
        self.trend, self._symbol = trend, symbol
        self._draw()

    def on_resize(self, _event: events.Resize) -> None:
        """Use the room, and put as many dates below the chart as fit."""
        self._draw()

    def render_line(self, y: int) -> Strip:
        """Join what looks alike: a style of its own for every cell is three times the bytes over a slow line."""
        joined: list[Segment] = []
        for text, style, _control in super().render_line(y):
            if joined and _looks_alike(joined[-1].style, style, blank=not text.strip()):
                joined[-1] = Segment(joined[-1].text + text, joined[-1].style)
            else:
                joined.append(Segment(text, style))
        return Strip(joined)

    def _draw(self) -> None:
        trend = self.trend
        if trend is None or not trend.groups or not self.size.width:
            return
        self.plt.clear_figure()
        self.plt.xaxes(True, False)
        self.plt.yaxes(True, False)
        top = max(trend.totals) or Decimal(1)
        labels = self._levels(top)
        columns = self.size.width - max(len(label) for label in labels) - 1
        if len(trend.groups) > 1 or len(trend.starts) < 3:
            middles = self._bars(trend, max(columns, len(trend.starts)))
        else:
            middles = self._area(trend)
        step = max(1, -(-len(middles) * TICK_WIDTH // max(self.size.width, TICK_WIDTH)))
        ticks = list(zip(middles, trend.starts, strict=True))[::-1][::step][::-1]
        spelled = self._dates(trend)
        self.plt.xticks([middle for middle, _start in ticks], [f"{start:{spelled}}" for _middle, start in ticks])
        self.refresh()

    def _levels(self, top: Decimal) -> list[str]:
        """Mark nothing, half and all of the dearest period."""
        levels, places = [Decimal(0), top / 2, top], 0 if top >= 100 else 2
        labels = [money.shown(level, places=places, symbol=self._symbol) for level in levels]
        self.plt.ylim(0, float(top))
        self.plt.yticks([float(level) for level in levels], labels)
        return labels

    def _area(self, trend: Trend) -> list[float]:
        # A screen cell cannot show the 16th digit: the chart, and only the chart, takes approximate numbers.
        numbers = [float(number) for number in range(len(trend.starts))]
        self.plt.plot(numbers, [float(cost) for cost in trend.totals], marker="hd", fillx=True)
        return numbers

    def _bars(self, trend: Trend, columns: int) -> list[float]:
        """Put every bar on whole columns, equally wide, and each group upon the dearer ones."""
        width = max(1, columns // len(trend.starts))
        bar = max(1, width - 1) if width > 1 else 1
        self.plt.xlim(0, columns - 1)
        heights = [[float(cost) for cost in group.costs] for group in trend.groups]
        for number in reversed(range(len(heights))):
            fill, colour = FILLS[number]
            upto = [sum(costs) for costs in zip(*heights[: number + 1], strict=True)]
            points = [
                (start * width + column, cost) for start, cost in enumerate(upto) if cost for column in range(bar)
            ]
            if points:
                places, tops = zip(*points, strict=True)
                self.plt.scatter(places, tops, marker=fill, color=colour, fillx=True)
        return [start * width + (bar - 1) / 2 for start in range(len(trend.starts))]

    def _dates(self, trend: Trend) -> str:
        if trend.period == "month":
            return "%Y-%m"
        return "%m-%d" if trend.starts[0].year == trend.starts[-1].year else "%y-%m-%d"


def _looks_alike(before: Style | None, after: Style | None, *, blank: bool) -> bool:
    if before is None or after is None or before.bgcolor != after.bgcolor:
        return before is after
    return blank or before.color == after.color


def legend(trend: Trend, symbol: str, room: int, name: Callable[[str], str]) -> Content:
    """Say what each fill stands for, with cost and share; `name` spells the name of a group.

    Where there is not room for all of it, the costs are left out, and then the names are cut. `room` is negative in a
    pane that is not laid out yet.
    """
    total = sum((group.total for group in trend.groups), Decimal(0))
    labels = [_("others") if group.name is None else one_line(name(group.name)) for group in trend.groups]
    costs = [money.shown(group.total, symbol=symbol) for group in trend.groups]
    shares = [f"{money.percentage(group.total, total):.0f}%" for group in trend.groups]

    def line(*columns: list[str]) -> Content:
        entries = (" ".join(entry) for entry in zip(*columns, strict=True))
        marks = ((fill, STYLES.get(colour, f"ansi_{colour}")) for fill, colour in FILLS)
        return Content("  ").join(
            [Content.assemble(mark, " ", entry) for mark, entry in zip(marks, entries, strict=False)]
        )

    for attempt in (line(labels, costs, shares), line(labels, shares)):
        if attempt.cell_length <= max(room, 0):
            return attempt
    widest = max(4, (room + 2) // len(labels) - len("█  100%  "))
    return line([_cut(label, widest) for label in labels], shares)


def _cut(label: str, width: int) -> str:
    text = Text(label)
    text.truncate(width, overflow="ellipsis")
    return text.plain
