"""Price lists: converted exactly, added whole, and never read past a mistake."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from billing_console.errors import Conflict, InvalidInput
from billing_console.services.ledger import Ledger
from billing_console.services.price_import import import_prices
from billing_console.services.prices import PricesAdded, PriceView, list_prices
from db.values import PriceUnit, UsageType
from tests.commands import Commands, shell
from tests.conftest import OpenLedger
from tests.factories import NOON, at, everything, query

HEADER = "providerId,modelId,usageType,unit,inputPrice,outputPrice,cachedInputPrice,effectiveFrom\n"
LIST = (
    HEADER + "openai,gpt-4o,text_generation,,2.5,10,1.25,2024-05-13\n"
    "openai,gpt-4o,text_generation,1m_tokens,5,15,,2024-01-01T00:00:00Z\n"
    "openai,dall-e-3,image_generation,,,0.04,,\n"
    "openai,tts-1,audio_tts,1k_characters,0.015,,,\n"
    "openai,whisper-1,audio_stt,minute,6e-03,,,\n"
    "火山,视频,video_generation,second,0.0000000047,,,\n"
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def prices(ledger: Ledger) -> dict[tuple[str, UsageType], PriceView]:
    """The prices in force, by model and type."""
    return {(view.model_id, view.usage_type): view for view in list_prices(ledger)}


def test_a_list_in_another_currency_is_converted_exactly_and_keeps_its_rate(ledger: Ledger, tmp_path: Path) -> None:
    done = import_prices(ledger, written(tmp_path / "p.csv", LIST), currency="USD", rate=Decimal("7.1"))
    assert done == PricesAdded(added=6, unchanged=0)
    found = prices(ledger)
    text = found["gpt-4o", UsageType.TEXT_GENERATION]
    assert (text.input_price, text.output_price, text.cached_input_price) == (
        Decimal("17.75"),
        Decimal("71"),
        Decimal("8.875"),
    )
    assert (text.source_currency, text.exchange_rate, text.operator) == ("USD", "7.1", "tester")
    assert text.effective_from == datetime(2024, 5, 12, 16, tzinfo=UTC)
    assert found["dall-e-3", UsageType.IMAGE_GENERATION].output_price == Decimal("0.284")
    assert found["dall-e-3", UsageType.IMAGE_GENERATION].unit is PriceUnit.IMAGE
    assert found["whisper-1", UsageType.AUDIO_STT].unit is PriceUnit.MINUTE
    # 0.0000000047 * 7.1 = 0.00000003337, rounded once to 1e-9.
    assert found["视频", UsageType.VIDEO_GENERATION].input_price == Decimal("0.000000033")


def test_a_list_in_the_ledgers_currency_is_taken_as_it_is(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    import_prices(sqlite_ledger, written(tmp_path / "p.csv", LIST), currency="CNY")
    text = prices(sqlite_ledger)["gpt-4o", UsageType.TEXT_GENERATION]
    assert (text.input_price, text.source_currency, text.exchange_rate) == (Decimal("2.5"), None, None)


def test_the_same_list_again_changes_nothing_also_where_rows_hold_from_now(ledger: Ledger, tmp_path: Path) -> None:
    file = written(tmp_path / "p.csv", LIST)
    import_prices(ledger, file)
    before = everything(ledger)
    later = at(ledger, datetime(2099, 1, 1, tzinfo=UTC))
    assert import_prices(later, file) == PricesAdded(added=0, unchanged=6)
    assert everything(ledger) == before


def test_a_new_price_without_a_time_holds_from_now_and_the_old_one_stays(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    ledger = at(sqlite_ledger, NOON)
    import_prices(ledger, written(tmp_path / "old.csv", LIST))
    later = at(sqlite_ledger, datetime(2027, 1, 1, tzinfo=UTC))
    new = written(
        tmp_path / "new.csv", "providerId,modelId,usageType,outputPrice\nopenai,dall-e-3,image_generation,0.05\n"
    )
    assert import_prices(later, new) == PricesAdded(added=1, unchanged=0)
    found = [
        (view.effective_from, view.output_price) for view in list_prices(later, "openai", "dall-e-3", all_versions=True)
    ]
    assert found == [(datetime(2027, 1, 1, tzinfo=UTC), Decimal("0.05")), (NOON, Decimal("0.04"))]


def test_json_and_json_lines_say_the_same_as_csv_with_exact_numbers(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    # 0.1 and 0.0000000047 have no exact binary form; a float on the way would show at this rate.
    record = (
        '{"providerId": "p", "modelId": "%s", "usageType": "text_generation", "inputPrice": 0.1, "outputPrice": 4.7e-9}'
    )
    whole, by_line = record % "array", record % "lines"
    text = '{"providerId": "p", "modelId": "text", "usageType": "text_generation", "inputPrice": "0.1"}'
    files = (
        written(tmp_path / "p.json", f"[{whole}]"),
        written(tmp_path / "p.jsonl", f"{by_line}\n\n{text}\n"),
    )
    rate = Decimal("999999.999999999999")
    for file in files:
        import_prices(sqlite_ledger, file, currency="USD", rate=rate)
    found = {view.model_id: (view.input_price, view.output_price) for view in list_prices(sqlite_ledger)}
    exact = (Decimal("100000"), Decimal("0.0047"))
    assert found == {"array": exact, "lines": exact, "text": (Decimal("100000"), Decimal(0))}


def test_a_packed_list_and_standard_input_are_read(sqlite_url: str, tmp_path: Path, opened: OpenLedger) -> None:
    (tmp_path / "p.csv.gz").write_bytes(gzip.compress(LIST.encode()))
    done = shell(f'"$@" < {tmp_path}/p.csv.gz', "--database", sqlite_url, "prices", "import", "-", "--format", "json")
    assert (done.code, done.json) == (0, {"added": 6, "unchanged": 0})
    assert import_prices(opened(sqlite_url), tmp_path / "p.csv.gz").unchanged == 6


ROW = "openai,gpt-4o,text_generation,,1,2,,\n"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("openai,gpt-4o,text,,1,2,,\n", "usageType “text” is not one of: text_generation"),
        (",gpt-4o,text_generation,,1,2,,\n", "providerId is required"),
        ("openai,,text_generation,,1,2,,\n", "modelId is required"),
        ("openai,m,,,1,2,,\n", "usageType is required"),
        ("openai,m,text_generation,,,,,\n", "inputPrice or outputPrice is required"),
        ("openai,m,text_generation,,,,1,\n", "inputPrice or outputPrice is required"),
        ("openai,m,text_generation,image,1,,,\n", "text_generation is not billed per image. Use one of: 1m_tokens."),
        ("openai,m,text_generation,token,1,,,\n", "unit “token” is not one of: 1m_tokens"),
        ("openai,m,text_generation,,-1,,,\n", "inputPrice must be 0 or more"),
        ("openai,m,text_generation,,1,NaN,,\n", "outputPrice “NaN” is not a number"),
        ("openai,m,text_generation,,1,2,free,\n", "cachedInputPrice “free” is not a number"),
        ('openai,m,text_generation,,"1,5",,,\n', "inputPrice “1,5” is not a number"),
        ("openai,m,text_generation,,1e12,,,\n", "inputPrice is more than the ledger can hold"),
        ("openai,m,text_generation,,1,,,tomorrow\n", "effectiveFrom “tomorrow” is not a time"),
        ("openai,m,text_generation,,1\n", "5 columns instead of 8"),
        ("openai,gpt-4o,text_generation,,1,3,,\n", "are there before, at 2"),
        ("openai\0,m,text_generation,,1,,,\n", "providerId holds a character that cannot be stored"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field_and_nothing_is_added(
    run: Commands, tmp_path: Path, bad: str, words: str
) -> None:
    file = written(tmp_path / "p.csv", HEADER + ROW + bad + "openai,other,text_generation,,1,2,,\n")
    done = run("prices", "import", str(file))
    assert (done.code, done.out) == (2, "")
    assert f"{file}, line 3: " in done.err
    assert words in done.err
    assert done.err.count("\n") == 1
    assert run("prices", "list", "--all", "--format", "json").json == []
    assert run("models", "list", "--format", "json").json == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.csv", HEADER.replace("cachedInputPrice", "cachedInputPrise"), "Did you mean “cachedInputPrice”?"),
        ("p.csv", HEADER.replace("inputPrice", "input_price"), "Did you mean “inputPrice”?"),
        ("p.csv", HEADER.replace("modelId", "model"), "“model” in a price list. Did you mean “modelId”?"),
        ("p.csv", "providerId,modelId,inputPrice\n", "the column usageType is missing"),
        ("p.csv", "", "no header row"),
        ("p.json", "{}", "not a JSON array"),
        ("p.json", "[", "not valid JSON"),
        ("p.json", "[1]", "record 1: not a JSON object"),
        ("p.json", '[{"providerId": "a", "providerId": "b"}]', "a name is there twice"),
        ("p.json", '[{"providerId": "a", "cachedInputPrise": 1}]', "Did you mean “cachedInputPrice”?"),
        ("p.json", '[{"providerId": "a", "inputPrice": NaN}]', "NaN is no number"),
        ("p.jsonl", '\n{"providerId": "a"}', "line 2: usageType is required"),
    ],
)
def test_a_misspelt_or_broken_list_is_refused_with_what_comes_nearest(
    run: Commands, tmp_path: Path, name: str, text: str, words: str
) -> None:
    done = run("prices", "import", str(written(tmp_path / name, text)))
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert str(tmp_path / name) in done.err


def test_a_price_that_contradicts_an_older_one_is_refused_and_nothing_is_added(ledger: Ledger, tmp_path: Path) -> None:
    import_prices(ledger, written(tmp_path / "p.csv", LIST))
    before = everything(ledger)
    changed = HEADER + "openai,new,text_generation,,1,,,\n" + "openai,gpt-4o,text_generation,,3,10,1.25,2024-05-13\n"
    file = written(tmp_path / "changed.csv", changed)
    with pytest.raises(Conflict) as refused:
        import_prices(ledger, file)
    assert str(file) in refused.value.message
    assert "openai gpt-4o text_generation" in refused.value.message
    assert everything(ledger) == before


@pytest.mark.parametrize(
    ("currency", "rate", "words"),
    [("USD", None, "need the rate"), (None, "7.1", "another currency"), ("USD", "0", "more than 0")],
)
def test_a_list_is_never_taken_at_a_rate_nobody_stated(
    sqlite_ledger: Ledger, tmp_path: Path, currency: str | None, rate: str | None, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        import_prices(
            sqlite_ledger,
            written(tmp_path / "p.csv", LIST),
            currency=currency,
            rate=None if rate is None else Decimal(rate),
        )
    assert query(sqlite_ledger, "SELECT count(*) FROM prices") == [(0,)]


def test_a_missing_file_and_a_read_only_session_say_so(run: Commands, tmp_path: Path) -> None:
    missing = run("prices", "import", str(tmp_path / "missing.csv"))
    assert (missing.code, "missing.csv cannot be read: No such file" in missing.err) == (3, True)
    file = written(tmp_path / "p.csv", LIST)
    assert run("--read-only", "prices", "import", str(file)).code == 77
    assert run("prices", "list", "--format", "json").json == []


def test_the_command_says_what_was_added(run: Commands, tmp_path: Path) -> None:
    file = str(written(tmp_path / "p.csv", LIST))
    done = run("prices", "import", file, "--currency", "USD", "--rate", "7.1")
    assert (done.code, done.out, done.err) == (0, "Prices added: 6. There already: 0.\n", "")
    again = run("prices", "import", file, "--currency", "USD", "--rate", "7.1", "--format", "json")
    assert json.loads(again.out) == {"added": 0, "unchanged": 6}
