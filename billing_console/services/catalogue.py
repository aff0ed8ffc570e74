"""Providers, models and users known to the ledger."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from billing_console.errors import NotFound
from billing_console.i18n import _
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.text import clean
from db.prepared import among, by_column, insert_rows
from db.schema import Model, Provider, ResourcePool, UserQuota

BY_NAME = (func.lower(Provider.name), col(Provider.provider_id))
"""The order in which people look for a provider."""


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A provider's id and its name for people."""

    provider_id: str
    name: str


def register(session: Session, ledger: Ledger, pairs: Iterable[tuple[str, str]]) -> None:
    """Make providers and models known that a record or price names first, each provider with a pool row not yet opened.

    A provider or model seen first in an import is registered (DESIGN.md, section 4).
    """
    wanted = set(pairs)
    if not wanted:
        return
    connection = session.connection()
    spelled, values = among(connection, sorted(wanted))
    known = "SELECT 1 FROM models WHERE provider_id = one AND model_id = other"
    query = f"SELECT one, other FROM {spelled} AS wanted WHERE NOT EXISTS ({known})"
    missing = sorted((provider, model) for provider, model in connection.exec_driver_sql(query, values))
    if not missing:
        return
    register_providers(session, ledger, sorted({provider for provider, _model in missing}))
    now = ledger.clock()
    models = by_column([{"provider_id": p, "model_id": m, "name": m, "created_at": now} for p, m in missing])
    insert_rows(session, Model, models, "DO NOTHING")


def register_providers(session: Session, ledger: Ledger, provider_ids: list[str]) -> None:
    """Make providers known, each with a pool row that is not yet opened; those already known stay as they are."""
    now = ledger.clock()
    known = by_column([{"provider_id": p, "name": p, "created_at": now} for p in provider_ids])
    insert_rows(session, Provider, known, "DO NOTHING")
    pools = by_column([{"provider_id": p, "total_balance": 0, "used_amount": 0} for p in provider_ids])
    insert_rows(session, ResourcePool, pools, "DO NOTHING")


def providers(ledger: Ledger) -> tuple[ProviderView, ...]:
    """List the providers by name."""
    with reading(ledger.database) as session:
        rows = session.exec(select(Provider.provider_id, Provider.name).order_by(*BY_NAME))
        return tuple(ProviderView(*row) for row in rows)


def provider_called(ledger: Ledger, text: str) -> str:
    """Return the id of the provider with this id or name, in upper or lower case; the text itself if there is none."""
    wanted = text.casefold()
    known = providers(ledger)
    exact = (provider.provider_id for provider in known if provider.provider_id == text)
    alike = (one.provider_id for one in known if wanted in (one.provider_id.casefold(), one.name.casefold()))
    return next(exact, None) or next(alike, text)


def model_ids(ledger: Ledger, provider_id: str | None = None) -> tuple[str, ...]:
    """List the model ids of one provider, or of all, each once."""
    query = select(Model.model_id).distinct().order_by(Model.model_id)
    if provider_id is not None:
        query = query.where(Model.provider_id == provider_id)
    with reading(ledger.database) as session:
        return tuple(session.exec(query))


def user_ids(ledger: Ledger, prefix: str = "", limit: int = 20) -> tuple[str, ...]:
    """List known users whose id starts with `prefix`, in order of id."""
    user_id = col(UserQuota.user_id)
    query = select(UserQuota.user_id).order_by(UserQuota.user_id).limit(limit)
    if prefix:
        query = query.where(user_id.startswith(prefix, autoescape=True))
    if prefix and ledger.database.is_sqlite:
        # Its LIKE looks at every user; its order is that of the bytes, so a range finds the same ones.
        query = query.where(user_id >= prefix, user_id < prefix + chr(sys.maxunicode))
    with reading(ledger.database) as session:
        return tuple(session.exec(query))


def require_provider(session: Session, provider_id: str) -> Provider:
    """Return a provider; raise NotFound with the nearest known id."""
    found = session.get(Provider, provider_id)
    if found is None:
        known = list(session.exec(select(Provider.provider_id)))
        raise not_found(_("provider"), provider_id, known, _("Add it with: billing-console pools add PROVIDER"))
    return found


def require_model(session: Session, provider_id: str, model_id: str) -> Model:
    """Return a model of a provider; raise NotFound with the nearest known id."""
    require_provider(session, provider_id)
    found = session.get(Model, (provider_id, model_id))
    if found is None:
        known = list(session.exec(select(Model.model_id).where(Model.provider_id == provider_id)))
        raise not_found(_("model"), model_id, known, _("List them with: billing-console models list"))
    return found


def not_found(what: str, wanted: str, known: list[str], hint: str) -> NotFound:
    """Build the error for something that does not exist, naming what comes nearest."""
    near = difflib.get_close_matches(wanted, known, n=1)
    message = _("There is no %(what)s “%(wanted)s”.") % {"what": what, "wanted": clean(wanted)}
    return NotFound(message, _("Did you mean “%(near)s”?") % {"near": clean(near[0])} if near else hint)
