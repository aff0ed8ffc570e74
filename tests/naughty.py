"""Strings that have broken programs: the kinds of the Big List of Naughty Strings, and those of terminals."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST = 200
"""Characters an id may have."""


def naughty() -> tuple[str, ...]:
    """Every string once; each can be stored, so no NUL and no lone surrogate is among them."""
    made = (string.strip()[:LONGEST] for string in _all())
    return tuple(dict.fromkeys(string for string in made if string))


def _all() -> Iterator[str]:
    yield from _reserved()
    yield from _numbers()
    yield from _punctuation()
    yield from _scripts()
    yield from _invisible()
    yield from _pictures()
    yield from _injections()
    yield from _terminal()
    yield "x" * LONGEST
    yield "宽" * LONGEST
    yield "e" + "\u0301\u0302\u0303\u0323" * 40


def _reserved() -> Iterator[str]:
    yield from ("undefined", "undef", "null", "NULL", "(null)", "nil", "NIL", "true", "false", "True", "None", "hasOwn")
    yield from ("\\", "\\\\", "con", "PRN", "LPT1", "then", "constructor", "__proto__", "self", "-", "--", "-rf", "~")


def _numbers() -> Iterator[str]:
    yield from ("0", "1.00", "$1.00", "1/2", "1E2", "-1", "-0", "1/0", "0/0", "NaN", "Infinity", "-Infinity", "INF")
    yield from ("0x0", "0xffffffffffffffff", "123456789012345678901234567890123456789", "1,000.00", "1 000,00", "+0.0")
    yield from ("１２３", "١٢٣", "٪١", "½", "Ⅷ", "𝟘", "1e309", "1_000", "0b1", "012", "08", "9" * 96)


def _punctuation() -> Iterator[str]:
    yield "".join(map(chr, range(0x21, 0x7F)))
    yield "".join(map(chr, range(0xA1, 0x100)))
    yield from ("'", '"', "''", '""', "'\"'", "`", "´", "“”„‟", "ヽ༼ຈل͜ຈ༽ﾉ", "(｡◕ ∀ ◕｡)", "。・:*:・゜", "¯\\_(ツ)_/¯")


def _scripts() -> Iterator[str]:
    yield from (
        "田中さん",
        "パーティーへ行かないか",
        "社會科學院語學研究所",
        "울란바토르",
        "𠜎𠜱𠝹𠱓",
        "全角ＡＢＣ",
        "ﾃｽﾄ",
    )
    yield from ("Ⱥ ⱦ", "ЁЂЃЄЅІЇЈ", "ÅÍÎÏ˝ÓÔ", "ẞß", "İstanbul ı", "ǅ ǆ", "﷽", "ﬃ", "ǍǎǏǐ", "Ω≈ç√∫˜µ", "åß∂ƒ©˙∆˚¬")
    yield from ("مُنَاقَشَةُ سُبُلِ", "הָיְתָהtest", "الكل في المجمو عة", "ทดสอบ ที่นี่", "मनीष मुनि", "தமிழ்", "བོད་ཡིག", "᚛ᚄᚓ᚜")
    yield from ("Z̮̞̠͙͔ͅḀ̗̞͈̻̗Ḷ͙͎̯̹̞͓G̻O̭̗̮", "e\u0301\u0327", "\u0301alone", "ক্ষ", "각", "ก็็็็็็", "꧁꧂", "𒀱", "𝓣𝓱𝓮", "🄣🄗🄔")


def _invisible() -> Iterator[str]:
    controls = [chr(code) for code in (*range(0x01, 0x20), *range(0x7F, 0xA0))]
    yield from (f"control {control}|" for control in controls)
    marks = "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2061"
    yield from (
        f"mark {mark}|" for mark in marks + "\u2066\u2067\u2068\u2069\ufeff\ufff9\ufffa\ufffb\U000e0001\U000e0041"
    )
    spaces = (
        "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\u2800\u3164"
    )
    yield from (f"space {space}|" for space in spaces)
    yield from (f"none {code}|" for code in "\ufffe\uffff\ue000\U000f0000\U0010ffff\u0378\ufffd")
    yield from ("\u202etest\u202e", "\u2066test\u2067", "a\u200db", "x\ufe0fy", "a\ufe00", "\u034f", "\u115f\u1160")


def _pictures() -> Iterator[str]:
    yield from (
        "😍",
        "👩🏽",
        "👨‍👩‍👧‍👦",
        "🏳️‍🌈",
        "🇺🇸🇷🇺🇸",
        "👾 🙇 💁",
        "❤️",
        "☎️",
        "1️⃣",
        "🧑‍🚀",
        "🫠",
        "\U0001fae8",
        "✋🏿",
        "🅰",
        "🈁",
    )
    yield from ("█▓▒░", "│┃╳", "⣿⡇", "●■▲◆", "①②③", "﷐", "⁰⁴⁵₀₁₂", "‫test‫", "～∼〜", "…‥", "——", "ＡＢ", "℻™")


def _injections() -> Iterator[str]:
    yield from (
        "1;DROP TABLE users",
        "1'; DROP TABLE users-- 1",
        "' OR 1=1 -- 1",
        "%",
        "_",
        "%s%s%s%n",
        "%d",
        "{0}",
        "{}",
    )
    yield from ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "&lt;b&gt;", "]]>")
    yield from (
        "$(touch /tmp/x)",
        "`touch /tmp/x`",
        "; ls",
        "| cat",
        "&& reboot",
        "$HOME",
        "%PATH%",
        "${IFS}",
        "../../etc/passwd",
    )
    yield from (
        "C:\\nul",
        "file:///etc/passwd",
        "http://a.b/?q=1&c",
        "{{ 7*7 }}",
        "<% 1 %>",
        "${7*7}",
        "#{1}",
        "@a",
        "+1",
        "=1+1",
    )
    yield from (
        "=HYPERLINK(1)",
        "[red]x[/red]",
        "[/]",
        "[@click=app.quit]quit[/]",
        "[link=https://a]b[/link]",
        "[bold",
        "\\[x]",
    )
    yield from (
        "[b]",
        "]",
        "[[",
        ":smile:",
        "[on red] [/on red]",
        "[$error]x[/]",
        "[not bold]x",
        "eval('1')",
        "__import__('os')",
    )


def _terminal() -> Iterator[str]:
    yield from (
        "\x1b[2J",
        "\x1b[31mred",
        "\x1b[1;1Hhome",
        "\x1b]0;title\x07",
        "\x1b]52;c;eA==\x07",
        "\x1b]8;;http://a\x07b\x1b]8;;\x07",
    )
    yield from (
        "\x1bP1$r\x1b\\",
        "\x1bc",
        "\x1b[?1049l",
        "\x1b[6n",
        "\x1b[c",
        "\x05",
        "\x9b31m",
        "\x9d0;x\x9c",
        "\x90x\x9c",
        "\x0e\x0f",
    )
    yield from (
        "a\rb",
        "a\bb",
        "a\nb",
        "a\tb",
        "a\vb",
        "a\fb",
        "\x1b[?25l",
        "\x1b[>4;2m",
        "\x1b_x\x1b\\",
        "\x1b^x\x1b\\",
        "\x7f\x08\x08",
    )
