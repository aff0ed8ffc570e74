"""Filters as people put them: what is written is read again, and each part can be taken off or turned round."""

from __future__ import annotations

from dataclasses import replace

import pytest

from billing_console import negation
from db.values import CallStatus, UsageType
from screens.usage_wish import UsageWish
from tests.factories import NOON

WHOLE = UsageWish(
    "alice",
    "openai",
    "gpt-4o",
    UsageType.TEXT_GENERATION,
    CallStatus.FAILED,
    period="custom",
    start=NOON,
    end=NOON.replace(day=12),
    negated=frozenset({"user_id", "usage_type"}),
)


@pytest.mark.parametrize("value", ["alice", "!alice", "!!", "\\!x", "\\x", "a!b", "\\\\!x", "! x"])
@pytest.mark.parametrize("negated", [False, True])
def test_a_filter_is_read_as_it_is_written(value: str, negated: bool) -> None:
    assert negation.read(negation.spell(value, negated)) == (value, negated)


@pytest.mark.parametrize("text", ["", "  ", "!", " ! "])
def test_nothing_filters_nothing(text: str) -> None:
    assert negation.read(text) == (None, False)
    assert negation.spell(None, True) == ""


def test_every_part_is_described_and_can_be_taken_off() -> None:
    parts = WHOLE.parts(NOON.tzinfo)
    assert [words for _field, words in parts] == [
        "not user alice",
        "provider openai",
        "model gpt-4o",
        "not text_generation",
        "failed",
        "from 2026-03-10T04:00:00",
        "to 2026-03-12T04:00:00",
    ]
    left = WHOLE
    for number, (field, _words) in enumerate(parts, 1):
        left = left.without(field)
        assert left.parts(NOON.tzinfo) == parts[number:]
    assert left == UsageWish()
    assert UsageWish(period="7d").without("period") == UsageWish()


def test_turning_round_twice_changes_nothing_and_times_stay() -> None:
    for field, _words in WHOLE.parts(None):
        assert WHOLE.turned(field).turned(field) == WHOLE
    assert WHOLE.turned("status").status is CallStatus.SUCCESS
    assert WHOLE.turned("model_id") == replace(WHOLE, negated=WHOLE.negated | {"model_id"})
    assert WHOLE.turned("start") == WHOLE
