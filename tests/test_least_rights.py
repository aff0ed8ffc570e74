"""The SQL of docs/audit.md: a role that has no more than it gives can do all the work, and rewrite nothing."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from billing_console.services.approvals import ApprovalView
from billing_console.services.audit_verify import verify_audit
from billing_console.services.decisions import approve
from billing_console.services.limits import set_limit
from billing_console.services.operators import remove_operator
from billing_console.services.recharges import recharge
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from db.engine import parse_url
from db.values import LimitName
from tests.conftest import OpenLedger
from tests.factories import acting, execute, gateway_insert
from tests.stocked import stock


def statements(app: str, reader: str, database: str) -> list[str]:
    """The statements of the page, for roles and a database of other names."""
    (page,) = re.findall(r"```sql\n(.*?)```", (Path(__file__).parents[1] / "docs" / "audit.md").read_text(), re.DOTALL)
    page = re.sub(r"--.*", "", page).replace("billing_app", f'"{app}"').replace("billing_reader", f'"{reader}"')
    found = [part.strip() for part in page.replace("DATABASE billing ", f"DATABASE {database} ").split(";")]
    return [part for part in found if part and "billing_owner" not in part]


def test_the_documented_roles_do_all_the_work_and_can_rewrite_nothing(postgres_url: str, opened: OpenLedger) -> None:
    owner = opened(postgres_url)
    database = str(owner.database.url.database)
    app, reader = f"app_{database[-12:]}", f"reader_{database[-12:]}"
    for statement in statements(app, reader, database):
        execute(owner, statement)
    try:
        ledger = opened(parse_url(postgres_url).set(username=app).render_as_string(hide_password=False))
        stock(ledger)
        gateway_insert(ledger, cost_amount=1)
        settle(ledger)
        set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(100))
        request = recharge(acting(ledger, "asker"), "openai", Decimal(500), reference="r")
        assert isinstance(request, ApprovalView)
        approve(ledger, request.id)
        set_limit(ledger, LimitName.APPROVAL_ABOVE, None)
        remove_operator(ledger, "asker")
        assert reconcile(ledger, repair=True) == ()
        assert verify_audit(ledger).findings == ()
        for table in ("audit_log", "recharges", "quota_grants", "prices"):
            for statement in (
                f"UPDATE {table} SET operator = 'x'",
                f"DELETE FROM {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER USER",
            ):
                with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
                    execute(ledger, statement)
        looking = opened(parse_url(postgres_url).set(username=reader).render_as_string(hide_password=False))
        assert verify_audit(looking).findings == ()
        ledger.close()
        looking.close()
    finally:
        for role in (app, reader):
            execute(owner, f'DROP OWNED BY "{role}"')
            execute(owner, f'DROP ROLE "{role}"')
