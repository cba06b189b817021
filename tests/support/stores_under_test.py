"""The stores that the contract suite runs over. To add one: write a maker, and enter it in MAKERS.

A maker starts what it needs, yields a StoreUnderTest, and stops what it started. It may call `pytest.skip` with the
reason why it cannot start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import qdrant_edge
from elasticsearch_server import ElasticsearchEmulator, foreign_index
from elasticsearch_stub import ElasticsearchStub
from msgspec import structs
from pinecone_stub import PineconeStub
from qdrant_local import LocalQdrant
from qdrant_stub import QdrantStub, foreign_collection

from embedhouse.domain.errors import IndexDamaged
from embedhouse.domain.stores import StoreKind, StoreSettings, store_of_url
from embedhouse.indexes.elasticsearch.store import ElasticsearchStore
from embedhouse.indexes.embedded import EmbeddedStore
from embedhouse.indexes.memory import MemoryIndex
from embedhouse.indexes.naming import object_name
from embedhouse.indexes.pinecone.store import PineconeStore
from embedhouse.indexes.qdrant import edge as qdrant
from embedhouse.indexes.qdrant.collections import QdrantCollections, QdrantOptions
from embedhouse.indexes.qdrant.connection import QdrantConnection
from embedhouse.indexes.qdrant.server import QdrantStore
from embedhouse.ledger.database import Database
from embedhouse.ledger.term_statistics import LedgerTermStatistics
from embedhouse.ports import Index, IndexSpec, Store

__all__ = ["GAPS", "MAKERS", "OWNER", "Maker", "StoreUnderTest"]

OWNER = "0123456789ab"
"""The house's id with which every maker connects."""

GAPS = {
    "dense": "searches by meaning",
    "lexical": "searches by words",
    "bm25": "lexical scores that are BM25 exactly, over the whole index",
    "bm25_now": "the same right after writing, before the store is settled",
    "filters": "metadata filters",
    "partial_metadata": "metadata replaced without the vector",
    "ties": "equal scores ordered by key, also at the k-th place",
    "large_keys": "keys up to 2^63 - 1",
    "recall": "10 000 vectors searched at recall .99",
}
"""What a store may lack: the keys of `gaps`, beside the names of test functions."""


@dataclass(frozen=True, kw_only=True)
class StoreUnderTest:
    """A store and what the suite must know about it.

    `gaps`: what it lacks (a key of GAPS, or the name of one test function) -> the reason, with which it is skipped.
    `tolerance`: how far a dense score may be from the exact cosine. `bm25_tolerance`: relative, of lexical scores.
    `settles`: whether the index is optimised, closed and opened again between writing and searching at rest.
    `make_foreign`: puts something that is not the house's where the spec's index would be, and returns a function
    that says whether it is untouched. `go_away`, `come_back`: stop the server, start it again with all that it had.
    """

    store: Store
    gaps: dict[str, str] = field(default_factory=dict)
    tolerance: float = 1e-3
    bm25_tolerance: float = 1e-4
    settles: bool = True
    make_foreign: Callable[[IndexSpec], Callable[[], bool]] | None = None
    go_away: Callable[[], None] | None = None
    come_back: Callable[[], None] | None = None


Maker = Callable[[Path], AbstractContextManager[StoreUnderTest]]


# ---- In memory, the reference ------------------------------------------------------------------------------------


class _KeptIndex(MemoryIndex):
    """Opened again, it still has everything."""

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def close(self) -> None:
        return


class MemoryStore:
    """Exact indexes by name."""

    def __init__(self) -> None:
        self._indexes: dict[str, _KeptIndex] = {}

    def exists(self, name: str) -> bool:
        return name in self._indexes

    def open(self, spec: IndexSpec) -> Index:
        made = _KeptIndex(dimensions=spec.dimensions, lexical=spec.lexical)
        found = self._indexes.setdefault(spec.name, made)
        if found.dimensions != spec.dimensions:
            raise IndexDamaged(path=Path(spec.name), reason=f"it is of {found.dimensions} dimensions")
        return found

    def drop(self, name: str) -> None:
        self._indexes.pop(name, None)

    def close(self) -> None:
        self._indexes.clear()


@contextmanager
def _memory(folder: Path) -> Iterator[StoreUnderTest]:
    yield StoreUnderTest(store=MemoryStore(), tolerance=1e-6, settles=False)


# ---- Embedded ----------------------------------------------------------------------------------------------------


def _embedded(settles: bool) -> Maker:
    @contextmanager
    def make(folder: Path) -> Iterator[StoreUnderTest]:
        # Small test data must reach the graph, and the segments that are no longer written to.
        graph = qdrant_edge.HnswIndexConfig(m=16, ef_construct=200, full_scan_threshold=10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(qdrant, "_GRAPH_FROM_KB", 1)
            patch.setattr(qdrant, "_GRAPH", graph)
            yield StoreUnderTest(store=EmbeddedStore(folder), settles=settles)

    return make


# ---- Elasticsearch -----------------------------------------------------------------------------------------------


@contextmanager
def _elasticsearch(folder: Path) -> Iterator[StoreUnderTest]:
    """A real server where EMBEDHOUSE_TEST_ELASTICSEARCH_URL names one (user and password in the URL)."""
    if url := os.environ.get("EMBEDHOUSE_TEST_ELASTICSEARCH_URL"):
        yield _elasticsearch_at("elasticsearch", url)
        return
    with ElasticsearchEmulator(folder) as server:
        yield replace(_elasticsearch_at("elasticsearch", server.url), go_away=server.stop, come_back=server.start)


def _elasticsearch_at(kind: StoreKind, url: str) -> StoreUnderTest:
    settings = StoreSettings(kind=kind, url=url, options={"replicas": 0})
    return StoreUnderTest(
        store=ElasticsearchStore.connect(settings, owner=OWNER),
        tolerance=1e-6,
        make_foreign=lambda spec: foreign_index(url, object_name(OWNER, spec.name)),
    )


@contextmanager
def _opensearch(folder: Path) -> Iterator[StoreUnderTest]:
    """A real server where EMBEDHOUSE_TEST_OPENSEARCH_URL names one, else the stub."""
    if url := os.environ.get("EMBEDHOUSE_TEST_OPENSEARCH_URL"):
        yield _elasticsearch_at("opensearch", url)
        return
    with ElasticsearchStub("3.1.0", product="opensearch") as stub:
        made = _elasticsearch_at("opensearch", stub.url)
        yield replace(
            made,
            make_foreign=lambda spec: stub.make_foreign(object_name(OWNER, spec.name)),
            go_away=stub.stop,
            come_back=stub.start,
        )
        assert stub.complaints == []


# ---- Pinecone ----------------------------------------------------------------------------------------------------


@contextmanager
def _pinecone(folder: Path) -> Iterator[StoreUnderTest]:
    """A real project where EMBEDHOUSE_TEST_PINECONE_URL (pinecone://NAME?region=...) and ..._KEY name one."""
    with closing(Database(folder / "ledger.db")) as database:
        statistics = LedgerTermStatistics(database)
        if url := os.environ.get("EMBEDHOUSE_TEST_PINECONE_URL"):
            settings = structs.replace(store_of_url(url), api_key=os.environ["EMBEDHOUSE_TEST_PINECONE_KEY"])
            with closing(PineconeStore.connect(settings, owner=OWNER, statistics=statistics)) as store:
                yield StoreUnderTest(store=store, gaps=_PINECONE_GAPS, bm25_tolerance=_PINECONE_BM25)
            return
        with PineconeStub() as stub:
            with closing(PineconeStore.connect(stub.settings(), owner=OWNER, statistics=statistics)) as store:
                yield StoreUnderTest(
                    store=store,
                    gaps=_PINECONE_GAPS,
                    tolerance=1e-6,
                    bm25_tolerance=_PINECONE_BM25,
                    make_foreign=lambda spec: stub.make_foreign(f"docs-{spec.dimensions}", spec.dimensions),
                    go_away=stub.stop,
                    come_back=stub.start,
                )
            assert stub.complaints == []


# A text's weights keep the average length of the time when it was written: docs/decisions/stores.md. What one write
# brings is exact; its own tests say so.
_PINECONE_BM25 = 0.02
_PINECONE_GAPS = {
    "test_index_is_like_the_exact_one_after_any_order_of_writes": "a text's weights keep the average length of the "
    "time when it was written, so equal texts of two writes score a little apart"
}


# ---- Weaviate ----------------------------------------------------------------------------------------------------


@contextmanager
def _weaviate(folder: Path) -> Iterator[StoreUnderTest]:
    """A real server where EMBEDHOUSE_TEST_WEAVIATE_URL names one, else the stub."""
    from weaviate_store import foreign_class, running_weaviate

    from embedhouse.indexes.weaviate.store import WeaviateStore

    with running_weaviate() as (settings, stub):
        store = WeaviateStore.connect(settings, owner=OWNER)
        yield StoreUnderTest(
            store=store,
            gaps=_WEAVIATE_GAPS if stub else _WEAVIATE_GAPS | _REAL_WEAVIATE_GAPS,
            tolerance=1e-6,
            make_foreign=lambda spec: foreign_class(settings, object_name(OWNER, spec.name).capitalize()),
            go_away=stub.stop if stub else None,
            come_back=stub.start if stub else None,
        )
        store.close()


_WEAVIATE_GAPS = {"test_index_statistics_are_those_of_all_namespaces": "each tenant has statistics of its own"}
_REAL_WEAVIATE_GAPS = {
    "bm25": "what was replaced or deleted counts in the statistics until segments are merged",
    "bm25_now": "the same",
}


# ---- Qdrant ------------------------------------------------------------------------------------------------------


@contextmanager
def _qdrant_local(folder: Path) -> Iterator[StoreUnderTest]:
    connection = QdrantConnection(LocalQdrant(), "Qdrant in memory", timeout_s=60)
    store = QdrantStore(connection, QdrantCollections(connection, QdrantOptions()), OWNER)
    gaps = {"test_index_is_written_and_searched_by_many_threads": "the client's in-memory mode is for one thread"}
    yield StoreUnderTest(store=store, gaps=gaps)


@contextmanager
def _qdrant(folder: Path) -> Iterator[StoreUnderTest]:
    """A real server where EMBEDHOUSE_TEST_QDRANT_URL names one (its key in ..._KEY)."""
    if url := os.environ.get("EMBEDHOUSE_TEST_QDRANT_URL"):
        key = os.environ.get("EMBEDHOUSE_TEST_QDRANT_KEY", "")
        settings = StoreSettings(kind="qdrant", url=url, api_key=key)
        yield StoreUnderTest(
            store=QdrantStore.connect(settings, owner=OWNER),
            make_foreign=lambda spec: foreign_collection(url, key, object_name(OWNER, spec.name)),
        )
        return
    with QdrantStub(folder) as server:
        yield StoreUnderTest(
            store=QdrantStore.connect(server.settings(), owner=OWNER),
            make_foreign=lambda spec: foreign_collection(server.url, "", object_name(OWNER, spec.name)),
            go_away=server.stop,
            come_back=server.start,
        )
        assert server.complaints == []


# ---- PostgreSQL --------------------------------------------------------------------------------------------------


def _pgvector(vectors: str, tolerance: float) -> Maker:
    @contextmanager
    def make(folder: Path) -> Iterator[StoreUnderTest]:
        """A real server, of the test's own or the one that EMBEDHOUSE_TEST_POSTGRES_URL names."""
        import pgvector_store

        with pgvector_store.maybe_own_server() as (url, server):
            # Small test data must reach the graph.
            store = pgvector_store.connect(url, OWNER, vectors=vectors, graph_from=1)
            yield StoreUnderTest(
                store=store,
                tolerance=tolerance,
                make_foreign=lambda spec: pgvector_store.foreign_table(url, object_name(OWNER, spec.name)),
                go_away=server.kill if server else None,
                come_back=server.start if server else None,
            )
            store.close()

    return make


MAKERS: dict[str, Maker] = {
    "memory": _memory,
    "embedded": _embedded(settles=False),
    "embedded-optimised": _embedded(settles=True),
    "qdrant-local": _qdrant_local,
    "qdrant": _qdrant,
    "elasticsearch": _elasticsearch,
    "opensearch": _opensearch,
    "pinecone": _pinecone,
    "weaviate": _weaviate,
    "pgvector": _pgvector("halfvec", 1e-3),
    "pgvector-single": _pgvector("vector", 1e-6),
}
