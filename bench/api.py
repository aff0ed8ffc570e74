"""Throughput of the HTTP API beside a bare FastAPI endpoint that inserts, with wrk, by turns in one run.

    python -m bench.api --seconds 5 --rounds 3 [--postgres URL URL] [--slow-disk] [--pages sqlite:////tmp/10m.db]

Each program is a process with a ledger of its own; the bare one takes the same bodies, writes them as rows of the same
tables through the same engine with the same durability, and commits each request. `--postgres` names two empty
databases, without which only SQLite is measured. `--pages` measures pages of a large ledger, in which a token is made.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.places import with_a_slow_disk
from bench.writers import FLUSH_MS
from billing_console.services.ledger import open_ledger
from billing_console.services.prices import NewPrice, set_price
from billing_console.services.quotas import grant_quota
from billing_console.services.recharges import recharge
from billing_console.services.setup import init
from billing_console.services.tokens import create_token
from db.values import Scope, UsageType

CONNECTIONS = 32
RECORD = """
local thread = 0
function setup(t) t:set("id", thread); thread = thread + 1 end
function init(args) n = 0; run = args[1]; token = args[2] end
local function record(name)
  return '{"requestId":"' .. name .. '","userId":"u-' .. (n % 500) .. '","providerId":"openai","modelId":"gpt-4o",'
    .. '"usageType":"text_generation","inputTokens":1234,"outputTokens":56,"createdAt":"2026-03-10T12:00:00+08:00"}'
end
local headers = {}
function request()
  headers["Authorization"] = "Bearer " .. token
  headers["Content-Type"] = "application/json"
BODY
end
"""
BODIES = {
    "record 1": """n = n + 1
  return wrk.format("POST", "/api/billing/usage", headers, record(run .. "-" .. id .. "-" .. n))""",
    "record 100": """local parts = {}
  for part = 1, 100 do n = n + 1; parts[part] = record(run .. "-" .. id .. "-" .. n) end
  return wrk.format("POST", "/api/billing/usage", headers, "[" .. table.concat(parts, ",") .. "]")""",
    "authorize, record": """n = n + 1
  local call = math.floor((n + 1) / 2)
  if n % 2 == 0 then
    return wrk.format("POST", "/api/billing/usage", headers, record(run .. "-" .. id .. "-" .. call - BEFORE))
  end
  return wrk.format("POST", "/api/billing/authorize", headers, '{"requestId":"' .. run .. "-" .. id .. "-" .. call
    .. '","userId":"u-' .. (n % 500)
    .. '","providerId":"openai","modelId":"gpt-4o","usageType":"text_generation","estimatedCost":"0.05"}')""".replace(
        "BEFORE", str(2 * CONNECTIONS)
    ),
}
"""What each load sends, by its name in the table.

In the third authorizations by turns with records of calls that were authorized before, by requests that were answered.
"""

RECORDS = "/api/admin/billing/usage/records"

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Run:
    """What wrk says: requests a second, p50 and p99 in milliseconds, and answers that were none of 2xx."""

    rate: float
    p50: float
    p99: float
    failed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", nargs=2, metavar="URL", help="two empty databases")
    parser.add_argument("--slow-disk", action="store_true", help="also a PostgreSQL whose flush takes longer")
    parser.add_argument("--loads", default=",".join(BODIES.keys()).replace(", ", "/"))
    parser.add_argument("--pages", metavar="URL")
    options = parser.parse_args()
    chosen = [name.replace("/", ", ") for name in options.loads.split(",")] if options.loads else []
    with tempfile.TemporaryDirectory() as place:
        if chosen:
            writes("SQLite", [f"sqlite:///{place}/ours.db", f"sqlite:///{place}/bare.db"], chosen, options)
        if chosen and options.postgres:
            writes("PostgreSQL", options.postgres, chosen, options)
        if chosen and options.slow_disk:
            with with_a_slow_disk(Path(place), FLUSH_MS) as slow:
                urls = [slow.empty("PostgreSQL", name) for name in ("ours", "bare")]
                writes(f"PostgreSQL, flush + {FLUSH_MS} ms", urls, chosen, options)
    if options.pages:
        pages(options.pages, options)


def writes(engine: str, urls: list[str], chosen: list[str], options: argparse.Namespace) -> None:
    """Measure each load against both programs by turns, and print a table."""
    token = prepare(urls[0])
    prepare(urls[1])
    print(f"\n| {engine} | requests/s | of the bare endpoint | p50 ms | p99 ms | bare requests/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|---|")
    with served(urls[0]) as ours, bare(urls[1]) as other:
        for name in chosen:
            found: dict[str, list[Run]] = {ours: [], other: []}
            for number in range(options.rounds):
                for url in (ours, other):
                    found[url].append(load(url, name, f"{name[:12]}-{number}", token, options.seconds))
            mine, theirs = (middle(found[url]) for url in (ours, other))
            print(
                f"| {name} | {mine.rate:.0f} | {mine.rate / theirs.rate:.2f} | {mine.p50:.1f} | {mine.p99:.1f} "
                f"| {theirs.rate:.0f} | {theirs.p50:.1f} | {theirs.p99:.1f} |",
                flush=True,
            )
            assert mine.failed == theirs.failed == 0, found


@contextmanager
def served(url: str) -> Iterator[str]:
    """Our server on a free port; its URL."""
    command = [sys.executable, "-m", "billing_console", "--database", url, "serve", "--port", "0"]
    with open(os.devnull, "w") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as one:
        try:
            assert one.stdout is not None
            yield one.stdout.readline().rpartition(" ")[2].strip()
        finally:
            one.terminate()


@contextmanager
def bare(url: str) -> Iterator[str]:
    """The bare program on a free port; its URL. It logs nothing."""
    command = [sys.executable, "-m", "uvicorn", "bench.api_bare:app", "--port", "0", "--no-access-log"]
    environment = os.environ | {"BARE_URL": url}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as one:
        try:
            assert one.stderr is not None
            found = next(re.findall(r"http://\S+", line) for line in one.stderr if "running on" in line)
            yield found[0]
        finally:
            one.terminate()


def load(url: str, name: str, run: str, token: str, seconds: int) -> Run:
    """Send one load with wrk."""
    script = RECORD.replace("BODY", "  " + BODIES[name])
    return wrk(url, script, seconds, run.replace(" ", "-").replace(",", ""), token)


def wrk(url: str, script: str, seconds: int, *arguments: str, connections: int = CONNECTIONS) -> Run:
    """Run wrk with a script."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "30s", "--latency"]
        said = subprocess.run(
            [*command, "-s", file.name, url, "--", *arguments], capture_output=True, text=True, check=True
        ).stdout
    rate = float(found(r"Requests/sec:\s+([\d.]+)", said))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    lost = re.search(r"Socket errors: (.*)", said)
    return (
        Run(
            rate,
            _ms(found(r"(?m)^\s+50%\s+(\S+)", said)),
            _ms(found(r"(?m)^\s+99%\s+(\S+)", said)),
            int(refused.group(1)) if refused else 0,
        )
        if lost is None
        else Run(rate, 0, 0, -1)
    )


def found(pattern: str, said: str) -> str:
    match = re.search(pattern, said)
    assert match is not None, said
    return match.group(1)


def _ms(text: str) -> float:
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * _UNITS[unit]


def middle(runs: list[Run]) -> Run:
    """The median of each figure; all failures."""
    return Run(
        statistics.median(run.rate for run in runs),
        statistics.median(run.p50 for run in runs),
        statistics.median(run.p99 for run in runs),
        sum(run.failed for run in runs),
    )


def pages(url: str, options: argparse.Namespace) -> None:
    """Measure the first and the deepest page of usage records by turns, for one caller, and print a table."""
    token = token_for(url)
    print("\n| page of usage records | requests/s | p50 ms | p99 ms | p99 of the first |")
    print("|---|---|---|---|---|")
    with served(url) as server:
        places = {"first": "page=1", "deepest by number": f"page={last_page(server, token)}"}
        places["deepest by cursor"] = f"cursor={cursor_before_the_end(server, token, places['deepest by number'])}"
        found: dict[str, list[Run]] = {name: [] for name in places}
        for _round in range(options.rounds):
            for name, asked in places.items():
                script = f'wrk.headers["Authorization"] = "Bearer {token}"'
                found[name].append(wrk(f"{server}{RECORDS}?size=50&{asked}", script, options.seconds, connections=1))
        first = middle(found["first"])
        for name, runs in found.items():
            run = middle(runs)
            assert run.failed == 0, runs
            print(
                f"| {name} | {run.rate:.0f} | {run.p50:.1f} | {run.p99:.1f} | {run.p99 / first.p99:.2f} |", flush=True
            )


def last_page(server: str, token: str) -> int:
    """The number of the last page of 50."""
    total: int = asked(server, token, "size=50&page=1")["total"]
    return max(1, (total - 1) // 50)


def cursor_before_the_end(server: str, token: str, place: str) -> str:
    """The cursor that leads to the page after a page."""
    return str(asked(server, token, f"size=50&{place}")["nextCursor"])


def asked(server: str, token: str, query: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{server}{RECORDS}?{query}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def prepare(url: str) -> str:
    """Set a ledger up as a gateway would find it; return a token."""
    init(url)
    ledger = open_ledger(url)
    try:
        price = NewPrice(
            "openai",
            "gpt-4o",
            UsageType.TEXT_GENERATION,
            None,
            Decimal(17),
            Decimal(70),
            effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        )
        set_price(ledger, price)
        recharge(ledger, "openai", Decimal(9_000_000), reference="bench", key="bench")
        for number in range(500):
            grant_quota(ledger, f"u-{number}", Decimal(1_000_000), reference="bench")
    finally:
        ledger.close()
    return token_for(url)


def token_for(url: str) -> str:
    """Make a token that may read and meter."""
    ledger = open_ledger(url)
    try:
        return create_token(ledger, f"bench {uuid.uuid4()}", [Scope.METER, Scope.READ], days=1)[1]
    finally:
        ledger.close()


if __name__ == "__main__":
    main()
