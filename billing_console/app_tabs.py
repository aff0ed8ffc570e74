"""The six tabs of the console, each imported when it is first shown."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from textual import events
from textual.widgets import TabPane

from billing_console.i18n import N_
from screens.base import DataPane

WIDE = 92
"""Columns from which the tabs show their full names."""


@dataclass(frozen=True)
class TabSpec:
    """One tab: its names on wide and narrow terminals, and the pane, imported when the tab is first shown."""

    id: str
    label: str
    short: str
    pane: str

    def kind(self) -> type[DataPane[Any]]:
        """Import the pane's module and return the pane's class."""
        module, name = self.pane.split(":")
        kind: type[DataPane[Any]] = getattr(import_module(module), name)
        return kind


TABS = (
    TabSpec("usage", N_("Usage records"), N_("Usage"), "screens.usage:UsageRecordsView"),
    TabSpec("costs", N_("Cost statistics"), N_("Costs"), "screens.costs:CostStatisticsView"),
    TabSpec("pools", N_("Resource pools"), N_("Pools"), "screens.pools:ResourcePoolManagement"),
    TabSpec("quotas", N_("User quotas"), N_("Quotas"), "screens.quotas:UserQuotaManagement"),
    TabSpec("models", N_("Models"), N_("Models"), "screens.models:ModelsManagement"),
    TabSpec("pricing", N_("Pricing"), N_("Pricing"), "screens.pricing:PricingManagement"),
)
"""The seed's six modules, in its order and by its names."""


class LazyPane(TabPane):
    """A tab that is shown only when asked for: focus arriving late in a tab just left must not bring it back."""

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Keep Textual from activating the tab of whatever gets the focus."""
        event.prevent_default()
