"""Text to terms for BM25.

An analyzer must be right on the words that lexical search exists for: acronyms, names, versions, codes.

- A compound ("IL-2", "snake_case", "CamelCase", "C++") gives its parts **and** itself without hyphens, so that a
  query for exactly it ranks exact matches first, and "COVID19" finds "COVID-19". Numbers with points or commas
  ("3.14", "v1.2.3") stay whole.
- An acronym of 2 to 6 capitals whose plain term means something else, because it is a function word (IT, WHO, US)
  or because stemming changes it (AIDS is "aid"), gives a case-marked term as well (`^IT`), unless the text is all
  in capitals. Queries in lower case are unaffected. (Marking every acronym counts them twice: SciFact nDCG@10
  -.008.)
- Runs of scripts that are written without spaces, and of Korean, give overlapping pairs of characters.
- Case and accents are folded; English words are stemmed (Snowball's English algorithm, Porter's second), and
  Lucene's 33 stop words are dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import Stemmer

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.embeddings import SparseEmbedding
from embedhouse.domain.errors import InvalidSetting
from embedhouse.indexes.folding import fold
from embedhouse.indexes.words import TOKEN, UNSPACED, compound_of, is_capitals, is_whole, parts_of

__all__ = ["Analyzer", "TermSpan", "bm25_weights", "get_analyzer"]

LONGEST_TERM = 100
"""Characters of a term that count; a longer word is cut."""

_MEMO_TOKENS = 200_000
_MEMO_LENGTH = 40
_SHOUT_TOKENS = 4
_CAPITALS_MARK = "^"
_STOP_WORDS = frozenset(
    [
        *(
            "a",
            "an",
            "and",
            "are",
            "as",
            "at",
            "be",
            "but",
            "by",
            "for",
            "if",
            "in",
            "into",
            "is",
            "it",
            "no",
            "not",
        ),
        *("of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was"),
        *("will", "with"),
    ]
)
_FUNCTION_WORDS = _STOP_WORDS | {
    *("about", "after", "all", "also", "am", "any", "been", "can", "did", "do", "does", "down", "each", "few"),
    *("from", "get", "go", "had", "has", "have", "he", "her", "here", "him", "his", "how", "i", "its", "just"),
    *("may", "me", "more", "most", "must", "my", "nor", "now", "off", "once", "one", "only", "our", "out", "over"),
    *(
        "own",
        "per",
        "same",
        "she",
        "so",
        "some",
        "than",
        "them",
        "too",
        "two",
        "under",
        "until",
        "up",
        "us",
        "very",
    ),
    *("via", "we", "were", "what", "when", "where", "which", "while", "who", "whom", "why", "would", "you", "your"),
}


class TermSpan(NamedTuple):
    """A term and the characters that it stands for: `text[start:end]`."""

    start: int
    end: int
    term: str


class Analyzer:
    """Text to terms. Thread-safe; words met before are looked up, not analysed again."""

    def __init__(
        self, stem: Callable[[str], str], stop_words: frozenset[str], ambiguous: frozenset[str] = frozenset()
    ) -> None:
        self._stem = stem
        self._stop_words = stop_words
        self._ambiguous = ambiguous
        self._terms = _Memo(lambda token: tuple(span.term for span in self._analyse(token)))

    def terms(self, text: str) -> list[str]:
        """The text's terms in order, with repeats: what BM25 counts. No term holds white space."""
        memo = self._terms
        return [term for token in _tokens(text) for term in memo[token]]

    def term_spans(self, text: str) -> list[tuple[int, int, str]]:
        """The same terms with the characters that each stands for, for highlights; spans may overlap."""
        found = list(TOKEN.finditer(text))
        shouted = _is_shouted(text, len(found))
        spans: list[tuple[int, int, str]] = []
        for match in found:
            token, start, end = match.group(), match.start(), match.end()
            analysed = self._analyse(token.lower() if shouted else token)
            spans += [(start + at, min(start + to, end), term) for at, to, term in analysed]
        return spans

    def _analyse(self, token: str) -> list[TermSpan]:
        if token.isascii() or not UNSPACED.search(token):
            return self._word(token, 0)
        spans: list[TermSpan] = []
        start = 0
        for place, run in enumerate(UNSPACED.split(token)):
            spans += _pairs(run, start) if place % 2 else self._word(run, start) if run else []
            start += len(run)
        return spans

    def _word(self, token: str, start: int) -> list[TermSpan]:
        end = start + len(token)
        if is_whole(token):
            return self._whole(token, start)
        spans: list[TermSpan] = []
        parts = parts_of(token)
        for at, part in parts:
            spans += self._plain(part, start + at)
        if len(parts) > 1 or (parts and len(parts[0][1]) < len(token.rstrip("'’"))):
            compound = self._stem(compound_of(token))[:LONGEST_TERM]
            if compound and all(span.term != compound for span in spans):
                spans.append(TermSpan(start, end, compound))
        return spans

    def _whole(self, token: str, start: int) -> list[TermSpan]:
        end = start + len(token)
        whole = TermSpan(start, end, fold(token).replace(",", "")[:LONGEST_TERM])
        letters = token.replace(".", "")
        if not is_capitals(letters):
            return [whole]
        return [whole, TermSpan(start, end, self._acronym(letters) or self._stem(fold(letters)))]

    def _plain(self, part: str, start: int) -> list[TermSpan]:
        folded = fold(part)
        terms = []
        if folded and folded not in self._stop_words:
            terms.append(self._stem(folded)[:LONGEST_TERM])
        if is_capitals(part):
            terms.append(self._acronym(part))
        return [TermSpan(start, start + len(part), term) for term in terms if term]

    def _acronym(self, letters: str) -> str:
        """The case-marked term of an acronym whose plain term would mean something else; otherwise nothing."""
        folded = letters.lower()
        differs = folded in self._ambiguous or self._stem(folded) != folded
        return _CAPITALS_MARK + letters if differs else ""


class _Memo(dict[str, tuple[str, ...]]):
    """Token -> terms, computed once; bounded, so that memory stays flat over any text."""

    def __init__(self, compute: Callable[[str], tuple[str, ...]]) -> None:
        self._compute = compute

    def __missing__(self, token: str) -> tuple[str, ...]:
        terms = self._compute(token)
        if len(token) <= _MEMO_LENGTH:
            if len(self) >= _MEMO_TOKENS:
                self.clear()
            self[token] = terms
        return terms


def _tokens(text: str) -> list[str]:
    tokens: list[str] = TOKEN.findall(text)
    return [token.lower() for token in tokens] if _is_shouted(text, len(tokens)) else tokens


def _is_shouted(text: str, n_tokens: int) -> bool:
    """All in capitals, and too long to be an acronym or two: capitals then say nothing."""
    return n_tokens > _SHOUT_TOKENS and text.isupper()


def _pairs(run: str, start: int) -> list[TermSpan]:
    if len(run) == 1:
        return [TermSpan(start, start + 1, fold(run))]
    return [TermSpan(start + i, start + i + 2, fold(run[i : i + 2])) for i in range(len(run) - 1)]


def _english() -> Analyzer:
    return Analyzer(Stemmer.Stemmer("english", 0).stemWord, _STOP_WORDS, frozenset(_FUNCTION_WORDS))


def _simple() -> Analyzer:
    return Analyzer(str, frozenset())


_ANALYZERS: dict[str, Callable[[], Analyzer]] = {"english": _english, "simple": _simple}


@lru_cache
def get_analyzer(name: str) -> Analyzer:
    """The analyzer of that name: `english`, or `simple` (no stemming, no stop words). Errors: InvalidSetting."""
    if name not in _ANALYZERS:
        known = ", ".join(sorted(_ANALYZERS))
        raise InvalidSetting(name="analyzer", origin="lexical settings", reason=f"{name!r} is not one of {known}")
    return _ANALYZERS[name]()


def bm25_weights(text: str, settings: LexicalSettings, average_length: float) -> SparseEmbedding:
    """The text's sparse vector: each distinct term's BM25 weight without IDF, terms in order of appearance.

    weight = tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average_length)); `average_length` is in terms.
    """
    counts = Counter(get_analyzer(settings.analyzer).terms(text))
    relative_length = counts.total() / average_length if average_length > 0 else 1.0
    penalty = settings.k1 * (1 - settings.b + settings.b * relative_length)
    weights = [count * (settings.k1 + 1) / (count + penalty) for count in counts.values()]
    return SparseEmbedding(terms=list(counts), weights=weights)
