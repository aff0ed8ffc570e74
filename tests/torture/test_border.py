"""Many processes at the border of one pool and one quota: what is taken back never exceeds what is left."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from billing_console.errors import Conflict, Refused
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota, list_quotas, quota_details, revoke_quota
from billing_console.services.recharges import recharge, recharge_history, reverse_recharge
from billing_console.services.reconcile import reconcile
from tests.factories import NANO, pool, usage
from tests.torture.operations import at_once, chosen_seed, is_long, open_as

PROVIDER, USER = "openai", "alice"
PROCESSES, OPERATIONS = 6, 30
LONG_PROCESSES, LONG_OPERATIONS = 16, 500
KINDS = {"recharge": 20, "reversal": 30, "usage": 15, "grant": 15, "revocation": 20}
"""More goes out than comes in, so that both balances stay where there is little left."""

RECENT = 10
"""A reversal takes back one of so many newest recharges, which others are about to reverse as well."""

KNOWN_AS_REVERSED = 0.1
"""How often it is one that is known to have been reversed."""


@dataclass
class Account:
    """What one process did: the yuan moved and the calls made by kind, what was refused, failures that reached it."""

    moved: dict[str, Decimal] = field(default_factory=lambda: dict.fromkeys(KINDS, Decimal(0)))
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def _work(url: str, seed: str, number: int, operations: int, start: Barrier, answer: Connection) -> None:
    ledger = open_as(url, f"process-{number}")
    account = Account()
    choose = random.Random(f"{seed} process {number}")
    start.wait()
    for position in range(operations):
        kind = choose.choices(list(KINDS), list(KINDS.values()))[0]
        amount = Decimal(choose.randrange(1, 2000)) / 100
        try:
            account.moved[kind] += _move(ledger, kind, amount, f"{number}-{position}", choose)
            account.done[kind] += 1
        except Conflict:
            account.refused["reversed before"] += 1
        except Refused:
            account.refused[kind] += 1
        except BaseException as error:
            account.failures.append(repr(error))
    ledger.close()
    answer.send(account)


def _move(ledger: Ledger, kind: str, amount: Decimal, key: str, choose: random.Random) -> Decimal:
    """Do one operation; return the yuan that it moved."""
    if kind == "recharge":
        return recharge(ledger, PROVIDER, amount, reference=key, key=key).amount
    if kind == "reversal":
        entries = [entry for entry in recharge_history(ledger, PROVIDER) if entry.amount > 0]
        left = [entry for entry in entries if entry.reversed_by_id is None]
        among = entries if choose.random() < KNOWN_AS_REVERSED else left or entries
        return reverse_recharge(ledger, choose.choice(among[:RECENT]).id, reason=key).amount
    if kind == "grant":
        return grant_quota(ledger, USER, amount, reference=key, key=key).amount
    if kind == "revocation":
        return revoke_quota(ledger, USER, amount, reference=key, key=key).amount
    # Nobody refuses a call that has been made: more than there is would keep the balances far below the border.
    available = min(get_pool(ledger, PROVIDER).available_balance, *_remaining(ledger))
    amount = min(amount, max(available, NANO))
    call = usage(request_id=key, provider_id=PROVIDER, user_id=USER, cost_amount=amount)
    assert record_usage(ledger, [call]).recorded == 1
    return amount


def _remaining(ledger: Ledger) -> list[Decimal]:
    return [quota.remaining_amount for quota in list_quotas(ledger) if quota.remaining_amount is not None]


def test_what_is_taken_back_at_the_border_is_never_more_than_is_left(database_url: str, ledger: Ledger) -> None:
    seed = chosen_seed("border")
    pool(ledger, PROVIDER)
    recharge(ledger, PROVIDER, Decimal(50), reference="first", key="first")
    grant_quota(ledger, USER, Decimal(50), reference="first", key="first")
    processes, operations = (LONG_PROCESSES, LONG_OPERATIONS) if is_long() else (PROCESSES, OPERATIONS)
    began = time.monotonic()
    accounts: list[Account] = at_once(_work, [(database_url, seed, number, operations) for number in range(processes)])
    seconds = time.monotonic() - began
    done = sum((account.done for account in accounts), Counter[str]())
    refused = sum((account.refused for account in accounts), Counter[str]())
    moved = {kind: sum((account.moved[kind] for account in accounts), Decimal(0)) for kind in KINDS}
    failures = [failure for account in accounts for failure in account.failures]
    print(
        f"border on {ledger.database.engine.dialect.name}: {processes} processes, {processes * operations} operations "
        f"in {seconds:.1f} s, done {dict(done)}, refused {dict(refused)}, {len(failures)} failures"
    )
    assert failures == []
    assert done.total() + refused.total() == processes * operations
    assert min(refused["reversal"] + refused["revocation"], done["reversal"], done["revocation"]) > 0
    _check_pool(ledger, done, moved)
    _check_quota(ledger, done, moved)
    assert reconcile(ledger) == ()


def _check_pool(ledger: Ledger, done: Counter[str], moved: dict[str, Decimal]) -> None:
    entries = recharge_history(ledger, PROVIDER, limit=None)[::-1]
    assert [entry.total_after for entry in entries] == list(accumulate(entry.amount for entry in entries))
    assert len(entries) == 1 + done["recharge"] + done["reversal"]
    assert min(entry.available_after for entry in entries if entry.amount < 0) >= 0
    view = get_pool(ledger, PROVIDER)
    assert view.total_balance == 50 + moved["recharge"] + moved["reversal"]
    assert view.used_amount == moved["usage"]


def _check_quota(ledger: Ledger, done: Counter[str], moved: dict[str, Decimal]) -> None:
    grants = quota_details(ledger, USER).grants[::-1]
    assert [grant.granted_after for grant in grants] == list(accumulate(grant.amount for grant in grants))
    assert len(grants) == 1 + done["grant"] + done["revocation"]
    assert min(grant.remaining_after for grant in grants if grant.amount < 0) >= 0
    (quota,) = list_quotas(ledger)
    assert quota.granted_amount == 50 + moved["grant"] + moved["revocation"]
    assert quota.used_amount == moved["usage"]
