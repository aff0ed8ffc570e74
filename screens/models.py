"""Models: what can be called now, what a person disabled, what lacks funds, and how much each was called lately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import clock, money
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from billing_console.text import one_line
from db.values import CallStatus, ModelStatus
from screens import words
from screens.console import ask
from screens.dialogs.text_filter import matches
from screens.search import SearchPane
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from decimal import Decimal

    from billing_console.services.ledger import Ledger
    from billing_console.services.model_use import ModelUse, RecentUse
    from billing_console.services.models import ModelView

USE_EVERY = timedelta(minutes=1)
"""How often the calls of the last 24 hours are counted again: they can be hundreds of thousands."""


class ModelsManagement(SearchPane["tuple[ModelView, ...]"]):
    """Tab 5 (seed, ModelsManagement)."""

    NAME = "models"
    SHOWS = N_("This tab shows which models can be called, and why others cannot.")
    EMPTY = N_("No model is known yet.\n\nModels come with prices and usage: billing-console prices import FILE")
    FILTER_TITLE = N_("Filter models")
    EMPTY_NEEDS = Action.PRICE
    NEEDS: ClassVar = {"switch_model": Action.MODEL_DISABLE, "switch_provider": Action.MODEL_DISABLE}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch_model", N_("Enable/disable")),
        Binding("D", "switch_provider", N_("All of provider")),
        Binding("f", "failures", N_("Failed calls")),
    ]

    def __init__(self) -> None:
        """Start with the models of every provider, and nothing counted."""
        super().__init__()
        self.provider: tuple[str, str] | None = None
        """Id and name of the only provider to show."""

        self.use: RecentUse | None = None
        self._counted_at: datetime | None = None

    def compose_body(self) -> ComposeResult:
        """Yield the table, grouped by provider."""
        yield RecordTable(self._columns(), key=lambda m: f"{m.provider_id}\n{m.model_id}", id="models-table")

    def _columns(self) -> Sequence[Column[ModelView]]:
        return (
            Column("providerId", N_("Provider"), _provider, lambda m: m.provider_id, 0, 8, 20, once=True),
            Column("modelId", N_("Model"), lambda m: words.cell(m.model_id), lambda m: m.model_id, 0, 16, 48),
            Column("status", N_("Status"), lambda m: words.state(m.status), lambda m: m.status.value, min_width=20),
            Column("since", N_("Since"), self._since, lambda m: iso(m.unavailable_since), 3, 11),
            Column(
                "disabledBy", N_("By"), lambda m: words.cell(m.disabled_by or ""), lambda m: m.disabled_by, 4, 8, 20
            ),
            Column("reason", N_("Reason"), lambda m: words.cell(reason(m)), reason, 1, 14, 60),
            self._used("calls24h", N_("Calls/24h"), lambda use: use.calls),
            self._used("failed24h", N_("Failed/24h"), lambda use: use.failures),
            self._used("cost24h", N_("Cost/24h"), lambda use: use.cost),
        )

    def _used(self, key: str, title: str, part: Callable[[ModelUse], int | Decimal]) -> Column[ModelView]:
        def value(model: ModelView) -> int | Decimal | None:
            return None if self.use is None else part(self.use.of(model.provider_id, model.model_id))

        def cell(model: ModelView) -> Text:
            found = value(model)
            text = "…" if found is None else self._at_least(found)
            return Text(text, justify="right", no_wrap=True, overflow="ellipsis", end="")

        return Column(key, title, cell, value, 2, right=True)

    def _at_least(self, value: int | Decimal) -> str:
        spelled = f"{value:,}" if isinstance(value, int) else money.shown(value, symbol=self.console.symbol)
        return spelled + ("+" if self.use and self.use.capped and value else "")

    def _since(self, model: ModelView) -> Text:
        instant = model.unavailable_since
        return words.cell(words.instant(instant, self.console.now(), seconds=False) if instant else "")

    # Loading

    def question(self) -> Callable[[Ledger], tuple[ModelView, ...]]:
        """Ask for the models of the filter."""
        wanted, provider_id = self.wanted, self.provider and self.provider[0]

        def work(ledger: Ledger) -> tuple[ModelView, ...]:
            from billing_console.services.models import list_models

            return tuple(model for model in list_models(ledger, provider_id) if _matches(wanted, model))

        return work

    def load(self, *, asked: bool = False) -> None:
        """Load the models, and once a minute, or when a person wants it, count their calls again."""
        super().load(asked=asked)
        now = self.console.now()
        due = self._counted_at is None or now - self._counted_at >= USE_EVERY
        if self.console.ledger is not None and (asked or due):
            self._counted_at = now
            ask(self, _recent_use, self._show_use, self._not_counted, group="use", to_show=True)

    def _show_use(self, use: RecentUse) -> None:
        if use != self.use:
            self.use = use
            if self.data:
                self.present(self.data)

    def _not_counted(self, _error: object) -> None:
        """Leave the numbers as they are, and count again with the next load; that one says what is wrong."""
        self._counted_at = None

    def forget(self) -> None:
        """Show nothing of the ledger any more."""
        self.use = self._counted_at = None
        super().forget()

    def present(self, data: tuple[ModelView, ...]) -> None:
        """Draw the models, how many are in which state, and how much they were called."""
        self.query_one("#models-table", RecordTable).show(data)
        counts = Counter(model.status for model in data)
        parts = [
            ngettext("%(count)d model", "%(count)d models", len(data)) % {"count": len(data)},
            *words.counted(counts, words.MODEL_STATUSES),
        ]
        if self.use is not None:
            used = [self.use.of(model.provider_id, model.model_id) for model in data]
            parts.append(
                ngettext(
                    "24 h: %(calls)s call, %(failed)s failed, %(cost)s",
                    "24 h: %(calls)s calls, %(failed)s failed, %(cost)s",
                    sum(each.calls for each in used),
                )
                % {
                    "calls": self._at_least(sum(each.calls for each in used)),
                    "failed": self._at_least(sum(each.failures for each in used)),
                    "cost": self._at_least(money.exact_sum([each.cost for each in used])),
                }
            )
        self.set_summary(" · ".join(parts))

    # Filter, details

    def look_at(self, provider_id: str, provider_name: str) -> None:
        """Show the models of one provider."""
        self.wanted, self.provider = "", (provider_id, provider_name)
        self.load(asked=True)

    def filter_text(self) -> str:
        """Describe the filter."""
        provider = _("provider %(value)s") % {"value": one_line(self.provider[1], 60)} if self.provider else ""
        return " · ".join(part for part in (provider, super().filter_text()) if part)

    def reset_filter(self) -> None:
        """Show every model again."""
        self.provider = None
        super().reset_filter()

    @on(RecordTable.Chosen)
    def _show_details(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.model_details import ModelDetailsDialog

        self.app.push_screen(ModelDetailsDialog(event.item.provider_id, event.item.model_id))

    def action_failures(self) -> None:
        """Go to the failed calls of the model under the cursor."""
        from screens.dialogs.usage_filter import UsageWish

        if self.current is not None:
            model = self.current
            wish = UsageWish(provider_id=model.provider_id, model_id=model.model_id, status=CallStatus.FAILED)
            self.console.show_tab("usage", lambda pane: pane.look_at(wish))

    # Enable and disable

    @property
    def current(self) -> ModelView | None:
        """The model under the cursor."""
        model: ModelView | None = self.query_one("#models-table", RecordTable).current
        return model

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what is done with a model only where there is one."""
        if action in ("switch_model", "switch_provider", "failures") and not self.has_class("-filled"):
            return False
        return super().check_action(action, parameters)

    def action_switch_model(self) -> None:
        """Disable the model under the cursor, or enable it again."""
        from screens.dialogs.model_toggle import ModelToggleDialog

        if self.current is not None:
            self.app.push_screen(ModelToggleDialog(self.current), self._switched)

    def action_switch_provider(self) -> None:
        """Disable every model of the provider under the cursor, or enable all of them where none is enabled."""
        from screens.dialogs.model_toggle import ProviderToggleDialog

        if self.current is not None:
            provider = self.current.provider_id, self.current.provider_name
            self.app.push_screen(ProviderToggleDialog(*provider, self.data or ()), self._switched_all)

    def _switched_all(self, models: tuple[ModelView, ...] | None) -> None:
        if models is None:
            return
        self.load(asked=True)
        said = ngettext("%(count)d model was switched", "%(count)d models were switched", len(models))
        self.app.notify(said % {"count": len(models)}, markup=False)

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


def reason(model: ModelView) -> str:
    """Return why a model cannot be called: what a person said, and whether its pool is depleted."""
    if model.status is ModelStatus.INSUFFICIENT_FUNDS:
        return _("pool depleted")
    if model.suspended_at is not None:
        return _("%(reason)s; pool depleted too") % {"reason": model.disabled_reason}
    return model.disabled_reason or ""


def iso(instant: datetime | None) -> str | None:
    """Spell an instant for CSV."""
    return None if instant is None else clock.iso(instant)


def _recent_use(ledger: Ledger) -> RecentUse:
    from billing_console.services.model_use import recent_use

    return recent_use(ledger)


def _provider(model: ModelView) -> Text:
    return words.cell(model.provider_name, "bold")


def _matches(wanted: str, model: ModelView) -> bool:
    status = _(words.MODEL_STATUSES[model.status])
    return matches(
        wanted, model.provider_id, model.provider_name, model.model_id, model.model_name, status, reason(model)
    )
