"""BM25 as sparse vectors: a document's side and a query's, whose dot product is the score.

The document's side holds tf and length, so it is computed once, with the average length of that time; the query's
side holds the IDF of now. How little the average of that time costs: docs/decisions/stores.md.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from functools import lru_cache

import msgspec

from embedhouse.domain.collections import LexicalSettings
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.ports import TermCounts, TermFrequencies

__all__ = ["Bm25Encoder", "SparseVector", "term_id"]


class SparseVector(msgspec.Struct, frozen=True):
    """`indices`: distinct term ids, ascending. `values`: their weights, all above 0."""

    indices: list[int]
    values: list[float]


@lru_cache(maxsize=200_000)
def term_id(term: str) -> int:
    """A term as an unsigned 32-bit number, the same in every process. Of a million terms, one in 4 300 shares its
    number with another, and is counted and searched together with it."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "big")


class Bm25Encoder:
    """Text to sparse vectors under one collection's lexical settings. Thread-safe."""

    def __init__(self, lexical: LexicalSettings) -> None:
        self._analyzer = get_analyzer(lexical.analyzer)
        self._k1 = lexical.k1
        self._b = lexical.b

    def count(self, text: str) -> TermCounts:
        """How often each term stands in a text."""
        counts = Counter(map(term_id, self._analyzer.terms(text)))
        return TermCounts(counts=dict(sorted(counts.items())), length=counts.total())

    def document(self, terms: TermCounts, average_length: float) -> SparseVector:
        """tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average_length)) of each term; lengths are in terms."""
        relative = terms.length / average_length if average_length > 0 else 1.0
        penalty = self._k1 * (1 - self._b + self._b * relative)
        weights = [count * (self._k1 + 1) / (count + penalty) for count in terms.counts.values()]
        return SparseVector(list(terms.counts), weights)

    def query_terms(self, text: str) -> list[int]:
        """The distinct terms of a query, ascending."""
        return sorted(set(map(term_id, self._analyzer.terms(text))))

    def query(self, frequencies: TermFrequencies, limit: int) -> SparseVector:
        """The IDF, in Lucene's form, of each term that some document has: of the `limit` rarest at most."""
        known = [(term, count) for term, count in frequencies.documents_with.items() if count > 0]
        rarest = sorted(known, key=lambda pair: (pair[1], pair[0]))[:limit]
        weights = {term: _inverse_frequency(count, frequencies.documents) for term, count in rarest}
        return SparseVector(sorted(weights), [weights[term] for term in sorted(weights)])


def _inverse_frequency(documents_with: int, documents: int) -> float:
    # A document may be counted in one of the two a moment before the other.
    rest = max(0, documents - documents_with)
    return math.log(1 + (rest + 0.5) / (documents_with + 0.5))
