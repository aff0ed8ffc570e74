"""Models: what can be called now, and what a person or an empty pool stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.catalogue import BY_NAME, require_model, require_provider
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.text import storable
from db.schema import Model, Provider, ResourcePool
from db.values import ModelStatus


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model and why it may be unavailable: disabled by a person, or suspended with the pool of its provider."""

    provider_id: str
    provider_name: str
    model_id: str
    model_name: str
    status: ModelStatus
    disabled_at: datetime | None
    disabled_by: str | None
    disabled_reason: str | None
    suspended_at: datetime | None

    @property
    def unavailable_since(self) -> datetime | None:
        """Return since when it cannot be called, by whichever of the two came first; None for one that can."""
        return min(filter(None, (self.disabled_at, self.suspended_at)), default=None)


def list_models(ledger: Ledger, provider_id: str | None = None) -> tuple[ModelView, ...]:
    """List the models, of one provider or all, by provider name and model id."""
    query = (
        select(Model, Provider.name, ResourcePool.suspended_at)
        .join(Provider, col(Provider.provider_id) == col(Model.provider_id))
        .join(ResourcePool, col(ResourcePool.provider_id) == col(Model.provider_id))
        .order_by(*BY_NAME, Model.model_id)
    )
    with reading(ledger.database) as session:
        if provider_id is not None:
            require_provider(session, provider_id)
            query = query.where(Model.provider_id == provider_id)
        return tuple(_view(*row) for row in session.exec(query))


def get_model(ledger: Ledger, provider_id: str, model_id: str) -> ModelView:
    """Return one model; raise NotFound with the nearest id."""
    with reading(ledger.database) as session:
        return _found(session, require_model(session, provider_id, model_id))


def set_model_enabled(ledger: Ledger, provider_id: str, model_id: str, enabled: bool, *, reason: str) -> ModelView:
    """Enable or disable a model by a person's decision, with the reason; what already stands so stays as it is.

    Raises NotFound for an unknown model. The suspension by an empty pool is another fact and is not touched.
    """
    reason = storable(reason, "reason", limit=1000)

    def work(session: Session, trail: Trail) -> ModelView:
        model = require_model(session, provider_id, model_id)
        session.refresh(model, with_for_update=True)
        before = state_of(model)
        if _switch(ledger, trail, model, enabled, reason):
            trail.note(before or {}, (state_of(model) or {}) | {"reason": reason})
        session.flush()
        return _found(session, model)

    return change(ledger, _action(enabled), f"{provider_id} {model_id}", work)


def set_provider_enabled(ledger: Ledger, provider_id: str, enabled: bool, *, reason: str) -> tuple[ModelView, ...]:
    """Enable or disable every model of a provider, all or none, and return those that this changed.

    What a person disabled before keeps who, when and why. One row of the audit log names every model changed and how it
    stood before. Raises NotFound for an unknown provider.
    """
    reason = storable(reason, "reason", limit=1000)

    def work(session: Session, trail: Trail) -> tuple[ModelView, ...]:
        require_provider(session, provider_id)
        # In one order, so that two who do this at once do not wait for each other for ever.
        query = select(Model).where(Model.provider_id == provider_id).order_by(Model.model_id).with_for_update()
        before: dict[str, object] = {}
        changed = []
        for model in session.exec(query.execution_options(populate_existing=True)):
            stood = state_of(model)
            if _switch(ledger, trail, model, enabled, reason):
                before[model.model_id] = stood
                changed.append(model)
        session.flush()
        if changed:
            by = {} if enabled else {"disabledBy": ledger.operator}
            trail.note({"models": before}, {"models": len(changed), **by, "reason": reason})
        return tuple(_found(session, model) for model in changed)

    return change(ledger, _action(enabled), provider_id, work)


def _switch(ledger: Ledger, trail: Trail, model: Model, enabled: bool, reason: str) -> bool:
    """Write a person's decision into a locked model; return whether it was another one, which the trail vouches for."""
    if enabled == (model.disabled_at is None):
        return False
    if enabled:
        model.disabled_at = model.disabled_by = model.disabled_reason = None
    else:
        model.disabled_at, model.disabled_by, model.disabled_reason = ledger.clock(), ledger.operator, reason
    trail.state("models", f"{model.provider_id} {model.model_id}", state_of(model))
    return True


def _action(enabled: bool) -> Action:
    return Action.MODEL_ENABLE if enabled else Action.MODEL_DISABLE


def state_of(model: Model) -> dict[str, object] | None:
    """Return what the audit log says of a model that a person disabled, None for one that nobody did."""
    if model.disabled_at is None:
        return None
    return {"disabledBy": model.disabled_by, "disabledReason": model.disabled_reason}


def _found(session: Session, model: Model) -> ModelView:
    name = session.get_one(Provider, model.provider_id).name
    return _view(model, name, session.get_one(ResourcePool, model.provider_id).suspended_at)


def _view(model: Model, provider_name: str, suspended_at: datetime | None) -> ModelView:
    if model.disabled_at is not None:
        status = ModelStatus.DISABLED
    elif suspended_at is not None:
        status = ModelStatus.INSUFFICIENT_FUNDS
    else:
        status = ModelStatus.ENABLED
    return ModelView(
        provider_id=model.provider_id,
        provider_name=provider_name,
        model_id=model.model_id,
        model_name=model.name,
        status=status,
        disabled_at=model.disabled_at,
        disabled_by=model.disabled_by,
        disabled_reason=model.disabled_reason,
        suspended_at=suspended_at,
    )
