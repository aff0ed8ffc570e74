"""One key, sent by many processes at once and again by later ones: one effect, and one answer for all."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from billing_console.errors import Conflict
from billing_console.money import plain
from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool
from billing_console.services.quotas import GrantView, grant_quota, list_quotas, revoke_quota
from billing_console.services.recharges import RechargeView
from billing_console.services.reconcile import reconcile
from tests.factories import booked, pay, pool, query
from tests.torture.operations import at_once, chosen_seed, is_long, open_as

PROCESSES = 12
LONG_PROCESSES = 50
ROUNDS = 1
LONG_ROUNDS = 10
"""Keys of each kind, one after another; each is sent by every process, and again after a restart of all."""

PROVIDER, USER, REVOKED = "openai", "alice", "bob"
AMOUNT, OTHER_AMOUNT = Decimal("60.5"), Decimal("40.25")
ALL = AMOUNT + OTHER_AMOUNT - 1
"""What there is to revoke: enough for either amount, not for both."""


@dataclass(frozen=True)
class Outcome:
    """What one process was told: the id and amount of the entry and whether it was there before, or the refusal."""

    asked: Decimal
    id: int = 0
    amount: Decimal = Decimal(0)
    replayed: bool = False
    refusal: str = ""


def _recharge(ledger: Ledger, key: str, amount: Decimal) -> RechargeView:
    return pay(ledger, str(amount), PROVIDER, reference="bank", key=f"recharge {key}")


def _grant(ledger: Ledger, key: str, amount: Decimal) -> GrantView:
    return booked(grant_quota(ledger, USER, amount, reference="bank", key=f"grant {key}"))


def _revoke(ledger: Ledger, key: str, amount: Decimal) -> GrantView:
    return revoke_quota(ledger, REVOKED, amount, reference="bank", key=f"revoke {key}")


DO: dict[str, Callable[[Ledger, str, Decimal], RechargeView | GrantView]] = {
    "recharge": _recharge,
    "grant": _grant,
    "revocation": _revoke,
}


def _send(url: str, key: str, amount: Decimal, start: Barrier, answer: Connection) -> None:
    """Send one key for each kind of operation, each at the same moment as all the others do."""
    ledger = open_as(url, "sender")
    outcomes: dict[str, Outcome] = {}
    for kind, do in DO.items():
        start.wait()
        try:
            done = do(ledger, key, amount)
            outcomes[kind] = Outcome(amount, done.id, done.amount, done.replayed)
        except Conflict as refused:
            outcomes[kind] = Outcome(amount, refusal=str(refused))
    ledger.close()
    answer.send(outcomes)


def test_a_key_sent_by_many_at_once_has_one_effect(database_url: str, ledger: Ledger) -> None:
    seed = chosen_seed("same key")
    choose = random.Random(seed)
    pool(ledger, PROVIDER)
    processes, rounds = (LONG_PROCESSES, LONG_ROUNDS) if is_long() else (PROCESSES, ROUNDS)
    counts: Counter[str] = Counter()
    sums = dict.fromkeys(DO, Decimal(0))
    given = Decimal(0)
    began = time.monotonic()
    for number in range(rounds):
        # Exactly what one revocation can take: who waits for the winner must not hear that too little is left.
        given += grant_quota(ledger, REVOKED, ALL - given - sums["revocation"], reference="all", key=f"{number}").amount
        # At least one asks for each amount, and most for the first.
        amounts = [AMOUNT, OTHER_AMOUNT, *choose.choices((AMOUNT, OTHER_AMOUNT), (4, 1), k=processes - 2)]
        choose.shuffle(amounts)
        calls = [(database_url, f"key {number}", amount) for amount in amounts]
        before = _entries(ledger)
        first: list[dict[str, Outcome]] = at_once(_send, calls)
        again: list[dict[str, Outcome]] = at_once(_send, calls)
        assert _entries(ledger) == before + len(DO)
        for kind in DO:
            sums[kind] += _agreed(
                [outcomes[kind] for outcomes in first], [outcomes[kind] for outcomes in again], counts
            )
    print(
        f"same key on {ledger.database.engine.dialect.name}: {rounds * len(DO)} keys, {processes} processes twice, in "
        f"{time.monotonic() - began:.1f} s: {dict(counts)}"
    )
    assert counts["effect"] == rounds * len(DO)
    assert counts.total() == 2 * processes * rounds * len(DO)
    assert get_pool(ledger, PROVIDER).total_balance == sums["recharge"]
    granted = {quota.user_id: quota.granted_amount for quota in list_quotas(ledger)}
    assert granted == {USER: sums["grant"], REVOKED: given + sums["revocation"]}
    assert reconcile(ledger) == ()


def _agreed(first: list[Outcome], again: list[Outcome], counts: Counter[str]) -> Decimal:
    """Check that one of the first had an effect, and that all others were told of it; return its amount."""
    (winner,) = [outcome for outcome in first if outcome.id and not outcome.replayed]
    counts["effect"] += 1
    sign = -1 if winner.amount < 0 else 1
    for outcome in first + again:
        if outcome is winner:
            continue
        if outcome.asked == winner.asked:
            assert (outcome.id, outcome.amount, outcome.replayed) == (winner.id, winner.amount, True)
            counts["replayed"] += 1
        else:
            assert f" {plain(sign * winner.asked)}, reference “bank”. This one is: " in outcome.refusal
            assert f" {plain(sign * outcome.asked)}, reference “bank”. Nothing was changed" in outcome.refusal
            counts["refused"] += 1
    return winner.amount


def _entries(ledger: Ledger) -> int:
    return int(query(ledger, "SELECT (SELECT count(*) FROM recharges) + (SELECT count(*) FROM quota_grants)")[0][0])
