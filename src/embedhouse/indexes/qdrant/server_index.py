"""One generation's index in a collection of a Qdrant server or cluster.

Vectors are kept as float16 and searched over int8 copies, text is ranked by Qdrant's BM25 over the analyzer's
terms, metadata is filtered by the terms and ranges of `filter_terms`: all as in the embedded engine. Each shard
ranks text by the statistics of its own part of the collection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
from qdrant_client import QdrantClient, models

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import CapabilityMissing
from embedhouse.domain.filters import Filter
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.indexes.qdrant.connection import QdrantConnection
from embedhouse.indexes.qdrant.filters import NAMESPACE, RANGES, TERMS, Known, condition_of, has_path, ranges_of
from embedhouse.indexes.qdrant.points import (
    DENSE,
    DOCUMENT,
    SEARCH_WIDTH,
    TEXT,
    batches,
    fetch_past_ties,
    filterable,
    payload_of,
    query_terms,
    unit,
)
from embedhouse.indexes.qdrant.server_filters import ServerConditions, only_keys
from embedhouse.indexes.ranking import NOTHING_FOUND, check_entries, check_vector, ranked
from embedhouse.ports import Candidates, Capabilities, IndexEntry, IndexInfo, IndexSpec

__all__ = ["QdrantIndex"]

Answer = TypeVar("Answer")

_CONDITIONS = ServerConditions()
_NEVER = Deadline.never()
_BATCH = 500
# About 8 MB of JSON, of the 32 MB that a server takes.
_NUMBERS_A_REQUEST = 400_000
_PAGE = 10_000
_MAX_FIELDS = 64
_ALL_TERMS = 2**31
_LOOK_AGAIN_S = 0.5


class _Asked(NamedTuple):
    """A query, the vector or the payload field that answers it, and whether to say whose the entries are."""

    query: list[float] | models.TextQuery
    using: str
    documents: bool


class QdrantIndex:
    """Implements ports.Index. Thread-safe, and any number of processes may have it open."""

    def __init__(self, connection: QdrantConnection, name: str, spec: IndexSpec, fields: set[str]) -> None:
        self._connection = connection
        self._name = name
        self._spec = spec
        self._analyzer = get_analyzer(spec.lexical.analyzer)
        self._bm25 = models.Bm25Scoring(bm25=models.Bm25Params(k=spec.lexical.k1, b=spec.lexical.b))
        self._fields = set(fields)
        self._batch = max(1, min(_BATCH, _NUMBERS_A_REQUEST // spec.dimensions))

    @property
    def capabilities(self) -> Capabilities:
        """Everything, of the sides that it was made for."""
        return Capabilities(
            dense=self._spec.sides != "lexical",
            lexical=self._spec.sides != "dense",
            filters=True,
            partial_metadata=True,
            remote=True,
            durable=True,
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
        """Apply deletes, then upserts, then whole-metadata replacements; each batch is durable and readable once it
        is answered. Errors: InvalidVector, before anything is written; those of the store and the deadline."""
        check_entries(upserts, self._spec.dimensions)
        for keys in batches(deletes, _BATCH):
            gone = models.PointIdsList(points=[*keys])
            self._write(lambda client, gone=gone: client.delete(self._name, gone, wait=True), deadline)  # type: ignore[misc]
        for entries in batches(upserts, self._batch):
            points = [self._point(entry, namespace) for entry in entries]
            self._index_ranges([point.payload or {} for point in points], deadline)
            self._write(lambda client, points=points: client.upsert(self._name, points, wait=True), deadline)  # type: ignore[misc]
        for changes in batches(list(dict(metadata).items()), _BATCH):
            self._replace_metadata(changes, deadline)

    def _write(self, request: Callable[[QdrantClient], object], deadline: Deadline) -> None:
        self._ask(request, "writing to the index", deadline)

    def _ask(self, request: Callable[[QdrantClient], Answer], doing: str, deadline: Deadline = _NEVER) -> Answer:
        return self._connection.ask(request, doing, deadline, collection=self._name)

    def _point(self, entry: IndexEntry, namespace: str) -> models.PointStruct:
        payload = {**payload_of(entry, self._analyzer), NAMESPACE: namespace}
        if self._spec.sides == "dense":
            del payload[TEXT]
        vector = {} if self._spec.sides == "lexical" else {DENSE: entry.vector.tolist()}
        return models.PointStruct(id=entry.key, vector=vector, payload=payload)

    def _replace_metadata(self, changes: Sequence[tuple[int, Metadata]], deadline: Deadline) -> None:
        payloads = {key: filterable(values) for key, values in changes}
        self._index_ranges(list(payloads.values()), deadline)
        # By filter: one that names the key alone is refused where the index does not hold it.
        operations = [
            models.SetPayloadOperation(set_payload=models.SetPayload(payload=payload, filter=only_keys([key])))
            for key, payload in payloads.items()
        ]
        self._write(lambda client: client.batch_update_points(self._name, operations, wait=True), deadline)

    def _index_ranges(self, payloads: Sequence[dict[str, Any]], deadline: Deadline) -> None:
        for field in sorted(
            {f"{RANGES}.{name}" for payload in payloads for name in payload[RANGES]} - self._fields
        ):
            self._index_range(field, deadline)

    def _index_range(self, field: str, deadline: Deadline) -> None:
        if len(self._fields) < _MAX_FIELDS:
            params = models.FloatIndexParams(type=models.FloatIndexType.FLOAT, enable_hnsw=False)
            self._write(lambda client: client.create_payload_index(self._name, field, params, wait=True), deadline)
            self._fields.add(field)

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
        """The k entries of highest cosine: exact while there is no graph, else .993 to .999 of them."""
        check_vector(vector, self._spec.dimensions, "of the query")
        asked = _Asked(vector.tolist(), DENSE, documents)
        found = self._search(asked, k, lambda: self._passing(filter, namespaces, deadline), deadline)
        return msgspec.structs.replace(found, scores=np.clip(found.scores, np.float32(-1.0), np.float32(1.0)))

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
        """The k entries of highest BM25; statistics are those of the whole index, not of the filter."""
        query = models.TextQueryInput(query=query_terms(text, self._analyzer), scoring=self._bm25)
        asked = _Asked(models.TextQuery(text=query), TEXT, documents)
        if not query.query:
            return NOTHING_FOUND
        return self._search(asked, k, lambda: self._passing(filter, namespaces, deadline), deadline)

    def _search(
        self, asked: _Asked, k: int, passing: Callable[[], models.Filter | None], deadline: Deadline
    ) -> Candidates:
        deadline.check("searching the index")
        self._check_side(asked.using)
        condition = passing()
        found, more = fetch_past_ties(lambda limit: self._query(asked, limit, condition, deadline), k, deadline)
        keys = np.fromiter((point.id for point in found), np.int64, len(found))
        scores = np.fromiter((point.score for point in found), np.float32, len(found))
        names = [(point.payload or {}).get(DOCUMENT, "") for point in found] if asked.documents else []
        return ranked(keys, scores, names, k, more)

    def _query(
        self, asked: _Asked, limit: int, condition: models.Filter | None, deadline: Deadline
    ) -> list[models.ScoredPoint]:
        return self._ask(
            lambda client: (
                client.query_points(
                    self._name,
                    asked.query,
                    using=asked.using,
                    query_filter=condition,
                    search_params=_width(limit) if asked.using == DENSE else None,
                    limit=limit,
                    with_payload=[DOCUMENT] if asked.documents else False,
                ).points
            ),
            "searching the index",
            deadline,
        )

    def _check_side(self, using: str) -> None:
        if self._spec.sides == ("lexical" if using == DENSE else "dense"):
            raise CapabilityMissing(
                part=f"The index {self._name} on {self._connection.name}",
                capability=f"searching by {'meaning' if using == DENSE else 'words'}",
                remedy="It was made for the other side alone; ask the store of this side",
            )

    def _passing(self, filter: Filter | None, namespaces: Namespaces, deadline: Deadline) -> models.Filter | None:
        conditions = _CONDITIONS.within(namespaces)
        if filter is not None:
            for _, field in ranges_of(filter):
                if field not in self._fields:
                    self._index_range(field, deadline)
            known = Known(_CONDITIONS, self._fields, lambda path, prefix: self._terms_from(path, prefix, deadline))
            conditions.append(condition_of(filter, known))
        return models.Filter(must=[*conditions]) if conditions else None

    def _terms_from(self, path: str, prefix: str, deadline: Deadline) -> list[str]:
        """The distinct terms that begin so, of entries that have the path. Never kept: others write, too."""
        only = has_path(path, _CONDITIONS)
        hits = self._ask(
            lambda client: client.facet(self._name, TERMS, facet_filter=only, limit=_ALL_TERMS, exact=True).hits,
            "searching the index",
            deadline,
        )
        return [term for hit in hits if (term := str(hit.value)).startswith(prefix)]

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """The exact cosine with `vector` of those keys that the index holds."""
        check_vector(vector, self._spec.dimensions, "of the query")
        self._check_side(DENSE)
        found: dict[int, float] = {}
        for some in batches(keys, _BATCH):
            only = only_keys(some, *_CONDITIONS.within(namespaces))
            scored = self._exact(vector.tolist(), only, len(some), deadline)
            found |= {int(point.id): max(-1.0, min(1.0, point.score)) for point in scored}
        return found

    def _exact(
        self, nearest: list[float], only: models.Filter, limit: int, deadline: Deadline
    ) -> list[models.ScoredPoint]:
        params = models.SearchParams(exact=True)
        return self._ask(
            lambda client: (
                client.query_points(
                    self._name,
                    nearest,
                    using=DENSE,
                    query_filter=only,
                    search_params=params,
                    limit=limit,
                    with_payload=False,
                ).points
            ),
            "scoring by meaning",
            deadline,
        )

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """The vectors of those keys that the index holds: L2-normalised, float16 precision as float32."""
        if self._spec.sides == "lexical":
            return {}
        found: dict[int, Vectors] = {}
        for some in batches(keys, self._batch):
            for record in self._records(some):
                stored = record.vector
                namespace = (record.payload or {}).get(NAMESPACE)
                if isinstance(stored, dict) and (namespaces is None or namespace in namespaces):
                    found[int(record.id)] = unit(cast(list[float], stored[DENSE]))
        return found

    def _records(self, keys: Sequence[int]) -> list[models.Record]:
        return self._ask(
            lambda client: client.retrieve(self._name, [*keys], with_payload=[NAMESPACE], with_vectors=[DENSE]),
            "reading vectors",
        )

    def keys(self) -> Iterator[int]:
        """Every key, ascending."""
        after: Any = None
        while True:
            page, after = self._page(after)
            yield from [int(record.id) for record in page]
            if after is None:
                return

    def _page(self, after: Any) -> tuple[list[models.Record], Any]:
        return self._ask(
            lambda client: client.scroll(
                self._name, limit=_PAGE, offset=after, with_payload=False, with_vectors=False
            ),
            "reading keys",
        )

    def info(self) -> IndexInfo:
        """Sizes. What a server's optimiser leaves outside of the graph is too little to need one."""
        count = self._ask(lambda client: client.count(self._name, exact=True).count, "counting")
        found = self._ask(lambda client: client.get_collection(self._name), "counting")
        is_settled = found.status == models.CollectionStatus.GREEN
        unoptimised = 0 if is_settled else max(0, count - (found.indexed_vectors_count or 0))
        return IndexInfo(count=count, unoptimised=unoptimised)

    def optimise(self) -> None:
        """Wait until the server has built its graphs; it begins by itself, or when told to after a restart."""
        if self._status() == models.CollectionStatus.GREY:
            nothing = models.OptimizersConfigDiff()
            self._ask(lambda client: client.update_collection(self._name, optimizers_config=nothing), "optimising")
        while self._status() == models.CollectionStatus.YELLOW:
            time.sleep(_LOOK_AGAIN_S)

    def _status(self) -> models.CollectionStatus:
        return self._ask(lambda client: client.get_collection(self._name).status, "optimising")

    def flush(self) -> None:
        """Nothing to do: what was answered is durable."""

    def close(self) -> None:
        """Nothing to do: the connection is the store's."""


def _width(limit: int) -> models.SearchParams:
    """Search as wide as the embedded index does, and score what is found by the vectors, not by their copies."""
    exact = models.QuantizationSearchParams(rescore=True)
    return models.SearchParams(hnsw_ef=max(SEARCH_WIDTH, limit), quantization=exact)
