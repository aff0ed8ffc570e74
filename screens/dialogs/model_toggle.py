"""Enable or disable a model, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from billing_console.i18n import N_, _
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


def _reason(text: str) -> str:
    return storable(required(text), "reason", limit=1000)
