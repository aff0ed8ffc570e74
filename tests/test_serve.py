"""The server as a process: where it listens, what it logs, how it stops, and who may start it."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest

from billing_console.api.server import Place, listen
from billing_console.services.ledger import Ledger
from billing_console.services.operators import remove_operator
from billing_console.services.reconcile import reconcile
from billing_console.services.tokens import create_token
from db.values import Scope
from tests.commands import PATIENCE_SECONDS, Commands
from tests.factories import gateway_insert, pool, query
from tests.test_api_writes import USAGE, call
from tests.test_operators import ME

PROGRAM = [sys.executable, "-m", "billing_console"]


class Served:
    """A server that runs, and what it wrote to stderr once it has stopped."""

    def __init__(self, process: subprocess.Popen[str], log: IO[str]) -> None:
        self._process, self._log = process, log
        assert process.stdout is not None
        self.said = process.stdout.readline()
        self.url = self.said.rpartition(" ")[2].strip()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, list[dict[str, object]], str]:
        """Stop it; the exit code, the lines of its log, and everything else on stderr."""
        self._process.send_signal(number)
        self._process.communicate(timeout=PATIENCE_SECONDS)
        self._log.seek(0)
        err = self._log.read()
        lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        return self._process.returncode, lines, err


@contextmanager
def serving(url: str, *options: str) -> Iterator[Served]:
    """A server on a free port."""
    command = [*PROGRAM, "--database", url, "serve", "--port", "0", *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield Served(process, log)
        finally:
            process.kill()
            process.communicate()


def url_of(ledger: Ledger) -> str:
    return ledger.database.url.render_as_string(hide_password=False)


def test_it_answers_logs_without_secrets_and_stops_on_sigterm(ledger: Ledger) -> None:
    pool(ledger, amount="5")
    _made, token = create_token(ledger, "gateway", [Scope.READ])
    with serving(url_of(ledger)) as server:
        assert server.said.startswith("Listening on http://127.0.0.1:")
        headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "mine"}
        pools = httpx.get(f"{server.url}/api/admin/billing/resource-pool?secret=s3cret", headers=headers)
        assert pools.status_code == 422
        assert httpx.get(f"{server.url}/api/admin/billing/resource-pool", headers=headers).status_code == 200
        assert httpx.get(f"{server.url}/x/{token[:8]}").status_code == 404
        code, lines, err = server.stop()
    assert code == 0
    first = next(line for line in lines if line.get("requestId") == "mine")
    assert (first["token"], first["route"], first["status"]) == (
        "token:gateway",
        "/api/admin/billing/resource-pool",
        422,
    )
    assert token not in err and "s3cret" not in err and "Traceback" not in err


def test_no_accepted_call_is_lost_when_it_is_stopped_under_load(ledger: Ledger) -> None:
    _made, token = create_token(ledger, "gateway", [Scope.METER])
    accepted: list[str] = []
    enough = threading.Event()

    def send(worker: int) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
            for number in range(500):
                body = call(requestId=f"{worker}-{number}", costAmount="1")
                try:
                    answer = client.post(server.url + USAGE, json=body)
                except httpx.TransportError:
                    return
                assert answer.json()["recorded"] == 1
                accepted.append(body["requestId"])
                if len(accepted) >= 30:
                    enough.set()

    with serving(url_of(ledger)) as server, ThreadPoolExecutor(4) as workers:
        done = [workers.submit(send, worker) for worker in range(4)]
        assert enough.wait(PATIENCE_SECONDS)
        code, _lines, err = server.stop()
        for each in done:
            each.result()
    assert code == 0 and "Traceback" not in err
    assert 30 <= len(accepted) < 2000
    recorded = {row[0] for row in query(ledger, "SELECT request_id FROM usage_records")}
    assert set(accepted) <= recorded
    assert reconcile(ledger) == ()


def test_a_log_that_nobody_reads_keeps_no_request_waiting(sqlite_url: str) -> None:
    command = [*PROGRAM, "--database", sqlite_url, "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            url = process.stdout.readline().rpartition(" ")[2].strip()
            room = fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
            with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
                # More than one line of 100 bytes at least for each, so that the pipe is full long before the end.
                for _number in range(room // 100 + 50):
                    assert client.get("/healthz").status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()


def test_every_acknowledged_call_is_there_once_after_a_kill(ledger: Ledger) -> None:
    _made, token = create_token(ledger, "gateway", [Scope.METER])
    headers = {"Authorization": f"Bearer {token}"}
    accepted: set[str] = set()
    for life in range(2):
        enough = threading.Event()

        def send(worker: int, url: str, life: int, enough: threading.Event) -> None:
            with httpx.Client(headers=headers, timeout=30) as client:
                for number in range(500):
                    names = [f"{life}-{worker}-{number}-{part}" for part in range(3)]
                    try:
                        client.post(url + USAGE, json=[call(requestId=name, costAmount="1") for name in names])
                    except httpx.TransportError:
                        return
                    accepted.update(names)
                    if len(accepted) >= 30 * (life + 1):
                        enough.set()

        with serving(url_of(ledger)) as server, ThreadPoolExecutor(3) as workers:
            done = [workers.submit(send, worker, server.url, life, enough) for worker in range(3)]
            assert enough.wait(PATIENCE_SECONDS)
            assert server.stop(signal.SIGKILL)[0] == -signal.SIGKILL
            for each in done:
                each.result()
    recorded = [row[0] for row in query(ledger, "SELECT request_id FROM usage_records")]
    assert len(recorded) == len(set(recorded)) and accepted <= set(recorded)
    assert len(recorded) % 3 == 0  # what was sent together is there together
    assert reconcile(ledger) == ()


def test_it_settles_what_gateways_insert_by_themselves(sqlite_ledger: Ledger) -> None:
    gateway_insert(sqlite_ledger, cost_amount=5 * 10**9)
    _made, token = create_token(sqlite_ledger, "reader", [Scope.READ])
    ends = time.monotonic() + PATIENCE_SECONDS
    with serving(url_of(sqlite_ledger)) as server, httpx.Client(headers={"Authorization": f"Bearer {token}"}) as client:
        asked = f"{server.url}/api/admin/billing/cost/daily?startDate=2026-03-10"
        while not client.get(asked).json()["items"]:
            assert time.monotonic() < ends
        assert server.stop(signal.SIGINT)[0] == 0
    assert query(sqlite_ledger, "SELECT count(*) FROM usage_outbox") == [(0,)]


def test_a_place_that_is_taken_is_said_in_one_line(sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*PROGRAM, "--database", sqlite_url, "serve", "--port", port], capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"billing-console: Cannot listen on 127.0.0.1, port {port}: Address already in use.")


def test_only_an_operator_of_the_ledger_may_serve_it(sqlite_ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    remove_operator(sqlite_ledger, ME)
    answer = Commands(url_of(sqlite_ledger), capsys)("serve", "--port", "0")
    assert (answer.code, answer.out) == (77, "")


def test_it_speaks_tls_with_a_certificate(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with serving(url_of(sqlite_ledger), "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate))
        assert httpx.get(f"{server.url}/healthz", verify=trusted).json() == {"status": "ok"}
        assert server.stop()[0] == 0


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--tls-cert", "x"), 2), (("--tls-cert", "/none", "--tls-key", "/none"), 3), (("--port", "70000"), 2)],
)
def test_wrong_options_are_said(sqlite_url: str, options: tuple[str, ...], code: int) -> None:
    done = subprocess.run(
        [*PROGRAM, "--database", sqlite_url, "serve", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "") and done.stderr.count("\n") == 1, done.stderr


def test_nothing_is_held_back_until_the_caller_confirms_it() -> None:
    """An answer is sent in pieces; on a connection that is kept the second would wait 40 ms for the first."""
    with listen(Place("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _address = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
