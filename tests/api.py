"""The HTTP API on a ledger, inside the test's process, with tokens for each scope."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx

from billing_console.api.server import create_app
from billing_console.services.ledger import Ledger
from billing_console.services.tokens import create_token
from db.values import Scope

ADMIN = "/api/admin/billing"


class Api:
    """Calls the API as a program with every scope does, unless told otherwise."""

    def __init__(self, ledger: Ledger, **options: Any) -> None:
        self.serve(ledger, **options)
        self.tokens = {scope: create_token(ledger, scope, [scope])[1] for scope in Scope}
        self.everything = create_token(ledger, "everything", list(Scope))[1]

    def serve(self, ledger: Ledger, **options: Any) -> None:
        """Go on with the app on this ledger."""
        self.app = create_app(ledger, **options)

    def __call__(self, method: str, path: str, *, token: str | None = "", **options: Any) -> httpx.Response:
        """One request; `token` None sends none."""
        return self.at_once([(method, path, {"token": token} | options)])[0]

    def get(self, path: str, **parameters: object) -> httpx.Response:
        """Ask below the prefix of the seed's endpoints."""
        return self("GET", ADMIN + path, params=parameters)

    def at_once(self, requests: Iterable[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """Many requests at the same time."""

        async def run() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as client:
                return await asyncio.gather(*(self._send(client, *request) for request in requests))

        return asyncio.run(run())

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        rest = dict(options)
        token = rest.pop("token", "")
        headers = dict(rest.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token or self.everything}"
        return await client.request(method, path, headers=headers, **rest)
