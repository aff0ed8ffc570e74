"""The server: the app in its frame on a socket, until it is told to stop, and then until what it began is done."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from billing_console import __version__
from billing_console.api import changes, decisions, health, lists, litellm, metering, oversight, problems, reads, shapes
from billing_console.api.documents import GivenAuthorization, GivenGrant, GivenLog, GivenRecharge, GivenUsage, Problem
from billing_console.api.examples import add_examples
from billing_console.api.frame import Frame
from billing_console.api.holders import Failures, Known
from billing_console.api.log_lines import LogLines
from billing_console.api.metrics import Metrics
from billing_console.api.writer import Writer
from billing_console.errors import Unavailable
from billing_console.i18n import _, active_locale
from billing_console.services.ledger import Ledger

MOST_AT_ONCE = 64
"""Requests under way; one more is told at once to come back."""

THREADS = 10
"""Requests that work on the database at the same time; fewer than the connections that the ledger may open."""

STOP_SECONDS = 30
"""How long what was begun may take after the server is told to stop."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen; port 0 takes any that is free. With a certificate and its key the server speaks TLS."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


def create_app(ledger: Ledger, *, most_at_once: int = MOST_AT_ONCE) -> Frame:
    """Return the whole application on an open ledger."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = THREADS
        yield

    app = FastAPI(
        title="billing-console",
        version=__version__,
        description="Monitoring, operation and metering of prepaid AI billing.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    # A path is looked for in this order: what gateways ask with every call comes first.
    for router in (
        metering.router,
        litellm.router,
        lists.router,
        reads.router,
        changes.router,
        decisions.router,
        oversight.router,
        health.router,
    ):
        app.include_router(router)
    problems.install(app)
    _complete_document(app)
    app.state.ledger, app.state.failures, app.state.metrics = ledger, Failures(), Metrics()
    app.state.known, app.state.writer = Known(), Writer()
    lang = "zh" if active_locale().startswith("zh") else "en"
    return Frame(app, app.state.metrics, most_at_once=most_at_once, lang=lang)


def _complete_document(app: FastAPI) -> None:
    """Add the shapes to the OpenAPI document that no signature names: bodies are read by ourselves, to be exact."""
    generate = app.openapi

    def whole() -> dict[str, object]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for shape in (GivenAuthorization, GivenUsage, GivenLog, GivenRecharge, GivenGrant, Problem, *shapes.GIVEN):
            schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[shape.__name__] = schema
        add_examples(schemas)
        return document

    app.openapi = whole  # type: ignore[method-assign]


def run(ledger: Ledger, place: Place, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then end what was begun; `ready` is told the URL once the server answers.

    Raises Unavailable where the place cannot be listened on.
    """
    lines = _log_to_stderr()
    listener = listen(place)
    scheme = "http" if place.certificate is None else "https"
    host = f"[{place.host}]" if ":" in place.host else place.host
    config = uvicorn.Config(
        create_app(ledger),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.key,
    )
    # The server raises the signal again once it has stopped; by then there is nothing left to interrupt.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        config.load()
    except OSError as error:
        listener.close()
        raise Unavailable(
            _("The certificate or its key cannot be used: %(reason)s") % {"reason": error.strerror or error}
        ) from error
    try:
        _Server(config, lambda: ready(f"{scheme}://{host}:{listener.getsockname()[1]}")).run(sockets=[listener])
    finally:
        lines.finish()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        await super().startup(list(sockets or ()))
        if not self.should_exit:
            self._ready()


def listen(place: Place) -> socket.socket:
    """Return a socket that listens; raise Unavailable where the place cannot be listened on."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        listener = socket.create_server((place.host, place.port), family=family, backlog=2048)
    except OSError as error:
        # Python adds the address, which is said already.
        reason = os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else error.strerror
        raise Unavailable(
            _("Cannot listen on %(host)s, port %(port)d: %(reason)s.")
            % {"host": place.host, "port": place.port, "reason": reason},
            _("Choose another with --host and --port."),
        ) from error
    # What is sent in two pieces would wait for the caller to confirm the first, which takes it 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _log_to_stderr() -> LogLines:
    lines = LogLines(sys.stderr.fileno())
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(logging.WARNING)
    logging.getLogger("billing_console.api").setLevel(logging.INFO)
    return lines
