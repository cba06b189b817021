"""Which words of a hit matched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import lru_cache

from embedhouse.search.parts import Analyzer

__all__ = ["Highlighter", "Spans"]

Spans = list[tuple[int, int]]

_MEMO_WORDS = 50_000
_MEMO_LENGTH = 40


class Highlighter:
    """Finds the words that matched. Thread-safe; analyses a word once, because hits share most of their words."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyse = analyzer.term_spans
        self._remembered = lru_cache(_MEMO_WORDS)(lambda word: tuple(analyzer.term_spans(word)))

    def of(self, terms: Collection[str]) -> Callable[[str], Spans]:
        """Text to the character spans whose terms are among `terms`: sorted, merged where they overlap or touch."""
        matches = _Matches(lambda word: self._matching(word, terms))
        return lambda text: _spans(text, matches)

    def _matching(self, word: str, terms: Collection[str]) -> Spans:
        analysed = self._remembered(word) if len(word) <= _MEMO_LENGTH else self._analyse(word)
        return [(start, end) for start, end, term in analysed if term in terms]


class _Matches(dict[str, Spans]):
    """Word -> its spans that match, worked out once a query."""

    def __init__(self, matching: Callable[[str], Spans]) -> None:
        self._matching = matching

    def __missing__(self, word: str) -> Spans:
        self[word] = spans = self._matching(word)
        return spans


def _spans(text: str, matches: _Matches) -> Spans:
    found: Spans = []
    for word in set(text.split()):
        if spans := matches[word]:
            found += [(at + start, at + end) for at in _places(text, word) for start, end in spans]
    return _merged(sorted(found))


def _places(text: str, word: str) -> Iterator[int]:
    """Where `word` stands between white space."""
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if (at == 0 or text[at - 1].isspace()) and (end == len(text) or text[end].isspace()):
            yield at
        at = text.find(word, end)


def _merged(spans: Spans) -> Spans:
    merged: Spans = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
