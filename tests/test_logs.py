"""Nothing that a caller keeps secret is in the log of the server: no token wherever it is put, no body, no query."""

from __future__ import annotations

import json
import logging
import socket
from itertools import product
from urllib.parse import urlsplit

import httpx

from billing_console.api.frame import JsonLines
from billing_console.services.ledger import Ledger
from billing_console.services.tokens import create_token
from db.values import Scope
from tests.api import ADMIN
from tests.factories import pool
from tests.test_api_holds import wanted
from tests.test_api_litellm import logged
from tests.test_api_writes import call
from tests.test_serve import serving, url_of

SECRET = "s3cret"
POSTS = (
    "/api/billing/authorize",
    "/api/billing/usage",
    "/api/billing/usage/litellm",
    f"{ADMIN}/resource-pool/providers/openai/recharges",
    f"{ADMIN}/quotas/alice/grants",
)


def bodies(token: str) -> list[bytes]:
    """Bodies with secrets in them: some right for one endpoint or another, some wrong in each place."""
    values: list[object] = [
        call(userId=SECRET, errorMessage=token, costAmount="1"),
        call(requestId="2", createdAt=SECRET),
        call(inputTokens=2**80, errorMessage=SECRET),
        wanted(userId=SECRET),
        [logged(user=SECRET, model=""), logged(id=token, messages=SECRET)],
        {"amount": "1", "reference": SECRET, "note": token},
        {"amount": SECRET, SECRET: token},
        SECRET,
    ]
    return [json.dumps(value).encode() for value in values] + [b'{"' + SECRET.encode(), SECRET.encode() + b"\xff\0"]


def test_no_secret_of_a_caller_is_in_the_log(ledger: Ledger) -> None:
    pool(ledger, amount="5")
    token = create_token(ledger, "all", list(Scope))[1]
    wrong = token[:-3] + "xyz"
    with serving(url_of(ledger)) as server, httpx.Client(base_url=server.url) as client:
        for path, body, given in product(POSTS, bodies(token), (token, wrong)):
            headers = {"Authorization": f"Bearer {given}", "Idempotency-Key": SECRET, "X-Request-Id": token}
            client.post(path, content=body, headers=headers, params={"key": token})
        for given in (token, f"Bearer {token} {token}", f"Basic {token}"):
            client.get(f"{ADMIN}/resource-pool", headers={"Authorization": given, "Cookie": f"t={token}"})
        for path in (f"/{token}", f"{ADMIN}/usage/records/{token}", f"{ADMIN}/resource-pool/providers/{token}"):
            client.get(path, headers={"Authorization": f"Bearer {token}"}, params={"userId": SECRET, SECRET: token})
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname, place.port or 0)) as raw:
            raw.sendall(f"GET /{token} {SECRET}\r\nAuthorization {token}\r\n\r\n".encode())
            raw.recv(1000)
        code, lines, err = server.stop()
    assert code == 0 and len(lines) > 100 and "Traceback" not in err
    for part in (token[4:16], wrong[-8:], SECRET):
        assert part not in err
    assert any("bct_***" in str(line.get("route")) for line in lines)


def test_what_an_exception_says_names_no_token_either() -> None:
    token = "bct_0123456789abcdef-_ABCDEFGHIJKLMNOPQRSTUVWXYZ01234567"
    error = RuntimeError(f"Authorization: Bearer {token}")
    record = logging.LogRecord("x", logging.ERROR, "", 0, f"failed with {token}", None, (type(error), error, None))
    line = JsonLines().format(record)
    assert line.count("bct_***") == 2 and "0123" not in line
