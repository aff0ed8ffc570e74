"""Who is at work: the real user id of the process, and what the process claims about where it was started."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from billing_console.text import one_line
from db.values import Scope

SYSTEM = "system:"
"""How the name of everything that acts by itself begins; no account name holds a colon."""

TOKEN = "token:"
"""How the name of a program that uses the HTTP API begins; its token's name follows."""

UNSET = 2**32 - 1
"""What the kernel gives as the login uid of a process that no login started."""


class Kind(StrEnum):
    """How a name came about: the account of the process, a forced command (`--as`), a part of the program, a token."""

    PERSON = "person"
    FORCED = "forced"
    SYSTEM = "system"
    TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something; `uid` and its `account` are the kernel's word, the rest are claims for the audit log.

    `scopes` are what a token of the HTTP API may do; people have a role instead.
    """

    name: str
    uid: int
    account: str
    kind: Kind = Kind.PERSON
    login_uid: int | None = None
    tty: str | None = None
    ssh_client: str | None = None
    host: str = ""
    scopes: frozenset[Scope] = frozenset()


def this_person() -> Actor:
    """Return the person behind this process: the account of the real uid, never an environment variable."""
    uid = os.getuid()
    account = account_of(uid)
    return Actor(
        name=account,
        uid=uid,
        account=account,
        login_uid=_login_uid(),
        tty=_tty(),
        ssh_client=_claim(os.environ.get("SSH_CONNECTION", "").partition(" ")[0]),
        host=socket.gethostname()[:200],
    )


def forced(name: str) -> Actor:
    """Return this process acting as `name`, which a forced command gave (`--as`); its uid stays on record."""
    return replace(this_person(), name=name, kind=Kind.FORCED)


def system(part: str) -> Actor:
    """Return a part of the program that acts by itself, such as check-pools; its uid stays on record."""
    return replace(this_person(), name=SYSTEM + part, kind=Kind.SYSTEM)


def token(server: Actor, name: str, scopes: frozenset[Scope]) -> Actor:
    """Return the program that holds a token, served by the process of `server`, whose uid stays on record."""
    return replace(server, name=TOKEN + name, kind=Kind.TOKEN, scopes=scopes)


def account_of(uid: int) -> str:
    """Return the name of the account with this user id, or `uid:N` where the machine knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"


def uid_of(account: str) -> int | None:
    """Return the user id of an account of this machine, or of `uid:N`; None where there is none."""
    if account.startswith("uid:") and account[4:].isdecimal():
        return int(account[4:])
    try:
        return pwd.getpwnam(account).pw_uid
    except (KeyError, ValueError):
        return None


def _login_uid() -> int | None:
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if uid == UNSET else uid


def _tty() -> str | None:
    for number in (0, 1, 2):
        with suppress(OSError):
            return _claim(os.ttyname(number))
    return None


def _claim(text: str) -> str | None:
    """Keep the beginning of what anybody could have written, without anything in it that could move a cursor."""
    return one_line(text, 100) or None
