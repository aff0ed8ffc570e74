"""The tables of the ledger on natural text keys; times are UTC, money is yuan.

What differs by engine (the indexes of usage_records, triggers, SQLite's stricter checks) is in the migrations. So is
the index that keeps a pool from two open alerts: its condition would have every dialect imported here.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import BigInteger, Column, Field, Integer, SQLModel

from db.types import Money, Percent, Quantity
from db.values import (
    AlertLevel,
    AlertType,
    ApprovalKind,
    CallStatus,
    LimitName,
    Outcome,
    Period,
    PriceUnit,
    Role,
    UsageType,
)

BigId = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit key that is SQLite's rowid there."""


def one_of(column: str, values: type[StrEnum]) -> str:
    """Spell the CHECK that keeps a column within its vocabulary."""
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class LedgerTable(SQLModel):
    """A table; rows are not validated, so pydantic makes what would do it, which takes long, once it is asked to."""

    model_config = {"defer_build": True}


class LedgerInfo(LedgerTable, table=True):
    """Facts about the ledger itself: currency, business time zone, whether it is a demo."""

    __tablename__ = "ledger_info"

    name: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(sa_type=Text)


class Provider(LedgerTable, table=True):
    """An upstream AI provider."""

    __tablename__ = "providers"

    provider_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    created_at: datetime


class Model(LedgerTable, table=True):
    """A model of a provider; `disabled_at` is a person's decision and is never written by the pool check."""

    __tablename__ = "models"
    __table_args__ = (ForeignKeyConstraint(["provider_id"], ["providers.provider_id"]),)

    provider_id: str = Field(primary_key=True, sa_type=Text)
    model_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    disabled_at: datetime | None = None
    disabled_by: str | None = Field(default=None, sa_type=Text)
    disabled_reason: str | None = Field(default=None, sa_type=Text)
    created_at: datetime


class Price(LedgerTable, table=True):
    """What one unit of usage of a model costs from `effective_from` on; added, never edited."""

    __tablename__ = "prices"
    __table_args__ = (
        ForeignKeyConstraint(["provider_id", "model_id"], ["models.provider_id", "models.model_id"]),
        UniqueConstraint("provider_id", "model_id", "usage_type", "effective_from", name="uq_prices_effective"),
        CheckConstraint(one_of("usage_type", UsageType), name="ck_prices_usage_type"),
        CheckConstraint(one_of("unit", PriceUnit), name="ck_prices_unit"),
        CheckConstraint(
            "input_price >= 0 AND output_price >= 0 AND (cached_input_price IS NULL OR cached_input_price >= 0)",
            name="ck_prices_not_negative",
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    provider_id: str = Field(sa_type=Text)
    model_id: str = Field(sa_type=Text)
    usage_type: str = Field(sa_type=Text)
    unit: str = Field(sa_type=Text)
    input_price: Decimal = Field(sa_type=Money)
    output_price: Decimal = Field(sa_type=Money)
    cached_input_price: Decimal | None = Field(default=None, sa_type=Money)
    effective_from: datetime
    source_currency: str | None = Field(default=None, sa_type=Text)
    exchange_rate: str | None = Field(default=None, sa_type=Text)
    operator: str = Field(sa_type=Text)
    created_at: datetime


class UsageImport(LedgerTable, table=True):
    """One run of `usage import`, with the stated exchange rate its costs were converted at."""

    __tablename__ = "usage_imports"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    file_name: str = Field(sa_type=Text)
    source_currency: str | None = Field(default=None, sa_type=Text)
    exchange_rate: str | None = Field(default=None, sa_type=Text)
    operator: str = Field(sa_type=Text)
    created_at: datetime


class UsageRecord(LedgerTable, table=True):
    """One AI call; append-only.

    `cost_amount` is NULL while the call has no price, and only such a row may be completed. `counted_by_settler` is
    true for rows that others insert: the trigger puts their ids into `usage_outbox`. No foreign keys, so that a gateway
    can insert before its model is registered, and no lock on other tables is taken per call.

    Provider and request are unique: by a key on SQLite, and by a table of its own on PostgreSQL, where the records lie
    in monthly partitions (db/partitions.py).
    """

    __tablename__ = "usage_records"
    __table_args__ = (
        CheckConstraint(one_of("usage_type", UsageType), name="ck_usage_records_usage_type"),
        CheckConstraint(one_of("status", CallStatus), name="ck_usage_records_status"),
        CheckConstraint(
            "input_tokens >= 0 AND cached_input_tokens >= 0 AND output_tokens >= 0 AND total_tokens >= 0"
            " AND quantity >= 0 AND cached_input_tokens <= input_tokens AND (cost_amount IS NULL OR cost_amount >= 0)",
            name="ck_usage_records_not_negative",
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    request_id: str = Field(sa_type=Text)
    user_id: str | None = Field(default=None, sa_type=Text)
    provider_id: str = Field(sa_type=Text)
    model_id: str = Field(sa_type=Text)
    usage_type: str = Field(sa_type=Text)
    input_tokens: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    cached_input_tokens: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    output_tokens: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    total_tokens: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    quantity: Decimal = Field(default=Decimal(0), sa_column=Column(Quantity, nullable=False, server_default=text("0")))
    cost_amount: Decimal | None = Field(default=None, sa_type=Money)
    price_id: int | None = Field(default=None, sa_type=BigInteger)
    status: str = Field(sa_type=Text)
    error_message: str | None = Field(default=None, sa_type=Text)
    created_at: datetime
    import_id: int | None = Field(default=None, sa_type=BigInteger)
    counted_by_settler: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})


class UsageOutbox(LedgerTable, table=True):
    """Ids of usage records that are in no counter yet; filled by a trigger, emptied by the settler.

    The check columns hold id and cost negated, and the provider, as the trigger saw them; NULL stands for anything.
    """

    __tablename__ = "usage_outbox"

    usage_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    usage_check: int | None = Field(default=None, sa_type=BigInteger)
    provider_check: str | None = Field(default=None, sa_type=Text)
    cost_check: Decimal | None = Field(default=None, sa_type=Money)


class DailyCostStat(LedgerTable, table=True):
    """Usage of one business day by provider, model and type; changes with the fact that changes it."""

    __tablename__ = "daily_cost_stats"
    __table_args__ = (Index("ix_daily_cost_stats_model", "provider_id", "model_id", "usage_type"),)

    stat_date: date = Field(primary_key=True)
    provider_id: str = Field(primary_key=True, sa_type=Text)
    model_id: str = Field(primary_key=True, sa_type=Text)
    usage_type: str = Field(primary_key=True, sa_type=Text)
    total_usage: Decimal = Field(sa_type=Quantity)
    total_cost: Decimal = Field(sa_type=Money)
    call_count: int = Field(sa_type=BigInteger)
    failed_count: int = Field(sa_type=BigInteger)


class UsageArchive(LedgerTable, table=True):
    """A file to which usage records were moved; `removed` of its `calls` are in the ledger no more.

    All of them are when it is done; until then the next run goes on, with the records up to `last_id` from `starts_at`
    to before `ends_at`.
    """

    __tablename__ = "usage_archives"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    file_name: str = Field(sa_type=Text)
    sha256: str = Field(sa_type=Text)
    starts_at: datetime
    ends_at: datetime
    last_id: int = Field(sa_type=BigInteger)
    calls: int = Field(sa_type=BigInteger)
    cost_amount: Decimal = Field(sa_type=Money)
    removed: int = Field(sa_type=BigInteger)
    operator: str = Field(sa_type=Text)
    created_at: datetime


class ArchivedStat(LedgerTable, table=True):
    """What archived records add to the daily statistics."""

    __tablename__ = "archived_stats"

    stat_date: date = Field(primary_key=True)
    provider_id: str = Field(primary_key=True, sa_type=Text)
    model_id: str = Field(primary_key=True, sa_type=Text)
    usage_type: str = Field(primary_key=True, sa_type=Text)
    total_usage: Decimal = Field(sa_type=Quantity)
    total_cost: Decimal = Field(sa_type=Money)
    call_count: int = Field(sa_type=BigInteger)
    failed_count: int = Field(sa_type=BigInteger)


class ArchivedCost(LedgerTable, table=True):
    """What the archived records of a user cost."""

    __tablename__ = "archived_costs"

    user_id: str = Field(primary_key=True, sa_type=Text)
    cost_amount: Decimal = Field(sa_type=Money)


class ArchivedRequest(LedgerTable, table=True):
    """A request whose record is archived, so that it is not counted once more; append-only."""

    __tablename__ = "archived_requests"

    provider_id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(primary_key=True, sa_type=Text)
    usage_id: int = Field(sa_type=BigInteger)
    created_at: datetime


class ResourcePool(LedgerTable, table=True):
    """The prepaid balance at a provider; the row exists for every provider so that its use is counted from the start.

    `opened_at` is NULL while the provider has no pool. `suspended_at` is written by the pool check alone and suspends
    all models of the provider. The check columns hold the amounts negated; a trigger writes them, so that a damaged
    amount is seen when it is read.
    """

    __tablename__ = "resource_pools"
    __table_args__ = (ForeignKeyConstraint(["provider_id"], ["providers.provider_id"]),)

    provider_id: str = Field(primary_key=True, sa_type=Text)
    opened_at: datetime | None = None
    total_balance: Decimal = Field(default=Decimal(0), sa_type=Money)
    used_amount: Decimal = Field(default=Decimal(0), sa_type=Money)
    total_check: Decimal | None = Field(default=None, sa_type=Money)
    used_check: Decimal | None = Field(default=None, sa_type=Money)
    low_threshold: Decimal | None = Field(default=None, sa_type=Percent)
    low_amount: Decimal | None = Field(default=None, sa_type=Money)
    low_days: int | None = Field(default=None, sa_type=BigInteger)
    suspended_at: datetime | None = None
    last_recharge_at: datetime | None = None
    last_check_at: datetime | None = None


class Recharge(LedgerTable, table=True):
    """Money paid into a pool, or its reversal (negative, naming the recharge it reverses); append-only."""

    __tablename__ = "recharges"
    __table_args__ = (
        ForeignKeyConstraint(["provider_id"], ["providers.provider_id"]),
        ForeignKeyConstraint(["reverses_id"], ["recharges.id"]),
        UniqueConstraint("idempotency_key", name="uq_recharges_key"),
        UniqueConstraint("reverses_id", name="uq_recharges_reverses"),
        CheckConstraint("(amount > 0) = (reverses_id IS NULL) AND amount <> 0", name="ck_recharges_sign"),
        Index("ix_recharges_provider", "provider_id", "id"),
        Index("ix_recharges_operator", "operator", "created_at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    provider_id: str = Field(sa_type=Text)
    amount: Decimal = Field(sa_type=Money)
    reference: str = Field(sa_type=Text)
    note: str = Field(default="", sa_type=Text)
    idempotency_key: str = Field(sa_type=Text)
    reverses_id: int | None = Field(default=None, sa_type=BigInteger)
    total_after: Decimal = Field(sa_type=Money)
    available_after: Decimal = Field(sa_type=Money)
    operator: str = Field(sa_type=Text)
    created_at: datetime


class BalanceAlert(LedgerTable, table=True):
    """A warning about a pool from the check that raised it to the one that resolved it; at most one is open a pool."""

    __tablename__ = "balance_alerts"
    __table_args__ = (
        ForeignKeyConstraint(["provider_id"], ["resource_pools.provider_id"]),
        CheckConstraint(one_of("alert_type", AlertType), name="ck_balance_alerts_type"),
        CheckConstraint(one_of("alert_level", AlertLevel), name="ck_balance_alerts_level"),
        Index("ix_balance_alerts_created", "created_at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    provider_id: str = Field(sa_type=Text)
    alert_type: str = Field(sa_type=Text)
    alert_level: str = Field(sa_type=Text)
    balance_percentage: Decimal = Field(sa_type=Percent)
    available_balance: Decimal = Field(sa_type=Money)
    created_at: datetime
    updated_at: datetime
    resolved_at: datetime | None = None
    acknowledged_by: str | None = Field(default=None, sa_type=Text)
    acknowledged_at: datetime | None = None


class UserQuota(LedgerTable, table=True):
    """What a user may spend; the row exists for every user seen so that use is counted from the start.

    `granted_amount` is NULL while the user has no quota. The check columns are those of `ResourcePool`.
    """

    __tablename__ = "user_quotas"

    user_id: str = Field(primary_key=True, sa_type=Text)
    granted_amount: Decimal | None = Field(default=None, sa_type=Money)
    used_amount: Decimal = Field(default=Decimal(0), sa_type=Money)
    granted_check: Decimal | None = Field(default=None, sa_type=Money)
    used_check: Decimal | None = Field(default=None, sa_type=Money)
    created_at: datetime
    updated_at: datetime


class QuotaGrant(LedgerTable, table=True):
    """Quota given to a user, taken back or expired (negative); append-only.

    `used_before` is what the user had used when the row took effect, from which follows which grant paid for what.
    `expires_id` names the grant of which a negative row ends what is left.
    """

    __tablename__ = "quota_grants"
    __table_args__ = (
        ForeignKeyConstraint(["user_id"], ["user_quotas.user_id"]),
        UniqueConstraint("idempotency_key", name="uq_quota_grants_key"),
        CheckConstraint("amount <> 0", name="ck_quota_grants_sign"),
        Index("ix_quota_grants_user", "user_id", "id"),
        Index("ix_quota_grants_operator", "operator", "created_at"),
        Index("ix_quota_grants_expiry", "expires_at"),
        Index("ix_quota_grants_user_expiry", "user_id", "expires_at"),
        Index("uq_quota_grants_expires", "expires_id", unique=True),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    user_id: str = Field(sa_type=Text)
    amount: Decimal = Field(sa_type=Money)
    reference: str = Field(sa_type=Text)
    idempotency_key: str = Field(sa_type=Text)
    granted_after: Decimal = Field(sa_type=Money)
    remaining_after: Decimal = Field(sa_type=Money)
    operator: str = Field(sa_type=Text)
    created_at: datetime
    expires_at: datetime | None = None
    used_before: Decimal | None = Field(default=None, sa_type=Money)
    expires_id: int | None = Field(default=None, sa_type=BigInteger)


class PeriodicQuota(LedgerTable, table=True):
    """Quota that a user is given anew in every period of the business time zone, for that period alone."""

    __tablename__ = "periodic_quotas"
    __table_args__ = (
        ForeignKeyConstraint(["user_id"], ["user_quotas.user_id"]),
        CheckConstraint(one_of("period", Period), name="ck_periodic_quotas_period"),
        CheckConstraint("amount > 0", name="ck_periodic_quotas_amount"),
    )

    user_id: str = Field(primary_key=True, sa_type=Text)
    period: str = Field(sa_type=Text)
    amount: Decimal = Field(sa_type=Money)
    operator: str = Field(sa_type=Text)
    created_at: datetime


class Budget(LedgerTable, table=True):
    """What may be spent at a provider in a month, in yuan; the empty provider stands for all together."""

    __tablename__ = "budgets"
    __table_args__ = (CheckConstraint("amount > 0", name="ck_budgets_amount"),)

    provider_id: str = Field(primary_key=True, sa_type=Text)
    amount: Decimal = Field(sa_type=Money)


class Operator(LedgerTable, table=True):
    """A person who may work with the ledger; `uid` is NULL for a name that only a forced command gives (`--as`)."""

    __tablename__ = "operators"
    __table_args__ = (CheckConstraint(one_of("role", Role), name="ck_operators_role"),)

    name: str = Field(primary_key=True, sa_type=Text)
    uid: int | None = Field(default=None, sa_type=BigInteger)
    role: str = Field(sa_type=Text)
    added_by: str = Field(sa_type=Text)
    added_at: datetime


class ApiToken(LedgerTable, table=True):
    """What lets a program use the HTTP API: the SHA-256 of a random token, never the token; `scopes` by blanks."""

    __tablename__ = "api_tokens"
    __table_args__ = (UniqueConstraint("token_hash", name="uq_api_tokens_hash"),)

    name: str = Field(primary_key=True, sa_type=Text)
    token_hash: str = Field(sa_type=Text)
    scopes: str = Field(sa_type=Text)
    created_by: str = Field(sa_type=Text)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class RequestKey(LedgerTable, table=True):
    """A request that is done once for its key, and the answer (HTTP status, JSON) that a repetition is given."""

    __tablename__ = "request_keys"
    __table_args__ = (Index("ix_request_keys_created", "created_at"),)

    operator: str = Field(primary_key=True, sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    fingerprint: str = Field(sa_type=Text)
    status: int = Field(sa_type=BigInteger)
    answer: str = Field(sa_type=Text)
    created_at: datetime


class Hold(LedgerTable, table=True):
    """What a call that is under way may cost a user, in yuan, until it is recorded or the hold expires."""

    __tablename__ = "holds"
    __table_args__ = (
        ForeignKeyConstraint(["user_id"], ["user_quotas.user_id"]),
        CheckConstraint("amount >= 0", name="ck_holds_amount"),
        Index("ix_holds_user", "user_id"),
    )

    provider_id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(sa_type=Text)
    model_id: str = Field(sa_type=Text)
    usage_type: str = Field(sa_type=Text)
    amount: Decimal = Field(sa_type=Money)
    expires_at: datetime


class Limit(LedgerTable, table=True):
    """A ceiling on money operations, in yuan; one without a row is off."""

    __tablename__ = "limits"
    __table_args__ = (
        CheckConstraint(one_of("name", LimitName), name="ck_limits_name"),
        CheckConstraint("amount > 0", name="ck_limits_amount"),
    )

    name: str = Field(primary_key=True, sa_type=Text)
    amount: Decimal = Field(sa_type=Money)


class ApprovalRequest(LedgerTable, table=True):
    """A money operation that waits for a second person; append-only. `subject` is the provider or the user."""

    __tablename__ = "approval_requests"
    __table_args__ = (
        UniqueConstraint("idempotency_key", name="uq_approval_requests_key"),
        CheckConstraint(one_of("kind", ApprovalKind), name="ck_approval_requests_kind"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    amount: Decimal = Field(sa_type=Money)
    reference: str = Field(sa_type=Text)
    note: str = Field(default="", sa_type=Text)
    idempotency_key: str = Field(sa_type=Text)
    reverses_id: int | None = Field(default=None, sa_type=BigInteger)
    operator: str = Field(sa_type=Text)
    created_at: datetime
    expires_at: datetime


class ApprovalDecision(LedgerTable, table=True):
    """What became of a request, once; append-only."""

    __tablename__ = "approval_decisions"
    __table_args__ = (ForeignKeyConstraint(["request_id"], ["approval_requests.id"]),)

    request_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    approved: bool
    reason: str = Field(default="", sa_type=Text)
    operator: str = Field(sa_type=Text)
    created_at: datetime


class AuditEntry(LedgerTable, table=True):
    """One change or refusal, chained to the one before it by `hash`; append-only, ids without gaps.

    `operator` and `uid` are who did it; `login_uid`, `tty`, `ssh_client` and `host` are what the process claims.
    """

    __tablename__ = "audit_log"
    __table_args__ = (CheckConstraint(one_of("outcome", Outcome), name="ck_audit_log_outcome"),)

    id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    created_at: datetime
    operator: str = Field(sa_type=Text)
    uid: int = Field(sa_type=BigInteger)
    account: str = Field(sa_type=Text)
    login_uid: int | None = Field(default=None, sa_type=BigInteger)
    tty: str | None = Field(default=None, sa_type=Text)
    ssh_client: str | None = Field(default=None, sa_type=Text)
    host: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    target: str = Field(sa_type=Text)
    outcome: str = Field(sa_type=Text)
    reason: str = Field(default="", sa_type=Text)
    before: str | None = Field(default=None, sa_type=Text)
    after: str | None = Field(default=None, sa_type=Text)
    proof: str | None = Field(default=None, sa_type=Text)
    previous_hash: str = Field(sa_type=Text)
    hash: str = Field(sa_type=Text)
