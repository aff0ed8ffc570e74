"""Works side by side: results in order, and none that was begun is lost, whatever went wrong."""

from __future__ import annotations

from threading import Event, get_ident

import pytest

from billing_console.services.side_by_side import SideBySide
from tests.commands import PATIENCE_SECONDS


def test_works_are_run_at_once_and_handed_over_in_the_order_in_which_they_were_begun() -> None:
    second_ended, kept, threads = Event(), [], set()

    def first() -> str:
        assert second_ended.wait(PATIENCE_SECONDS)
        return "first"

    def second() -> str:
        second_ended.set()
        return "second"

    def keep(result: str) -> None:
        kept.append(result)
        threads.add(get_ident())

    with SideBySide[str](nothing) as works:
        works.begin(first, keep)
        works.begin(second, keep)
        works.begin(lambda: "third", keep)
        assert kept == ["first"]
        works.finish()
        assert kept == ["first", "second", "third"]
    assert threads == {get_ident()}


def nothing() -> None:
    """There is nothing to stop."""


class Broken(Exception):
    """What a work may raise."""


def broken() -> str:
    raise Broken


def test_an_error_is_raised_and_what_was_begun_beside_it_is_still_handed_over() -> None:
    kept: list[str] = []
    with pytest.raises(Broken), SideBySide[str](nothing) as works:
        works.begin(broken, kept.append)
        works.begin(lambda: "beside", kept.append)
        works.finish()
    assert kept == ["beside"]
    with pytest.raises(Broken), SideBySide[str](nothing) as works:
        works.begin(broken, kept.append)
        works.begin(lambda: "beside", kept.append)
    with pytest.raises(KeyboardInterrupt), SideBySide[str](nothing) as works:
        works.begin(lambda: "interrupted", kept.append)
        works.begin(broken, kept.append)
        raise KeyboardInterrupt
    assert kept == ["beside", "beside", "interrupted"]


def test_what_does_not_end_soon_after_an_interruption_is_stopped() -> None:
    stopped = Event()
    kept: list[str] = []

    def stuck() -> str:
        assert stopped.wait(PATIENCE_SECONDS)
        raise Broken

    with pytest.raises(KeyboardInterrupt), SideBySide[str](stopped.set) as works:
        works.begin(stuck, kept.append)
        works.begin(lambda: "beside", kept.append)
        raise KeyboardInterrupt
    assert kept == ["beside"]
