"""Chinese is whole: every message is translated, nothing that is read is left out, the right language is chosen."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_keywords, parse_mapping_cfg
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from billing_console import cli, errors, i18n
from billing_console.cli.program import command
from billing_console.i18n import LOCALE_DIR, N_, _, active_locale, ngettext, pgettext, use_language
from billing_console.settings_file import chosen_language

ROOT = Path(__file__).parent.parent
PACKAGES = ("billing_console", "screens")
PO = LOCALE_DIR / "zh_CN" / "LC_MESSAGES" / "billing_console.po"
PLACEHOLDER = re.compile(r"%\(\w+\)[\d.]*[a-z]|%%|\{\w+\}")
COMMAND = re.compile(r"(?<=: )billing-console(?: [a-z-]+){1,2}")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
Key = tuple[str | None, str]

TRANSLATORS = {"_": 1, "N_": 1, "ngettext": 2, "pgettext": 2}
"""Functions that mark messages, and how many of their arguments are text to be extracted."""

NAMED = ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.IfExp
"""Expressions by which `_` may be given a message that is marked elsewhere."""

MEANT_FOR_PEOPLE = {
    "Line": (0,),
    "say": (0,),
    "fault": (0,),
    "notify": (0,),
    "confirm": (0,),
    "set_summary": (0,),
    "Binding": (2,),
    "Field": (1, 4),
    "Change": (0,),
    "Column": (0, 1),
    **{name: (0, 1) for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)},
}
"""Calls that put text before a person, and which of their arguments do."""


def key_of(message: Message) -> Key:
    context: str | bytes | None = message.context  # bytes where read from a .mo
    text = message.id if isinstance(message.id, str) else message.id[0]
    return context.decode() if isinstance(context, bytes) else context, text


def texts(message: Message) -> tuple[str, ...]:
    found = message.string or ""
    return (found,) if isinstance(found, str) else tuple(found)


def nothing(found: Iterable[object], advice: str = "") -> None:
    """Fail naming everything that was found, each on a line."""
    lines = [str(one) for one in found]
    assert not lines, "\n".join([advice, *lines])


@cache
def catalogue() -> dict[Key, Message]:
    with PO.open("rb") as file:
        return {key_of(message): message for message in read_po(file, locale="zh_CN") if message.id}


@cache
def extracted() -> dict[Key, Message]:
    """What `make locale` would extract, by its own keywords and babel.cfg."""
    keywords = parse_keywords(re.findall(r"-k (\S+)", (ROOT / "Makefile").read_text()))
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    collected = Catalog()
    for _name, _line, message, _comments, context in extract_from_dir(ROOT, methods, options, keywords):
        collected.add(message, context=context)
    return {key_of(message): message for message in collected if message.id}


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "i18n.py":  # where the functions that mark messages are themselves
                yield path.relative_to(ROOT), ast.parse(path.read_text())


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield path, node, called(node)


def called(node: ast.Call) -> str:
    function = node.func.value if isinstance(node.func, ast.Subscript) else node.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def place(path: Path, node: ast.expr) -> str:
    return f"{path}:{node.lineno}: {ast.unparse(node)[:100]}"


# The catalogue


def test_every_message_is_translated() -> None:
    known = catalogue()
    missing = [key for key in extracted() if key not in known or not all(texts(known[key])) or known[key].fuzzy]
    nothing(missing, "run make locale and translate:")


def test_the_catalogue_holds_nothing_that_the_program_does_not_say() -> None:
    nothing((key for key in catalogue() if key not in extracted()), "run make locale to drop:")


def test_a_translation_has_the_placeholders_of_its_message() -> None:
    wrong = [
        key
        for key, message in catalogue().items()
        for text in filter(None, texts(message))
        if sorted(PLACEHOLDER.findall(text)) != sorted(PLACEHOLDER.findall(key[1]))
    ]
    nothing(wrong)


def test_a_translation_keeps_command_lines_and_paragraphs_and_ends_its_sentences() -> None:
    for (_context, text), message in catalogue().items():
        for chinese in filter(None, texts(message)):
            assert all(command in chinese for command in COMMAND.findall(text)), chinese
            assert chinese.count("\n") == text.count("\n"), chinese
            assert chinese.strip() == chinese
            assert not text.endswith(".") or chinese.endswith("。") or text == "No.", chinese
            assert text.endswith((".", "?")) or not chinese.endswith("。"), chinese


def test_the_compiled_catalogue_is_the_one_that_is_read() -> None:
    with PO.with_suffix(".mo").open("rb") as file:
        compiled = {key_of(message): texts(message) for message in read_mo(file) if message.id}
    source = {key: texts(message) for key, message in catalogue().items() if any(texts(message))}
    nothing((key for key in compiled | source if compiled.get(key) != source.get(key)), "run make locale:")


SEED_WORDS = {
    "Usage records": "使用记录",
    "Cost statistics": "成本统计",
    "Resource pools": "资源池管理",
    "User quotas": "用户配额",
    "Models": "模型管理",
    "Pricing": "资费配置",
    "Provider": "供应商",
    "Total balance": "总余额",
    "Used amount": "已使用金额",
    "Available balance": "可用余额",
    "Balance percentage": "余额百分比",
    "sufficient": "充足",
    "low": "不足",
    "depleted": "耗尽",
    "Balance alerts": "资费提醒",
    "low balance": "低余额",
    "insufficient balance": "余额不足",
    "WARNING": "警告",
    "CRITICAL": "严重",
    "Recharge": "充值",
    "Recharge history": "充值历史",
    "Check now": "手动检查",
    "Grant quota": "授予配额",
    "enabled": "启用",
    "disabled": "禁用",
    "insufficient funds": "资费不足，暂不可用",
    "text_generation": "文本生成",
    "image_generation": "图片生成",
    "audio_tts": "语音合成",
    "audio_stt": "语音识别",
    "video_generation": "视频生成",
}


def test_the_words_are_those_of_the_seed() -> None:
    use_language("zh")
    assert {english: _(english) for english in SEED_WORDS} == SEED_WORDS


# The source


def test_messages_are_literals_that_can_be_extracted() -> None:
    """A constant that was marked elsewhere may be passed to `_` by name, but never be built on the way."""
    wrong = []
    for path, node, name in calls():
        arguments = node.args[: TRANSLATORS.get(name, 0)]
        for argument in arguments:
            literal = isinstance(argument, ast.Constant)
            by_name = name == "_" and isinstance(argument, NAMED)
            hidden = not literal and any(strings_in(argument, into_calls=True))
            if hidden or not (literal or by_name):
                wrong.append(place(path, node))
    nothing(wrong)


def test_no_message_hides_in_an_f_string() -> None:
    """Before Python 3.12 the extraction does not see it there."""
    wrong = [
        place(path, node)
        for path, tree in modules()
        for text in ast.walk(tree)
        if isinstance(text, ast.JoinedStr)
        for node in ast.walk(text)
        if isinstance(node, ast.Call) and called(node) in TRANSLATORS
        if any(isinstance(argument, ast.Constant) for argument in node.args)
    ]
    nothing(wrong)


def test_what_a_person_reads_is_marked_for_translation() -> None:
    wrong = [
        place(path, node)
        for path, node, name in calls()
        for argument in shown_arguments(node, name)
        if any(re.search(r"[A-Za-z]{2,}", text.replace("billing-console", "")) for text in strings_in(argument))
    ]
    nothing(wrong)


def shown_arguments(node: ast.Call, name: str) -> Iterator[ast.expr]:
    for keyword in node.keywords:
        if keyword.arg in ("help", "hint", "placeholder"):
            yield keyword.value
    positions: Iterable[int] = MEANT_FOR_PEOPLE.get(name, ())
    if name == "Column" and isinstance(node.args[1] if len(node.args) > 1 else None, ast.Call | ast.Name):
        positions = (1,)  # of a screen's table: its key comes first
    for position in positions:
        if position < len(node.args):
            yield node.args[position]


def strings_in(node: ast.expr, *, into_calls: bool = False) -> Iterator[str]:
    """Yield the literal text in an expression; what is inside of another call is that call's affair."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if into_calls or not isinstance(node, ast.Call | ast.Lambda | ast.Subscript | ast.Compare):
        for child in node.values if isinstance(node, ast.Dict) else ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from strings_in(child, into_calls=into_calls)


# The language chosen


@pytest.mark.parametrize(
    ("environment", "locale"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_TW.UTF-8"}, "zh_CN"),
        ({"LANG": "zh"}, "zh_CN"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "C"}, "en"),
        ({}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh_CN"),
    ],
)
def test_without_a_setting_the_locale_decides(
    environment: dict[str, str], locale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    use_language(chosen_language(None, None))
    assert active_locale() == locale


def test_an_option_goes_before_the_environment_before_the_file_before_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    config = tmp_path / "config.toml"
    config.write_text('lang = "en"\n')
    assert use_language(chosen_language(None, config)) == "en"
    monkeypatch.setenv("BILLING_CONSOLE_LANG", "zh")
    assert use_language(chosen_language(None, config)) == "zh"
    assert use_language(chosen_language("en", config)) == "en"
    monkeypatch.setenv("BILLING_CONSOLE_LANG", "fr")
    assert use_language(chosen_language(None, config)) == "en"


def test_switching_the_language_switches_every_form_of_message() -> None:
    marked = N_("Refresh")
    assert (_(marked), ngettext("%(count)d pool", "%(count)d pools", 2)) == ("Refresh", "%(count)d pools")
    assert pgettext("amount", "Usage") == "Usage"
    use_language("zh")
    assert (_(marked), ngettext("%(count)d pool", "%(count)d pools", 2)) == ("刷新", "%(count)d 个资源池")
    assert (pgettext("amount", "Usage"), _("Usage")) == ("用量", "使用记录")
    assert _("a message that is in no catalogue") == "a message that is in no catalogue"


# The command line


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from paths(subcommand, (*path, name))


def test_every_command_and_option_has_a_chinese_help_text() -> None:
    use_language("zh")
    bare = [
        (*path, getattr(thing, "name", ""))
        for path, one in paths(command())
        for thing in (one, *one.params)
        if not CHINESE.search(getattr(thing, "help", None) or "")
    ]
    nothing(bare)


def test_no_help_page_holds_an_english_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for path, _command in paths(command()):
        cli.run(["--lang", "zh", *path, "--help"])
        usage, _newline, rest = capsys.readouterr().out.partition("\n")
        assert usage.startswith("用法：billing-console")
        assert not re.search(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}", rest, re.IGNORECASE), rest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pools", "show"], "缺少 PROVIDER。"),
        (["--wrong"], "没有选项 --wrong。"),
        (["usage", "list", "--type", "x"], "--type 只能取以下值之一"),
        (["usage", "list", "--limit", "x"], "--limit 应为不小于 1 的整数。"),
        (["pools", "shwo"], "没有命令 shwo。 是否指 show？"),
        (["pools", "show", "a", "b"], "多余的参数：b。"),
        (["pools", "recharge", "--yes=1"], "--yes 不带值。"),
        (["pools", "add", "a", "--name"], "--name 需要一个值。"),
    ],
)
def test_wrong_usage_is_explained_in_chinese(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--lang", "zh", *arguments]) == errors.ExitCode.USAGE
    said = capsys.readouterr().err
    assert words in said and not re.search(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,} [a-z]{2,}", said), said
    assert i18n.active_locale() == "zh_CN"
