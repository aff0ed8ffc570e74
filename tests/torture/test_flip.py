"""Single bits of a ledger's file turned over: a balance that is shown is the true one, or there is an error."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from billing_console.errors import BillingError, Unavailable
from billing_console.services.audit import list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.pools import PoolView, get_pool, list_pools
from billing_console.services.quotas import QuotaView, list_quotas, quota_details
from billing_console.services.recharges import recharge_history
from billing_console.services.reconcile import reconcile
from tests.conftest import OpenLedger
from tests.factories import TESTER, at, gateway_insert
from tests.stocked import NOW
from tests.test_setup import path_of
from tests.torture.operations import chosen_seed, is_long
from tests.torture.stocked_everywhere import stock_everything

FLIPS = 30
LONG_FLIPS = 400
"""Three in four of them hit what balances are read from or proved by: 200 of the rest would mostly hit old calls."""

AIMED_AT = ("resource_pools", "user_quotas", "recharges", "providers", "usage_outbox", "ledger_info", "operators")

Shown = dict[str, Any]


@dataclass
class Seen:
    """What the product showed of a file, and which of its parts raised an error or found something."""

    balances: Shown = field(default_factory=dict)
    listed: Shown = field(default_factory=dict)
    reported: dict[str, str] = field(default_factory=dict)

    def look(self, part: str, work: Callable[[], Any]) -> Any:
        """Do one thing; every failure must be one that the product means, in one line."""
        try:
            return work()
        except BillingError as error:
            assert error.message and "\n" not in str(error), str(error)
            assert isinstance(error, Unavailable) or "beyond the range" in error.message or part != "read", repr(error)
            self.reported.setdefault(part, str(error))
            return None


def test_a_flipped_bit_is_never_a_wrong_balance_shown_as_right(
    sqlite_url: str, opened: OpenLedger, tmp_path: Path
) -> None:
    seed = chosen_seed("flip")
    ledger = stock_everything(opened(sqlite_url), tmp_path)
    for number in range(4):
        gateway_insert(ledger, request_id=f"waiting-{number}", cost_amount=7 * 10**8 + number, created_at=NOW)
    ledger.close()
    whole = path_of(sqlite_url).read_bytes()
    truth = _seen(sqlite_url)
    assert truth.reported == {}
    copy = tmp_path / "flipped.db"
    counts: Counter[str] = Counter()
    for number in range(LONG_FLIPS if is_long() else FLIPS):
        choose = random.Random(f"{seed} flip {number}")
        position = _position(choose, whole, _aims(sqlite_url, whole))
        bit = choose.randrange(8)
        flipped = bytearray(whole)
        flipped[position] ^= 1 << bit
        copy.write_bytes(flipped)
        where = f"flip {number}: bit {bit} of byte {position % 4096} in page {position // 4096 + 1}"
        counts[_judge(where, truth, _seen(f"sqlite:///{copy}"))] += 1
    print(f"flip: {counts.total()} flips, seen by or harmless: {dict(counts.most_common())}")
    assert counts.total() - counts["harmless"] > counts.total() // 10


def _judge(where: str, truth: Seen, seen: Seen) -> str:
    """Fail for anything wrong that is shown as right; say who saw the damage first."""
    wrong = {name: (value, truth.balances.get(name)) for name, value in seen.balances.items()}
    wrong = {name: pair for name, pair in wrong.items() if pair[0] != pair[1]}
    assert wrong == {}, f"{where}: shown as right: {wrong}"
    if not seen.reported:
        # What is left is a name or the time of a check, which say nothing of money, or nothing at all.
        assert seen.balances.keys() == truth.balances.keys(), f"{where}: balances are missing and nobody says so"
        assert seen.listed == truth.listed, f"{where}: something else is shown and nobody says so"
        return "harmless"
    return next(iter(seen.reported))


def _seen(url: str) -> Seen:
    seen = Seen()
    ledger = seen.look("open", lambda: open_ledger(url, actor=TESTER))
    if ledger is None:
        return seen
    ledger = at(ledger, NOW)
    try:
        _look_at_everything(ledger, seen)
    finally:
        ledger.close()
    return seen


def _look_at_everything(ledger: Ledger, seen: Seen) -> None:
    pools = seen.look("read", lambda: list_pools(ledger, with_no_pool=True)) or ()
    users = seen.look("read", lambda: list_quotas(ledger)) or ()
    for pool in pools:
        _keep(seen, f"pool {pool.provider_id}", _pool(pool))
    for user in users:
        _keep(seen, f"quota {user.user_id}", _quota(user))
    for provider in ("openai", "anthropic", "deepseek", "alibaba", "azure"):
        one = seen.look("read", lambda: get_pool(ledger, provider))  # noqa: B023
        if one is not None:
            _keep(seen, f"pool {provider}", _pool(one))
    for name in ("u-00042", "u-00007", "东京团队", "alice@example.com"):
        details = seen.look("read", lambda: quota_details(ledger, name))  # noqa: B023
        if details is not None:
            _keep(seen, f"quota {name}", _quota(details.quota))
    # They are listed by their names, which say nothing of money: one that is damaged may move a pool in the list.
    seen.listed["pools"] = {pool.provider_id: (pool.status, pool.low_threshold) for pool in pools}
    seen.listed["quotas"] = [(user.user_id, user.is_blocked) for user in users]
    seen.listed["ledger"] = (ledger.currency, str(ledger.timezone))
    seen.listed["history"] = seen.look("read", lambda: recharge_history(ledger))
    seen.listed["audit"] = seen.look("read", lambda: list_audit(ledger, limit=None))
    findings = seen.look("reconcile", lambda: reconcile(ledger))
    if findings:
        seen.reported.setdefault("reconcile", str(findings[0]))
    verified = seen.look("audit verify", lambda: verify_audit(ledger))
    if verified is not None and verified.findings:
        seen.reported.setdefault("audit verify", str(verified.findings[0]))


def _keep(seen: Seen, name: str, shown: tuple[Any, ...]) -> None:
    """Keep what was shown of a balance; two ways of asking give one answer."""
    assert seen.balances.setdefault(name, shown) == shown


def _pool(pool: PoolView) -> tuple[Any, ...]:
    return pool.provider_id, pool.has_pool, pool.total_balance, pool.used_amount, pool.available_balance


def _quota(quota: QuotaView) -> tuple[Any, ...]:
    return quota.user_id, quota.has_quota, quota.granted_amount, quota.used_amount, quota.remaining_amount


def _position(choose: random.Random, whole: bytes, aims: list[int]) -> int:
    """A byte of the file: anywhere, or one that is in use in a page worth aiming at."""
    if choose.random() < 0.25:
        return choose.randrange(len(whole))
    return choose.choice(list(_in_use(whole, choose.choice(aims))))


def _in_use(whole: bytes, page: int) -> Iterator[int]:
    """The header, the cell pointers and the cells of a page (SQLite file format, 1.6)."""
    size = 65536 if whole[16:18] == b"\0\1" else int.from_bytes(whole[16:18], "big")
    start = (page - 1) * size
    header = start + (100 if page == 1 else 0)
    cells = int.from_bytes(whole[header + 3 : header + 5], "big")
    content = int.from_bytes(whole[header + 5 : header + 7], "big") or 65536
    return chain(range(header, header + 12 + 2 * cells), range(start + content, start + size))


def _aims(url: str, whole: bytes) -> list[int]:
    """The first pages of the tables aimed at and of their indexes, and the pages that the audit log's hashes are on."""
    file = sqlite3.connect(path_of(url))
    size = int.from_bytes(whole[16:18], "big")
    names = ", ".join(f"'{table}'" for table in AIMED_AT)
    roots = [row[0] for row in file.execute(f"SELECT rootpage FROM sqlite_master WHERE tbl_name IN ({names})")]
    hashes = [row[0].encode() for row in file.execute("SELECT hash FROM audit_log")]
    file.close()
    logs = {whole.index(digest) // size + 1 for digest in hashes if digest in whole}
    return [root for root in roots if root] + sorted(logs)[:: max(1, len(logs) // len(roots))]
