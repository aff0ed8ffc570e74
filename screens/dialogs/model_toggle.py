"""Enable or disable a model, or all of a provider, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from billing_console.errors import Refused
from billing_console.i18n import N_, _, ngettext
from billing_console.text import one_line, storable
from db.values import ModelStatus
from screens import words
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Field, required

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.models import ModelView


class ModelToggleDialog(ConfirmedForm["ModelView"]):
    """Disables a model that no person disabled, enables one that somebody did."""

    def __init__(self, model: ModelView) -> None:
        """Keep the model as it was when the key was pressed; that decides which way it goes."""
        super().__init__()
        self.model = model
        self.enable = model.status is ModelStatus.DISABLED

    def heading(self) -> str:
        """Return the title line."""
        text = _("Enable %(model)s") if self.enable else _("Disable %(model)s")
        return text % {"model": one_line(self.model.model_id, 60)}

    def fields(self) -> Sequence[Field]:
        """Declare the reason."""
        hint = _("why it may be called again") if self.enable else _("why it must not be called; others read this")
        return (Field("reason", N_("Reason"), _reason, hint=hint),)

    def question(self, values: dict[str, Any]) -> str:
        """Say what will be done to which model."""
        text = N_("Enable %(model)s of %(provider)s? Reason: %(reason)s")
        if not self.enable:
            text = N_("Disable %(model)s of %(provider)s? Reason: %(reason)s")
        names = {"model": self.model.model_id, "provider": self.model.provider_name}
        return _(text) % {**names, "reason": values["reason"]}

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Say the status now and after; a model enabled while its pool is depleted still lacks funds."""
        provider_id, model_id, enable = self.model.provider_id, self.model.model_id, self.enable

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.models import get_model

            model = get_model(ledger, provider_id, model_id)
            after = ModelStatus.DISABLED
            if enable:
                after = ModelStatus.INSUFFICIENT_FUNDS if model.suspended_at else ModelStatus.ENABLED
            return (Change(_("Status"), words.state(model.status).plain, words.state(after).plain),)

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], ModelView]:
        """Write the decision; doing it twice changes nothing."""
        provider_id, model_id, enable = self.model.provider_id, self.model.model_id, self.enable

        def work(ledger: Ledger) -> ModelView:
            from billing_console.services.models import set_model_enabled

            return set_model_enabled(ledger, provider_id, model_id, enable, reason=values["reason"])

        return work


class ProviderToggleDialog(ConfirmedForm["tuple[ModelView, ...]"]):
    """Disables every model of a provider; enables them where a person disabled all of them."""

    def __init__(self, provider_id: str, provider_name: str, models: Sequence[ModelView]) -> None:
        """Keep the provider; `models`, as the tab shows them, decide which way it goes."""
        super().__init__()
        self.provider_id, self.provider_name = provider_id, provider_name
        shown = [model for model in models if model.provider_id == provider_id]
        self.enable = all(model.status is ModelStatus.DISABLED for model in shown)

    def heading(self) -> str:
        """Return the title line."""
        text = _("Enable all models of %(provider)s") if self.enable else _("Disable all models of %(provider)s")
        return text % {"provider": one_line(self.provider_name, 60)}

    def fields(self) -> Sequence[Field]:
        """Declare the reason."""
        hint = _("why they may be called again") if self.enable else _("why they must not be called; others read this")
        return (Field("reason", N_("Reason"), _reason, hint=hint),)

    def question(self, values: dict[str, Any]) -> str:
        """Say how many models of which provider change."""
        count = len(self._changes)
        if self.enable:
            text = ngettext(
                "Enable %(count)d model of %(provider)s? Reason: %(reason)s",
                "Enable %(count)d models of %(provider)s? Reason: %(reason)s",
                count,
            )
        else:
            text = ngettext(
                "Disable %(count)d model of %(provider)s? Reason: %(reason)s",
                "Disable %(count)d models of %(provider)s? Reason: %(reason)s",
                count,
            )
        return text % {"count": count, "provider": self.provider_name, "reason": values["reason"]}

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Name every model that changes, now and after; those disabled for a reason of their own with that reason."""
        provider_id, enable = self.provider_id, self.enable

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.models import list_models

            models = [m for m in list_models(ledger, provider_id) if enable == (m.status is ModelStatus.DISABLED)]
            if not models:
                raise Refused(_("Every model of the provider stands so already."))
            return [_change(model, enable) for model in models]

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], tuple[ModelView, ...]]:
        """Write the decision, for all of them in one transaction."""
        provider_id, enable = self.provider_id, self.enable

        def work(ledger: Ledger) -> tuple[ModelView, ...]:
            from billing_console.services.models import set_provider_enabled

            return set_provider_enabled(ledger, provider_id, enable, reason=values["reason"])

        return work


def _change(model: ModelView, enable: bool) -> Change:
    """Say the status of a model now and after; one enabled while its pool is depleted still lacks funds."""
    after = ModelStatus.DISABLED
    if enable:
        after = ModelStatus.INSUFFICIENT_FUNDS if model.suspended_at else ModelStatus.ENABLED
    before = words.state(model.status).plain
    if enable and model.disabled_reason:
        before += f" ({one_line(model.disabled_reason, 30)})"
    return Change(one_line(model.model_id, 40), before, words.state(after).plain)


def _reason(text: str) -> str:
    return storable(required(text), "reason", limit=1000)
