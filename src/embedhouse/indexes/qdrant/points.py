"""What the embedded engine and a server of Qdrant share: how an entry is kept, and how ties are fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.scalars import flatten
from embedhouse.indexes.analyzer import Analyzer
from embedhouse.indexes.filter_terms import metadata_terms
from embedhouse.indexes.qdrant.filters import RANGES, TERMS
from embedhouse.ports import IndexEntry

__all__ = [
    "DENSE",
    "DOCUMENT",
    "GRAPH_DEGREE",
    "GRAPH_WIDTH",
    "QUANTILE",
    "SEARCH_WIDTH",
    "TEXT",
    "batches",
    "fetch_past_ties",
    "filterable",
    "payload_of",
    "query_terms",
    "unit",
]

DENSE = "dense"
"""The name of the vector."""
TEXT = "t"
"""The payload field with the analyzer's terms."""
DOCUMENT = "d"
"""The payload field with the document's id."""

# docs/decisions/graph-width.md: half these widths find only 96 % of the true ten nearest among alike texts.
GRAPH_DEGREE = 16
GRAPH_WIDTH = 200
SEARCH_WIDTH = 256
QUANTILE = 0.99

_TIE_ROOM = 16

Item = TypeVar("Item")


class Scored(Protocol):
    """A point that a search found."""

    @property
    def score(self) -> float: ...


Point = TypeVar("Point", bound=Scored)


def payload_of(entry: IndexEntry, analyzer: Analyzer) -> dict[str, Any]:
    """What is kept beside an entry's vector, but for its namespace."""
    text = " ".join(analyzer.terms(entry.text))
    return {DOCUMENT: entry.document_id, TEXT: text, **filterable(entry.metadata)}


def filterable(metadata: Metadata) -> dict[str, Any]:
    """What filters look at: TERMS and RANGES."""
    found = metadata_terms(flatten(metadata))
    return {TERMS: found.terms, RANGES: found.ranges}


def query_terms(text: str, analyzer: Analyzer) -> str:
    """The query's distinct terms."""
    return " ".join(dict.fromkeys(analyzer.terms(text)))


def unit(stored: Sequence[float]) -> Vectors:
    """A stored vector, brought back to length 1, from which float16 took it by up to 2e-4."""
    vector = np.array(stored, np.float32)
    return vector / np.linalg.norm(vector)


def fetch_past_ties(
    search: Callable[[int], Sequence[Point]], k: int, deadline: Deadline
) -> tuple[Sequence[Point], bool]:
    """The best points, and past the k-th as far as its score goes on: ties are broken by key, not by luck. Also
    whether there may be more."""
    limit = k + _TIE_ROOM
    while True:
        found = search(limit)
        if len(found) < limit or found[-1].score < found[k - 1].score:
            return found, len(found) == limit
        deadline.check("searching the index")
        limit *= 4


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
