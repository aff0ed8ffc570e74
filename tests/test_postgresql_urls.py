"""What a PostgreSQL URL may say: several hosts, and what the driver takes."""

from __future__ import annotations

import pytest

from db.engine import parse_url
from tests.conftest import OpenLedger


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("postgresql://me:pw@one:5433,two/billing?target_session_attrs=read-write", ("one:5433", "two:5432")),
        (
            "postgresql+psycopg://one,two,three/billing?target_session_attrs=read-write",
            ("one:5432", "two:5432", "three:5432"),
        ),
        ("postgresql://me@/billing?host=one&host=two&target_session_attrs=read-write", ("one", "two")),
    ],
)
def test_several_hosts_are_spelled_as_libpq_or_as_sqlalchemy_spells_them(text: str, hosts: tuple[str, ...]) -> None:
    url = parse_url(text)
    assert url.query["host"] == hosts
    assert (url.database, url.query["target_session_attrs"]) == ("billing", "read-write")


@pytest.mark.parametrize("text", ["postgresql://one:5432,two:x/billing", "postgresql://one:1:2,two/billing"])
def test_what_is_no_list_of_hosts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_url(text)


def test_what_the_url_says_of_connections_goes_before_what_the_program_says(
    postgres_url: str, opened: OpenLedger
) -> None:
    ledger = opened(f"{postgres_url}&connect_timeout=7&keepalives_idle=60&prepare_threshold=none")
    with ledger.database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        said = driver.info.get_parameters()
        assert (said["connect_timeout"], said["keepalives_idle"], said["tcp_user_timeout"]) == ("7", "60", "20000")
        assert driver.prepare_threshold is None
