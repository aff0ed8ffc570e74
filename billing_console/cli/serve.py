"""`serve`: the HTTP API, until it is stopped."""

from __future__ import annotations

import ipaddress
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from billing_console.cli.context import root_of
from billing_console.cli.output import flush, say, write
from billing_console.errors import BillingError, InvalidInput, Unavailable
from billing_console.i18n import N_, _

LOCK_SECONDS = 10
"""How long a request waits for a lock of the database; its caller would not wait much longer."""

MISSING = {"fastapi", "starlette", "uvicorn", "prometheus_client"}
"""What comes with the extra alone."""


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help=N_("The address to listen on."))] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help=N_("The port; 0 takes any that is free."))
    ] = 8080,
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help=N_("Speak TLS with this certificate, in PEM."))
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help=N_("The key of the certificate, in PEM."))
    ] = None,
) -> None:
    """Answer HTTP, settle what gateways insert and check the pools, until SIGTERM."""
    try:
        from billing_console.api.server import Place, run
    except ModuleNotFoundError as error:
        if error.name not in MISSING:
            raise
        raise Unavailable(
            _("The HTTP API is not installed."), _("Install it with: pip install 'billing-console[api]'")
        ) from None
    from billing_console.pool_timer import PoolTimer

    if (certificate is None) != (key is None):
        raise InvalidInput(_("--tls-cert and --tls-key go together."), field="tls-cert")
    if certificate is None and not _is_loopback(host):
        say(_("Without TLS, tokens cross the network in the clear: use --tls-cert and --tls-key, or a proxy."))
    minutes = root_of(context).settings.check_interval_minutes
    with closing(root_of(context).open_with_replica(timeout=LOCK_SECONDS)) as ledger:
        timer = PoolTimer(ledger, timedelta(minutes=minutes), _report)
        if not ledger.read_only:
            timer.start()
        try:
            run(ledger, Place(host, port, certificate, key), _ready)
        finally:
            timer.stop()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ready(url: str) -> None:
    write(_("Listening on %(url)s") % {"url": url} + "\n")
    flush()


def _report(failure: BillingError | None) -> None:
    if failure is not None:
        say(str(failure))
