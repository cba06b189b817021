"""Searches that start from documents instead of text: "more like this", and what is liked and disliked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import InvalidInput, TooLarge
from embedhouse.domain.filters import Filter, parse_filter
from embedhouse.domain.hits import SearchResult
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Place, place_name
from embedhouse.ports import Candidates
from embedhouse.search.answering import Answering, Question, Shape
from embedhouse.search.examples import example_vectors
from embedhouse.search.fusion import Fused, Side
from embedhouse.search.limits import check_capabilities, check_k
from embedhouse.search.parts import SearchParts
from embedhouse.search.scoring import alone, nearest, unit
from embedhouse.search.sides import Found, Merged, best_of, fetch
from embedhouse.telemetry import Trace

__all__ = ["MAX_EXAMPLES", "Recommender", "Strategy", "Wanted"]

Strategy = Literal["average", "best_score"]
MAX_EXAMPLES = 100

_NO_DIRECTION = 1e-6


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to recommend. `documents`: whole documents, best chunk each. `filter` is in the Mongo form. The examples
    are those of one `namespace`.

    `strategy` "average" searches from one point: the mean of what is liked, moved away from the mean of what is
    disliked by their difference (Rocchio, "Relevance feedback in information retrieval", 1971; Qdrant's
    average_vector). "best_score" compares each candidate with its nearest example: the cosine of the nearest
    liked one, or minus that of the nearest disliked one where that is nearer (Qdrant's best_score); it follows
    likes that have nothing in common, at the price of one search a liked document.
    """

    liked: Sequence[str]
    disliked: Sequence[str] = ()
    k: int = 10
    filter: dict[str, Any] | None = None
    documents: bool = True
    strategy: Strategy = "average"
    namespace: str = DEFAULT_NAMESPACE

    def places(self, ids: Sequence[str]) -> list[Place]:
        """Where examples of these ids are."""
        return [(self.namespace, document_id) for document_id in ids]


class Recommender:
    """Finds documents near to documents, by meaning. Never shows the examples. Thread-safe, as its parts are."""

    def __init__(self, parts: SearchParts) -> None:
        self._parts = parts

    def more_like(
        self,
        document_id: str,
        deadline: Deadline,
        *,
        k: int = 10,
        filter: dict[str, Any] | None = None,
        documents: bool = True,
    ) -> SearchResult:
        """What is nearest to a document's mean vector, itself left out. Scores are cosines.

        Errors: UnknownDocument, InvalidInput, TooLarge, InvalidFilter.
        """
        return self.recommend(Wanted(liked=[document_id], k=k, filter=filter, documents=documents), deadline)

    def recommend(self, wanted: Wanted, deadline: Deadline) -> SearchResult:
        """The k best by the strategy's score, best first, equal scores by id.

        Errors: UnknownDocument, InvalidInput (no likes; likes and dislikes that cancel out), TooLarge (k, or
        more than MAX_EXAMPLES of a kind), InvalidFilter.
        """
        _check(wanted)
        only = None if wanted.filter is None else parse_filter(wanted.filter)
        check_capabilities(self._parts.index.capabilities, "dense", only)
        trace = Trace()
        question = self._question(wanted, only, trace, deadline)
        shape = Shape(
            k=wanted.k,
            documents=wanted.documents,
            excluded=frozenset(map(place_name, wanted.places([*wanted.liked, *wanted.disliked]))),
            fusion=wanted.strategy,
        )
        hits = Answering(self._parts, trace, deadline).hits(question, shape)
        fingerprint = self._parts.embedder.space.fingerprint
        return SearchResult(
            hits=hits, mode="dense", space=fingerprint, took_ms=trace.took_ms, timings_ms=trace.timings_ms
        )

    def _question(self, wanted: Wanted, only: Filter | None, trace: Trace, deadline: Deadline) -> Question:
        with trace.stage("read"):
            liked = example_vectors(wanted.places(wanted.liked), self._parts)
            disliked = liked[:0]
            if wanted.disliked:
                disliked = example_vectors(wanted.places(wanted.disliked), self._parts)

        def search(vector: Vectors, depth: int) -> Candidates:
            deadline.check("searching by meaning")
            with trace.stage("dense"):
                return fetch(
                    lambda k: self._parts.index.search_dense(
                        vector, k, only, deadline, namespaces=self._parts.namespaces
                    ),
                    depth,
                    wanted.k,
                    documents=wanted.documents,
                )

        if wanted.strategy == "average":
            return _Near(_average(liked, disliked), search)
        return _NearestExample(liked, disliked, search, self._parts)


def _check(wanted: Wanted) -> None:
    check_k(wanted.k)
    if not wanted.liked:
        raise InvalidInput(reason="No liked documents. Name at least one to start from.")
    if wanted.strategy not in ("average", "best_score"):
        raise InvalidInput(reason=f"strategy is {wanted.strategy!r}. Use average or best_score.")
    for what, examples in (("the number of liked documents", wanted.liked), ("of disliked", wanted.disliked)):
        if len(examples) > MAX_EXAMPLES:
            raise TooLarge(what=what, size=len(examples), limit=MAX_EXAMPLES, remedy="Send the most telling ones.")


def _average(liked: Vectors, disliked: Vectors) -> Vectors:
    centre = liked.mean(axis=0)
    if disliked.size:
        centre = 2 * centre - disliked.mean(axis=0)
    if np.linalg.norm(centre) < _NO_DIRECTION:
        raise InvalidInput(reason="The liked and disliked documents cancel out. Name others, or use best_score.")
    return unit(centre)


_Search = Callable[[Vectors, int], Candidates]


class _Near:
    """Candidates near one point."""

    def __init__(self, vector: Vectors, search: _Search) -> None:
        self._vector = vector
        self._search = search

    def find(self, depth: int) -> Found:
        return Found(dense=self._search(self._vector, depth))

    def complete(self, merged: Merged) -> Merged:
        return merged

    def score(self, merged: Merged) -> Fused:
        return alone(merged, "dense")


class _NearestExample:
    """Candidates near any liked example, scored by the example that is nearest to each."""

    def __init__(self, liked: Vectors, disliked: Vectors, search: _Search, parts: SearchParts) -> None:
        self._liked = liked
        self._disliked = disliked
        self._search = search
        self._parts = parts

    def find(self, depth: int) -> Found:
        return Found(dense=best_of([self._search(vector, depth) for vector in self._liked]))

    def complete(self, merged: Merged) -> Merged:
        keys = merged.dense_keys.tolist()
        scores = nearest(self._liked, self._parts, keys)
        if self._disliked.size:
            disliked = nearest(self._disliked, self._parts, keys)
            scores = np.where(scores > disliked, scores, -disliked)
        return msgspec.structs.replace(merged, dense=Side(scores, merged.dense.ranks))

    def score(self, merged: Merged) -> Fused:
        return alone(merged, "dense")
