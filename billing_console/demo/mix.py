"""What the demo's users call: the models of six providers, how often each is chosen, and how calls fail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

from db.values import UsageType

PROVIDERS = ("openai", "anthropic", "google", "deepseek", "moonshotai", "zhipuai")
UNPRICED = ("google", "veo-3.1-fast-generate-preview")
"""A real model that the price list leaves out, so that the demo shows unpriced usage."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model for one usage type; `share` is its part of all calls in per mille."""

    provider_id: str
    model_id: str
    usage_type: UsageType
    share: int


def _offers(usage_type: UsageType, provider_id: str, shares: dict[str, int]) -> tuple[Offer, ...]:
    return tuple(Offer(provider_id, model, usage_type, share) for model, share in shares.items())


_OPENAI_TEXT = {
    "gpt-5.6-sol": 22,
    "gpt-5.6-terra": 38,
    "gpt-5.6-luna": 42,
    "gpt-5.5": 24,
    "gpt-5.4-mini": 46,
    "gpt-5.4-nano": 22,
    "gpt-5-mini": 26,
    "gpt-4.1": 12,
    "gpt-4.1-mini": 14,
    "gpt-4o": 14,
    "gpt-4o-mini": 20,
    "o3": 6,
    "o4-mini": 6,
}
_ANTHROPIC_TEXT = {
    "claude-fable-5": 10,
    "claude-opus-5": 26,
    "claude-opus-4-8": 8,
    "claude-sonnet-5": 54,
    "claude-sonnet-4-6": 22,
    "claude-sonnet-4-5": 12,
    "claude-haiku-4-5": 34,
    "claude-3-5-haiku-latest": 6,
}
_GOOGLE_TEXT = {
    "gemini-3.6-flash": 32,
    "gemini-3.5-flash": 16,
    "gemini-3.5-flash-lite": 22,
    "gemini-3.1-pro-preview": 14,
    "gemini-2.5-pro": 8,
    "gemini-2.5-flash": 14,
    "gemini-2.5-flash-lite": 8,
}
_DEEPSEEK_TEXT = {"deepseek-v4-pro": 52, "deepseek-v4-flash": 60, "deepseek-chat": 34, "deepseek-reasoner": 18}
_MOONSHOT_TEXT = {
    "kimi-k3": 30,
    "kimi-k2.7-code": 22,
    "kimi-k2.6": 18,
    "kimi-k2.5": 10,
    "kimi-k2-thinking": 6,
    "moonshot-v1-32k": 6,
}
_ZHIPU_TEXT = {
    "GLM-5.2": 30,
    "GLM-5.1": 18,
    "GLM-5": 10,
    "GLM-5-Turbo": 14,
    "GLM-4.7": 12,
    "GLM-4.7-FlashX": 10,
    "GLM-4.5-Air": 8,
    "GLM-4-Plus": 4,
}

OFFERS: tuple[Offer, ...] = (
    *_offers(UsageType.TEXT_GENERATION, "openai", _OPENAI_TEXT),
    *_offers(UsageType.TEXT_GENERATION, "anthropic", _ANTHROPIC_TEXT),
    *_offers(UsageType.TEXT_GENERATION, "google", _GOOGLE_TEXT),
    *_offers(UsageType.TEXT_GENERATION, "deepseek", _DEEPSEEK_TEXT),
    *_offers(UsageType.TEXT_GENERATION, "moonshotai", _MOONSHOT_TEXT),
    *_offers(UsageType.TEXT_GENERATION, "zhipuai", _ZHIPU_TEXT),
    *_offers(UsageType.IMAGE_GENERATION, "openai", {"gpt-image-2": 14, "gpt-image-1-mini": 6}),
    *_offers(
        UsageType.IMAGE_GENERATION,
        "google",
        {
            "gemini-3-pro-image": 8,
            "imagen-4.0-ultra-generate-001": 3,
            "imagen-4.0-generate-001": 8,
            "imagen-4.0-fast-generate-001": 6,
        },
    ),
    *_offers(UsageType.AUDIO_TTS, "openai", {"tts-1": 12, "tts-1-hd": 5, "gpt-4o-mini-tts": 8}),
    *_offers(UsageType.AUDIO_TTS, "google", {"gemini-2.5-flash-preview-tts": 5}),
    *_offers(UsageType.AUDIO_STT, "openai", {"whisper-1": 14, "gpt-realtime-whisper": 4, "gpt-4o-transcribe": 9}),
    *_offers(UsageType.VIDEO_GENERATION, "google", {"gemini-omni-flash-preview": 5, UNPRICED[1]: 2}),
)

AGENTS = frozenset(
    {
        "gpt-5.6-sol",
        "gpt-5.6-terra",
        "gpt-5.5",
        "claude-fable-5",
        "claude-opus-5",
        "claude-sonnet-5",
        "gemini-3.1-pro-preview",
        "gemini-3.6-flash",
        "deepseek-v4-pro",
        "deepseek-v4-flash",
        "kimi-k3",
        "kimi-k2.7-code",
        "GLM-5.2",
        "GLM-5.1",
    }
)
"""Models that also do agent runs: one record for many requests, with a context to match."""

BY_TOKENS = frozenset(
    {
        "gpt-image-2",
        "gpt-image-1-mini",
        "gpt-4o-mini-tts",
        "gemini-2.5-flash-preview-tts",
        "gpt-4o-transcribe",
        "gemini-omni-flash-preview",
    }
)
"""Models other than text whose usage is measured in tokens too, because they are billed by them."""


@dataclass(frozen=True, slots=True)
class Retired:
    """A model that a person disabled some days before the end; nobody calls it from then on."""

    days_ago: int
    provider_id: str
    model_id: str
    operator: str
    reason: str


RETIRED = (
    Retired(41, "anthropic", "claude-3-5-haiku-latest", "zhang.min", "Retired by the provider, use claude-haiku-4-5"),
    Retired(26, "openai", "o4-mini", "li.wei", "Replaced by gpt-5.4-mini at the request of the platform team"),
    Retired(12, "zhipuai", "GLM-4-Plus", "zhang.min", "Answers cut off since the last update, ticket OPS-2281"),
    Retired(3, "google", "imagen-4.0-ultra-generate-001", "li.wei", "Stopped until the image budget is approved"),
)

INSUFFICIENT = "HTTP 402: Insufficient balance. Please recharge your account."


@dataclass(frozen=True, slots=True)
class Failure:
    """A way to fail; `reached` tells that the model read the input before it failed."""

    weight: int
    message: str
    reached: bool = False


FAILURES = (
    Failure(34, "HTTP 429: Rate limit reached for %(model)s. Please retry after 12 s."),
    Failure(14, "HTTP 400: Input exceeds the maximum context length of %(model)s.", reached=True),
    Failure(13, "HTTP 503: Service unavailable, the model is overloaded."),
    Failure(12, "HTTP 500: Internal server error."),
    Failure(14, "Timeout: no answer from upstream within 60 s.", reached=True),
    Failure(9, "HTTP 400: content_filter: the request was rejected by the safety system.", reached=True),
    Failure(4, "HTTP 404: The model %(model)s does not exist or you do not have access to it."),
)


@dataclass(frozen=True, slots=True)
class Incident:
    """Hours on one working day in which calls of a provider fail with one reason, `share` of them in percent."""

    days_ago: int
    start: time
    end: time
    provider_id: str
    share: int
    failure: Failure


INCIDENTS = (
    Incident(
        38, time(16), time(16, 40), "anthropic", 100, Failure(0, "HTTP 401: Invalid API key: the key was revoked.")
    ),
    Incident(
        17,
        time(9),
        time(18),
        "zhipuai",
        45,
        Failure(0, "HTTP 429: Rate limit reached for %(model)s: concurrency of the account exceeded."),
    ),
    Incident(
        9, time(14, 5), time(15, 40), "google", 100, Failure(0, "HTTP 503: Service unavailable, backend unreachable.")
    ),
)
