"""Calls as LiteLLM logs them (its StandardLoggingPayload, one JSON object each), read as calls to record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.services.new_usage import MOST_QUANTITY, MOST_TOKENS, QUANTITY_STEP, NewUsage
from db.values import CallStatus, UsageType

Payload = Mapping[str, Any]

TYPES = {
    "image_generation": UsageType.IMAGE_GENERATION,
    "image_edit": UsageType.IMAGE_GENERATION,
    "image_variation": UsageType.IMAGE_GENERATION,
    "speech": UsageType.AUDIO_TTS,
    "transcription": UsageType.AUDIO_STT,
    "create_video": UsageType.VIDEO_GENERATION,
    "video_generation": UsageType.VIDEO_GENERATION,
    "video_remix": UsageType.VIDEO_GENERATION,
    "video_edit": UsageType.VIDEO_GENERATION,
    "video_extension": UsageType.VIDEO_GENERATION,
}
"""LiteLLM's call types that are no text, each also with an a in front of it for the asynchronous one."""

TEXT_TYPES = {"completion", "text_completion", "embedding", "responses", "anthropic_messages", "generate_content"}
"""Calls of these types are text also where no tokens are told; others are text if they have tokens."""

_REDACTED = "redacted-by-litellm"

_LONGEST_ID = 150
_LAST_SECOND = Decimal(253_370_764_800)
"""The year 9999 begins, where days cannot be counted any more."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ChargeBy(StrEnum):
    """Who pays for a call: whose the LiteLLM key is, the end user that the caller names, or the key's team."""

    KEY_USER = "key_user"
    END_USER = "end_user"
    TEAM = "team"


def call_of(payload: Any, charge_by: ChargeBy, renamed: Mapping[str, str]) -> NewUsage | None:
    """Return the call to record, or None for what was no call of a model or reached no provider.

    Raises InvalidInput, naming LiteLLM's field, for a call that was made and cannot be recorded.
    """
    if not isinstance(payload, Mapping):
        raise InvalidInput(_("A JSON object is expected."), field="body")
    failed = payload.get("status") == "failure"
    try:
        call = _call(payload, charge_by, renamed)
        if call is not None:
            call.validate()
    except InvalidInput:
        # It cost nothing, and what it says may be anything that a caller made up, a model that nobody has for one.
        if failed:
            return None
        raise
    return call


def _call(payload: Payload, charge_by: ChargeBy, renamed: Mapping[str, str]) -> NewUsage | None:
    measured = _part(_part(payload, "metadata"), "usage_object")
    tokens = [_count(payload, name) for name in ("prompt_tokens", "completion_tokens")]
    usage_type = _usage_type(payload, any(tokens))
    if usage_type is None:
        return None
    cached = _count(_part(measured, "prompt_tokens_details"), "cached_tokens")
    cached = cached or _count(measured, "cache_read_input_tokens")
    # Some providers leave the cached tokens out of the others.
    prompt = tokens[0] if cached <= tokens[0] else tokens[0] + cached
    failed = payload.get("status") == "failure"
    provider, model = _names(payload, renamed)
    return NewUsage(
        provider_id=provider,
        model_id=model,
        usage_type=usage_type,
        created_at=_instant(payload),
        request_id=_request_id(payload),
        user_id=payer_of(payload, charge_by),
        input_tokens=prompt,
        cached_input_tokens=cached,
        output_tokens=tokens[1],
        quantity=_quantity(payload, measured, usage_type),
        # What LiteLLM answers from its own cache is bought from nobody.
        cost_amount=Decimal(0) if payload.get("cache_hit") is True else None,
        status=CallStatus.FAILED if failed else CallStatus.SUCCESS,
        error_message=(_text(payload, "error_str") or None) if failed else None,
    )


def _usage_type(payload: Payload, has_tokens: bool) -> UsageType | None:
    """Return what a call is billed as; None for one that no model answered, such as a look at a list of files."""
    call_type = _text(payload, "call_type")
    for name in (call_type, call_type.removeprefix("_").removeprefix("a")):
        if name in TYPES:
            return TYPES[name]
        if name in TEXT_TYPES:
            return UsageType.TEXT_GENERATION
    if has_tokens:
        return UsageType.TEXT_GENERATION
    cost = payload.get("response_cost")
    if isinstance(cost, (int, Decimal)) and cost > 0:
        raise InvalidInput(
            _("“%(type)s” is not billed by any usage type, and LiteLLM says that it cost something.")
            % {"type": call_type[:60]},
            field="call_type",
        )
    return None


def _names(payload: Payload, renamed: Mapping[str, str]) -> tuple[str, str]:
    """Return the ledger's provider and model; LiteLLM puts the provider in front of the names of some models."""
    provider = _text(payload, "custom_llm_provider")
    model = _text(payload, "model").removeprefix(f"{provider}/")
    target = renamed.get(f"{provider}/{model}") or renamed.get(provider, provider)
    new_provider, slash, new_model = target.partition("/")
    for name, value in (("custom_llm_provider", new_provider), ("model", model)):
        if not value.strip():
            raise _missing(name)
    return new_provider, new_model if slash else model


def payer_of(payload: Payload, charge_by: ChargeBy) -> str | None:
    """Return who pays; a caller can name any end user, but not whose the key is."""
    metadata = _part(payload, "metadata")
    key_user = _text(metadata, "user_api_key_user_id")
    end_user = _text(payload, "end_user") or _text(_part(payload, "model_parameters"), "user")
    found = {
        ChargeBy.KEY_USER: key_user or end_user,
        ChargeBy.END_USER: end_user or key_user,
        ChargeBy.TEAM: _text(metadata, "user_api_key_team_id"),
    }[charge_by]
    return found.strip() or None


def _request_id(payload: Payload) -> str:
    """Return what names this very attempt: LiteLLM gives the same id to every attempt of a call that it repeats."""
    given = _text(payload, "id")
    if not given or len(given) > _LONGEST_ID:
        given = _text(payload, "litellm_call_id")
    if not given:
        raise _missing("id")
    return f"{given}@{_instant(payload).timestamp():.6f}"


def _instant(payload: Payload) -> datetime:
    field = "startTime"
    seconds = payload.get(field)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, Decimal)) or not 0 <= seconds < _LAST_SECOND:
        raise InvalidInput(_("%(field)s is no time in seconds since 1970.") % {"field": field}, field=field)
    return _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))


def _quantity(payload: Payload, measured: Payload, usage_type: UsageType) -> Decimal | None:
    """Return images, characters or seconds, from wherever LiteLLM tells them."""
    found: tuple[Any, ...] = ()
    if usage_type is UsageType.IMAGE_GENERATION:
        found = (measured.get("output_image_count"),)
    elif usage_type is UsageType.AUDIO_TTS:
        found = (_characters(payload),)
    elif usage_type is UsageType.AUDIO_STT:
        found = (measured.get("seconds"), _part(payload, "response").get("duration"))
    elif usage_type is UsageType.VIDEO_GENERATION:
        found = (measured.get("duration_seconds"),)
    for value in found:
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and 0 < value <= MOST_QUANTITY:
            return Decimal(value).quantize(QUANTITY_STEP)
    return None


def _characters(payload: Payload) -> int:
    """Count what was spoken; 0 where LiteLLM keeps it to itself."""
    messages = payload.get("messages")
    if not isinstance(messages, list):
        return 0
    texts = [_text(message, "content") for message in messages if isinstance(message, Mapping)]
    return sum(len(text) for text in texts if text != _REDACTED)


def _count(part: Payload, name: str) -> int:
    value = part.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or not 0 <= value <= MOST_TOKENS:
        raise InvalidInput(_("%(field)s is not a number of tokens.") % {"field": name}, field=name)
    return int(value)


def _missing(field: str) -> InvalidInput:
    return InvalidInput(_("%(field)s is required.") % {"field": field}, field=field)


def _part(payload: Payload, name: str) -> Payload:
    value = payload.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(part: Payload, name: str) -> str:
    value = part.get(name)
    return value if isinstance(value, str) else ""
