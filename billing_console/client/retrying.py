"""When a request is sent again, and how long after; the server counts each once, so that does no harm."""

from __future__ import annotations

from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_delay, wait_random_exponential

from billing_console.client.errors import ApiError, passes

_backoff = wait_random_exponential(multiplier=0.1, max=10)
_LONGEST = 60.0


def _wait(state: RetryCallState) -> float:
    """Wait for as long as the server asks, and some more, by chance, so that clients do not come back together."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ApiError) and error.retry_after else 0.0
    return min(asked, _LONGEST) + _backoff(state)


def options(seconds: float) -> dict[str, Any]:
    """Return how tenacity retries for about so many seconds, and then raises the last error itself."""
    return {
        "retry": retry_if_exception(passes),
        "wait": _wait,
        "stop": stop_after_delay(seconds),
        "reraise": True,
    }
