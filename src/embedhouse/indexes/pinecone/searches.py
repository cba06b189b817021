"""Searches of one namespace of Pinecone, past its limits: 1 000 results with metadata, 10 000 without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidFilter, StoreRefused
from embedhouse.domain.filters import Filter
from embedhouse.indexes.bm25 import SparseVector
from embedhouse.indexes.pinecone.connection import Connection
from embedhouse.indexes.pinecone.filters import condition_of, has_any, is_coarse, passes
from embedhouse.indexes.pinecone.records import MOST_FOUND, document_of, key_term

if TYPE_CHECKING:
    import pinecone

__all__ = ["Match", "Query", "Searches"]

_DOING = "searching Pinecone"
_TIE_ROOM = 16
_MOST_WITH_METADATA = 1_000
# So many records with as much metadata as there may be are within the 4 MB of an answer.
_SLICE = 90


class Match(msgspec.Struct, frozen=True):
    """A record found. `metadata` is empty where it was not asked for."""

    key: int
    score: float
    metadata: Mapping[str, Any] = {}

    @property
    def document_id(self) -> str:
        """Whose it is."""
        return document_of(self.metadata)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched for: the nearest to `vector` or, with `sparse`, those that score above 0 with it."""

    vector: list[float]
    sparse: SparseVector | None = None
    filter: Filter | None = None
    with_documents: bool = False

    @property
    def floor(self) -> float:
        """Matches at or below it were not found."""
        return float("-inf") if self.sparse is None else 0.0


class Searches:
    """Thread-safe."""

    def __init__(self, connection: Connection, client: pinecone.Index) -> None:
        self._connection = connection
        self._client = client

    def best(self, space: str, query: Query, k: int, deadline: Deadline) -> tuple[list[Match], bool]:
        """The k best, and past the k-th as far as its score goes on: ties are broken by key, not by luck. And
        whether a larger k may find more."""
        coarse = query.filter is not None and is_coarse(query.filter)
        limit = min(MOST_FOUND, k + _TIE_ROOM)
        while True:
            found = self._found(space, query, limit, deadline, with_metadata=coarse or query.with_documents)
            ended = len(found) < limit or found[-1].score <= query.floor
            kept = [match for match in found if match.score > query.floor]
            if coarse and query.filter is not None:
                kept = [match for match in kept if passes(query.filter, match.metadata)]
            if ended or (len(kept) >= k and found[-1].score < kept[k - 1].score):
                return kept, not ended
            if limit == MOST_FOUND:
                _check_enough(kept, k, coarse)
                return kept, False
            limit = min(MOST_FOUND, limit * 4)

    def of_keys(self, space: str, query: Query, keys: Sequence[int], deadline: Deadline) -> list[Match]:
        """The scores of those of the keys that a search finds."""
        found: list[Match] = []
        for start in range(0, len(keys), _MOST_WITH_METADATA):
            terms = [key_term(key) for key in keys[start : start + _MOST_WITH_METADATA]]
            found += self._ask(space, query, len(terms), has_any(terms), deadline, with_metadata=False)
        return found

    def _found(
        self, space: str, query: Query, limit: int, deadline: Deadline, *, with_metadata: bool
    ) -> list[Match]:
        condition = None if query.filter is None else condition_of(query.filter)
        if with_metadata and limit <= _MOST_WITH_METADATA:
            try:
                return self._ask(space, query, limit, condition, deadline, with_metadata=True)
            except StoreRefused:
                pass  # the answer would be larger than 4 MB; anything else is refused again without metadata
        found = self._ask(space, query, limit, condition, deadline, with_metadata=False)
        return self._with_metadata(space, query, found, deadline) if with_metadata else found

    def _with_metadata(self, space: str, query: Query, found: Sequence[Match], deadline: Deadline) -> list[Match]:
        """A record that was deleted meanwhile is left out."""
        metadata: dict[int, Mapping[str, Any]] = {}
        for start in range(0, len(found), _SLICE):
            terms = [key_term(match.key) for match in found[start : start + _SLICE]]
            some = self._ask(space, query, len(terms), has_any(terms), deadline, with_metadata=True)
            metadata |= {match.key: match.metadata for match in some}
        return [Match(one.key, one.score, metadata[one.key]) for one in found if one.key in metadata]

    def _ask(
        self,
        space: str,
        query: Query,
        limit: int,
        condition: dict[str, Any] | None,
        deadline: Deadline,
        *,
        with_metadata: bool,
    ) -> list[Match]:
        asked: dict[str, Any] = {"vector": query.vector, "top_k": limit, "namespace": space}
        if query.sparse is not None:
            asked["sparse_vector"] = {"indices": query.sparse.indices, "values": query.sparse.values}
        if condition is not None:
            asked["filter"] = condition
        if with_metadata:
            asked["include_metadata"] = True
        answer = self._connection.call_index(_DOING, deadline, partial(self._client.query, **asked))
        if answer is None:
            return []
        return [Match(int(match.id), match.score, match.metadata or {}) for match in answer.matches]


def _check_enough(kept: Sequence[Match], k: int, coarse: bool) -> None:
    if coarse and len(kept) < k:
        reason = (
            f"Pinecone cannot order strings, and among the {MOST_FOUND} best that may pass only {len(kept)} do. "
            "Order numbers or dates, or narrow the filter"
        )
        raise InvalidFilter(path="filter", reason=reason)
