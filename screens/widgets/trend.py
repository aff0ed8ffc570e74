"""The trend of daily costs, as an area that reads on 80x24 and without colour."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from textual import events
from textual_plotext import PlotextPlot

from billing_console import money

TICK_WIDTH = 12
"""Columns one date below the chart needs, the space to the next included."""


class TrendChart(PlotextPlot, can_focus=False):
    """Cost by day in yuan; it is drawn again only for other data or another width."""

    def __init__(self, *, id: str) -> None:
        """Start without data."""
        super().__init__(id=id)
        self._days: tuple[tuple[date, Decimal], ...] = ()
        self._symbol = ""

    def show(self, days: tuple[tuple[date, Decimal], ...], symbol: str) -> None:
        """Draw these days, oldest first."""
        self._days, self._symbol = days, symbol
        self._draw()

    def on_resize(self, _event: events.Resize) -> None:
        """Put as many dates below the chart as fit."""
        self._draw()

    def _draw(self) -> None:
        if not self._days:
            return
        plt = self.plt
        plt.clear_figure()
        numbers = [float(number) for number in range(len(self._days))]
        # A screen cell cannot show the 16th digit: the chart, and only the chart, takes approximate numbers.
        costs = [float(cost) for _day, cost in self._days]
        if len(costs) < 3:
            plt.bar(numbers, costs, width=0.3)
        else:
            plt.plot(numbers, costs, marker="hd", fillx=True)
        top = max(self._days, key=lambda point: point[1])[1] or Decimal(1)
        low = min(min(costs), 0.0)
        plt.ylim(low, float(top))
        levels = [Decimal(0), top / 2, top]
        places = 0 if top >= 100 else 2
        plt.yticks(
            [float(level) for level in levels],
            [money.shown(level, places=places, symbol=self._symbol) for level in levels],
        )
        step = max(1, -(-len(numbers) * TICK_WIDTH // max(self.size.width, TICK_WIDTH)))
        ticks = numbers[::-1][::step][::-1]
        spelling = "%m-%d" if self._days[0][0].year == self._days[-1][0].year else "%y-%m-%d"
        plt.xticks(ticks, [f"{self._days[int(number)][0]:{spelling}}" for number in ticks])
        self.refresh()
