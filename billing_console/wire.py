"""What leaves the program as data: every record's fields by the seed's names, for the command line and the HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from billing_console.clock import iso
from billing_console.money import plain

if TYPE_CHECKING:
    from billing_console.services.alerts import AlertView
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.archive_units import Archived
    from billing_console.services.audit import AuditView
    from billing_console.services.audit_anchor import Anchor
    from billing_console.services.audit_verify import AuditFinding
    from billing_console.services.backup import BackedUp, Restored
    from billing_console.services.budgets import BudgetView
    from billing_console.services.costs import CostRow
    from billing_console.services.costs_compare import ComparedRow
    from billing_console.services.holds import HoldView
    from billing_console.services.limits import LimitView
    from billing_console.services.maintenance import Maintained
    from billing_console.services.models import ModelView
    from billing_console.services.operators import OperatorView
    from billing_console.services.outlook import PoolOutlook
    from billing_console.services.periodic_quotas import PeriodicView
    from billing_console.services.pools import PoolView
    from billing_console.services.prices import PricesAdded, PriceView
    from billing_console.services.quotas import GrantView, QuotaDetails, QuotaView
    from billing_console.services.recharges import RechargeView
    from billing_console.services.reconcile import Finding
    from billing_console.services.settlement import Repriced, Settled
    from billing_console.services.tokens import TokenView
    from billing_console.services.usage import UsageDetails, UsageRow
    from billing_console.services.usage_import_run import Imported

View = TypeVar("View")
Fields = Mapping[str, Callable[[View], object]]
"""A record's fields in order. A Decimal is money; counts and percentages are numbers."""


def record(fields: Fields[View], view: View) -> dict[str, object]:
    """Return a view as a record with exact values, as CSV takes them."""
    return {name: value(view) for name, value in fields.items()}


def jsonable(value: Any) -> Any:
    """Return a record, or a list of them, as JSON takes it: money as plain decimal strings, times in ISO 8601."""
    if isinstance(value, Mapping):
        return {name: jsonable(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(part) for part in value]
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return iso(value)
    return value.isoformat() if isinstance(value, date) else value


def csv_value(value: object) -> object:
    """Return a field as CSV takes it: numbers stay numbers, and exact."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, Decimal) else jsonable(value)


def number(amount: Decimal | None) -> int | float | None:
    """Spell usage or a percentage, which are no money, as a JSON number."""
    if amount is None:
        return None
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def _percent(percentage: Decimal) -> float:
    return float(round(percentage, 2))


USAGE: Fields[UsageRow] = {
    "id": lambda row: row.id,
    "requestId": lambda row: row.request_id,
    "userId": lambda row: row.user_id,
    "providerId": lambda row: row.provider_id,
    "modelId": lambda row: row.model_id,
    "usageType": lambda row: row.usage_type,
    "inputTokens": lambda row: row.input_tokens,
    "cachedInputTokens": lambda row: row.cached_input_tokens,
    "outputTokens": lambda row: row.output_tokens,
    "totalTokens": lambda row: row.total_tokens,
    "quantity": lambda row: number(row.quantity),
    "costAmount": lambda row: row.cost_amount,
    "unpriced": lambda row: row.unpriced,
    "status": lambda row: row.status,
    "errorMessage": lambda row: row.error_message,
    "createdAt": lambda row: row.created_at,
    "cursor": lambda row: row.cursor,
}


def usage_details(details: UsageDetails) -> dict[str, object]:
    """Return a usage record with the price it was billed at, how its cost comes about, and its import."""
    return record(USAGE, details.row) | {
        "price": None if details.price is None else record(PRICE, details.price),
        "costLines": [
            {
                "kind": line.kind,
                "count": number(line.count),
                "unit": line.unit,
                "unitPrice": line.unit_price,
                "amount": line.amount,
            }
            for line in details.lines
        ],
        "importFile": details.import_file,
        "importCurrency": details.import_currency,
        "importRate": details.import_rate,
    }


COST: Fields[CostRow] = {
    "statDate": lambda row: row.stat_date,
    "providerId": lambda row: row.provider_id,
    "modelId": lambda row: row.model_id,
    "usageType": lambda row: row.usage_type,
    "totalUsage": lambda row: number(row.total_usage),
    "totalCost": lambda row: row.total_cost,
    "callCount": lambda row: row.call_count,
    "failedCount": lambda row: row.failed_count,
    "costPerCall": lambda row: row.cost_per_call,
    "costPerMillionTokens": lambda row: row.cost_per_million_tokens,
}


def compared(fields: Fields[CostRow]) -> Fields[ComparedRow]:
    """Return the fields of a row of cost statistics with its share and the change to the period before."""

    def of_row(value: Callable[[CostRow], object]) -> Callable[[ComparedRow], object]:
        return lambda compared: value(compared.row)

    return {
        **{name: of_row(value) for name, value in fields.items()},
        "costShare": lambda compared: number(compared.share),
        "previousCost": lambda compared: compared.change.previous,
        "costChange": lambda compared: compared.change.amount,
        "costChangePercentage": lambda compared: number(compared.change.percentage),
    }


BUDGET: Fields[BudgetView] = {
    "providerId": lambda view: view.provider_id or None,
    "month": lambda view: view.projection.month,
    "budgetAmount": lambda view: view.amount,
    "monthToDate": lambda view: view.projection.to_date,
    "remainingAmount": lambda view: view.left,
    "projectedCost": lambda view: view.projection.expected,
    "projectedLow": lambda view: view.projection.low,
    "projectedHigh": lambda view: view.projection.high,
    "historyDays": lambda view: view.projection.history_days,
    "budgetStatus": lambda view: view.status,
}
"""A month, by its first day, of a provider, or of all together where providerId is null."""

POOL: Fields[PoolView] = {
    "providerId": lambda pool: pool.provider_id,
    "providerName": lambda pool: pool.provider_name,
    "hasPool": lambda pool: pool.has_pool,
    "totalBalance": lambda pool: pool.total_balance,
    "usedAmount": lambda pool: pool.used_amount,
    "availableBalance": lambda pool: pool.available_balance,
    "balancePercentage": lambda pool: _percent(pool.balance_percentage),
    "isLowBalance": lambda pool: pool.is_low_balance,
    "status": lambda pool: pool.status,
    "lowThreshold": lambda pool: _percent(pool.low_threshold),
    "lowAmount": lambda pool: pool.low_amount,
    "lowDays": lambda pool: pool.low_days,
    "lastRechargeDate": lambda pool: pool.last_recharge_at,
    "lastCheckDate": lambda pool: pool.last_check_at,
}


def _of_pool(value: Callable[[PoolView], object]) -> Callable[[PoolOutlook], object]:
    return lambda outlook: value(outlook.pool)


OUTLOOK: Fields[PoolOutlook] = {
    **{name: _of_pool(value) for name, value in POOL.items()},
    "historyDays": lambda outlook: outlook.history_days,
    "burnPerDay": lambda outlook: outlook.burn_per_day,
    "emptyAt": lambda outlook: outlook.empty.at,
    "emptyAtEarliest": lambda outlook: outlook.empty.earliest,
    "emptyAtLatest": lambda outlook: outlook.empty.latest,
}
"""A pool and where it is heading: what is not known, or more than a year away, is null."""

RECHARGE: Fields[RechargeView] = {
    "id": lambda entry: entry.id,
    "providerId": lambda entry: entry.provider_id,
    "amount": lambda entry: entry.amount,
    "availableBefore": lambda entry: entry.available_before,
    "availableAfter": lambda entry: entry.available_after,
    "totalAfter": lambda entry: entry.total_after,
    "reference": lambda entry: entry.reference,
    "note": lambda entry: entry.note,
    "idempotencyKey": lambda entry: entry.idempotency_key,
    "reversesId": lambda entry: entry.reverses_id,
    "reversedById": lambda entry: entry.reversed_by_id,
    "operator": lambda entry: entry.operator,
    "approvedBy": lambda entry: entry.approved_by,
    "createdAt": lambda entry: entry.created_at,
}

APPROVAL: Fields[ApprovalView] = {
    "requestId": lambda request: request.id,
    "kind": lambda request: request.kind,
    "subject": lambda request: request.subject,
    "amount": lambda request: request.amount,
    "reference": lambda request: request.reference,
    "note": lambda request: request.note,
    "idempotencyKey": lambda request: request.idempotency_key,
    "reversesId": lambda request: request.reverses_id,
    "operator": lambda request: request.operator,
    "createdAt": lambda request: request.created_at,
    "expiresAt": lambda request: request.expires_at,
    "state": lambda request: request.state,
    "decidedBy": lambda request: request.decided_by,
    "decidedAt": lambda request: request.decided_at,
    "reason": lambda request: request.reason,
}

OPERATOR: Fields[OperatorView] = {
    "name": lambda operator: operator.name,
    "uid": lambda operator: operator.uid,
    "role": lambda operator: operator.role,
    "addedBy": lambda operator: operator.added_by,
    "addedAt": lambda operator: operator.added_at,
}

TOKEN: Fields[TokenView] = {
    "name": lambda token: token.name,
    "scopes": lambda token: " ".join(token.scopes),
    "createdBy": lambda token: token.created_by,
    "createdAt": lambda token: token.created_at,
    "expiresAt": lambda token: token.expires_at,
    "revokedAt": lambda token: token.revoked_at,
}

HOLD: Fields[HoldView] = {
    "requestId": lambda hold: hold.request_id,
    "providerId": lambda hold: hold.provider_id,
    "userId": lambda hold: hold.user_id,
    "heldAmount": lambda hold: hold.amount,
    "remainingAmount": lambda hold: hold.remaining,
    "expiresAt": lambda hold: hold.expires_at,
    "replayed": lambda hold: hold.replayed,
}

LIMIT: Fields[LimitView] = {
    "name": lambda limit: limit.name,
    "amount": lambda limit: limit.amount,
}

AUDIT: Fields[AuditView] = {
    "id": lambda entry: entry.id,
    "createdAt": lambda entry: entry.created_at,
    "operator": lambda entry: entry.operator,
    "uid": lambda entry: entry.uid,
    "account": lambda entry: entry.account,
    "action": lambda entry: entry.action,
    "target": lambda entry: entry.target,
    "outcome": lambda entry: entry.outcome,
    "reason": lambda entry: entry.reason,
    "before": lambda entry: entry.before,
    "after": lambda entry: entry.after,
    "loginUid": lambda entry: entry.login_uid,
    "tty": lambda entry: entry.tty,
    "sshClient": lambda entry: entry.ssh_client,
    "host": lambda entry: entry.host,
    "hash": lambda entry: entry.hash,
}

AUDIT_FINDING: Fields[AuditFinding] = {
    "where": lambda finding: finding.where,
    "problem": lambda finding: finding.problem,
}

ANCHOR: Fields[Anchor] = {
    "id": lambda anchor: anchor.id,
    "hash": lambda anchor: anchor.hash,
    "takenAt": lambda anchor: anchor.taken_at,
}

ALERT: Fields[AlertView] = {
    "id": lambda alert: alert.id,
    "providerId": lambda alert: alert.provider_id,
    "alertType": lambda alert: alert.alert_type,
    "alertLevel": lambda alert: alert.alert_level,
    "balancePercentage": lambda alert: _percent(alert.balance_percentage),
    "availableBalance": lambda alert: alert.available_balance,
    "isResolved": lambda alert: alert.is_resolved,
    "createdAt": lambda alert: alert.created_at,
    "updatedAt": lambda alert: alert.updated_at,
    "resolvedAt": lambda alert: alert.resolved_at,
    "acknowledgedBy": lambda alert: alert.acknowledged_by,
    "acknowledgedAt": lambda alert: alert.acknowledged_at,
}

QUOTA: Fields[QuotaView] = {
    "userId": lambda quota: quota.user_id,
    "hasQuota": lambda quota: quota.has_quota,
    "grantedAmount": lambda quota: quota.granted_amount,
    "usedAmount": lambda quota: quota.used_amount,
    "remainingAmount": lambda quota: quota.remaining_amount,
    "updatedAt": lambda quota: quota.updated_at,
}

GRANT: Fields[GrantView] = {
    "id": lambda grant: grant.id,
    "userId": lambda grant: grant.user_id,
    "amount": lambda grant: grant.amount,
    "remainingBefore": lambda grant: grant.remaining_before,
    "remainingAfter": lambda grant: grant.remaining_after,
    "grantedAfter": lambda grant: grant.granted_after,
    "reference": lambda grant: grant.reference,
    "idempotencyKey": lambda grant: grant.idempotency_key,
    "operator": lambda grant: grant.operator,
    "approvedBy": lambda grant: grant.approved_by,
    "createdAt": lambda grant: grant.created_at,
    "expiresAt": lambda grant: grant.expires_at,
    "expiresId": lambda grant: grant.expires_id,
}

PERIODIC: Fields[PeriodicView] = {
    "userId": lambda periodic: periodic.user_id,
    "period": lambda periodic: periodic.period,
    "amount": lambda periodic: periodic.amount,
    "operator": lambda periodic: periodic.operator,
    "createdAt": lambda periodic: periodic.created_at,
}


def quota_details(details: QuotaDetails) -> dict[str, object]:
    """Return a quota with what it is used for a day, its grants and the user's newest calls."""
    use, days_left = details.use, details.use.days_left(details.quota.remaining_amount)
    return record(QUOTA, details.quota) | {
        "costPerDay": use.per_day,
        "daysLeft": None if days_left is None else number(round(days_left, 1)),
        "costToday": use.unusual.today,
        "isUnusual": use.unusual.is_unusual if use.unusual.has_history else None,
        "usualCost": use.unusual.median,
        "usualFactor": number(use.unusual.factor),
        "usualDays": use.unusual.days,
        "unusualAbove": use.unusual.threshold,
        "periodic": None if details.periodic is None else record(PERIODIC, details.periodic),
        "grants": [
            record(GRANT, grant) | {"leftAmount": details.left.get(grant.id, Decimal(0))} for grant in details.grants
        ],
        "recent": [record(USAGE, row) for row in details.recent],
    }


MODEL: Fields[ModelView] = {
    "providerId": lambda model: model.provider_id,
    "modelId": lambda model: model.model_id,
    "modelName": lambda model: model.model_name,
    "status": lambda model: model.status,
    "disabledAt": lambda model: model.disabled_at,
    "disabledBy": lambda model: model.disabled_by,
    "disabledReason": lambda model: model.disabled_reason,
    "suspendedAt": lambda model: model.suspended_at,
}

PRICE: Fields[PriceView] = {
    "id": lambda price: price.id,
    "providerId": lambda price: price.provider_id,
    "modelId": lambda price: price.model_id,
    "usageType": lambda price: price.usage_type,
    "unit": lambda price: price.unit,
    "inputPrice": lambda price: price.input_price,
    "outputPrice": lambda price: price.output_price,
    "cachedInputPrice": lambda price: price.cached_input_price,
    "effectiveFrom": lambda price: price.effective_from,
    "inForce": lambda price: price.in_force,
    "sourceCurrency": lambda price: price.source_currency,
    "exchangeRate": lambda price: price.exchange_rate,
    "operator": lambda price: price.operator,
    "createdAt": lambda price: price.created_at,
}

IMPORTED: Fields[Imported] = {
    "imported": lambda done: done.imported,
    "duplicates": lambda done: done.duplicates,
    "rejected": lambda done: done.rejected,
    "unpriced": lambda done: done.unpriced,
    "rejects": lambda done: [str(path) for path in done.rejects],
}

PRICES_ADDED: Fields[PricesAdded] = {
    "added": lambda done: done.added,
    "unchanged": lambda done: done.unchanged,
}

FINDING: Fields[Finding] = {
    "what": lambda finding: finding.what,
    "where": lambda finding: finding.where,
    "stored": lambda finding: finding.stored,
    "computed": lambda finding: finding.computed,
    "repaired": lambda finding: finding.repaired,
}

REPRICED: Fields[Repriced] = {
    "priced": lambda done: done.priced,
    "stillUnpriced": lambda done: done.still_unpriced,
    "costAmount": lambda done: done.cost,
}

SETTLED: Fields[Settled] = {
    "counted": lambda done: done.counted,
    "unpriced": lambda done: done.unpriced,
    "uncountable": lambda done: done.beyond,
}

MAINTAINED: Fields[Maintained] = {
    "made": lambda done: [f"{month:%Y-%m}" for month in done.made],
    "late": lambda done: [f"{month:%Y-%m}" for month in done.late],
}

ARCHIVED: Fields[Archived] = {
    "first": lambda done: f"{done.first:%Y-%m}",
    "last": lambda done: f"{done.last:%Y-%m}",
    "calls": lambda done: done.calls,
    "costAmount": lambda done: done.cost,
    "file": lambda done: done.file,
}

BACKED_UP: Fields[BackedUp] = {
    "path": lambda done: str(done.path),
    "size": lambda done: done.size,
    "rows": lambda done: done.rows,
    "wrong": lambda done: done.wrong,
    "seconds": lambda done: number(done.seconds),
}

RESTORED: Fields[Restored] = {
    "path": lambda done: str(done.path),
    "database": lambda done: done.database,
    "rows": lambda done: done.rows,
    "seconds": lambda done: number(done.seconds),
}
