"""Models: what can be called now, what a person disabled, what lacks funds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import clock
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from billing_console.text import one_line
from db.values import ModelStatus
from screens import words
from screens.dialogs.text_filter import matches
from screens.search import SearchPane
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from datetime import datetime

    from billing_console.services.ledger import Ledger
    from billing_console.services.models import ModelView


class ModelsManagement(SearchPane["tuple[ModelView, ...]"]):
    """Tab 5 (seed, ModelsManagement)."""

    NAME = "models"
    SHOWS = N_("This tab shows which models can be called, and why others cannot.")
    EMPTY = N_("No model is known yet.\n\nModels come with prices and usage: billing-console prices import FILE")
    FILTER_TITLE = N_("Filter models")
    EMPTY_NEEDS = Action.PRICE
    NEEDS: ClassVar = {"switch_model": Action.MODEL_DISABLE}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch_model", N_("Enable/disable")),
    ]

    def compose_body(self) -> ComposeResult:
        """Yield the table, grouped by provider."""
        yield RecordTable(self._columns(), key=lambda m: f"{m.provider_id}\n{m.model_id}", id="models-table")

    def _columns(self) -> Sequence[Column[ModelView]]:
        return (
            Column("providerId", N_("Provider"), _provider, lambda m: m.provider_id, 0, 8, 20, once=True),
            Column("modelId", N_("Model"), lambda m: words.cell(m.model_id), lambda m: m.model_id, 0, 16, 48),
            Column("status", N_("Status"), lambda m: words.state(m.status), lambda m: m.status.value, min_width=20),
            Column("since", N_("Since"), self._since, lambda m: iso(since(m)), 2, 11),
            Column(
                "disabledBy", N_("By"), lambda m: words.cell(m.disabled_by or ""), lambda m: m.disabled_by, 3, 8, 20
            ),
            Column("reason", N_("Reason"), lambda m: words.cell(reason(m)), reason, 1, 24, 60),
        )

    def _since(self, model: ModelView) -> Text:
        instant = since(model)
        return words.cell(words.instant(instant, self.console.now(), seconds=False) if instant else "")

    def question(self) -> Callable[[Ledger], tuple[ModelView, ...]]:
        """Ask for the models of the filter."""
        wanted = self.wanted

        def work(ledger: Ledger) -> tuple[ModelView, ...]:
            from billing_console.services.models import list_models

            return tuple(model for model in list_models(ledger) if _matches(wanted, model))

        return work

    def present(self, data: tuple[ModelView, ...]) -> None:
        """Draw the models and how many are in which state."""
        self.query_one("#models-table", RecordTable).show(data)
        counts = Counter(model.status for model in data)
        parts = [
            ngettext("%(count)d model", "%(count)d models", len(data)) % {"count": len(data)},
            *(f"{counts[status]} {_(word)}" for status, word in words.MODEL_STATUSES.items()),
        ]
        self.set_summary(" · ".join(parts))

    # Filter, details

    @on(RecordTable.Chosen)
    def _show_details(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.model_details import ModelDetailsDialog

        self.app.push_screen(ModelDetailsDialog(event.item.provider_id, event.item.model_id))

    # Enable and disable

    @property
    def current(self) -> ModelView | None:
        """The model under the cursor."""
        model: ModelView | None = self.query_one("#models-table", RecordTable).current
        return model

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the switch only where there is a model."""
        if action == "switch_model" and not self.has_class("-filled"):
            return False
        return super().check_action(action, parameters)

    def action_switch_model(self) -> None:
        """Disable the model under the cursor, or enable it again."""
        from screens.dialogs.model_toggle import ModelToggleDialog

        if self.current is not None:
            self.app.push_screen(ModelToggleDialog(self.current), self._switched)

    def _switched(self, model: ModelView | None) -> None:
        if model is None:
            return
        self.load(asked=True)
        said = _("%(model)s of %(provider)s is now: %(status)s") % {
            "model": one_line(model.model_id, 60),
            "provider": one_line(model.provider_name, 60),
            "status": words.state(model.status).plain,
        }
        self.app.notify(said, markup=False)


def since(model: ModelView) -> datetime | None:
    """Return since when a model cannot be called."""
    return model.disabled_at or model.suspended_at


def reason(model: ModelView) -> str:
    """Return why a model cannot be called."""
    if model.status is ModelStatus.INSUFFICIENT_FUNDS:
        return _("the pool is depleted")
    return model.disabled_reason or ""


def iso(instant: datetime | None) -> str | None:
    """Spell an instant for CSV."""
    return None if instant is None else clock.iso(instant)


def _provider(model: ModelView) -> Text:
    return words.cell(model.provider_name, "bold")


def _matches(wanted: str, model: ModelView) -> bool:
    status = _(words.MODEL_STATUSES[model.status])
    return matches(
        wanted, model.provider_id, model.provider_name, model.model_id, model.model_name, status, reason(model)
    )
