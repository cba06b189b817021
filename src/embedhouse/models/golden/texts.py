"""500 texts that every model must read as its reference does. Made from templates: no file, no chance."""

from __future__ import annotations

from itertools import cycle, islice

__all__ = ["golden_texts"]

_SUBJECTS = (
    "The lighthouse keeper",
    "A young botanist",
    "Our finance team",
    "The river's old ferry",
    "Nobody in the village",
    "The compiler",
    "A flock of starlings",
    "The night nurse",
    "Every second customer",
    "The museum's curator",
)
_VERBS = (
    "repaired",
    "misread",
    "carefully catalogued",
    "refused to sell",
    "photographed",
    "doubled",
    "forgot",
    "translated",
    "measured twice",
    "quietly replaced",
)
_OBJECTS = (
    "the broken barometer",
    "seventeen unpaid invoices",
    "a letter from Lisbon",
    "the enzyme's folding pattern",
    "the last loaf of rye bread",
    "its own error messages",
    "an atlas of forgotten harbours",
    "the patient's chart",
    "a bicycle with no brakes",
    "the treaty's third article",
)
_PLACES = ("before dawn.", "in Zürich?", "during the storm!", "without telling anyone…", "for the third time;")

_SINGLES = tuple("aZ7?é中ßЖ한あ🙂∑ا①€")
_EMOJI = ("🙂", "👩‍🚀", "🇨🇭", "🦊🔥", "❤️", "👍🏽", "🧑‍🤝‍🧑", "🎉🎉🎉")
_RIGHT_TO_LEFT = (
    "القطة نائمة على السرير",
    "كم تبلغ المسافة إلى القمر؟",
    "הספרייה נסגרת בשמונה בערב",
    "שלום, מה שלומך היום?",
    "الماء ضروري للحياة",
    "این کتاب بسیار جالب است",
    "زبان فارسی از راست به چپ نوشته می‌شود",
)
_EAST_ASIAN = (
    "图书馆在河的对岸。",
    "今天天气很好，我们去公园吧。",
    "電車は時間どおりに到着しました。",
    "カタカナとひらがなを混ぜる",
    "고양이가 창가에서 자고 있다.",
    "은행에 가서 돈을 찾았다.",
    "量子力学は直感に反する",
    "臺灣的夜市很熱鬧！",
)
_EUROPEAN = (
    "Der Zug nach Köln fällt heute aus.",
    "L'été dernier, j'ai cueilli des mûres.",
    "¿Dónde está la estación?",
    "Żółw biegnie przez łąkę",
    "İstanbul'da IŞIK yandı",
    "Đường đến thành phố rất xa",
    "Ο λύκος και το αρνί",
    "Съешь же ещё этих мягких французских булок",
    "Årets første snø falt i går",
    "naïve façade, coöperate, piñata",
)
_CODE = (
    "def area(r):\n    return 3.14159 * r ** 2",
    "SELECT name, COUNT(*) FROM users GROUP BY 1;",
    "for (int i = 0; i < n; ++i) { sum += a[i]; }",
    '{"key": [1, 2.5, null, true]}',
    "git commit -m 'fix: typo'",
    '<div class="row"><p>Hi &amp; bye</p></div>',
    "x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}",
    "https://example.org/a/b?c=d&e=%20f#g",
    "C:\\Windows\\System32\\drivers\\etc\\hosts",
    "user.name+tag@example.co.uk",
)
_DIGITS = (
    "0",
    "42",
    "3.14159265358979",
    "1,234,567.89",
    "2024-02-29T23:59:60Z",
    "+49 (0)30 1234-5678",
    "0xDEADBEEF",
    "١٢٣٤",
    "½ + ¼ = ¾",
    "10⁻⁹ m³",
    "192.168.0.1",
    "90 %",
)
_ODD = (
    "[SEP] is not the end [CLS]",
    "an [UNK] word and a [MASK]",
    "<s> </s> <pad>",
    "a\u0301e\u0308 combining",
    "zero\u200bwidth\u200djoiners",
    "soft\u00adhyphen",
    "\ufeffbyte order mark",
    "ＦＵＬＬ ｗｉｄｔｈ",
    "ﬁne ﬂuﬀ",
    "𝔊𝔬𝔱𝔥𝔦𝔠",
    "!!!???...,,,;;;",
    "----------",
    "''''\"\"\"\"",
    "ALL CAPITALS SHOUTING",
    "cAmElCaSe snake_case kebab-case",
    "Supercalifragilisticexpialidocious" * 4,
    "no" * 60,
    "\U000e0041 tag character",
    "Ǆ ǅ ǆ",
    "ẞ STRASSE straße",
)


def _sentences() -> list[str]:
    """Each subject with each verb and, in turn, object and place: 100 sentences."""
    objects, places = cycle(_OBJECTS), cycle(_PLACES)
    return [
        f"{subject} {verb} {thing} {place}"
        for (subject, verb), thing, place in zip(
            ((subject, verb) for verb in _VERBS for subject in _SUBJECTS), objects, places, strict=False
        )
    ]


def _spaced(text: str, number: int) -> str:
    gap = (" ", "  ", "\n", "\t", " \n ", "\u00a0", "\u2003", "\r\n")[number % 8]
    return f"{gap * (number % 3)}{gap.join(text.split())}{gap * (number % 4)}"


def _paragraph(sentences: list[str], start: int, count: int) -> str:
    return " ".join(islice(cycle(sentences), start, start + count))


def golden_texts() -> list[str]:
    """500 texts, none empty: sentences, paragraphs, very long ones, scripts, emoji, white space, code, oddities."""
    sentences = _sentences()
    foreign = [*_RIGHT_TO_LEFT, *_EAST_ASIAN, *_EUROPEAN]
    texts = [
        *sentences,
        *_SINGLES,
        *foreign,
        *_CODE,
        *_DIGITS,
        *_ODD,
        *_EMOJI,
        *(f"{emoji} {text} {emoji}" for emoji, text in zip(cycle(_EMOJI), sentences[:30], strict=False)),
        *(_spaced(text, number) for number, text in enumerate(sentences[20:60])),
        *(f"{text} {other}" for text, other in zip(cycle(foreign), sentences[:50], strict=False)),
        *(f"{first} {second}" for first, second in zip(foreign, reversed(foreign), strict=True)),
        *(_paragraph(sentences, start, 2 + start % 12) for start in range(100)),
        *(_paragraph(sentences, start, 40 * (1 + start)) for start in range(8)),
        *(text * 200 for text in ("word ", "图", "🙂", "a.b ", "ab\n", "ا ب ", "1 ", "- ")),
    ]
    texts = list(dict.fromkeys(texts))
    fill = (f"Note {number}: {text.lower()}" for number, text in enumerate(cycle(sentences)))
    return texts + list(islice(fill, 500 - len(texts)))
