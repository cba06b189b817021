"""Which words of a hit matched."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from embedhouse.search.parts import Analyzer

__all__ = ["Highlighter"]

_WORD = re.compile(r"\S+")
_MEMO_WORDS = 50_000
_MEMO_LENGTH = 40


class Highlighter:
    """Finds the words that matched. Thread-safe; analyses a word once, because hits share most of their words."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyse = analyzer.term_spans
        self._remembered = lru_cache(_MEMO_WORDS)(lambda word: tuple(analyzer.term_spans(word)))

    def spans(self, text: str, terms: Collection[str]) -> list[tuple[int, int]]:
        """Character spans of `text` whose terms are among `terms`: sorted, merged where they overlap or touch."""
        found: list[tuple[int, int]] = []
        for match in _WORD.finditer(text):
            word, at = match.group(), match.start()
            analysed = self._remembered(word) if len(word) <= _MEMO_LENGTH else self._analyse(word)
            found += [(at + start, at + end) for start, end, term in analysed if term in terms]
        return _merged(sorted(found))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
