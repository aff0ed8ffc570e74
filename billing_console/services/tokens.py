"""Tokens: what lets a program use the HTTP API, for what, and until when; only their hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from billing_console import clock
from billing_console.errors import Conflict, InvalidInput, NotFound
from billing_console.i18n import _
from billing_console.services import identity
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from billing_console.text import clean, storable
from db.schema import ApiToken
from db.values import Scope

PREFIX = "bct_"
"""How every token begins, so that people and scanners of secrets know one when they see it."""

RANDOM_BYTES = 32
MOST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token without its secret; `expires_at` None for one that holds until it is revoked."""

    name: str
    scopes: tuple[Scope, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def create_token(
    ledger: Ledger, name: str, scopes: Iterable[Scope], *, days: int | None = None
) -> tuple[TokenView, str]:
    """Make a token and return it with its secret, which is nowhere else; `days` None lets it hold until it is revoked.

    Raises Conflict for a name that was given before, also to a token that was revoked: the audit log names tokens so.
    """
    name = storable(name, "name", limit=80)
    chosen = sorted(set(scopes))
    if not chosen:
        raise InvalidInput(_("A token needs a scope."), field="scope")
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise InvalidInput(_("A token holds from 1 to %(most)d days.") % {"most": MOST_DAYS}, field="days")
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    now = ledger.clock()

    def work(session: Session, trail: Trail) -> TokenView:
        if session.get(ApiToken, name) is not None:
            raise Conflict(_("There is a token “%(name)s” already.") % {"name": clean(name)})
        row = ApiToken(
            name=name,
            token_hash=_hash(secret),
            scopes=" ".join(chosen),
            created_by=ledger.operator,
            created_at=now,
            expires_at=None if days is None else now + timedelta(days=days),
        )
        session.add(row)
        session.flush()
        trail.note(None, {"scopes": chosen, "expiresAt": row.expires_at})
        trail.state("tokens", name, state_of(row))
        return _view(row)

    return change(ledger, Action.TOKEN_CREATE, name, work), secret


def list_tokens(ledger: Ledger) -> tuple[TokenView, ...]:
    """List the tokens by name, also those that hold no more."""
    with reading(ledger.database) as session:
        return tuple(_view(row) for row in session.exec(select(ApiToken).order_by(ApiToken.name)))


def revoke_token(ledger: Ledger, name: str) -> TokenView:
    """Let a token hold no more, from the next request on; raise NotFound for an unknown one.

    One that is revoked already stays as it is.
    """

    def work(session: Session, trail: Trail) -> TokenView:
        row = session.get(ApiToken, name, with_for_update=True)
        if row is None:
            raise NotFound(
                _("There is no token “%(name)s”.") % {"name": clean(name)},
                _("List them with: billing-console tokens list"),
            )
        if row.revoked_at is None:
            row.revoked_at = ledger.clock()
            session.flush()
            trail.note({"scopes": row.scopes.split()}, None)
            trail.state("tokens", name, None)
        return _view(row)

    return change(ledger, Action.TOKEN_REVOKE, name, work)


def holder_of(ledger: Ledger, secret: str) -> Ledger | None:
    """Return the ledger in the hands of whoever holds this token; None for a token that does not hold."""
    wanted = _hash(secret)
    with reading(ledger.database) as session:
        row = session.exec(select(ApiToken).where(col(ApiToken.token_hash) == wanted)).first()
        if row is None or not hmac.compare_digest(row.token_hash, wanted) or row.revoked_at is not None:
            return None
        if row.expires_at is not None and row.expires_at <= ledger.clock():
            return None
        scopes = frozenset(Scope(scope) for scope in row.scopes.split())
        return replace(ledger, actor=identity.token(ledger.actor, row.name, scopes), role=None)


def expires_at(ledger: Ledger) -> datetime | None:
    """Return until when the token holds that a ledger is in the hands of; None for one without an end."""
    with reading(ledger.database) as session:
        return session.get_one(ApiToken, ledger.actor.name.removeprefix(identity.TOKEN)).expires_at


def state_of(row: ApiToken) -> dict[str, object]:
    """Return what the audit log says of a token that holds."""
    expires_at = None if row.expires_at is None else clock.iso(row.expires_at)
    return {"hash": row.token_hash, "scopes": row.scopes, "expiresAt": expires_at}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _view(row: ApiToken) -> TokenView:
    return TokenView(
        name=row.name,
        scopes=tuple(Scope(scope) for scope in row.scopes.split()),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
