"""Case and accent folding."""

from __future__ import annotations

import unicodedata

__all__ = ["fold"]

_UNDECOMPOSED = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "ı": "i", "þ": "th", "’": "'"}
)


def fold(text: str) -> str:
    """Lower case (full folding: ß is ss), compatibility forms (ﬁ, full-width letters) and no accents.

    Only the accents of Latin, Greek and Cyrillic go; the vowel signs of other scripts are letters.
    """
    if text.isascii():
        return text.lower()
    split = unicodedata.normalize("NFKD", text.casefold()).casefold()
    bare = "".join(char for char in split if not "\u0300" <= char <= "\u036f")
    return unicodedata.normalize("NFC", bare).translate(_UNDECOMPOSED)
