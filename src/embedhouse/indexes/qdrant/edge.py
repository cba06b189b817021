"""The embedded index: Qdrant's engine in the process, one folder, cosine over HNSW and BM25 over its text index.

The text index holds our analyzer's terms, so the engine only splits at spaces. Its BM25 is Lucene's, with document
frequencies and average length over the whole index at the time of the query: a chunk's score does not depend on
when it was written. Chunks deleted from an optimised segment count in these statistics until the next compaction,
as in Lucene. Vectors are kept as float16, so scores are within 1e-3 of exact.

The engine holds the interpreter's lock during a call: searches are short, but `optimise` takes seconds and belongs
in a process of its own.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import qdrant_edge as engine

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import DiskFull, EmbedhouseError, HouseLocked, IndexDamaged, ReadOnly
from embedhouse.domain.filters import Filter
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.indexes.qdrant.edge_filters import EdgeConditions
from embedhouse.indexes.qdrant.filters import NAMESPACE, RANGES, TERMS, Known, condition_of, has_path, ranges_of
from embedhouse.indexes.qdrant.points import (
    DENSE,
    DOCUMENT,
    GRAPH_DEGREE,
    GRAPH_WIDTH,
    QUANTILE,
    SEARCH_WIDTH,
    TEXT,
    batches,
    fetch_past_ties,
    filterable,
    payload_of,
    query_terms,
    unit,
)
from embedhouse.indexes.ranking import NOTHING_FOUND, check_entries, check_vector, ranked
from embedhouse.ports import Candidates, Capabilities, IndexEntry, IndexInfo, Sides

__all__ = ["QdrantEdgeIndex"]

_CONDITIONS = EdgeConditions()
_GRAPH = engine.HnswIndexConfig(m=GRAPH_DEGREE, ef_construct=GRAPH_WIDTH, full_scan_threshold=10_000)
# The graph is built and walked over int8 copies, and what is found is scored again by the vectors themselves.
_COPIES = engine.ScalarQuantizationConfig(engine.ScalarType.Int8, quantile=QUANTILE, always_ram=True)
_BY_VECTORS = engine.QuantizationSearchParams(rescore=True)
_GRAPH_FROM_KB = 2_000
_BATCH = 500
_PAGE = 1_000
_MAX_FIELDS = 64
_SMALL = 10_000
_WORTH_INDEXING = 1_000
_ALL_TERMS = 2**31
# More than opening, the files of a new index, or one batch can take.
_ROOM_BYTES = 96 * 1024 * 1024


class QdrantEdgeIndex:
    """One generation's index in a folder of its own. Thread-safe; one process at a time."""

    def __init__(
        self, shard: engine.EdgeShard, folder: Path, dimensions: int, lexical: LexicalSettings, sides: Sides
    ) -> None:
        self._shard = shard
        self._folder = folder
        self._dimensions = dimensions
        self._sides = sides
        self._bm25 = engine.Bm25Params(k=lexical.k1, b=lexical.b)
        self._analyzer = get_analyzer(lexical.analyzer)
        self._fields = _index_fields(shard)
        self._written = object()
        """Another one after each write."""
        self._known_terms: tuple[tuple[object, str], list[str]] = (object(), ""), []

    @classmethod
    def open(
        cls, folder: Path, *, dimensions: int, lexical: LexicalSettings, sides: Sides = "both"
    ) -> QdrantEdgeIndex:
        """Open the index in `folder`, or create it where the folder is missing or empty. For the lexical side alone
        it keeps no vectors.

        Errors: IndexDamaged where it cannot be read or is of other dimensions; HouseLocked where it is open
        already; DiskFull; ReadOnly.
        """
        with _engine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _check_room(folder)
            if any(folder.iterdir()):
                shard = engine.EdgeShard.load(str(folder), _config(dimensions))
            else:
                shard = engine.EdgeShard.create(str(folder), _config(dimensions))
            return cls(shard, folder, dimensions, lexical, sides)

    @property
    def capabilities(self) -> Capabilities:
        """Everything, but for a side that it was not opened for."""
        return Capabilities(dense=self._sides != "lexical", lexical=True, filters=True, partial_metadata=True)

    def write(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        upserts: Sequence[IndexEntry] = (),
        deletes: Sequence[int] = (),
        metadata: Sequence[tuple[int, Metadata]] = (),
        deadline: Deadline,
    ) -> None:
        """Apply deletes, then upserts, then whole-metadata replacements. Errors: InvalidVector, IndexDamaged."""
        check_entries(upserts, self._dimensions)
        for some in batches(deletes, _BATCH):
            deadline.check("writing to the index")
            self._update(engine.UpdateOperation.delete_points(list(some)))
        for some_entries in batches(upserts, _BATCH):
            deadline.check("writing to the index")
            self._update(
                engine.UpdateOperation.upsert_points([self._point(entry, namespace) for entry in some_entries])
            )
        self._replace_metadata(dict(metadata), deadline)

    def _update(self, operation: engine.UpdateOperation) -> None:
        _check_room(self._folder)
        with _engine_errors(self._folder):
            self._shard.update(operation)
        self._written = object()

    def _point(self, entry: IndexEntry, namespace: str) -> engine.Point:
        payload = payload_of(entry, self._analyzer)
        self._index_ranges(payload)
        if namespace != DEFAULT_NAMESPACE:
            payload[NAMESPACE] = namespace
        vectors = {} if self._sides == "lexical" else {DENSE: entry.vector.tolist()}
        return engine.Point(entry.key, vectors, payload)

    def _index_ranges(self, payload: dict[str, Any]) -> None:
        for name in payload[RANGES]:
            field = f"{RANGES}.{name}"
            # Costs seconds in a large index, so there it waits for a filter that needs it.
            if field not in self._fields and self.info().count < _SMALL:
                self._index_range(field)

    def _index_range(self, field: str) -> None:
        if len(self._fields) < _MAX_FIELDS:
            params = engine.FloatIndexParams(enable_hnsw=False)
            self._update(engine.UpdateOperation.create_field_index(field, params))
            self._fields.add(field)

    def _replace_metadata(self, changes: dict[int, Metadata], deadline: Deadline) -> None:
        for keys in batches(list(changes), _BATCH):
            deadline.check("writing to the index")
            held: list[Any]
            with _engine_errors(self._folder):
                held = list(self._shard.retrieve(list(keys), with_payload=False, with_vector=False))
            for record in held:
                payload = filterable(changes[record.id])
                self._index_ranges(payload)
                self._update(engine.UpdateOperation.set_payload([record.id], payload))

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
        check_vector(vector, self._dimensions, "of the query")
        query = engine.Query.Nearest(vector.tolist(), DENSE)
        found = self._search(query, k, self._passing(filter, namespaces), deadline, documents=documents)
        return msgspec.structs.replace(found, scores=np.minimum(found.scores, np.float32(1.0)))

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
        terms = query_terms(text, self._analyzer)
        if not terms:
            return NOTHING_FOUND
        query = engine.TextQuery(TEXT, terms, self._bm25)
        return self._search(query, k, self._passing(filter, namespaces), deadline, documents=documents)

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """The exact cosine with `vector` of those keys that the index holds."""
        check_vector(vector, self._dimensions, "of the query")
        query = engine.Query.Nearest(vector.tolist(), DENSE)
        exact = engine.SearchParams(exact=True)
        found: dict[int, float] = {}
        for some in batches(keys, _BATCH):
            deadline.check("scoring by meaning")
            only = engine.Filter(must=[engine.HasIdCondition(set(some)), *_CONDITIONS.within(namespaces)])
            request = engine.QueryRequest(limit=len(some), query=query, filter=only, params=exact)
            scored: list[Any]
            with _engine_errors(self._folder):
                scored = list(self._shard.query(request))
            found |= {point.id: min(1.0, point.score) for point in scored}
        return found

    def _search(
        self, query: Any, k: int, condition: engine.Filter | None, deadline: Deadline, *, documents: bool
    ) -> Candidates:
        deadline.check("searching the index")
        found, more = fetch_past_ties(lambda limit: self._query(query, limit, condition), k, deadline)
        if not found:
            return NOTHING_FOUND
        keys = np.fromiter((point.id for point in found), np.int64, len(found))
        scores = np.fromiter((point.score for point in found), np.float32, len(found))
        document_ids = self._document_ids(keys.tolist()) if documents else []
        return ranked(keys, scores, document_ids, k, more)

    def _document_ids(self, keys: Sequence[int]) -> list[str]:
        """Read apart from the search, where the engine takes several times as long for it. A key that was deleted
        meanwhile is nobody's: the ledger does not know it either."""
        names: dict[int, str] = {}
        for some in batches(keys, _BATCH):
            records: list[Any]
            with _engine_errors(self._folder):
                records = list(self._shard.retrieve(list(some), with_payload=[DOCUMENT], with_vector=False))
                names |= {record.id: record.payload[DOCUMENT] for record in records}
        return [names.get(key, "") for key in keys]

    def _passing(self, filter: Filter | None, namespaces: Namespaces) -> engine.Filter | None:
        conditions = [*_CONDITIONS.within(namespaces), *([] if filter is None else [self._condition(filter)])]
        return engine.Filter(must=[*conditions]) if conditions else None

    def _condition(self, filter: Filter) -> engine.Filter:
        for path, field in ranges_of(filter):
            if field not in self._fields and self._count(has_path(path, _CONDITIONS)) >= _WORTH_INDEXING:
                self._index_range(field)
        return condition_of(filter, Known(_CONDITIONS, self._fields, self._terms_from))

    def _count(self, condition: engine.Filter) -> int:
        with _engine_errors(self._folder):
            return self._shard.count(engine.CountRequest(exact=False, filter=condition))

    def _query(self, query: Any, limit: int, condition: engine.Filter | None) -> Sequence[Any]:
        found: list[Any]
        with _engine_errors(self._folder):
            found = self._shard.query(_request(query, limit, condition))
        return found

    def _terms_from(self, path: str, prefix: str) -> list[str]:
        """The distinct terms that begin so. Listing them takes half a second for 60 000, so the last answer is kept
        until something is written."""
        # Read before the listing: a write that comes during it makes the answer old at once.
        asked = self._written, prefix
        kept, terms = self._known_terms
        if kept == asked:
            return terms
        with _engine_errors(self._folder):
            facet = self._shard.facet(engine.FacetRequest(TERMS, limit=_ALL_TERMS))
        terms = [term for hit in facet.hits if (term := str(hit.value)).startswith(prefix)]
        self._known_terms = asked, terms
        return terms

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """The vectors of those keys that the index holds: L2-normalised, float16 precision as float32."""
        found: dict[int, Vectors] = {}
        for some in batches(keys, _BATCH):
            records: list[Any]
            with _engine_errors(self._folder):
                records = list(self._shard.retrieve(list(some), with_payload=[NAMESPACE], with_vector=[DENSE]))
                found |= {record.id: unit(record.vector[DENSE]) for record in records if _is_in(record, namespaces)}
        return found

    def keys(self) -> Iterator[int]:
        """Every key, ascending."""
        after: Any = None
        while True:
            request = engine.ScrollRequest(offset=after, limit=_PAGE, with_payload=False, with_vector=False)
            page: list[Any]
            with _engine_errors(self._folder):
                page, after = self._shard.scroll(request)
            yield from [int(record.id) for record in page]
            if after is None:
                return

    def info(self) -> IndexInfo:
        """Sizes."""
        with _engine_errors(self._folder):
            found = self._shard.info()
        return IndexInfo(
            count=found.points_count, unoptimised=max(0, found.points_count - found.indexed_vectors_count)
        )

    def optimise(self) -> None:
        """Build the graph and drop what was deleted. Holds the interpreter's lock for as long as it takes."""
        with _engine_errors(self._folder):
            self._shard.optimize()

    def flush(self) -> None:
        """Make everything written so far survive a crash."""
        with _engine_errors(self._folder):
            self._shard.flush()

    def close(self) -> None:
        """Flush and release the folder."""
        with _engine_errors(self._folder):
            self._shard.flush()
            self._shard.close()


def _check_room(folder: Path) -> None:
    """Errors: DiskFull while there is still some room. The engine writes through memory maps of sparse files, and
    where the disk has no block for such a page the system does not report an error: it kills the process."""
    if shutil.disk_usage(folder).free < _ROOM_BYTES:
        raise DiskFull(path=folder)


def _is_in(record: Any, namespaces: Namespaces) -> bool:
    return namespaces is None or (record.payload or {}).get(NAMESPACE, DEFAULT_NAMESPACE) in namespaces


def _config(dimensions: int) -> engine.EdgeConfig:
    dense = engine.EdgeVectorParams(
        size=dimensions,
        distance=engine.Distance.Cosine,
        datatype=engine.VectorStorageDatatype.Float16,
        quantization_config=_COPIES,
    )
    return engine.EdgeConfig(
        vectors={DENSE: dense},
        hnsw_config=_GRAPH,
        optimizers=engine.EdgeOptimizersConfig(indexing_threshold=_GRAPH_FROM_KB),
    )


def _index_fields(shard: engine.EdgeShard) -> set[str]:
    """The indexed payload fields, once the three that searches need are among them."""
    fields = set(shard.info().payload_schema)
    needed: dict[str, engine.TextIndexParams | engine.KeywordIndexParams] = {
        TEXT: engine.TextIndexParams(
            tokenizer=engine.TokenizerType.Whitespace, lowercase=False, scoring=True, enable_hnsw=False
        ),
        TERMS: engine.KeywordIndexParams(enable_hnsw=False),
        NAMESPACE: engine.KeywordIndexParams(),
    }
    for field, params in needed.items():
        if field not in fields:
            shard.update(engine.UpdateOperation.create_field_index(field, params))
    return fields | set(needed)


def _request(query: Any, limit: int, condition: engine.Filter | None) -> engine.QueryRequest:
    return engine.QueryRequest(
        limit=limit,
        query=query,
        filter=condition,
        params=engine.SearchParams(hnsw_ef=max(SEARCH_WIDTH, limit), quantization=_BY_VECTORS),
    )


@contextmanager
def _engine_errors(folder: Path) -> Iterator[None]:
    """Turn whatever the engine raises into the house's errors; its panics are not even `Exception`s."""
    try:
        yield
    except (EmbedhouseError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        reason = str(error) or type(error).__name__
        if "WouldBlock" in reason:  # the engine locks its write-ahead log
            raise HouseLocked(home=folder, pid="(another one)") from error
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in reason:
            raise DiskFull(path=folder) from error
        if getattr(error, "errno", None) in (errno.EROFS, errno.EACCES) or "Read-only file system" in reason:
            raise ReadOnly(path=folder) from error
        raise IndexDamaged(path=folder, reason=reason) from error
