"""One generation on Pinecone: a Pinecone namespace for each namespace of the house, in a Pinecone index that other
generations share.

Scores are dot products: of normalised vectors, the cosine; of the house's sparse vectors beside a dense vector of
zeros, BM25.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import CapabilityMissing
from embedhouse.domain.filters import Filter
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.indexes.bm25 import Bm25Encoder
from embedhouse.indexes.pinecone.connection import Connection
from embedhouse.indexes.pinecone.records import MOST_SPARSE, values_of
from embedhouse.indexes.pinecone.searches import Query, Searches
from embedhouse.indexes.pinecone.spaces import Spaces
from embedhouse.indexes.pinecone.writes import Changes, Writes, fetched
from embedhouse.indexes.ranking import NOTHING_FOUND, check_entries, check_vector, ranked
from embedhouse.ports import Candidates, Capabilities, IndexEntry, IndexInfo, IndexSpec, TermStatistics

if TYPE_CHECKING:
    import pinecone

__all__ = ["PineconeIndex"]

# For calls without a deadline.
_LONGEST_S = 300.0


class PineconeIndex:
    """Thread-safe; any number of processes at a time."""

    def __init__(
        self,
        connection: Connection,
        client: pinecone.Index,
        spaces: Spaces,
        spec: IndexSpec,
        statistics: TermStatistics | None,
    ) -> None:
        """`statistics` None: without a lexical side."""
        self._connection = connection
        self._client = client
        self._spaces = spaces
        self._spec = spec
        self._statistics = statistics
        self._encoder = Bm25Encoder(spec.lexical)
        self._searches = Searches(connection, client)
        self._writes = Writes(connection, client, spec, statistics)

    @property
    def capabilities(self) -> Capabilities:
        """Everything; lexical searches only where sparse vectors are kept."""
        return Capabilities(
            lexical=self._statistics is not None, filters=True, partial_metadata=True, remote=True, durable=True
        )

    def write(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        upserts: Sequence[IndexEntry] = (),
        deletes: Sequence[int] = (),
        metadata: Sequence[tuple[int, Metadata]] = (),
        deadline: Deadline,
    ) -> None:
        """Apply deletes, then upserts, then whole-metadata replacements, and wait until searches see them.

        Errors: InvalidVector and TooLarge, before anything is sent; DeadlineExceeded also where all was sent and
        searches do not see it in time.
        """
        check_entries(upserts, self._spec.dimensions)
        space = self._spaces.name_of(namespace)
        changes = Changes(namespace=namespace, space=space, upserts=upserts, deletes=deletes, metadata=metadata)
        self._writes.apply(changes, deadline)
        if upserts:
            self._spaces.begun(space)

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
        """The k entries of highest cosine, at most 10 000 of each namespace."""
        check_vector(vector, self._spec.dimensions, "of the query")
        query = Query(vector=values_of(vector), filter=filter, with_documents=documents)
        return self._search(query, k, deadline, namespaces)

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
        """The k entries of highest BM25; document frequencies are those of the whole index, not of the filter."""
        if self._statistics is None:
            raise CapabilityMissing(
                part=f"This index on {self._connection.label}",
                capability="lexical search",
                remedy="Set sparse = true in the store's options and rebuild, or name a second store for words.",
            )
        deadline.check("searching by words")
        frequencies = self._statistics.frequencies(self._spec.name, self._encoder.query_terms(text))
        sparse = self._encoder.query(frequencies, MOST_SPARSE)
        if not sparse.indices:
            return NOTHING_FOUND
        zeros = [0.0] * self._spec.dimensions
        query = Query(vector=zeros, sparse=sparse, filter=filter, with_documents=documents)
        return self._search(query, k, deadline, namespaces)

    def _search(self, query: Query, k: int, deadline: Deadline, namespaces: Namespaces) -> Candidates:
        spaces = self._spaces.of(namespaces, deadline)
        found = self._spaces.each(spaces, lambda space: self._searches.best(space, query, k, deadline))
        matches = [match for some, _ in found for match in some]
        if not matches:
            return NOTHING_FOUND
        scores = np.fromiter((match.score for match in matches), np.float32, len(matches))
        if query.sparse is None:
            scores = scores.clip(-1.0, 1.0)
        keys = np.fromiter((match.key for match in matches), np.int64, len(matches))
        document_ids = [match.document_id for match in matches] if query.with_documents else []
        return ranked(keys, scores, document_ids, k, any(more for _, more in found))

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """The exact cosine with `vector` of those keys that the index holds."""
        check_vector(vector, self._spec.dimensions, "of the query")
        spaces = self._spaces.of(namespaces, deadline)
        query = Query(vector=values_of(vector))
        found = self._spaces.each(spaces, lambda space: self._searches.of_keys(space, query, keys, deadline))
        scores = {match.key: max(-1.0, min(1.0, match.score)) for some in found for match in some}
        # A search may pass over one that it was asked for by name; a look-up does not.
        missed = [key for key in keys if key not in scores]
        direction = np.array(query.vector)
        held = self._vectors(missed, spaces, deadline)
        return scores | {key: float(np.clip(each @ direction, -1.0, 1.0)) for key, each in held.items()}

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """The stored vectors of those keys that the index holds, L2-normalised."""
        deadline = Deadline(_LONGEST_S)
        return self._vectors(keys, self._spaces.of(namespaces, deadline), deadline)

    def _vectors(self, keys: Sequence[int], spaces: list[str], deadline: Deadline) -> dict[int, Vectors]:
        found = self._spaces.each(
            spaces, lambda space: list(fetched(self._connection, self._client, space, keys, deadline))
        )
        return {key: _unit(record.values) for some in found for key, record in some}

    def keys(self) -> Iterator[int]:
        """Every key, ascending; a hundred at a request, so that a million take minutes."""
        deadline = Deadline.never()
        spaces = self._spaces.of(None, deadline)
        found = self._spaces.each(spaces, lambda space: list(self._keys_of(space, deadline)))
        return iter(sorted({key for some in found for key in some}))

    def _keys_of(self, space: str, deadline: Deadline) -> Iterator[int]:
        token: str | None = None
        while True:
            page = self._connection.call_index(
                "listing the keys of an index",
                deadline,
                partial(self._client.list_paginated, namespace=space, pagination_token=token),
            )
            if page is None:
                return
            yield from (int(item.id) for item in page.vectors if item.id)
            token = page.pagination.next if page.pagination else None
            if not token:
                return

    def info(self) -> IndexInfo:
        """Sizes, by Pinecone's own count, which may be some seconds old."""
        deadline = Deadline(_LONGEST_S)
        stats = self._connection.call_index(
            "counting the entries of an index", deadline, self._client.describe_index_stats
        )
        mine = self._spaces.name_of("")
        counts = {} if stats is None else stats.namespaces
        count = sum(each.vector_count for name, each in counts.items() if name.startswith(mine))
        return IndexInfo(count=count, unoptimised=0)

    def optimise(self) -> None:
        """Nothing to do: Pinecone does that itself."""

    def flush(self) -> None:
        """Nothing to do: what was written is durable."""

    def close(self) -> None:
        """Nothing to release: its store has the connections."""


def _unit(stored: Sequence[float]) -> Vectors:
    vector = np.array(stored, np.float32)
    unit: Vectors = vector / np.linalg.norm(vector)
    return unit
