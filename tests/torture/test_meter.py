"""The HTTP API under fire: a server of its own, many clients at once, kills; and a console that looks on."""

from __future__ import annotations

import asyncio
import random
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from multiprocessing.connection import Connection

import httpx

from billing_console.money import plain
from billing_console.services.audit_verify import verify_audit
from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota, quota_details
from billing_console.services.reconcile import reconcile
from billing_console.services.tokens import create_token
from db.values import Scope
from tests.commands import PATIENCE_SECONDS
from tests.factories import pool, query
from tests.terminal import Terminal, terminal
from tests.test_api_holds import AUTHORIZE, wanted
from tests.test_api_writes import USAGE, call
from tests.test_serve import serving, url_of
from tests.torture.operations import chosen_seed, is_long, processes

CLIENTS = 32
CALLS = 1_000
LONG_CALLS = 10_000
COST = Decimal("0.013000001")
SHARE = Decimal("0.37")
"""Of each user's calls, for how many there is quota."""

USERS = ("alice", "bob", "carol")
SENT_TWICE = 20
"""One in so many requests is sent again, as a client does that heard no answer."""

KILLS = 2
LONG_KILLS = 50
SENDERS = 6
LONGEST_MOMENT = 0.1


@dataclass
class Fire:
    """What the clients were told: calls let through and refused by user, answers that were repeats, and all else."""

    through: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    surprises: list[str] = field(default_factory=list)


def _fire(url: str, token: str, seed: str, calls: int, answer: Connection) -> None:
    """Be all the clients, in one process of their own."""
    answer.send(asyncio.run(_fired(url, token, seed, calls)))


async def _fired(url: str, token: str, seed: str, calls: int) -> Fire:
    fire = Fire()
    numbers = iter(range(calls))
    choose = random.Random(seed)

    async def client() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
            for number in numbers:
                await _one_call(http, fire, number, choose)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return fire


async def _one_call(http: httpx.AsyncClient, fire: Fire, number: int, choose: random.Random) -> None:
    """Ask for a call, make it if it may be made, and record it."""
    user, cost = USERS[number % len(USERS)], plain(COST)
    asked = wanted(number, cost, userId=user)
    for _again in range(1 + (choose.randrange(SENT_TWICE) == 0)):
        held = await http.post(AUTHORIZE, json=asked)
    if held.status_code == 402:
        fire.refused[user] += 1
        return
    if held.status_code != 200:
        fire.surprises.append(held.text)
        return
    fire.through[user] += 1
    fire.repeats += held.json()["replayed"]
    body = call(requestId=asked["requestId"], userId=user, costAmount=cost)
    for _again in range(1 + (choose.randrange(SENT_TWICE) == 0)):
        recorded = await http.post(USAGE, json=body)
        if recorded.status_code != 200 or recorded.json()["recorded"] + recorded.json()["duplicates"] != 1:
            fire.surprises.append(recorded.text)
        else:
            fire.repeats += recorded.json()["duplicates"]


@contextmanager
def fired(url: str, token: str, seed: str, calls: int) -> Iterator[Connection]:
    """The clients at work; what they were told comes through the pipe once they are done."""
    context = processes()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_fire, args=(url, token, seed, calls, sender), daemon=True)
    process.start()
    sender.close()
    try:
        yield receiver
    finally:
        process.kill()
        process.join()


def test_exactly_the_calls_are_let_through_that_there_is_quota_for_while_a_console_looks_on(
    ledger: Ledger,
) -> None:
    seed = chosen_seed("fire")
    calls = LONG_CALLS if is_long() else CALLS
    allowed = {user: int(len(range(number, calls, len(USERS))) * SHARE) for number, user in enumerate(USERS)}
    pool(ledger, amount="100000")
    for user, number in allowed.items():
        # And a little more, which is not enough for another one.
        grant_quota(ledger, user, number * COST + Decimal("0.013"), reference="r")
    _made, token = create_token(ledger, "gateway", [Scope.METER])
    began = time.monotonic()
    with (
        serving(url_of(ledger)) as server,
        terminal("--database", url_of(ledger), size=(120, 40)) as console,
    ):
        console.until("No usage has been recorded yet.")
        with fired(server.url, token, seed, calls) as clients:
            waits = _looked_at(console, clients)
            fire: Fire = clients.recv()
        seconds = time.monotonic() - began
        _shows_the_totals(console, allowed)
        code, lines, _err = server.stop()
    statuses = Counter(line["status"] for line in lines if line["message"] == "request")
    print(
        f"fire on {ledger.database.engine.dialect.name}: {calls} calls of {CLIENTS} clients in {seconds:.1f} s, "
        f"answers {dict(statuses)}, {fire.repeats} repeats; {len(waits)} keys pressed in the console meanwhile, "
        f"longest wait {max(waits):.2f} s, median {sorted(waits)[len(waits) // 2]:.2f} s"
    )
    assert (code, fire.surprises, set(statuses)) == (0, [], {200, 402})
    assert fire.through == allowed
    assert fire.refused.total() == calls - sum(allowed.values())
    for user, number in allowed.items():
        quota = quota_details(ledger, user).quota
        assert (quota.used_amount, quota.remaining_amount) == (number * COST, Decimal("0.013"))
    assert get_pool(ledger, "openai").used_amount == sum(allowed.values()) * COST
    assert query(ledger, "SELECT count(*), count(DISTINCT request_id) FROM usage_records") == [
        (sum(allowed.values()), sum(allowed.values()))
    ]
    assert query(ledger, "SELECT count(*) FROM holds") == [(0,)]
    assert (reconcile(ledger), verify_audit(ledger).findings) == ((), ())


HELP = "Keys that work here"


def _looked_at(console: Terminal, clients: Connection) -> list[float]:
    """Go from tab to tab until the clients are done; return how long each key took to show what it shows."""
    waits: list[float] = []
    while not waits or not clients.poll():
        for key, shown in (("3", "Available"), ("4", "Remaining"), ("?", HELP), ("\x1b", "")):
            since = time.monotonic()
            console.type(key)
            if shown:
                console.until(shown)
            else:
                console.until_gone(HELP)
            waits.append(time.monotonic() - since)
    return waits


def _shows_the_totals(console: Terminal, allowed: dict[str, int]) -> None:
    """What the console shows, without another key than those that choose a tab and refresh it."""
    console.type("4r")
    for number in allowed.values():
        console.until(f"¥{number * COST:.2f}")
    console.type("3r")
    console.until(f"¥{100000 - sum(allowed.values()) * COST:,.2f}")
    console.type("1r")
    console.until(f"{sum(allowed.values()):,} calls")


@dataclass
class Said:
    """What a server acknowledged before it was killed, and the request that had no answer."""

    recorded: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    unanswered: list[list[str]] = field(default_factory=list)


def test_every_call_that_was_acknowledged_is_there_once_however_often_the_server_is_killed(ledger: Ledger) -> None:
    seed = chosen_seed("kill of the server")
    choose = random.Random(seed)
    kills = LONG_KILLS if is_long() else KILLS
    pool(ledger, amount="100000")
    grant_quota(ledger, "alice", Decimal(1_000_000), reference="r")
    _made, token = create_token(ledger, "gateway", [Scope.METER])
    headers = {"Authorization": f"Bearer {token}"}
    began = time.monotonic()
    total = Said()
    for life in range(kills):
        enough, wanted_calls = threading.Event(), choose.randrange(20, 150)
        with serving(url_of(ledger)) as server, ThreadPoolExecutor(SENDERS) as senders:
            said = [Said() for _ in range(SENDERS)]
            done = [
                senders.submit(_send, server.url, headers, f"{life}-{number}", said, number, enough, wanted_calls)
                for number in range(SENDERS)
            ]
            assert enough.wait(PATIENCE_SECONDS)
            select.select([], [], [], LONGEST_MOMENT * choose.random())
            assert server.stop(signal.SIGKILL)[0] == -signal.SIGKILL
            for each in done:
                each.result()
        for each_said in said:
            total.recorded += each_said.recorded
            total.held += each_said.held
            total.unanswered += each_said.unanswered
        # While none of them has expired.
        holding = {row[0] for row in query(ledger, "SELECT request_id FROM holds")}
        there = {row[0] for row in query(ledger, "SELECT request_id FROM usage_records")}
        assert {name for each_said in said for name in each_said.held} <= holding | there
        assert reconcile(ledger) == ()
        if ledger.database.is_sqlite:
            assert query(ledger, "PRAGMA quick_check") == [("ok",)]
    found = Counter(row[0] for row in query(ledger, "SELECT request_id FROM usage_records"))
    arrived = sum(names[0] in found for names in total.unanswered)
    print(
        f"kill of the server on {ledger.database.engine.dialect.name}: {kills} kills in "
        f"{time.monotonic() - began:.1f} s, {len(total.recorded)} calls and {len(total.held)} holds acknowledged, "
        f"{len(total.unanswered)} requests without an answer, of which {arrived} had been committed"
    )
    assert set(found.values()) == {1}
    assert set(total.recorded) <= found.keys()
    for names in total.unanswered:
        assert len({name in found for name in names}) == 1  # what was sent together is there together, or not at all
    assert verify_audit(ledger).findings == ()


def _send(
    url: str,
    headers: dict[str, str],
    name: str,
    said: list[Said],
    number: int,
    enough: threading.Event,
    wanted_calls: int,
) -> None:
    """Authorize and record calls, from one to five together, until the server is gone."""
    mine = said[number]
    with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
        for position in count():
            names = [f"r-{name}-{position}-{part}" for part in range(1 + position % 5)]
            bodies = [call(requestId=each, costAmount="0.01") for each in names]
            try:
                if position % 3 == 0:
                    held = http.post(AUTHORIZE, json=wanted(names[0].removeprefix("r-"), "0.01"))
                    assert held.status_code == 200, held.text
                    mine.held.append(names[0])
                recorded = http.post(USAGE, json=bodies)
            except httpx.TransportError:
                mine.unanswered.append(names)
                return
            assert recorded.json()["recorded"] == len(names), recorded.text
            mine.recorded += names
            if sum(len(each.recorded) for each in said) >= wanted_calls:
                enough.set()
