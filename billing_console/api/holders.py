"""Who is calling: the token of a request, what it may do, and what becomes of callers that keep failing."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from billing_console.api.problems import Problem
from billing_console.i18n import _
from billing_console.services.ledger import Ledger
from billing_console.services.tokens import holder_of
from db.values import Scope

_bearer = HTTPBearer(auto_error=False, description="A token made with: billing-console tokens create")
Given = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


class Failures:
    """Failures by address within a window, in memory and for so many addresses at most; the oldest are forgotten."""

    def __init__(self, *, most: int = 20, seconds: float = 60, addresses: int = 10_000) -> None:
        """Let an address fail `most` times in `seconds` before it is told to wait."""
        self._most, self._seconds, self._addresses = most, seconds, addresses
        self._found: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str) -> int:
        """Note a failure and return for how many seconds the address must wait; 0 for one that has not failed often."""
        now = time.monotonic()
        with self._lock:
            since, count = self._found.pop(address, (now, 0))
            if now - since >= self._seconds:
                since, count = now, 0
            self._found[address] = (since, count + 1)
            while len(self._found) > self._addresses:
                self._found.popitem(last=False)
        return 0 if count < self._most else max(1, round(self._seconds - (now - since)))


def caller(request: Request, given: Given) -> Ledger:
    """Return the ledger in the hands of whoever holds the request's token.

    A token that holds is let in whatever others at its address do, who may share a proxy with it. Raises Problem 401
    without one, 429 to an address that failed too often.
    """
    ledger: Ledger = request.app.state.ledger
    found = None if given is None else holder_of(ledger, given.credentials)
    if found is not None:
        request.state.token = found.actor.name
        return found
    failures: Failures = request.app.state.failures
    seconds = failures.wait(request.client.host if request.client else "")
    if seconds:
        raise Problem("too_many_failures", headers={"Retry-After": str(seconds)})
    if given is None:
        detail = _("Send a token: Authorization: Bearer …")
    else:
        detail = _("The token is unknown, revoked or past its time.")
    raise Problem("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _with(scope: Scope) -> Callable[..., Ledger]:
    def check(ledger: Annotated[Ledger, Depends(caller)]) -> Ledger:
        if scope not in ledger.actor.scopes:
            raise Problem("forbidden", _("The token does not have the scope “%(scope)s”.") % {"scope": scope})
        return ledger

    return check


Reader = Annotated[Ledger, Depends(_with(Scope.READ))]
Meter = Annotated[Ledger, Depends(_with(Scope.METER))]
Operator = Annotated[Ledger, Depends(_with(Scope.OPERATE))]
Administrator = Annotated[Ledger, Depends(_with(Scope.ADMINISTER))]
"""The ledger as a caller with that scope may use it."""
