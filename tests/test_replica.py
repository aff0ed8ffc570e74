"""The read replica: what comes from it, what never does, how far behind it is, and what happens without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import text

from billing_console.errors import InvalidInput
from billing_console.services.audit import list_audit
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.pools import get_pool
from billing_console.services.replica import follow, replica_standing
from billing_console.services.session import reading
from db.replica import Standing, State
from screens.console import ask
from tests.api import ADMIN, Api
from tests.commands import Commands
from tests.factories import TESTER, acting, execute, pay, pool, query
from tests.keyboard import Keyboard, console
from tests.postgres_server import standby_of
from tests.replicated import Pair, replicated, until, with_own_ledger
from tests.terminal import terminal


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """A primary and its standby for all tests here that leave them as they are."""
    with replicated() as pair:
        yield pair


@pytest.fixture
def pair(servers: Pair) -> Pair:
    """The servers, with a ledger of this test alone."""
    return with_own_ledger(servers)


@pytest.fixture
def own_pair() -> Iterator[Pair]:
    """Servers of this test alone, which it may kill."""
    with replicated() as pair:
        yield pair


@pytest.fixture
def ledger(pair: Pair) -> Iterator[Ledger]:
    """An empty ledger with its replica."""
    with closing(pair.opened()) as ledger:
        yield ledger


def total(ledger: Ledger) -> int:
    return int(get_pool(ledger, "openai").total_balance or 0)


def behind(ledger: Ledger) -> int | None:
    standing = replica_standing(ledger)
    return standing.behind if standing else None


def lags(keys: Keyboard) -> bool:
    """Whether the console says that the replica is not up to date."""
    return re.search(r"replica [1-9]\d* s behind", keys.lines[0]) is not None


def by_replica(ledger: Ledger) -> bool:
    """Whether what is shown comes from the replica."""
    return query(ledger.for_viewing, "SELECT pg_is_in_recovery()") == [(True,)]


def test_what_is_shown_comes_from_the_replica_and_nothing_else_does(pair: Pair, ledger: Ledger) -> None:
    pool(ledger, "openai", "100")
    somebody = acting(ledger, "somebody")
    assert total(ledger.for_viewing) == 100
    with pair.paused():
        pay(somebody, "50")
        execute(ledger, "UPDATE resource_pools SET low_threshold = 90")
        assert by_replica(ledger)
        assert (total(ledger.for_viewing), total(ledger)) == (100, 150)
        (checked,) = check_pools(ledger).pools
        assert checked.pool.total_balance == 150
    pair.caught_up()
    assert total(ledger.for_viewing) == 150


def test_nobody_is_shown_a_ledger_older_than_what_they_wrote(pair: Pair, ledger: Ledger) -> None:
    pool(ledger, "openai", "100")
    somebody = acting(ledger, "somebody")
    with pair.paused():
        pay(ledger, "50")
        assert (total(ledger.for_viewing), total(somebody.for_viewing)) == (150, 100)
        assert not by_replica(ledger)
        assert by_replica(somebody)
        assert [entry.action for entry in list_audit(ledger.for_viewing, limit=1)] == ["pools.recharge"]
    pair.caught_up()
    assert by_replica(ledger)
    assert total(ledger.for_viewing) == 150


def test_it_is_said_how_far_the_replica_is_behind(pair: Pair, ledger: Ledger) -> None:
    pair.caught_up()
    assert replica_standing(ledger) == Standing(State.FOLLOWING, 0)
    with pair.primary.connect() as primary:
        with pair.paused():
            pool(ledger, "openai", "100")
            until(lambda: (behind(ledger) or 0) >= 2, primary)
        until(lambda: behind(ledger) == 0, primary)


def test_a_replica_that_only_just_began_to_lag_is_not_said_to_be_hours_behind(pair: Pair, ledger: Ledger) -> None:
    """The time of the last change that it replayed lies as far back as nobody wrote."""
    pool(ledger, "openai", "100")
    pair.caught_up()
    with pair.primary.connect() as primary:
        primary.execute("SELECT pg_sleep(2)")
        assert behind(ledger) == 0
        with pair.paused():
            pay(ledger, "50")
            assert behind(ledger) in (0, 1)


def test_what_is_no_replica_of_this_ledger_is_refused_at_the_start(pair: Pair, sqlite_ledger: Ledger) -> None:
    with closing(open_ledger(pair.url, actor=TESTER)) as ledger:
        for url, words in (
            (pair.url, "is no replica: it takes changes itself"),
            (pair.standby.url("postgres"), "is a replica of another database"),
            ("sqlite:////srv/billing.db", "not one of PostgreSQL"),
            ("postgresql://one:two:three/x", "not one of PostgreSQL"),
        ):
            with pytest.raises(InvalidInput, match=words):
                follow(ledger, url)
    with pytest.raises(InvalidInput, match="this one is in an SQLite file"):
        follow(sqlite_ledger, pair.read_url)


def test_a_role_that_may_only_read_is_enough_for_the_replica(pair: Pair) -> None:
    with closing(open_ledger(pair.url, actor=TESTER)) as ledger:
        pool(ledger, "openai", "100")
        for statement in (
            "CREATE ROLE billing_reader LOGIN",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO billing_reader",
        ):
            execute(ledger, statement)
        pair.caught_up()
        follow(ledger, pair.read_url.replace("//postgres@", "//billing_reader@"))
        assert query(ledger.for_viewing, "SELECT CAST(current_user AS text)") == [("billing_reader",)]
        assert total(ledger.for_viewing) == 100


def test_another_standby_of_the_same_url_takes_over(own_pair: Pair) -> None:
    pair = own_pair
    with standby_of(pair.primary) as second, closing(open_ledger(pair.url, actor=TESTER)) as ledger:
        hosts = "&".join(f"host={each.maintenance.query['host']}" for each in (pair.standby, second))
        follow(ledger, f"postgresql://postgres@/{pair.name}?{hosts}&target_session_attrs=standby")

        def place() -> object:
            return query(ledger.for_viewing, "SHOW unix_socket_directories")[0][0]

        assert place() == pair.standby.maintenance.query["host"]
        pair.standby.crash()
        assert place() == second.maintenance.query["host"]
        pair.standby.restart()
        with second.connect() as connection:
            connection.execute("SELECT pg_promote()")
        assert replica_standing(ledger) == Standing(State.PROMOTED)
        assert place() == pair.primary.maintenance.query["host"]
        with pair.primary.connect() as connection:
            until(lambda: replica_standing(ledger) == Standing(State.FOLLOWING, 0), connection)
        assert place() == pair.standby.maintenance.query["host"]


def test_check_pools_and_commands_do_not_touch_the_replica(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One that could not be read from would end the console."""
    commands = Commands(sqlite_url, capsys)
    for line in ("check-pools", "pools list", "usage list"):
        assert commands("--read-database", "postgresql://nobody@127.0.0.1:1/none", *line.split()).code == 0


@pytest.mark.parametrize("command", [(), ("serve", "--port", "0")], ids=["console", "serve"])
def test_console_and_server_end_with_2_for_a_wrong_replica(pair: Pair, command: tuple[str, ...]) -> None:
    with terminal("--database", pair.url, "--read-database", pair.url, *command, size=(200, 24)) as program:
        program.until("is no replica: it takes changes itself")
        assert program.end() == 2


def test_the_api_reads_from_the_replica_what_its_caller_has_not_written(pair: Pair, ledger: Ledger) -> None:
    api = Api(ledger)
    pool(ledger, "openai", "100")

    def shown() -> str:
        answer: str = api.get("/resource-pool/providers/openai").json()["totalBalance"]
        return answer

    assert shown() == "100.00"
    with pair.paused():
        pay(ledger, "50")
        assert shown() == "100.00"
        body = {"amount": "7", "reference": "INV-7"}
        path = f"{ADMIN}/resource-pool/providers/openai/recharges"
        recharged = api("POST", path, json=body, headers={"Idempotency-Key": "k"})
        assert recharged.status_code == 201, recharged.text
        assert shown() == "157.00"


async def test_the_console_says_how_far_it_is_behind_and_shows_its_own_writes_at_once(pair: Pair) -> None:
    with closing(pair.opened()) as ledger:
        pool(ledger, "openai", "100")
        pair.caught_up()
        async with console(pair.url, opening=pair.opened, refresh_seconds=0.3, size=(110, 30)) as keys:
            await keys.press("3")
            await keys.until(lambda: "replica 0 s behind" in keys.lines[0])
            with pair.paused():
                pay(acting(ledger, "somebody"), "11")
                await keys.until(lambda: lags(keys))
                assert "¥100.00" in keys.line("openai")
                await recharge(keys, "250")
                assert "¥361.00" in keys.line("openai")
            await keys.until(lambda: "replica 0 s behind" in keys.lines[0])
            assert "¥361.00" in keys.line("openai")


async def test_on_80_columns_the_time_zone_gives_way(pair: Pair) -> None:
    async with console(pair.url, opening=pair.opened, read_only=True) as keys:
        await keys.until(lambda: "replica 0 s behind" in keys.lines[0])
        assert keys.lines[0].endswith(" tester · admin   READ-ONLY  replica 0 s behind ")


async def recharge(keys: Keyboard, amount: str) -> None:
    await keys.press("c")
    await keys.type(amount)
    await keys.press("enter")
    await keys.type("INV-7")
    await keys.press("enter", "y")
    await keys.settled()


async def test_without_the_replica_the_primary_is_read_until_it_is_back(own_pair: Pair) -> None:
    pair = own_pair
    with closing(open_ledger(pair.url, actor=TESTER)) as ledger:
        pool(ledger, "openai", "100")
        pair.caught_up()
        async with console(pair.url, opening=pair.opened, refresh_seconds=0.3) as keys:
            await keys.press("3")
            await keys.until(lambda: "replica 0 s behind" in keys.lines[0])
            pair.standby.crash()
            await keys.until(lambda: "replica away" in keys.lines[0])
            pay(ledger, "11")
            await keys.until(lambda: "¥111.00" in keys.screen)
            assert "✖" not in keys.screen
            pair.standby.restart()
            await keys.until(lambda: "replica 0 s behind" in keys.lines[0])
            assert keys.app.ledger is not None
            assert by_replica(keys.app.ledger)
            pair.promote()
            await keys.until(lambda: "replica promoted" in keys.lines[0])
            pay(ledger, "11")
            await keys.until(lambda: "¥122.00" in keys.screen)
            assert "✖" not in keys.screen


async def test_without_the_primary_the_replica_goes_on_answering(own_pair: Pair) -> None:
    pair = own_pair
    with closing(open_ledger(pair.url, actor=TESTER)) as ledger:
        pool(ledger, "openai", "100")
    pair.caught_up()
    async with console(pair.url, opening=pair.opened, refresh_seconds=0.3) as keys:
        pair.primary.crash()
        await keys.until(lambda: "✖" in keys.lines[1])
        await keys.press("3")
        await keys.until(lambda: "¥100.00" in keys.line("openai"))
        await keys.until(lambda: lags(keys))


async def test_a_replica_that_dies_in_the_middle_of_a_question_is_not_noticed(own_pair: Pair) -> None:
    pair = own_pair
    asked: list[bool] = []
    answers: list[object] = []

    def work(ledger: Ledger) -> int:
        with reading(ledger.database) as session:
            asked.append(bool(session.connection().scalar(text("SELECT pg_is_in_recovery()"))))
            if asked[-1]:
                pair.standby.crash()
            return int(session.connection().scalar(text("SELECT 7")) or 0)

    async with console(pair.url, opening=pair.opened) as keys:
        assert keys.app.pane is not None
        ask(keys.app.pane, work, answers.append, answers.append, to_show=True)
        await keys.settled()
    assert (asked, answers) == ([True, False], [7])


async def test_a_question_that_is_stopped_on_the_replica_is_not_put_to_the_primary(pair: Pair) -> None:
    asked: list[bool] = []

    def work(ledger: Ledger) -> None:
        with reading(ledger.database) as session:
            asked.append(bool(session.connection().scalar(text("SELECT pg_is_in_recovery()"))))
            session.connection().execute(text("SELECT pg_sleep(600)"))

    async with console(pair.url, opening=pair.opened) as keys:
        assert keys.app.pane is not None
        question = ask(keys.app.pane, work, lambda _answer: None, lambda _error: None, to_show=True)
        assert question is not None
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'"
        with pair.standby.connect() as standby:
            await keys.until(lambda: standby.execute(sleeping).fetchone() == (1,))
            question.stop()
            await keys.settled()
            alive = f"{sleeping} AND state = 'active'"
            await keys.until(lambda: standby.execute(alive).fetchone() == (0,))
    assert asked == [True]
