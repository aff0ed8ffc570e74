"""What goes wrong, by the stable codes of the server's problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from billing_console.client.calls import Usage


class ApiError(Exception):
    """The server refused a request, or could not answer it: `code` is stable, `detail` is in words.

    An answer that is no problem document, such as a proxy's, has the code http_502 and the like.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        """Keep the parts of a problem document."""
        self.status = status
        self.code = str(problem.get("code") or f"http_{status}")
        self.detail = str(problem.get("detail") or problem.get("title") or "")
        self.hint = str(problem.get("hint") or "")
        self.errors: Sequence[Mapping[str, str]] = problem.get("errors") or ()
        self.request_id = str(problem.get("requestId") or "")
        self.retry_after = retry_after
        super().__init__(f"{self.status} {self.code}: {self.detail}")


class CallRefused(ApiError):
    """The call must not be made."""


class QuotaExceeded(CallRefused):
    """The user has not so much quota left (402)."""


class ModelDisabled(CallRefused):
    """A person disabled the model (409)."""


class PoolDepleted(CallRefused):
    """The provider's pool is used up (503)."""


class NotRecorded(Exception):
    """Calls that were made could not be delivered, for the reason it was raised from; record `records` again later."""

    def __init__(self, records: Sequence[Usage]) -> None:
        """Keep what was not delivered; sending again what was is harmless."""
        super().__init__(f"{len(records)} calls could not be recorded")
        self.records = tuple(records)


_BY_CODE: dict[str, type[ApiError]] = {
    "quota_exceeded": QuotaExceeded,
    "model_disabled": ModelDisabled,
    "pool_depleted": PoolDepleted,
}
_PASSING = {429, 502, 503, 504}


def raise_for(answer: httpx.Response) -> None:
    """Raise the error that an answer stands for, if it does."""
    if answer.is_success:
        return
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    after = answer.headers.get("Retry-After", "")
    kind = _BY_CODE.get(str(problem.get("code")), ApiError)
    raise kind(answer.status_code, problem, float(after) if after.isascii() and after.isdigit() else None)


def passes(error: BaseException) -> bool:
    """Tell whether the same request may do better a little later; each can be sent again without harm."""
    if isinstance(error, ApiError):
        return error.status in _PASSING and not isinstance(error, CallRefused)
    return isinstance(error, httpx.TransportError)
