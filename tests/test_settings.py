from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from billing_console.errors import Unavailable
from billing_console.settings import load_settings, unknown_variables
from billing_console.settings_file import chosen_language
from tests.commands import command, shell


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    """The place of the settings file in the user's configuration directory, which the tests have for themselves."""
    place = tmp_path / "xdg_config_home" / "billing-console" / "config.toml"
    place.parent.mkdir(parents=True)
    return place


def refusal(content: str, file: Path) -> str:
    """What is said about a settings file with this content."""
    file.write_text(content)
    with pytest.raises(Unavailable) as refused:
        load_settings({}, file)
    return str(refused.value)


def test_an_option_goes_before_the_environment_that_before_the_file_and_that_before_the_default(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = load_settings({}).database_url
    assert default.endswith("/billing-console/billing.db")
    user_file.write_text('database_url = "sqlite:////file"')
    assert load_settings({}).database_url == "sqlite:////file"
    monkeypatch.setenv("BILLING_CONSOLE_DATABASE_URL", "sqlite:////environment")
    assert load_settings({}).database_url == "sqlite:////environment"
    assert load_settings({"database_url": "sqlite:////option"}).database_url == "sqlite:////option"
    assert load_settings({"database_url": None}).database_url == "sqlite:////environment"
    monkeypatch.setenv("BILLING_CONSOLE_DATABASE_URL", "")
    assert load_settings({}).database_url == "sqlite:////file"


def test_the_file_named_goes_before_the_users_and_option_before_variable(
    user_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_option, by_variable = tmp_path / "option.toml", tmp_path / "variable.toml"
    for minutes, file in enumerate((by_option, by_variable, user_file), 1):
        file.write_text(f"check_interval_minutes = {minutes}")
    assert load_settings({}).check_interval_minutes == 3
    monkeypatch.setenv("BILLING_CONSOLE_CONFIG", str(by_variable))
    assert load_settings({}).check_interval_minutes == 2
    assert load_settings({}, by_option).check_interval_minutes == 1


def test_every_setting_can_come_from_file_and_environment(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file.write_text(
        'read_database_url = "postgresql://standby/billing"\n'
        'lang = "zh"\nbusiness_timezone = "Europe/Berlin"\ncurrency = "EUR"\nlow_threshold_percent = 12.5\n'
        "require_quota = true\ncheck_interval_minutes = 7\nrefresh_seconds = 2\n"
    )
    from_file = load_settings({})
    assert (from_file.lang, from_file.business_timezone, from_file.currency) == ("zh", "Europe/Berlin", "EUR")
    assert from_file.low_threshold_percent == Decimal("12.5")
    assert from_file.read_database_url == "postgresql://standby/billing"
    assert (from_file.require_quota, from_file.check_interval_minutes, from_file.refresh_seconds) == (True, 7, 2)
    monkeypatch.setenv("BILLING_CONSOLE_LOW_THRESHOLD_PERCENT", "0.1")
    monkeypatch.setenv("BILLING_CONSOLE_REQUIRE_QUOTA", "false")
    assert load_settings({}).low_threshold_percent == Decimal("0.1")
    assert load_settings({}).require_quota is False


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("databse_url", "Did you mean “database_url”?"),
        ("Refresh_Seconds", "Did you mean “refresh_seconds”?"),
        ("zzz", "The settings are: database_url, read_database_url, lang, "),
    ],
)
def test_an_unknown_key_is_refused_with_file_key_and_the_nearest(tmp_path: Path, key: str, near: str) -> None:
    file = tmp_path / "c.toml"
    said = refusal(f"{key} = 1", file)
    assert said.startswith(f"{file}: there is no setting “{key}”. {near}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('lang = "fr"', "“en” or “zh”"),
        ('business_timezone = "Mars/Olympus"', "a time zone like “Asia/Shanghai”"),
        ('currency = "yuan"', "a currency code like “CNY”"),
        ("low_threshold_percent = 101", "a percentage from 0 to 100"),
        ("low_threshold_percent = 9.999", "with at most two decimals"),
        ("low_threshold_percent = nan", "a percentage from 0 to 100"),
        ('require_quota = "perhaps"', "true or false"),
        ("check_interval_minutes = 0", "a whole number from 1 to 1440"),
        ("refresh_seconds = 1.5", "a whole number from 1 to 3600"),
        ("database_url = 5", "sqlite:////path/to/billing.db"),
        ("database_url = []", "sqlite:////path/to/billing.db"),
        ("read_database_url = false", "postgresql://user@host/name"),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_what_is_expected(tmp_path: Path, line: str, expected: str) -> None:
    file = tmp_path / "c.toml"
    said = refusal(line, file)
    assert said.startswith(f"{file}: {line.partition(' ')[0]} does not have a value it can take.")
    assert expected in said


def test_a_wrong_value_of_a_variable_is_named_by_the_variable(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file.write_text("refresh_seconds = 5")
    monkeypatch.setenv("BILLING_CONSOLE_REFRESH_SECONDS", "often")
    with pytest.raises(Unavailable, match=r"^BILLING_CONSOLE_REFRESH_SECONDS does not have a value"):
        load_settings({})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'lang = "en', "not valid TOML"),
        (b"lang", "not valid TOML"),
        (b'lang = "en"\nlang = "zh"', "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_named_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    with pytest.raises(Unavailable, match=reason) as refused:
        load_settings({}, file)
    assert str(file) in refused.value.message


def test_a_file_that_is_named_must_be_there_and_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, reason in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        answer = command("--config", str(place), "pools", "list")
        assert (answer.code, answer.out) == (3, "")
        assert reason in answer.err
        assert str(place) in answer.err
    monkeypatch.setenv("BILLING_CONSOLE_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(Unavailable, match=r"gone\.toml"):
        load_settings({})


def test_a_variable_that_sets_nothing_is_warned_of_and_the_command_still_runs(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_CONSOLE_DATABASE", sqlite_url)
    assert unknown_variables() == [
        "The environment variable BILLING_CONSOLE_DATABASE sets nothing. Did you mean “BILLING_CONSOLE_DATABASE_URL”?"
    ]
    answer = command("--database", sqlite_url, "pools", "list", "--format", "json")
    assert (answer.code, answer.json) == (0, [])
    assert answer.err.count("BILLING_CONSOLE_DATABASE sets nothing") == 1


def test_variables_are_read_whatever_their_case_and_hostile_names_are_inert(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("billing_console_refresh_seconds", "9")
    monkeypatch.setenv("BILLING_CONSOLE_\x1b[2J", "x")
    assert load_settings({}).refresh_seconds == 9
    (warning,) = unknown_variables()
    assert "\x1b" not in warning


def test_the_language_is_chosen_by_option_then_variable_then_file_then_locale(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen_language(None, None) is None
    user_file.write_text('lang = "zh"')
    assert chosen_language(None, None) == "zh"
    monkeypatch.setenv("BILLING_CONSOLE_LANG", "en")
    assert chosen_language(None, None) == "en"
    assert chosen_language("zh", None) == "zh"


def test_a_language_in_a_file_that_is_wrong_otherwise_waits_for_the_error(user_file: Path) -> None:
    user_file.write_text("lang = 5")
    assert chosen_language(None, None) is None
    user_file.write_text("this is no TOML")
    assert chosen_language(None, None) is None


def test_the_ledgers_own_facts_cannot_be_overruled_by_a_setting(sqlite_url: str) -> None:
    answer = shell('BILLING_CONSOLE_BUSINESS_TIMEZONE=Europe/Berlin "$@"', "--database", sqlite_url, "pools", "list")
    assert answer.code == 3
    assert "keeps the business time zone Asia/Shanghai, but the settings say Europe/Berlin" in answer.err
