"""What can be done to a ledger, and who may: every change has a name, a least role, and a place in the audit log."""

from __future__ import annotations

from enum import StrEnum

from billing_console.services.identity import SYSTEM, Actor, Kind
from db.values import Role, Scope


class Action(StrEnum):
    """The kinds of change, as the audit log spells them."""

    OPEN = "ledger.open"
    INIT = "ledger.init"
    UPGRADE = "ledger.upgrade"
    REPAIR = "ledger.repair"
    BACKUP = "ledger.backup"
    RESTORE = "ledger.restore"
    MAINTAIN = "ledger.maintain"
    ARCHIVE = "ledger.archive"
    POOL_OPEN = "pools.add"
    POOL_THRESHOLD = "pools.threshold"
    POOL_CHECK = "pools.check"
    ALERT_ACKNOWLEDGE = "alerts.acknowledge"
    RECHARGE = "pools.recharge"
    REVERSE = "pools.reverse"
    GRANT = "quotas.grant"
    REVOKE = "quotas.revoke"
    PERIOD = "quotas.period"
    DUE = "quotas.due"
    MODEL_ENABLE = "models.enable"
    MODEL_DISABLE = "models.disable"
    PRICE = "prices.add"
    METER = "usage.record"
    SET_ASIDE = "usage.set_aside"
    IMPORT = "usage.import"
    SETTLE = "usage.settle"
    REPRICE = "usage.reprice"
    OPERATOR_ADD = "operators.add"
    OPERATOR_REMOVE = "operators.remove"
    LIMIT = "limits.set"
    BUDGET = "budgets.set"
    APPROVE = "approvals.approve"
    REJECT = "approvals.reject"
    ANCHOR = "audit.anchor"
    TOKEN_CREATE = "tokens.create"
    TOKEN_REVOKE = "tokens.revoke"


OPERATORS_MAY = frozenset(
    {
        Action.POOL_OPEN,
        Action.POOL_CHECK,
        Action.ALERT_ACKNOWLEDGE,
        Action.RECHARGE,
        Action.GRANT,
        Action.REVOKE,
        Action.DUE,
        Action.MODEL_ENABLE,
        Action.MODEL_DISABLE,
        Action.METER,
        Action.SET_ASIDE,
        Action.IMPORT,
        Action.SETTLE,
        Action.REPRICE,
    }
)
"""What an operator may do; an admin may do everything, a viewer reads."""

AT_ONCE = frozenset({Action.METER, Action.SET_ASIDE, Action.IMPORT, Action.SETTLE, Action.REPRICE})
"""What one person may do in many places at once. All else of theirs is done one after the other: limits count it."""

SYSTEM_MAY = {
    f"{SYSTEM}check-pools": frozenset({Action.POOL_CHECK, Action.SETTLE, Action.DUE}),
    f"{SYSTEM}scheduler": frozenset({Action.POOL_CHECK, Action.SETTLE, Action.DUE, Action.MAINTAIN}),
    f"{SYSTEM}gateway": frozenset({Action.METER}),
}
"""What the parts of the program may do that act by themselves: cron may check and nothing else."""


TOKENS_MAY = {
    Scope.READ: frozenset[Action](),
    Scope.METER: frozenset({Action.METER, Action.SET_ASIDE}),
    Scope.OPERATE: frozenset(
        {
            Action.POOL_OPEN,
            Action.POOL_CHECK,
            Action.ALERT_ACKNOWLEDGE,
            Action.RECHARGE,
            Action.GRANT,
            Action.REVOKE,
            Action.MODEL_ENABLE,
            Action.MODEL_DISABLE,
        }
    ),
    Scope.ADMINISTER: frozenset({Action.REVERSE, Action.POOL_THRESHOLD, Action.PERIOD, Action.PRICE, Action.BUDGET}),
}
"""What a token of the HTTP API may change, by its scopes: what needs an admin of people needs a scope of its own.

Who may work with the ledger, its limits and what needs approval stay with people.
"""


def allowed(actor: Actor, role: Role | None, action: Action) -> bool:
    """Tell whether somebody with this role, None for nobody known, may do this."""
    if actor.kind is Kind.SYSTEM:
        return action in SYSTEM_MAY.get(actor.name, ())
    if actor.kind is Kind.TOKEN:
        return any(action in TOKENS_MAY[scope] for scope in actor.scopes)
    return role_allows(role, action)


def role_allows(role: Role | None, action: Action) -> bool:
    """Tell whether a person with this role may do this."""
    return role is Role.ADMIN or (role is Role.OPERATOR and action in OPERATORS_MAY)
