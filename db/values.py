"""The closed vocabularies of the ledger, as the seed document spells them."""

from __future__ import annotations

from enum import StrEnum


class UsageType(StrEnum):
    """What a call produced or consumed (seed, usage record fields)."""

    TEXT_GENERATION = "text_generation"
    IMAGE_GENERATION = "image_generation"
    AUDIO_TTS = "audio_tts"
    AUDIO_STT = "audio_stt"
    VIDEO_GENERATION = "video_generation"


class CallStatus(StrEnum):
    """Whether a call succeeded (seed, usage record fields)."""

    SUCCESS = "success"
    FAILED = "failed"


class PriceUnit(StrEnum):
    """The amount of usage that one price buys."""

    MILLION_TOKENS = "1m_tokens"
    IMAGE = "image"
    THOUSAND_CHARACTERS = "1k_characters"
    SECOND = "second"
    MINUTE = "minute"


class BalanceStatus(StrEnum):
    """How full a resource pool is (seed, resource pools)."""

    SUFFICIENT = "sufficient"
    LOW = "low"
    DEPLETED = "depleted"


class AlertType(StrEnum):
    """Why a balance alert is open."""

    LOW_BALANCE = "low_balance"
    INSUFFICIENT_BALANCE = "insufficient_balance"


class AlertLevel(StrEnum):
    """How urgent a balance alert is."""

    WARNING = "warning"
    CRITICAL = "critical"


class ModelStatus(StrEnum):
    """Whether a model can be called now."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    INSUFFICIENT_FUNDS = "insufficient_funds"


class Role(StrEnum):
    """What an operator may do: read; also recharge, grant and toggle; also set prices, limits and operators."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class LimitName(StrEnum):
    """The ceilings an admin may set, each off until then; amounts in yuan."""

    PER_OPERATION = "per_operation"
    PER_OPERATOR_DAY = "per_operator_day"
    PER_POOL_DAY = "per_pool_day"
    APPROVAL_ABOVE = "approval_above"


class ApprovalKind(StrEnum):
    """What a second person is asked to approve."""

    RECHARGE = "recharge"
    REVERSAL = "reversal"
    GRANT = "grant"


class Outcome(StrEnum):
    """How an audited attempt ended."""

    DONE = "done"
    REFUSED = "refused"


class Period(StrEnum):
    """The stretch of business days that quota is given for again and again, and that costs are added up by."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Threshold(StrEnum):
    """Below what a pool is low: a percentage of the total, an amount, the days that it lasts."""

    PERCENT = "percent"
    AMOUNT = "amount"
    DAYS = "days"


class Scope(StrEnum):
    """What a token of the HTTP API may do: look; authorize and record calls; what operators do; what admins decide."""

    READ = "read"
    METER = "meter"
    OPERATE = "operate"
    ADMINISTER = "administer"
