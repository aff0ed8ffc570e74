"""Who calls in the demo: about 2,000 users, of whom few call often and most call seldom."""

from __future__ import annotations

from itertools import accumulate
from random import Random

USERS = 2000
UNKNOWN_PER_MILLE = 6
"""How many calls carry no user: a gateway does not always know."""

_TENANTS = ("acme-crm", "acme-search", "nightly-batch", "helpdesk-bot", "qa-automation", "mobile-app", "web-chat")
_TEAMS = ("东京团队", "上海研发部", "客服机器人", "数据平台组", "深圳市场部", "測試帳號")
_GIVEN = ("wei", "fang", "min", "lei", "jing", "yang", "anna", "tomas", "yuki", "priya", "omar", "lucia")
_FAMILY = ("li", "wang", "zhang", "chen", "liu", "zhao", "novak", "tanaka", "sharma", "haddad", "rossi", "meyer")
HOSTILE = "[/]bob"
"""Looks like markup; every screen shows it as it is."""

_EXPONENT = 0.95
_HEAD = 4
"""The share of the user of rank r is 1 / (r + head) ** exponent: Zipf's law with a blunted top."""


def users(rng: Random) -> tuple[list[str], list[float]]:
    """Return the user ids by rank, and their cumulative weights for `Random.choices`."""
    special = [*_TENANTS, *_TEAMS, HOSTILE]
    mails = rng.sample([f"{given}.{family}@example.com" for given in _GIVEN for family in _FAMILY], 90)
    numbered = [f"u-{number:05d}" for number in rng.sample(range(1, 100_000), USERS - len(special) - len(mails))]
    busiest = special + mails[:12] + numbered[:24]
    others = mails[12:] + numbered[24:250]
    rng.shuffle(busiest)
    rng.shuffle(others)
    ids = busiest + others + numbered[250:]
    return ids, list(accumulate(1 / (rank + _HEAD) ** _EXPONENT for rank in range(len(ids))))
