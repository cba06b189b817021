"""Where words begin and end, and what a compound is made of. The rules are the same for every language."""

from __future__ import annotations

import re
import unicodedata

from embedhouse.indexes.folding import fold

__all__ = ["TOKEN", "UNSPACED", "compound_of", "is_capitals", "is_whole", "parts_of"]


def _marks() -> str:
    """Combining marks, for a character class: they belong to words, but `\\w` leaves them out."""
    codes = (code for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    return "".join(map(chr, codes))


_LETTER = rf"[\w{_marks()}]"
_HYPHENS = "-\u2010\u2011"

TOKEN = re.compile(rf"{_LETTER}++(?:[{_HYPHENS}.'’&,]{_LETTER}++)*+(?:(?:\+\+?|\#)(?!\w))?")
"""A word with what is joined to it: `IL-2`, `U.S`, `don't`, `1,000`, `C++`, `AT&T`."""

UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+)"
)
"""A run of Thai, Lao, Burmese, Khmer, Chinese, Japanese or Korean."""

_CAPITALS = re.compile(r"[A-Z]{2,6}")
_WHOLE = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]|[A-Za-z]?\d+(?:[.,]\w+)+")
_POSSESSIVE = re.compile(r"['’][sS]$")
_PART = re.compile(rf"[^{_HYPHENS}_.&,+#]+")
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_GLUE = str.maketrans(dict.fromkeys(f"{_HYPHENS}_'’,"))


def is_capitals(part: str) -> bool:
    """Whether a word looks like an acronym."""
    return _CAPITALS.fullmatch(part) is not None


def is_whole(token: str) -> bool:
    """Whether a joined token has no parts of its own: `U.S`, `3.14`, `1,000`, `v1.2.3`."""
    return _WHOLE.fullmatch(token) is not None


def parts_of(token: str) -> list[tuple[int, str]]:
    """The words inside a token, each with its place: split at joiners and at the humps of CamelCase."""
    token = _POSSESSIVE.sub("", token)
    parts = []
    for found in _PART.finditer(token):
        start = found.start()
        for word in _CAMEL.split(found.group()):
            if word:
                parts.append((start, word))
            start += len(word)
    return parts


def compound_of(token: str) -> str:
    """The token as one term: folded, without hyphens, underscores and apostrophes (`IL-2` is `il2`)."""
    return fold(_POSSESSIVE.sub("", token)).translate(_GLUE)
