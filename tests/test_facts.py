"""The digest of facts: its form stays, so that what was vouched for by an earlier release is still found as it was."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing_console.services.facts import KINDS, Digest
from db.prepared import by_column

MOMENT = datetime(2026, 3, 10, 23, 59, 59, 123456, UTC)


def digest(kind: str, *rows: dict[str, Any]) -> str:
    made = Digest(kind)
    made.add(by_column(rows))
    return made.spelled()[1]


def of_lines(*lines: str) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode("ascii")).hexdigest()


def row_of(kind: str, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(KINDS[kind].held) | values


@pytest.mark.parametrize(
    ("moment", "spelled"),
    [
        (MOMENT, "2026-03-10T23:59:59.123456Z"),
        (MOMENT.replace(microsecond=500_000), "2026-03-10T23:59:59.500000Z"),
        (MOMENT.replace(microsecond=0), "2026-03-10T23:59:59Z"),
        (datetime(2026, 3, 11, 7, 0, tzinfo=timezone(timedelta(hours=8))), "2026-03-10T23:00:00Z"),
        (datetime(2, 1, 1, tzinfo=UTC), "0002-01-01T00:00:00Z"),
    ],
)
def test_a_call_is_a_line_of_json(moment: datetime, spelled: str) -> None:
    call = row_of(
        "usage_records",
        id=7,
        request_id="r\x7f",
        user_id='用户 😀 \x1b\n"\\/',
        provider_id="openai",
        input_tokens=12,
        quantity=Decimal("1.500000"),
        created_at=moment,
        counted_by_settler=False,
    )
    line = (
        r'[7,"r\u007f","\u7528\u6237 \ud83d\ude00 \u001b\n\"\\/","openai",null,null,12,null,null,null,"1.50",null,null,'
        f'"{spelled}",null,false]'
    )
    assert digest("usage_records", call) == of_lines(line)


def test_rows_follow_each_other_and_a_cost_is_spelled_as_an_amount() -> None:
    costs = [Decimal("0E-9"), Decimal("1E+5"), Decimal("0.000000001"), Decimal("12.340000000")]
    rows = [row_of("usage_costs", id=number, cost_amount=cost, price_id=3) for number, cost in enumerate(costs, 1)]
    lines = ['[1,"0.00",3]', '[2,"100000.00",3]', '[3,"0.000000001",3]', '[4,"12.34",3]']
    assert digest("usage_costs", *rows) == of_lines(*lines)
    in_two = Digest("usage_costs")
    in_two.add(by_column(rows[:1]))
    in_two.add(by_column(rows[1:]))
    assert in_two.spelled() == ["1-4", of_lines(*lines)]


def test_a_column_of_a_later_revision_counts_where_it_is_filled() -> None:
    first = row_of("quota_grants", id=1, user_id="u", amount=Decimal(5))
    second = first | {"id": 2, "expires_at": MOMENT, "used_before": Decimal("0.5")}
    lines = [
        '[1,"u","5.00",null,null,null,null,null,null]',
        '[2,"u","5.00",null,null,null,null,null,null,["expires_at","2026-03-10T23:59:59.123456Z"],["used_before","0.50"]]',
    ]
    assert digest("quota_grants", first, second) == of_lines(*lines)


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("\x7f\x80\x85\u2028\ufeff\U0010ffff")
def test_any_text_is_spelled_as_the_standard_library_does(text: str) -> None:
    line = json.dumps([1, text, *[None] * 4], separators=(",", ":"))
    assert digest("usage_imports", row_of("usage_imports", id=1, file_name=text)) == of_lines(line)
