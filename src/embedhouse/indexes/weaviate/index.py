"""One index in Weaviate: a class, with a tenant for each namespace.

Scores: dense is 1 - Weaviate's cosine distance. Lexical is Weaviate's BM25 times k1 + 1, a factor that it leaves
out; its statistics (documents, lengths, and how many have a term) are those of one tenant. A call that is bound to
several namespaces, or to none, asks each tenant and merges what they say.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import numpy as np
from weaviate import WeaviateClient
from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.data import DataObject
from weaviate.classes.query import MetadataQuery
from weaviate.collections.classes.filters import FilterReturn

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import CapabilityMissing
from embedhouse.domain.filters import Filter
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.domain.scalars import flatten
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.indexes.ranking import NOTHING_FOUND, check_entries, check_vector, ranked
from embedhouse.indexes.weaviate.classes import DENSE, DOCUMENT, TEXT, EndProperties
from embedhouse.indexes.weaviate.filters import TERMS, Filterable, condition_of, filterable
from embedhouse.indexes.weaviate.link import WeaviateLink
from embedhouse.indexes.weaviate.objects import (
    Objects,
    delete_objects,
    insert_objects,
    key_of,
    merge_into,
    object_id,
    these,
)
from embedhouse.ports import Candidates, Capabilities, IndexEntry, IndexInfo, IndexSpec

__all__ = ["WeaviateIndex"]

Result = TypeVar("Result")

_NEVER = Deadline.never()
_TIE_ROOM = 16
_BATCH = 500
_BATCH_BYTES = 8 * 1024 * 1024
_PAGE = 1_000
_POLL_S = 0.2
_START = UUID(int=0)


class _Hit(msgspec.Struct, frozen=True):
    key: int
    score: float
    document_id: str


class WeaviateIndex:
    """One generation's class. Thread-safe, also over several processes."""

    def __init__(self, link: WeaviateLink, class_name: str, spec: IndexSpec) -> None:
        self._link = link
        self._class_name = class_name
        self._spec = spec
        self._analyzer = get_analyzer(spec.lexical.analyzer)
        self._ends = EndProperties(link, class_name)
        self._tenants: frozenset[str] = frozenset()
        """Some that are there."""

    @property
    def capabilities(self) -> Capabilities:
        """Everything that its sides are for."""
        return Capabilities(
            dense=self._spec.sides != "lexical",
            lexical=self._spec.sides != "dense",
            filters=True,
            partial_metadata=True,
            remote=True,
            durable=True,
        )

    # ---- Writing ----

    def write(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        upserts: Sequence[IndexEntry] = (),
        deletes: Sequence[int] = (),
        metadata: Sequence[tuple[int, Metadata]] = (),
        deadline: Deadline,
    ) -> None:
        """Apply deletes, then upserts, then whole-metadata replacements. Errors: InvalidVector, StoreError,
        IndexDamaged."""
        deadline.check("writing to the index")
        if self.capabilities.dense:
            check_entries(upserts, self._spec.dimensions)
        is_there = bool(self._existing([namespace], deadline))
        for keys in _batches(deletes, _BATCH if is_there else 0):
            self._call(partial(delete_objects, keys=keys, store=self._link.name), namespace, deadline)
        self._insert_all(list({entry.key: entry for entry in upserts}.values()), namespace, deadline)
        if is_there or upserts:
            self._replace_metadata(dict(metadata), namespace, deadline)
        if self._link.options.async_indexing and (upserts or deletes):
            self._wait_for_graph(deadline)

    def _call(self, work: Callable[[Objects], Result], tenant: str, deadline: Deadline, doing: str = "") -> Result:
        level = ConsistencyLevel(self._link.options.consistency_level)

        def ask(client: WeaviateClient) -> Result:
            objects = client.collections.use(self._class_name, skip_argument_validation=True)
            return work(objects.with_consistency_level(level).with_tenant(tenant))

        return self._link.call(ask, doing or "writing to the index", deadline)

    def _insert_all(self, entries: Sequence[IndexEntry], namespace: str, deadline: Deadline) -> None:
        for batch in _batches(entries, self._batch_size()):
            made = [(entry, filterable(flatten(entry.metadata))) for entry in batch]
            self._ends.ensure((each for _, each in made), deadline)
            objects = [self._object(entry, each) for entry, each in made]
            self._call(partial(insert_objects, objects=objects, store=self._link.name), namespace, deadline)
            self._tenants |= {namespace}

    def _batch_size(self) -> int:
        return max(1, min(_BATCH, _BATCH_BYTES // (4 * self._spec.dimensions)))

    def _object(self, entry: IndexEntry, found: Filterable) -> DataObject[Any, Any]:
        ends = self._ends.kept(found.ends)
        properties: dict[str, Any] = {DOCUMENT: entry.document_id, TERMS: found.terms, **ends}
        if self.capabilities.lexical:
            properties[TEXT] = " ".join(self._analyzer.terms(entry.text))
        vector = {DENSE: entry.vector.tolist()} if self.capabilities.dense else None
        return DataObject(properties=properties, uuid=object_id(entry.key), vector=vector)

    def _replace_metadata(self, changes: dict[int, Metadata], namespace: str, deadline: Deadline) -> None:
        if not changes:
            return
        new = {key: filterable(flatten(metadata)) for key, metadata in changes.items()}
        self._ends.ensure(new.values(), deadline)
        no_ends = dict.fromkeys(self._ends.all(deadline))

        def replace(key: int) -> None:
            properties = {**no_ends, TERMS: new[key].terms, **self._ends.kept(new[key].ends)}
            self._call(lambda objects: merge_into(objects, key, properties), namespace, deadline)

        self._link.each(replace, list(new))

    # ---- Searching ----

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
        """The k entries of highest cosine, as Weaviate's graph finds them: exact where a filter leaves few."""
        check_vector(vector, self._spec.dimensions, "of the query")
        self._check_side(self.capabilities.dense, "searches by meaning")
        query, passing = vector.tolist(), self._condition(filter, deadline)

        def nearest(objects: Objects, limit: int) -> list[_Hit]:
            found = objects.query.near_vector(
                query,
                target_vector=DENSE,
                limit=limit,
                filters=passing,
                return_metadata=MetadataQuery(distance=True),
                return_properties=[DOCUMENT] if documents else [],
            )
            return [_hit(each, 1.0 - (each.metadata.distance or 0.0)) for each in found.objects]

        found = self._search(nearest, k, namespaces, deadline, documents=documents)
        return msgspec.structs.replace(found, scores=np.clip(found.scores, -1.0, 1.0))

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
        """The k entries of highest BM25; statistics are those of each tenant, not of the filter."""
        self._check_side(self.capabilities.lexical, "searches by words")
        deadline.check("searching the index")
        terms = " ".join(dict.fromkeys(self._analyzer.terms(text)))
        if not terms:
            return NOTHING_FOUND
        passing, factor = self._condition(filter, deadline), self._spec.lexical.k1 + 1

        def best(objects: Objects, limit: int) -> list[_Hit]:
            found = objects.query.bm25(
                terms,
                query_properties=[TEXT],
                limit=limit,
                filters=passing,
                return_metadata=MetadataQuery(score=True),
                return_properties=[DOCUMENT] if documents else [],
            )
            return [_hit(each, factor * (each.metadata.score or 0.0)) for each in found.objects]

        return self._search(best, k, namespaces, deadline, documents=documents)

    def _check_side(self, has: bool, what: str) -> None:
        if not has:
            remedy = "The other store of its collection answers them."
            raise CapabilityMissing(part=f"this index in {self._link.name}", capability=what, remedy=remedy)

    def _condition(self, filter: Filter | None, deadline: Deadline) -> FilterReturn | None:
        return None if filter is None else condition_of(filter, lambda name: self._ends.has(name, deadline))

    def _search(
        self,
        fetch: Callable[[Objects, int], list[_Hit]],
        k: int,
        namespaces: Namespaces,
        deadline: Deadline,
        *,
        documents: bool,
    ) -> Candidates:
        def best_of(tenant: str) -> tuple[list[_Hit], bool]:
            return self._past_ties(
                lambda limit: self._call(
                    lambda objects: fetch(objects, limit), tenant, deadline, "searching the index"
                ),
                k,
            )

        found = self._of_each(best_of, namespaces, deadline)
        hits = [hit for some, _ in found for hit in some]
        keys = np.fromiter((hit.key for hit in hits), np.int64, len(hits))
        scores = np.fromiter((hit.score for hit in hits), np.float32, len(hits))
        document_ids = [hit.document_id for hit in hits] if documents else []
        return ranked(keys, scores, document_ids, k, more=any(more for _, more in found))

    def _past_ties(self, fetch: Callable[[int], list[_Hit]], k: int) -> tuple[list[_Hit], bool]:
        """The best of a tenant, past the k-th as far as its score goes on, and whether there may be more that can
        be had: no answer is longer than the server allows."""
        most = self._link.options.max_results
        limit = min(k + _TIE_ROOM, most)
        while True:
            hits = fetch(limit)
            if len(hits) < limit or limit == most or hits[-1].score < hits[k - 1].score:
                return hits, len(hits) == limit and k < most
            limit = min(limit * 4, most)

    # ---- Reading ----

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """The exact cosine with `vector` of those keys that the index holds."""
        check_vector(vector, self._spec.dimensions, "of the query")
        self._check_side(self.capabilities.dense, "searches by meaning")
        direction = vector / np.linalg.norm(vector)
        found = self._vectors(keys, namespaces, deadline)
        return {key: float(np.clip(held @ direction, -1.0, 1.0)) for key, held in found.items()}

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """The vectors of those keys that the index holds, L2-normalised."""
        return self._vectors(keys, namespaces, _NEVER) if self.capabilities.dense else {}

    def _vectors(self, keys: Sequence[int], namespaces: Namespaces, deadline: Deadline) -> dict[int, Vectors]:
        found: dict[int, Vectors] = {}
        for some in _batches(keys, self._batch_size()):
            for part in self._of_each(partial(self._read, keys=some, deadline=deadline), namespaces, deadline):
                found |= part
        return found

    def _read(self, tenant: str, keys: Sequence[int], deadline: Deadline) -> dict[int, Vectors]:
        def read(objects: Objects) -> dict[int, Vectors]:
            found = objects.query.fetch_objects(
                filters=these(keys), limit=len(keys), include_vector=[DENSE], return_properties=[]
            )
            return {key_of(each.uuid): _unit(each.vector[DENSE]) for each in found.objects}

        return self._call(read, tenant, deadline, "reading vectors")

    def keys(self) -> Iterator[int]:
        """Every key, ascending."""
        return iter(heapq.merge(*(self._keys_of(tenant) for tenant in self._existing(None, _NEVER))))

    def _keys_of(self, tenant: str) -> Iterator[int]:
        """Weaviate lists objects in the order of their ids."""
        after = _START
        while True:

            def read(objects: Objects, after: UUID = after) -> list[UUID]:
                page = objects.query.fetch_objects(limit=_PAGE, after=after, return_properties=[])
                return [each.uuid for each in page.objects]

            ids = self._call(read, tenant, _NEVER, "listing keys")
            yield from map(key_of, ids)
            if len(ids) < _PAGE:
                return
            after = ids[-1]

    def info(self) -> IndexInfo:
        """Sizes; what waits for the graph does so only where the server indexes in the background."""

        def count(tenant: str) -> int:
            return self._call(
                lambda objects: objects.aggregate.over_all(total_count=True).total_count or 0,
                tenant,
                _NEVER,
                "counting",
            )

        counts = self._link.each(count, self._existing(None, _NEVER))
        return IndexInfo(count=sum(counts), unoptimised=self._waiting(_NEVER))

    def optimise(self) -> None:
        """Wait until everything is in the graph."""
        self._wait_for_graph(_NEVER)

    def flush(self) -> None:
        """Nothing to do: what a write returned from is in the server's log."""

    def close(self) -> None:
        """Nothing to do: the connections are the store's."""

    def _wait_for_graph(self, deadline: Deadline) -> None:
        while self._waiting(deadline):
            deadline.check("waiting for the graph")
            time.sleep(min(_POLL_S, deadline.remaining_s))

    def _waiting(self, deadline: Deadline) -> int:
        """Vectors that are not in the graph yet."""
        nodes = self._link.call(
            lambda client: client.cluster.nodes(self._class_name, output="verbose"), "reading sizes", deadline
        )
        return sum(shard.vector_queue_length for node in nodes for shard in node.shards or [])

    def _of_each(self, ask: Callable[[str], Result], namespaces: Namespaces, deadline: Deadline) -> list[Result]:
        """What each tenant answers. Where all are asked, those met before are asked while the server lists them."""
        met = sorted(self._tenants) if namespaces is None else []
        if not met:
            return self._link.each(ask, self._existing(namespaces, deadline))
        listed = self._link.soon(lambda: self._existing(None, deadline))
        answers = self._link.each(ask, met)
        return answers + self._link.each(ask, [tenant for tenant in listed() if tenant not in met])

    def _existing(self, namespaces: Namespaces, deadline: Deadline) -> list[str]:
        """The namespaces asked for that there are; the server is asked for those not met before, and for all."""
        if namespaces is not None and self._tenants.issuperset(namespaces):
            return sorted(set(namespaces))

        def read(client: WeaviateClient) -> list[str]:
            return list(client.collections.use(self._class_name).tenants.get())

        there = frozenset(self._link.call(read, "listing tenants", deadline))
        self._tenants |= there
        return sorted(there if namespaces is None else there.intersection(namespaces))


def _hit(found: Any, score: float) -> _Hit:
    return _Hit(key_of(found.uuid), score, found.properties.get(DOCUMENT, ""))


def _unit(stored: Any) -> Vectors:
    vector = np.array(stored, np.float32)
    return vector / np.linalg.norm(vector)


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size)) if size else ()
