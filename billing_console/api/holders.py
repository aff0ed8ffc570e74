"""Who is calling: the token of a request, what it may do, and what becomes of callers that keep failing."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from billing_console.api.problems import Problem
from billing_console.i18n import _
from billing_console.services.ledger import Ledger
from billing_console.services.tokens import expires_at, holder_of
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


class Known:
    """Tokens that were found to hold, so that metering need not look first: its transaction sees what was revoked."""

    def __init__(self, *, most: int = 1000) -> None:
        """Remember so many at most; the oldest are forgotten."""
        self._most = most
        self._found: OrderedDict[bytes, tuple[Ledger, datetime | None]] = OrderedDict()

    def get(self, secret: str) -> Ledger | None:
        """Return the ledger in the hands of whoever holds this token, None for one that is not known to hold."""
        ledger, until = self._found.get(_digest(secret), (None, None))
        return ledger if ledger is None or until is None or ledger.clock() < until else None

    def put(self, secret: str, ledger: Ledger, until: datetime | None) -> None:
        """Remember a token that holds until then."""
        self._found[_digest(secret)] = (ledger, until)
        if len(self._found) > self._most:
            self._found.popitem(last=False)

    def forget(self, secret: str) -> None:
        """Look for this token again when it comes next."""
        self._found.pop(_digest(secret), None)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


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


_look = _with(Scope.METER)


async def metering(request: Request, given: Given) -> Ledger:
    """Return the ledger in the hands of whoever may meter, without a look at the database for a token that is known."""
    known: Known = request.app.state.known
    found = None if given is None else known.get(given.credentials)
    if found is not None:
        request.state.token = found.actor.name
        return found
    return await run_sync(_looked_up, request, given)


def _looked_up(request: Request, given: Given) -> Ledger:
    ledger = _look(caller(request, given))
    assert given is not None
    request.app.state.known.put(given.credentials, ledger, expires_at(ledger))
    return ledger


async def look_again(request: Request) -> None:
    """Raise what becomes of a request's token that was known to hold and was refused."""
    given = await _bearer(request)
    assert given is not None
    request.app.state.known.forget(given.credentials)
    await run_sync(_looked_up, request, given)


def _viewing(ledger: Annotated[Ledger, Depends(_with(Scope.READ))]) -> Ledger:
    return ledger.for_viewing


Reader = Annotated[Ledger, Depends(_viewing)]
Meter = Annotated[Ledger, Depends(_with(Scope.METER))]
Operator = Annotated[Ledger, Depends(_with(Scope.OPERATE))]
Metering = Annotated[Ledger, Depends(metering)]
Administrator = Annotated[Ledger, Depends(_with(Scope.ADMINISTER))]
"""The ledger as a caller with that scope may use it."""
