"""From a question to hits: rank, check every candidate against the ledger, read, explain.

A search, "more like this" and a recommendation are different questions; how their answers are ranked, checked
and shown is the same, and stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.hits import Explanation, Hit, SideScore
from embedhouse.search.fusion import Fused, Side, best_first
from embedhouse.search.highlights import Spans
from embedhouse.search.limits import depth_for
from embedhouse.search.parts import ChunkReader, SearchParts
from embedhouse.search.sides import NO_KEY, Found, Merged, merge, without
from embedhouse.telemetry import Trace

__all__ = ["Answering", "Question", "Shape"]

_DEEPER = 4


class Question(Protocol):
    """What makes one kind of search: where its candidates come from and how they are scored."""

    def find(self, depth: int) -> Found:
        """At least `depth` candidates a side, or all there are."""
        ...

    def complete(self, merged: Merged) -> Merged:
        """The same rows with the scores that the index did not give."""
        ...

    def score(self, merged: Merged) -> Fused:
        """One score a row, higher is better."""
        ...


def _nothing(text: str) -> Spans:
    return []


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer looks like. `excluded` documents, by the names of their places, are never shown; `highlight`
    finds spans in a hit's text; `fusion` names the scoring in explanations."""

    k: int
    documents: bool = False
    explain: bool = False
    excluded: frozenset[str] = frozenset()
    highlight: Callable[[str], Spans] = _nothing
    fusion: str = ""


class _Ranking(msgspec.Struct, frozen=True):
    """Candidates with scores; `rows` are the best k, and all that tie with the k-th."""

    merged: Merged
    fused: Fused
    rows: list[int]

    def keys_behind(self) -> set[int]:
        """The chunks that the best rows owe their scores to."""
        keys = {*self.merged.dense_keys[self.rows].tolist(), *self.merged.lexical_keys[self.rows].tolist()}
        return keys - {NO_KEY}

    def shown_key(self, row: int) -> int:
        """The chunk that stands for the row: of the side that gave more to its score."""
        dense, lexical = int(self.merged.dense_keys[row]), int(self.merged.lexical_keys[row])
        if NO_KEY in (dense, lexical):
            return max(dense, lexical)
        from_dense = self.fused.dense_weight * self.fused.dense[row]
        from_lexical = self.fused.lexical_weight * self.fused.lexical[row]
        return dense if from_dense >= from_lexical else lexical


class Answering:
    """Answers one question at a time. Made for each request."""

    def __init__(self, parts: SearchParts, trace: Trace, deadline: Deadline) -> None:
        self._parts = parts
        self._trace = trace
        self._deadline = deadline

    def hits(self, question: Question, shape: Shape) -> list[Hit]:
        """The best hits, best first, ties by id. Reads deeper while too few of those found are current."""
        depth = depth_for(shape.k)
        stale: set[int] = set()
        while True:
            found = question.find(depth)
            ranking, stored = self._settled(question, found, shape, stale)
            if len(ranking.rows) >= shape.k or found.exhausted:
                return self._shown(ranking, stored, shape)
            depth *= _DEEPER

    def _settled(
        self, question: Question, found: Found, shape: Shape, stale: set[int]
    ) -> tuple[_Ranking, dict[int, StoredChunk]]:
        """The ranking once nothing stale is left in its best rows. A stale chunk is taken out before fusion, so
        that it neither hides its document's current chunks nor bends the scores of others."""
        while True:
            self._deadline.check("ranking")
            with self._trace.stage("fuse"):
                ranking = _rank(question, found, shape, stale)
            keys = ranking.keys_behind()
            stored = self._read(keys)
            gone = keys - stored.keys()
            if not gone:
                return ranking, stored
            stale |= gone

    def _read(self, keys: Collection[int]) -> dict[int, StoredChunk]:
        self._deadline.check("reading the hits")
        with self._trace.stage("read"):
            return _current(self._parts.chunks, keys)

    def _shown(self, ranking: _Ranking, stored: Mapping[int, StoredChunk], shape: Shape) -> list[Hit]:
        with self._trace.stage("read"):
            rows = [(row, stored[ranking.shown_key(row)]) for row in ranking.rows]
            scores = ranking.fused.scores
            rows.sort(key=lambda entry: (-scores[entry[0]], _id_of(entry[1], shape)))
            return [self._hit(ranking, row, chunk, shape) for row, chunk in rows[: shape.k]]

    def _hit(self, ranking: _Ranking, row: int, stored: StoredChunk, shape: Shape) -> Hit:
        chunk = stored.chunk
        return Hit(
            document_id=chunk.document_id,
            chunk_id=chunk.id,
            score=float(ranking.fused.scores[row]),
            text=chunk.text,
            title=stored.title,
            source=stored.source,
            metadata=stored.metadata,
            start=chunk.start,
            end=chunk.end,
            headings=chunk.headings,
            highlights=shape.highlight(chunk.text),
            explain=_explanation(ranking, row, shape.fusion) if shape.explain else None,
            namespace=stored.namespace,
        )


def _rank(question: Question, found: Found, shape: Shape, stale: set[int]) -> _Ranking:
    kept = Found(
        dense=without(found.dense, stale, shape.excluded), lexical=without(found.lexical, stale, shape.excluded)
    )
    merged = question.complete(merge(kept, documents=shape.documents))
    fused = question.score(merged)
    return _Ranking(merged, fused, _best_rows(fused.scores, shape.k))


def _best_rows(scores: npt.NDArray[np.float64], k: int) -> list[int]:
    order = best_first(scores)
    if order.size > k:
        order = order[: np.count_nonzero(scores >= scores[order[k - 1]])]
    rows: list[int] = order.tolist()
    return rows


def _current(chunks: ChunkReader, keys: Collection[int]) -> dict[int, StoredChunk]:
    return chunks.current(sorted(keys)) if keys else {}


def _id_of(stored: StoredChunk, shape: Shape) -> tuple[str, str]:
    return (stored.chunk.document_id if shape.documents else stored.chunk.id), stored.namespace


def _explanation(ranking: _Ranking, row: int, fusion: str) -> Explanation:
    fused, merged = ranking.fused, ranking.merged
    return Explanation(
        fusion=fusion,
        dense=_side_score(merged.dense, fused.dense, fused.dense_weight, row),
        lexical=_side_score(merged.lexical, fused.lexical, fused.lexical_weight, row),
    )


def _side_score(side: Side, normalised: npt.NDArray[np.float64], weight: float, row: int) -> SideScore | None:
    if weight == 0.0:
        return None
    return SideScore(
        score=float(side.scores[row]),
        rank=int(side.ranks[row]) or None,
        normalised=float(normalised[row]),
        weight=weight,
    )
