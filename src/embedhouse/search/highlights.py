"""Which words of a hit matched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from embedhouse.search.parts import Analyzer

__all__ = ["Highlighter", "Spans", "highlighter_of"]

Spans = list[tuple[int, int]]

_MEMO_WORDS = 50_000
_MEMO_LENGTH = 40
_ANALYZERS = 8


class Highlighter:
    """Finds the words that matched. Thread-safe; analyses a word once, because texts share most of their words."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyse = analyzer.term_spans
        self._remembered = lru_cache(_MEMO_WORDS)(self._analysed)

    def of(self, terms: frozenset[str]) -> Callable[[str], Spans]:
        """Text to the character spans whose terms are among `terms`: sorted, merged where they overlap or touch."""
        return lambda text: self._spans(text, terms)

    def _analysed(self, word: str) -> tuple[frozenset[str], list[tuple[int, int, str]]]:
        term_spans = self._analyse(word)
        return frozenset(term for _, _, term in term_spans), term_spans

    def _spans(self, text: str, terms: frozenset[str]) -> Spans:
        found: Spans = []
        for word in set(text.split()):
            word_terms, term_spans = (self._remembered if len(word) <= _MEMO_LENGTH else self._analysed)(word)
            if not terms.isdisjoint(word_terms):
                spans = [(start, end) for start, end, term in term_spans if term in terms]
                found += [(at + start, at + end) for at in _places(text, word) for start, end in spans]
        return _merged(sorted(found))


@lru_cache(_ANALYZERS)
def highlighter_of(analyzer: Analyzer) -> Highlighter:
    """The analyzer's highlighter, kept, so that what it remembers outlives one search."""
    return Highlighter(analyzer)


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
