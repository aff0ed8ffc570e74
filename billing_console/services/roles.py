"""Roles as a transaction sees them: who somebody is to the ledger now, and who else could be asked."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, select

from billing_console.errors import NotPermitted
from billing_console.i18n import _
from billing_console.services.identity import TOKEN, Actor, Kind
from billing_console.text import clean
from db.schema import ApiToken, Operator
from db.values import Role, Scope


def role_of(session: Session, actor: Actor, *, lock: bool = False) -> Role | None:
    """Return the role of somebody, None for nobody known; with `lock` it cannot be taken before the transaction ends.

    An account is known by its name and its uid together, a name from a forced command by the name.
    """
    if actor.kind is Kind.SYSTEM:
        return None
    if actor.kind is Kind.TOKEN:
        _require_in_force(session, actor, lock)
        return None
    query = select(Operator).where(Operator.name == actor.name)
    found = session.exec(query.with_for_update() if lock else query).first()
    if found is None or (actor.kind is Kind.PERSON and found.uid != actor.uid):
        return None
    return Role(found.role)


def _require_in_force(session: Session, actor: Actor, lock: bool) -> None:
    """Raise NotPermitted for a token that was revoked meanwhile; with `lock` it cannot be before the transaction ends.

    Limits count what an operator has done, so what is subject to them is done one after the other.
    """
    query = select(ApiToken.revoked_at).where(ApiToken.name == actor.name.removeprefix(TOKEN))
    shared = not actor.scopes & {Scope.OPERATE, Scope.ADMINISTER}
    found = session.exec(query.with_for_update(read=shared) if lock else query).all()
    if found != [None]:
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
