"""BM25 in SQL, exact, over the house's own terms.

`words` holds an entry's distinct terms (a tsvector without positions, with a GIN index), `counts` how often those
stand in it that do so more than once, `length` how many terms it has. PostgreSQL's own ranking, ts_rank, knows
nothing of the other entries, so a second table holds what BM25 needs of them: for each term in how many entries it
stands, and, under the empty term, how many entries there are and how long they are together. Every write appends
its differences to it, in the same transaction; sums of them are therefore always right, no writer waits for
another, and they are merged now and then.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from psycopg.adapt import Dumper
from psycopg.pq import Format

from embedhouse.domain.collections import LexicalSettings

__all__ = ["OF_ALL", "Difference", "QueryTerm", "Words", "WordsDumper", "essential_count", "query_terms", "tsquery"]

OF_ALL = ""
"""The term under which the table of statistics counts all entries; no text has it."""

_TSVECTOR_OID = 3614
_FIRST_MATCHES = 500


class Words:
    """An entry's terms: `counts` of each, distinct ones as a tsvector."""

    def __init__(self, terms: Sequence[str]) -> None:
        self.all = Counter(terms)
        self.length = len(terms)

    @property
    def repeated(self) -> dict[str, int]:
        """Those that stand there more than once, and how often."""
        return {term: count for term, count in self.all.items() if count > 1}


class WordsDumper(Dumper):
    """Writes Words as PostgreSQL's binary tsvector."""

    format = Format.BINARY
    oid = _TSVECTOR_OID

    def dump(self, obj: Words) -> bytes:
        """The lexemes in any order (the server sorts them), each without positions."""
        lexemes = [term.encode() + b"\x00\x00\x00" for term in obj.all]
        return struct.pack("!I", len(lexemes)) + b"".join(lexemes)


class Difference:
    """What a write changes of the statistics."""

    def __init__(self) -> None:
        self._documents: Counter[str] = Counter()
        self._length = 0

    def add(self, terms: Iterable[str], length: int, times: int) -> None:
        """An entry with these distinct terms comes (times 1) or goes (-1)."""
        for term in terms:
            self._documents[term] += times
        self._documents[OF_ALL] += times
        self._length += times * length

    def rows(self) -> list[tuple[str, int, int]]:
        """(term, documents, length), without those that nothing changes."""
        rows = [(term, count, 0) for term, count in self._documents.items() if count and term != OF_ALL]
        return [(OF_ALL, self._documents[OF_ALL], self._length), *rows]


class QueryTerm(msgspec.Struct, frozen=True):
    """A term of a query: in how many entries it stands, and the most that it can add to a score."""

    term: str
    documents: int
    most: float


def query_terms(
    terms: Iterable[str], documents: Mapping[str, int], count: int, settings: LexicalSettings
) -> list[QueryTerm]:
    """Those that are in the index, the rarest first. `documents`: in how many of `count` entries each stands."""
    found = []
    for term in terms:
        frequency = documents.get(term, 0)
        if frequency > 0:
            inverse = math.log(1 + (count - frequency + 0.5) / (frequency + 0.5))
            found.append(QueryTerm(term, frequency, inverse * (settings.k1 + 1)))
    return sorted(found, key=lambda each: (-each.most, each.term))


def essential_count(terms: Sequence[QueryTerm], k: int, best: Sequence[float] | None) -> int:
    """How many of the terms, rarest first, one must look for to find the best k: entries with none of these cannot
    have the k-th score (Turtle & Flood, Information Processing & Management 31(6), 1995: MaxScore).

    `best`: scores found so far, best first; None: none was looked for yet, and enough terms are named to find some.
    """
    if best is None:
        needed = max(_FIRST_MATCHES, 4 * k)
        matches = 0
        for place, each in enumerate(terms, start=1):
            matches += each.documents
            if matches >= needed:
                return place
        return len(terms)
    if len(best) < k:
        return len(terms)
    # Scores come as float32.
    threshold = best[k - 1] * (1 - 1e-6)
    rest = 0.0
    for place in range(len(terms), 0, -1):
        rest += terms[place - 1].most
        if rest >= threshold:
            return place
    return 0


def tsquery(terms: Iterable[str]) -> str:
    """The text of a tsquery for any of these terms."""
    quoted = (term.replace("\\", "\\\\").replace("'", "''") for term in terms)
    return " | ".join(f"'{term}'" for term in quoted)
