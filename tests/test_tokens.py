"""Tokens of the HTTP API: shown once, kept as hashes, for the scopes and the time given, and vouched for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from billing_console.errors import Conflict, InvalidInput, NotFound, NotPermitted
from billing_console.services.audit import AuditFilter, list_audit
from billing_console.services.audit_verify import verify_audit
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.operators import add_operator
from billing_console.services.quotas import grant_quota
from billing_console.services.recharges import recharge
from billing_console.services.tokens import create_token, holder_of, list_tokens, revoke_token
from db.values import Role, Scope
from tests.commands import Commands
from tests.factories import at, execute, pool, price, query, spend


def held(ledger: Ledger, *scopes: Scope, name: str = "gateway") -> Ledger:
    """The ledger in the hands of a program with a new token."""
    _view, secret = create_token(ledger, name, scopes)
    found = holder_of(ledger, secret)
    assert found is not None
    return found


def test_a_token_is_kept_as_its_hash_and_known_again(ledger: Ledger) -> None:
    made, secret = create_token(ledger, "gateway", [Scope.METER, Scope.READ, Scope.METER], days=30)
    assert (made.scopes, made.created_by) == ((Scope.METER, Scope.READ), "tester")
    assert len(secret) == 4 + 43 and secret.startswith("bct_")
    assert query(ledger, "SELECT token_hash FROM api_tokens") == [(hashlib.sha256(secret.encode()).hexdigest(),)]
    found = holder_of(ledger, secret)
    assert found is not None and found.actor.name == "token:gateway"
    assert found.actor.scopes == {Scope.METER, Scope.READ}
    for wrong in ("", "bct_", secret[:-1], secret + "x", secret.upper(), "\udcff", "x" * 100_000):
        assert holder_of(ledger, wrong) is None
    assert list_tokens(ledger) == (made,)


def test_a_token_ends_when_its_days_are_over(ledger: Ledger) -> None:
    made, secret = create_token(ledger, "gateway", [Scope.READ], days=1)
    assert made.expires_at is not None
    assert holder_of(at(ledger, made.expires_at - timedelta(microseconds=1)), secret) is not None
    assert holder_of(at(ledger, made.expires_at), secret) is None


def test_a_revoked_token_holds_no_more_even_in_a_request_under_way(ledger: Ledger) -> None:
    pool(ledger, amount="5")
    _made, secret = create_token(ledger, "gateway", [Scope.METER])
    under_way = holder_of(ledger, secret)
    assert under_way is not None
    spend(under_way, "1")
    revoked = revoke_token(ledger, "gateway")
    assert revoked.revoked_at is not None and revoke_token(ledger, "gateway") == revoked
    assert holder_of(ledger, secret) is None
    with pytest.raises(NotPermitted, match="revoked"):
        spend(under_way, "1")
    with pytest.raises(Conflict):
        create_token(ledger, "gateway", [Scope.READ])


def test_a_token_does_what_its_scope_allows_and_the_audit_log_names_it(ledger: Ledger) -> None:
    pool(ledger, amount="5")
    meter, operate, read = (held(ledger, scope, name=scope) for scope in (Scope.METER, Scope.OPERATE, Scope.READ))
    spend(meter, "1")
    recharge(operate, "openai", Decimal(5), reference="r")
    grant_quota(operate, "alice", Decimal(5), reference="r")
    check_pools(operate)
    done = [row.action for row in list_audit(ledger, AuditFilter(operator="token:operate"))]
    assert done == ["quotas.grant", "pools.recharge"]
    assert list_audit(ledger, AuditFilter(operator="token:meter"))[0].action == "usage.record"
    for one, work in (
        (meter, lambda: check_pools(meter)),
        (meter, lambda: recharge(meter, "openai", Decimal(5), reference="r")),
        (operate, lambda: spend(operate, "1")),
        (operate, lambda: price(operate)),
        (operate, lambda: create_token(operate, "more", [Scope.READ])),
        (read, lambda: spend(read, "1")),
    ):
        with pytest.raises(NotPermitted):
            work()
        assert list_audit(ledger)[0].operator == one.actor.name


def test_the_audit_log_vouches_for_tokens(ledger: Ledger) -> None:
    create_token(ledger, "gateway", [Scope.READ], days=7)
    create_token(ledger, "old", [Scope.READ])
    revoke_token(ledger, "old")
    assert verify_audit(ledger).findings == ()
    execute(ledger, "UPDATE api_tokens SET scopes = 'operate', revoked_at = NULL")
    assert {found.where for found in verify_audit(ledger).findings} == {"tokens gateway", "tokens old"}


def test_what_is_no_token_is_refused(ledger: Ledger) -> None:
    for name, scopes, days in (
        ("", [Scope.READ], None),
        ("a", [], None),
        ("a", [Scope.READ], 0),
        ("a", [Scope.READ], 9999),
    ):
        with pytest.raises(InvalidInput):
            create_token(ledger, name, scopes, days=days)
    with pytest.raises(NotFound):
        revoke_token(ledger, "none")
    with pytest.raises(InvalidInput, match="token:"):
        add_operator(ledger, "token:gateway", Role.ADMIN)
    viewer = replace(ledger, actor=replace(ledger.actor, name="token:tester"))
    with pytest.raises(NotPermitted):
        create_token(viewer, "a", [Scope.READ])


def test_the_commands_show_a_token_once(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Commands(sqlite_url, capsys)
    made = run("tokens", "create", "gateway", "--scope", "meter", "--scope", "read", "--format", "json")
    assert (made.code, made.json["name"], made.json["scopes"]) == (0, "gateway", "meter read")
    secret = made.json["token"]
    plain = run("tokens", "create", "other", "--scope", "read", "--days", "3")
    assert plain.out.strip().startswith("bct_") and "once" in plain.err
    listed = run("tokens", "list", "--format", "json")
    assert [row["name"] for row in listed.json] == ["gateway", "other"]
    assert secret not in listed.out and "token" not in listed.json[0]
    assert run("tokens", "revoke", "gateway").out == "The token gateway holds no more.\n"
    assert run("tokens", "revoke", "nobody").code == 1
    assert run("tokens", "create", "x").code == 2
    assert run("tokens", "create", "x", "--scope", "all").code == 2
    audited = run("audit", "list", "--format", "json")
    assert secret not in audited.out and {"tokens.create", "tokens.revoke"} <= {row["action"] for row in audited.json}
