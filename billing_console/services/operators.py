"""Operators: who may work with a ledger, in which role."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from billing_console.errors import InvalidInput, NotFound, Refused
from billing_console.i18n import _
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.identity import SYSTEM, TOKEN, uid_of
from billing_console.services.ledger import Ledger
from billing_console.services.roles import role_of, state_of, stranger
from billing_console.services.session import reading
from billing_console.text import clean, storable
from db.schema import Operator
from db.values import Role


@dataclass(frozen=True, slots=True)
class OperatorView:
    """An operator; `uid` None stands for a name that only a forced command gives (`--as`)."""

    name: str
    uid: int | None
    role: Role
    added_by: str
    added_at: datetime


def list_operators(ledger: Ledger) -> tuple[OperatorView, ...]:
    """List the operators by name."""
    with reading(ledger.database) as session:
        return tuple(_view(row) for row in session.exec(select(Operator).order_by(Operator.name)))


def role_now(ledger: Ledger) -> Role:
    """Return the role of whoever works with the ledger, as it is now; raise NotPermitted once they have none."""
    with reading(ledger.database) as session:
        role = role_of(session, ledger.actor)
        if role is None:
            raise stranger(session, ledger.actor)
        return role


def add_operator(ledger: Ledger, name: str, role: Role) -> OperatorView:
    """Give a person a role, a known one another role; the uid is that of the machine's account of this name, if any.

    Raises InvalidInput for a name that is none, Refused where no admin would be left.
    """
    name = _checked_name(name)

    def work(session: Session, trail: Trail) -> OperatorView:
        now = ledger.clock()
        uid = uid_of(name)
        row = session.get(Operator, name, with_for_update=True)
        before = None if row is None else state_of(row)
        if row is None:
            row = Operator(name=name, uid=uid, role=role.value, added_by=ledger.operator, added_at=now)
            session.add(row)
        elif (row.uid, row.role) != (uid, role.value):
            if role is not Role.ADMIN:
                _require_another_admin(session, name)
            row.sqlmodel_update({"uid": uid, "role": role.value, "added_by": ledger.operator, "added_at": now})
        session.flush()
        if before != state_of(row):
            trail.note(before, state_of(row))
            trail.state("operators", name, state_of(row))
        return _view(row)

    return change(ledger, Action.OPERATOR_ADD, name, work)


def remove_operator(ledger: Ledger, name: str) -> OperatorView:
    """Take a person's role away; raise NotFound for nobody known, Refused where no admin would be left."""

    def work(session: Session, trail: Trail) -> OperatorView:
        row = session.get(Operator, name, with_for_update=True)
        if row is None:
            raise NotFound(
                _("There is no operator “%(name)s”.") % {"name": clean(name)},
                _("List them with: billing-console operators list"),
            )
        _require_another_admin(session, name)
        trail.note(state_of(row), None)
        trail.state("operators", name, None)
        session.delete(row)
        return _view(row)

    return change(ledger, Action.OPERATOR_REMOVE, name, work)


def _require_another_admin(session: Session, name: str) -> None:
    """Refuse what would leave the ledger without an admin; all admins' rows are locked, so two cannot go at once."""
    admins = session.exec(select(Operator).where(Operator.role == Role.ADMIN.value).with_for_update()).all()
    if [admin.name for admin in admins] == [name]:
        raise Refused(
            _("%(name)s is the only admin; a ledger needs one.") % {"name": clean(name)},
            _("Add another first: billing-console operators add NAME --role admin"),
        )


def _checked_name(name: str) -> str:
    name = storable(name, "name", limit=100)
    for start in (SYSTEM, TOKEN):
        if name.startswith(start):
            raise InvalidInput(_("Names that begin with %(start)s are no person's.") % {"start": start}, field="name")
    return name


def _view(row: Operator) -> OperatorView:
    return OperatorView(row.name, row.uid, Role(row.role), row.added_by, row.added_at)
