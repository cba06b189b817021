"""Tokens of words, counted once each. Text repeats its words, so counting from memory is many times faster than
tokenising every candidate chunk."""

from __future__ import annotations

import re
from collections.abc import Sequence

from embedhouse.ports import Tokenizer

__all__ = ["WordCounts", "words_of"]

# What every tokenizer takes as white space. Python's \s holds control characters that BERT's normaliser deletes,
# which joins the words on both sides.
_SPACE = " \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD = re.compile(f"[^{_SPACE}]+")
_MEMO_CHARACTERS = 4_000_000

_PROBES = (
    ("Words, and more", "of (them)."),
    ("naïve café", "éclair"),
    ("3.5", "kg"),
    ("こんにちは。", "元気です"),
    ("🙂👍🏽", "🙂"),
    ("don't", "'quoted'"),
    ("Word", "word"),
    ("- item", "# heading"),
    ("안녕", "مرحبا"),
)
_JOINTS = (" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000")


class WordCounts:
    """Token counts of texts as the sum over their words. Thread-safe; memory is bounded.

    `exact` says whether the sum is the tokenizer's own count of the whole text: true for WordPiece, whose
    pre-tokenizer splits at white space; a byte-level BPE counts white space too. It is probed, not guessed from
    a name; where it is false, chunks are counted again as a whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._memo: dict[str, int] = {}
        self._memo_characters = 0
        self.exact = self._additive()

    def whole(self, texts: Sequence[str]) -> list[int]:
        """The tokenizer's own count of each text."""
        return self._tokenizer.count(texts)

    def of_words(self, words: Sequence[str]) -> list[int]:
        """Tokens of each word."""
        memo = self._learned(words)
        return [memo[word] for word in words]

    def of_texts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, summed over its words."""
        by_text = [_WORD.findall(text) for text in texts]
        memo = self._learned([word for words in by_text for word in words])
        return [sum(map(memo.__getitem__, words)) for words in by_text]

    def _learned(self, words: Sequence[str]) -> dict[str, int]:
        if self._memo_characters > _MEMO_CHARACTERS:
            # A new dict, not clear(): another thread may still read the old one.
            self._memo, self._memo_characters = {}, 0
        memo = self._memo
        unknown = list(dict.fromkeys(word for word in words if word not in memo))
        if unknown:
            memo.update(zip(unknown, self._tokenizer.count(unknown), strict=True))
            self._memo_characters += sum(map(len, unknown))
        return memo

    def _additive(self) -> bool:
        joined = [left + joint + right for left, right in _PROBES for joint in _JOINTS]
        return self._tokenizer.count(joined) == self.of_texts(joined)


def words_of(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Spans of the words of `text[start:end]`: runs without white space."""
    return [match.span() for match in _WORD.finditer(text, start, end)]
