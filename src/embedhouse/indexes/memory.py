"""The exact index: brute force over everything, in memory. Every other index is tested against it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from threading import RLock

import msgspec
import numpy as np

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.filters import Filter, matches_flat
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.domain.scalars import FlatMetadata, flatten
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.indexes.ranking import NOTHING_FOUND, check_entries, check_vector, ranked
from embedhouse.ports import Candidates, Capabilities, IndexEntry, IndexInfo

__all__ = ["MemoryIndex"]


class _Held(msgspec.Struct):
    namespace: str
    document_id: str
    vector: Vectors
    counts: Counter[str]
    length: int
    metadata: FlatMetadata


class MemoryIndex:
    """Exact cosine and exact BM25 over entries in memory; nothing survives `close`. Thread-safe."""

    def __init__(self, *, dimensions: int, lexical: LexicalSettings) -> None:
        self._dimensions = dimensions
        self._lexical = lexical
        self._analyzer = get_analyzer(lexical.analyzer)
        self._held: dict[int, _Held] = {}
        self._lock = RLock()

    @property
    def capabilities(self) -> Capabilities:
        """Everything."""
        return Capabilities(lexical=True, filters=True, partial_metadata=True)

    def write(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        upserts: Sequence[IndexEntry] = (),
        deletes: Sequence[int] = (),
        metadata: Sequence[tuple[int, Metadata]] = (),
        deadline: Deadline,
    ) -> None:
        """Apply deletes, then upserts, then whole-metadata replacements. Errors: InvalidVector."""
        deadline.check("writing to the index")
        check_entries(upserts, self._dimensions)
        with self._lock:
            for key in deletes:
                self._held.pop(key, None)
            for entry in upserts:
                self._held[entry.key] = self._hold(entry, namespace)
            for key, values in metadata:
                if key in self._held:
                    self._held[key].metadata = flatten(values)

    def _hold(self, entry: IndexEntry, namespace: str) -> _Held:
        terms = self._analyzer.terms(entry.text)
        vector = entry.vector.astype(np.float32)
        vector /= np.linalg.norm(vector)
        return _Held(namespace, entry.document_id, vector, Counter(terms), len(terms), flatten(entry.metadata))

    def search_dense(
        self,
        vector: Vectors,
        k: int,
        filter: Filter | None,
        deadline: Deadline,
        *,
        namespaces: Namespaces = None,
        documents: bool = True,
    ) -> Candidates:
        """The k entries of highest cosine, exactly."""
        deadline.check("searching by meaning")
        check_vector(vector, self._dimensions, "of the query")
        with self._lock:
            passing = self._passing(filter, namespaces)
            if not passing:
                return NOTHING_FOUND
            stacked = np.stack([self._held[key].vector for key in passing])
        scores = stacked @ (vector / np.linalg.norm(vector)).astype(np.float32)
        return self._ranked(passing, np.clip(scores, -1.0, 1.0), k, documents)

    def search_lexical(
        self,
        text: str,
        k: int,
        filter: Filter | None,
        deadline: Deadline,
        *,
        namespaces: Namespaces = None,
        documents: bool = True,
    ) -> Candidates:
        """The k entries of highest BM25, exactly; statistics are those of the whole index, not of the filter."""
        deadline.check("searching by words")
        terms = sorted(set(self._analyzer.terms(text)))
        with self._lock:
            weights = {term: self._inverse_frequency(term) for term in terms}
            average = sum(held.length for held in self._held.values()) / max(1, len(self._held))
            scores = {
                key: self._bm25(self._held[key], weights, average) for key in self._passing(filter, namespaces)
            }
            found = [key for key, score in scores.items() if score > 0]
            return self._ranked(found, np.array([scores[key] for key in found], np.float32), k, documents)

    def _passing(self, filter: Filter | None, namespaces: Namespaces) -> list[int]:
        return [
            key
            for key, held in self._held.items()
            if (namespaces is None or held.namespace in namespaces)
            and (filter is None or matches_flat(filter, held.metadata))
        ]

    def _inverse_frequency(self, term: str) -> float:
        frequency = sum(term in held.counts for held in self._held.values())
        return math.log(1 + (len(self._held) - frequency + 0.5) / (frequency + 0.5))

    def _bm25(self, held: _Held, weights: dict[str, float], average: float) -> float:
        k1, b = self._lexical.k1, self._lexical.b
        penalty = k1 * (1 - b + b * held.length / average) if average else k1
        counts = held.counts
        return sum(
            weight * counts[term] * (k1 + 1) / (counts[term] + penalty)
            for term, weight in weights.items()
            if term in counts
        )

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """The exact cosine with `vector` of those keys that the index holds."""
        check_vector(vector, self._dimensions, "of the query")
        direction = vector / np.linalg.norm(vector)
        found = self.vectors(keys, namespaces=namespaces)
        return {key: float(np.clip(held @ direction, -1.0, 1.0)) for key, held in found.items()}

    def _ranked(self, keys: list[int], scores: Vectors, k: int, documents: bool) -> Candidates:
        document_ids = [self._held[key].document_id for key in keys] if documents else []
        return ranked(np.array(keys, np.int64), scores, document_ids, k, more=False)

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """The vectors of those keys that the index holds, L2-normalised."""
        with self._lock:
            held = {key: self._held[key] for key in keys if key in self._held}
        return {
            key: each.vector.copy()
            for key, each in held.items()
            if namespaces is None or each.namespace in namespaces
        }

    def keys(self) -> Iterator[int]:
        """Every key, ascending."""
        with self._lock:
            return iter(sorted(self._held))

    def info(self) -> IndexInfo:
        """Sizes; nothing is ever unoptimised, since there is no graph."""
        return IndexInfo(count=len(self._held), unoptimised=0)

    def optimise(self) -> None:
        """Nothing to do: every search looks at everything."""

    def flush(self) -> None:
        """Nothing to do: a memory index does not survive its process."""

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
