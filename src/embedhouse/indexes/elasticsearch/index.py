"""One generation's index on a server of Elasticsearch or OpenSearch: cosine over HNSW, BM25 by Lucene.

Text arrives there as the house's own terms, so the server only splits at spaces, and statistics are taken over all
shards before a shard scores (`dfs_query_then_fetch`). Lucene keeps a text's length in one byte, exact up to 40
terms and within 7 % beyond, and counts deleted texts until their segments are merged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.filters import Filter
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.indexes.elasticsearch.filters import NAMESPACE, metadata_fields, query_of, within
from embedhouse.indexes.elasticsearch.forms import MOST_CANDIDATES, VECTOR, Quantization, SearchForms, unit
from embedhouse.indexes.elasticsearch.mapping import DOCUMENT, KEY, TEXT
from embedhouse.indexes.elasticsearch.server import SearchServer
from embedhouse.indexes.ranking import NOTHING_FOUND, check_entries, check_vector, ranked
from embedhouse.ports import Candidates, Capabilities, IndexEntry, IndexInfo, IndexSpec

__all__ = ["ElasticsearchIndex", "OpenedIndex"]

_TIE_ROOM = 16
_BATCH = 500
_PAGE = 10_000
_MOST_TERMS = 1_024
_SHARD_BYTES = 5 * 1024**3
_ASK_AGAIN_S = 0.05
_ASK_AT_LEAST_EVERY_S = 2.0
_BY_SCORE = ["_score", {KEY: "asc"}]

Query = dict[str, Any]


class OpenedIndex(msgspec.Struct, frozen=True, kw_only=True):
    """What the store found or made: the `alias` that everything goes through, and how vectors are kept there."""

    spec: IndexSpec
    alias: str
    quantization: Quantization
    range_fields: set[str]


class ElasticsearchIndex:
    """Thread-safe; any number of processes. Errors of each call: see SearchServer."""

    def __init__(self, opened: OpenedIndex, server: SearchServer, forms: SearchForms) -> None:
        self._dimensions = opened.spec.dimensions
        self._sides = opened.spec.sides
        self._lexical: LexicalSettings = opened.spec.lexical
        self._analyzer = get_analyzer(opened.spec.lexical.analyzer)
        self._alias = opened.alias
        self._quantization = opened.quantization
        self._range_fields = opened.range_fields
        self._server = server
        self._forms = forms

    @property
    def capabilities(self) -> Capabilities:
        """Everything, on the sides that it has."""
        return Capabilities(
            lexical=self._sides != "dense",
            dense=self._sides != "lexical",
            filters=True,
            partial_metadata=True,
            remote=True,
            durable=True,
        )

    # ---- Writing -------------------------------------------------------------------------------------------------

    def write(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        upserts: Sequence[IndexEntry] = (),
        deletes: Sequence[int] = (),
        metadata: Sequence[tuple[int, Metadata]] = (),
        deadline: Deadline,
    ) -> None:
        """Apply deletes, then upserts, then whole-metadata replacements, and make them readable. Errors:
        InvalidVector; StoreRefused where the server does not take some of them."""
        deadline.check("writing to the index")
        if self._sides != "lexical":
            check_entries(upserts, self._dimensions)
        for start in range(0, len(deletes), _BATCH):
            some = deletes[start : start + _BATCH]
            self._apply([self._operation("delete", key) for key in some], deadline)
        for start in range(0, len(upserts), _BATCH):
            self._apply([self._upsert(entry, namespace) for entry in upserts[start : start + _BATCH]], deadline)
        for start in range(0, len(metadata), _BATCH):
            changes = metadata[start : start + _BATCH]
            self._apply([self._replacement(key, values) for key, values in changes], deadline)
        if upserts or deletes or metadata:
            self._server.ask("POST", f"/{self._alias}/_refresh", deadline=deadline)

    def _apply(self, operations: list[dict[str, Any]], deadline: Deadline) -> None:
        self._server.write(operations, self._alias, deadline)

    def _operation(self, kind: str, key: int, **fields: Any) -> dict[str, Any]:
        return {"_op_type": kind, "_index": self._alias, "_id": str(key), **fields}

    def _upsert(self, entry: IndexEntry, namespace: str) -> dict[str, Any]:
        source: dict[str, Any] = {
            KEY: entry.key,
            DOCUMENT: entry.document_id,
            NAMESPACE: namespace,
            **metadata_fields(entry.metadata, self._range_fields),
        }
        if self._sides != "dense":
            source[TEXT] = " ".join(self._analyzer.terms(entry.text))
        if self._sides != "lexical":
            source[VECTOR] = unit(entry.vector)
        return self._operation("index", entry.key, _source=source)

    def _replacement(self, key: int, metadata: Metadata) -> dict[str, Any]:
        return self._operation("update", key, doc=metadata_fields(metadata, self._range_fields))

    # ---- Searching -----------------------------------------------------------------------------------------------

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
        """The k entries of highest cosine that the graph finds; their scores are exact."""
        check_vector(vector, self._dimensions, "of the query")
        asked, only = unit(vector), self._only(filter, namespaces)
        limit = k + _TIE_ROOM
        while True:
            near = self._near(asked, limit, only)
            hits = self._hits(self._forms.by_cosine(near, asked), limit, deadline, documents=documents)
            # Which of equals the graph leaves out is not decided by key: so on until the tie ends.
            if len(hits) < limit or hits[-1]["_score"] < hits[k - 1]["_score"]:
                break
            limit *= 4
        found = _candidates(hits, k, documents, more=len(hits) == limit)
        return msgspec.structs.replace(found, scores=_cosines(found.scores))

    def _near(self, asked: list[float], limit: int, only: list[Query]) -> Query:
        if limit > MOST_CANDIDATES:  # more than the graph may be asked for: look at everything
            return {"bool": {"filter": only}} if only else {"match_all": {}}
        return self._forms.nearest(asked, limit, self._quantization, only)

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
        """The k entries of highest BM25; statistics are those of the whole index, not of the filter. The first
        1 024 terms of a query count."""
        terms = list(dict.fromkeys(self._analyzer.terms(text)))[:_MOST_TERMS]
        if not terms:
            return NOTHING_FOUND
        boost = self._forms.bm25_boost(self._lexical)
        match: Query = {"match": {TEXT: {"query": " ".join(terms), "boost": boost}}}
        only = self._only(filter, namespaces)
        query = {"bool": {"must": [match], "filter": only}} if only else match
        return _candidates(self._hits(query, k + 1, deadline, documents=documents), k, documents, more=False)

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """The exact cosine with `vector` of those keys that the index holds."""
        check_vector(vector, self._dimensions, "of the query")
        asked = unit(vector)
        found: dict[int, float] = {}
        for some in _batches(keys):
            query = self._forms.by_cosine(_these(some, namespaces), asked)
            hits = self._hits(query, len(some), deadline, documents=False)
            cosines = _cosines(np.array([hit["_score"] for hit in hits], np.float32))
            found |= {_key(hit): float(cosine) for hit, cosine in zip(hits, cosines, strict=True)}
        return found

    def _only(self, filter: Filter | None, namespaces: Namespaces) -> list[Query]:
        return [*within(namespaces), *([] if filter is None else [query_of(filter)])]

    def _hits(self, query: Query, limit: int, deadline: Deadline, *, documents: bool) -> list[dict[str, Any]]:
        """The best `limit` hits, equal scores by key; a server gives 10 000 at a time."""
        body: dict[str, Any] = {"query": query, "sort": _BY_SCORE, "_source": False}
        if documents:
            body["docvalue_fields"] = [DOCUMENT]
        hits: list[dict[str, Any]] = []
        while len(hits) < limit:
            size = min(_PAGE, limit - len(hits))
            page = self._search({**body, "size": size}, deadline)
            hits += page
            if len(page) < size:
                break
            body["search_after"] = page[-1]["sort"]
        return hits

    def _search(self, body: dict[str, Any], deadline: Deadline) -> list[dict[str, Any]]:
        deadline.check("searching the index")
        answer = self._server.ask(
            "POST",
            f"/{self._alias}/_search",
            {**body, "track_total_hits": False},
            deadline=deadline,
            search_type="dfs_query_then_fetch",
            # A shard that does not answer is an error: an answer without it would be a wrong one.
            allow_partial_search_results="false",
        )
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits

    # ---- Reading -------------------------------------------------------------------------------------------------

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """The vectors of those keys that the index holds, L2-normalised."""
        found: dict[int, Vectors] = {}
        for some in _batches(keys):
            body = {
                "query": _these(some, namespaces),
                "size": len(some),
                "sort": [{KEY: "asc"}],
                **self._forms.reading_vectors(),
            }
            for hit in self._search(body, Deadline.never()):
                vector = np.array(self._forms.vector_of(hit), np.float32)
                found[_key(hit)] = vector / np.linalg.norm(vector)
        return found

    def keys(self) -> Iterator[int]:
        """Every key, ascending."""
        body: dict[str, Any] = {"query": {"match_all": {}}, "sort": [{KEY: "asc"}], "size": _PAGE, "_source": False}
        while True:
            page = self._search(body, Deadline.never())
            yield from [_key(hit) for hit in page]
            if len(page) < _PAGE:
                return
            body["search_after"] = page[-1]["sort"]

    def info(self) -> IndexInfo:
        """Sizes; whatever is readable is in a graph, where the server builds one."""
        return IndexInfo(count=int(self._server.ask("GET", f"/{self._alias}/_count")["count"]), unoptimised=0)

    # ---- Upkeep --------------------------------------------------------------------------------------------------

    def optimise(self) -> None:
        """Merge each shard's segments, into one for every 5 GB, and wait for it: one graph is faster to search than
        many, and deleted texts no longer count in BM25."""
        stats = self._server.ask("GET", f"/{self._alias}/_stats/store")
        stored = int(stats["_all"]["primaries"]["store"]["size_in_bytes"])
        shards = max(1, int(stats["_shards"]["total"]))
        segments = 1 + stored // (shards * _SHARD_BYTES)
        started = self._server.ask(
            "POST",
            f"/{self._alias}/_forcemerge",
            max_num_segments=str(segments),
            wait_for_completion="false",
        )
        # A server that was started again knows nothing of its tasks: what is left of them is done in its own time.
        wait_s = _ASK_AGAIN_S
        while (task := self._server.find(f"/_tasks/{started['task']}")) and not task.get("completed"):
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _ASK_AT_LEAST_EVERY_S)
        self._server.ask("POST", f"/{self._alias}/_refresh")

    def flush(self) -> None:
        """Nothing to do: a write returns when the server has it on its disks."""

    def close(self) -> None:
        """Nothing to release: the connections are the store's."""


def _these(keys: Sequence[int], namespaces: Namespaces) -> Query:
    return {"bool": {"filter": [{"ids": {"values": [str(key) for key in keys]}}, *within(namespaces)]}}


def _key(hit: dict[str, Any]) -> int:
    return int(hit["_id"])


def _candidates(hits: list[dict[str, Any]], k: int, documents: bool, *, more: bool) -> Candidates:
    if not hits:
        return NOTHING_FOUND
    keys = np.fromiter((_key(hit) for hit in hits), np.int64, len(hits))
    scores = np.fromiter((hit["_score"] for hit in hits), np.float32, len(hits))
    document_ids = [hit["fields"][DOCUMENT][0] for hit in hits] if documents else []
    return ranked(keys, scores, document_ids, k, more)


def _cosines(scores: Vectors) -> Vectors:
    cosines: Vectors = np.clip(scores - np.float32(1.0), -1.0, 1.0)
    return cosines


def _batches(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))
