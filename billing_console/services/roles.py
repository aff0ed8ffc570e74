"""Roles as a transaction sees them: who somebody is to the ledger now, and who else could be asked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, select

from billing_console.errors import NotPermitted
from billing_console.i18n import _
from billing_console.services.identity import TOKEN, Actor, Kind
from billing_console.text import clean
from db.prepared import Prepared
from db.schema import ApiToken, Operator
from db.values import Role, Scope


def _operator() -> Any:
    return select(Operator.uid, Operator.role).where(Operator.name == bindparam("name"))


def _token() -> Any:
    return select(ApiToken.revoked_at).where(ApiToken.name == bindparam("name"))


_OPERATOR, _OPERATOR_LOCKED = Prepared(_operator), Prepared(lambda: _operator().with_for_update())
_OPERATOR_SHARED = Prepared(lambda: _operator().with_for_update(read=True))
_TOKEN, _TOKEN_LOCKED = Prepared(_token), Prepared(lambda: _token().with_for_update())
_TOKEN_SHARED = Prepared(lambda: _token().with_for_update(read=True))


def role_of(session: Session, actor: Actor, *, lock: bool = False, shared: bool = False) -> Role | None:
    """Return the role of somebody, None for nobody known; with `lock` it cannot be taken before the transaction ends.

    With a lock that is not `shared`, what they do is done one after the other. An account is known by its name and its
    uid together, a name from a forced command by the name.
    """
    if actor.kind is Kind.SYSTEM:
        return None
    if actor.kind is Kind.TOKEN:
        _require_in_force(session, actor, lock)
        return None
    operator = (_OPERATOR_SHARED if shared else _OPERATOR_LOCKED) if lock else _OPERATOR
    found = operator.run(session.connection(), name=actor.name).first()
    if found is None or (actor.kind is Kind.PERSON and found.uid != actor.uid):
        return None
    return Role(found.role)


def _require_in_force(session: Session, actor: Actor, lock: bool) -> None:
    """Raise NotPermitted for a token that was revoked meanwhile; with `lock` it cannot be before the transaction ends.

    Limits count what an operator has done, so what is subject to them is done one after the other.
    """
    shared = not actor.scopes & {Scope.OPERATE, Scope.ADMINISTER}
    token = (_TOKEN_SHARED if shared else _TOKEN_LOCKED) if lock else _TOKEN
    found = token.run(session.connection(), name=actor.name.removeprefix(TOKEN)).first()
    if found is None or found.revoked_at is not None:
        raise NotPermitted(_("The token was revoked."), whom_to_ask(session))


def whom_to_ask(session: Session) -> str:
    """Return the sentence that names the admins."""
    query = select(Operator.name).where(Operator.role == Role.ADMIN.value).order_by(Operator.name).limit(5)
    return _("Ask an admin of this ledger: %(names)s.") % {"names": ", ".join(map(clean, session.exec(query)))}


def stranger(session: Session, actor: Actor) -> NotPermitted:
    """Return the refusal of somebody whom the ledger does not know."""
    return NotPermitted(
        _("%(name)s (uid %(uid)d) is no operator of this ledger.") % {"name": clean(actor.name), "uid": actor.uid},
        whom_to_ask(session),
    )


def found(session: Session, founder: Actor, now: datetime) -> Operator:
    """Make whoever sets a ledger up its first admin."""
    uid = founder.uid if founder.kind is Kind.PERSON else None
    row = Operator(name=founder.name, uid=uid, role=Role.ADMIN.value, added_by=founder.name, added_at=now)
    session.add(row)
    session.flush()
    return row


def state_of(row: Operator) -> dict[str, object]:
    """Return what the audit log says of an operator."""
    return {"uid": row.uid, "role": row.role}
