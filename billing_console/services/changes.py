"""Every change to a ledger goes through here: who may, the whole transaction, and its row in the audit log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sqlmodel import Session

from billing_console.errors import NotPermitted, Refused
from billing_console.i18n import _
from billing_console.services.actions import AT_ONCE, OPERATORS_MAY, Action, allowed
from billing_console.services.audit import Trail, append, append_refusal
from billing_console.services.ledger import Ledger
from billing_console.services.roles import role_of, whom_to_ask
from billing_console.services.session import in_transaction, reading
from billing_console.text import clean
from db.values import Role

Result = TypeVar("Result")


def change(
    ledger: Ledger,
    action: Action,
    target: str,
    work: Callable[[Session, Trail], Result],
    *,
    one_snapshot: bool = False,
    audit_refusal: bool = True,
    key: str = "",
    done: Callable[[Session], Result | None] | None = None,
) -> Result:
    """Run `work` in one transaction together with the check of who may do it and its row in the audit log.

    `work` notes what it changed in the trail; without a note there is no row. A refusal is audited by itself, unless
    it is one of a rule and the caller does something else instead (`audit_refusal`). `key` and `done` are those of
    `in_transaction`. Raises as `in_transaction` does, what `work` raises, and Answered where the ledger is in the hands
    of a request that was done before.
    """
    once = ledger.once

    def attempt(session: Session) -> Result:
        require(session, ledger, action)
        if once is not None:
            once.require_new(session, ledger.operator, ledger.clock())
        trail = Trail(target)
        result = work(session, trail)
        if once is not None:
            once.keep(session, ledger.operator, ledger.clock(), result)
        if trail.changed:
            append(session, ledger.actor, ledger.clock(), action, trail)
        return result

    try:
        if ledger.read_only:
            raise read_only_session()
        named = key or (once.key if once else "")
        return in_transaction(ledger.database, attempt, one_snapshot=one_snapshot, key=named, done=done)
    except (Refused, NotPermitted) as refusal:
        if audit_refusal or isinstance(refusal, NotPermitted):
            append_refusal(ledger.database, ledger.actor, ledger.clock(), action, target, refusal)
        raise
    finally:
        ledger.database.wrote(ledger.actor.name)


def change_together(
    ledgers: Sequence[Ledger], action: Action, work: Callable[[Session, Mapping[str, Trail]], Result]
) -> Result:
    """Run `work` for several actors of one ledger in one transaction, each with a trail of its own, by name.

    Where one of them is refused, nothing is done for any of them, and nothing audited: the caller tries each by itself.
    """
    ledger = ledgers[0]
    if ledger.read_only:
        raise read_only_session()

    def attempt(session: Session) -> Result:
        for each in ledgers:
            require(session, each, action)
        trails = {each.actor.name: Trail("") for each in ledgers}
        result = work(session, trails)
        for each in ledgers:
            if trails[each.actor.name].changed:
                append(session, each.actor, ledger.clock(), action, trails[each.actor.name])
        return result

    try:
        return in_transaction(ledger.database, attempt)
    finally:
        for each in ledgers:
            ledger.database.wrote(each.actor.name)


def consider(ledger: Ledger, action: Action, target: str, work: Callable[[Session], Result]) -> Result:
    """Run `work`, which looks at what a change would do, for somebody who may make that change; audit a refusal."""
    try:
        if ledger.read_only:
            raise read_only_session()
        with reading(ledger.database) as session:
            require(session, ledger, action, writing=False)
            return work(session)
    except (Refused, NotPermitted) as refusal:
        append_refusal(ledger.database, ledger.actor, ledger.clock(), action, target, refusal)
        raise


def require(session: Session, ledger: Ledger, action: Action, *, writing: bool = True) -> None:
    """Raise NotPermitted unless the actor may do this now: a role may have been taken since the ledger was opened.

    In a transaction that writes, the role cannot be taken before it ends.
    """
    role = role_of(session, ledger.actor, lock=writing, shared=action in AT_ONCE)
    if not allowed(ledger.actor, role, action):
        needed = Role.OPERATOR if action in OPERATORS_MAY else Role.ADMIN
        raise NotPermitted(
            _("%(name)s has the role “%(role)s”, but %(action)s needs the role “%(needed)s”; nothing was changed.")
            % {"name": clean(ledger.actor.name), "role": role or "-", "action": action, "needed": needed},
            whom_to_ask(session),
        )


def read_only_session() -> NotPermitted:
    """Return the refusal of every change in a read-only session."""
    return NotPermitted(
        _("This is a read-only session; nothing was changed."), _("Leave out --read-only to make changes.")
    )
