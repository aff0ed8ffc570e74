"""What surrounds every request: its id, its language, its log line, its metrics, and the limit of how many at once."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing_console.api.metrics import Metrics
from billing_console.api.problems import Problem, answer
from billing_console.clock import iso
from billing_console.i18n import speaking
from billing_console.services.tokens import PREFIX
from billing_console.text import one_line

log = logging.getLogger("billing_console.api")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_ALWAYS_ANSWERED = "/healthz"
_TOKEN = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]+")


class Frame:
    """Wraps the app; `most_at_once` requests are let in, more are told at once to come back."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, most_at_once: int, lang: str) -> None:
        """Keep the app; `lang` is spoken to callers that ask for no language."""
        self._app = app
        self._metrics = metrics
        self._most = most_at_once
        self._lang = lang
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, send)
        scope.setdefault("state", {})["request_id"] = request.id
        with speaking(language(request.headers.get("accept-language", ""), self._lang)):
            self._inside += 1
            self._metrics.in_flight.set(self._inside)
            try:
                if self._inside > self._most and scope["path"] != _ALWAYS_ANSWERED:
                    overloaded = answer(Problem("overloaded", headers={"Retry-After": "1"}), request.id)
                    await overloaded(scope, receive, request.send)
                else:
                    await self._app(scope, receive, request.send)
            except Exception:
                # The app has answered with a problem; what the exception says is for the log alone.
                log.exception("the request failed", extra={"fields": {"requestId": request.id}})
            finally:
                self._inside -= 1
                self._metrics.in_flight.set(self._inside)
                self._note(request)

    def _note(self, request: _Request) -> None:
        seconds = time.perf_counter() - request.began
        route = getattr(request.scope.get("route"), "path", "")
        method = request.scope["method"] if route else ""
        self._metrics.answered(method, route, request.status, seconds)
        client = request.scope.get("client")
        fields = {
            "requestId": request.id,
            "client": client[0] if client else None,
            "token": request.scope["state"].get("token"),
            "method": request.scope["method"],
            "route": route or one_line(request.scope["path"], 100),
            "status": request.status,
            "ms": round(seconds * 1000, 1),
        }
        log.info("request", extra={"fields": fields})


class _Request:
    """One request on its way: gives its id back with the answer, and sees the answer's status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.began = time.perf_counter()
        self.status = 0
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self.id
        await self._send(message)


def language(accepted: str, otherwise: str) -> str:
    """Return "en" or "zh", whichever an Accept-Language header likes better."""
    best, found = 0.0, otherwise
    for part in accepted.split(",")[:20]:
        tag, _semicolon, weight = part.strip().lower().partition(";")
        lang = tag.partition("-")[0]
        try:
            liked = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if lang in ("en", "zh") and liked > best:
            best, found = liked, lang
    return found


class JsonLines(logging.Formatter):
    """One JSON object a line; nothing of a request's headers, query or body is ever in one, and no token at all."""

    def format(self, record: logging.LogRecord) -> str:
        """Spell a record."""
        line: dict[str, Any] = {
            "time": iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _TOKEN.sub(f"{PREFIX}***", json.dumps(line))
