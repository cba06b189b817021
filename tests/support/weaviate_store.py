"""The Weaviate under test: the one that EMBEDHOUSE_TEST_WEAVIATE_URL names, else the stub.

The URL is a store's: weaviate+http://HOST:8080?grpc_port=50051, its key in EMBEDHOUSE_TEST_WEAVIATE_KEY.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import numpy as np
from weaviate_stub import WeaviateStub

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.filters import parse_filter
from embedhouse.domain.stores import Option, StoreSettings, store_of_url
from embedhouse.indexes.weaviate.store import WeaviateStore
from embedhouse.ports import Candidates, Index, IndexEntry, IndexSpec

__all__ = [
    *("CLASS", "NEVER", "OWNER", "QUERY", "SPEC", "StubWithStores", "dense", "entry", "foreign_class", "keys_of"),
    *("running_weaviate", "settings_of", "stub_with_stores", "write"),
]

OWNER = "0123456789ab"
SPEC = IndexSpec(name="indexes/7/cafe", dimensions=4, lexical=LexicalSettings(k1=1.5, b=0.6))
CLASS = "Embedhouse_0123456789ab_7_cafe"
"""What SPEC's index is called on the server."""
NEVER = Deadline.never()
QUERY = np.array([1, 0, 0, 0], np.float32)


def settings_of(stub: WeaviateStub, **options: Option) -> StoreSettings:
    """The settings that reach the stub."""
    options = {"grpc_port": stub.grpc_port, "timeout_s": 20.0, **options}
    return StoreSettings(kind="weaviate", url=stub.url, api_key=stub.key, options=options)


@contextmanager
def running_weaviate() -> Iterator[tuple[StoreSettings, WeaviateStub | None]]:
    """The settings of a server that runs, and the stub if it is one."""
    if url := os.environ.get("EMBEDHOUSE_TEST_WEAVIATE_URL"):
        key = os.environ.get("EMBEDHOUSE_TEST_WEAVIATE_KEY", "")
        yield msgspec.structs.replace(store_of_url(url), api_key=key), None
        return
    stub = WeaviateStub(key="a key of the tests")
    stub.start()
    try:
        yield settings_of(stub), stub
    finally:
        stub.stop()


def foreign_class(settings: StoreSettings, name: str) -> Callable[[], bool]:
    """Make a class of that name that is somebody else's, and say whether it is as it was."""
    headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    at = f"{settings.url}/v1/schema"
    made = {
        "class": name,
        "description": "Somebody else's",
        "multiTenancyConfig": {"enabled": True},
        "properties": [{"name": "title", "dataType": ["text"]}],
        "invertedIndexConfig": {"bm25": {"k1": 1.2, "b": 0.75}, "stopwords": {"preset": "none"}},
    }
    httpx.post(at, json=made, headers=headers).raise_for_status()
    before = httpx.get(f"{at}/{name}", headers=headers).json()
    return lambda: httpx.get(f"{at}/{name}", headers=headers).json() == before


class StubWithStores:
    """A stub of the test's own, and the stores that are connected to it."""

    def __init__(self, stub: WeaviateStub) -> None:
        self.stub = stub
        self._stores: list[WeaviateStore] = []

    def connect(self, settings: StoreSettings | None = None, **options: Option) -> WeaviateStore:
        """Another store, of these settings or of the stub's with these options."""
        self._stores.append(WeaviateStore.connect(settings or settings_of(self.stub, **options), owner=OWNER))
        return self._stores[-1]

    def close(self) -> None:
        """All of it."""
        for store in self._stores:
            store.close()
        self.stub.stop()


@contextmanager
def stub_with_stores() -> Iterator[StubWithStores]:
    """Started, and closed afterwards."""
    made = StubWithStores(WeaviateStub(key="open sesame"))
    made.stub.start()
    try:
        yield made
    finally:
        made.close()


def entry(key: int, text: str = "plain words", **metadata: Any) -> IndexEntry:
    vector = np.array([1, key / 100, 0, 0], np.float32)
    return IndexEntry(key=key, document_id=f"d{key}", vector=vector, text=text, metadata=metadata)


def write(index: Index, *entries: IndexEntry, namespace: str = "default") -> None:
    index.write(namespace=namespace, upserts=entries, deadline=NEVER)


def keys_of(found: Candidates) -> list[int]:
    return [int(key) for key in found.keys]


def dense(index: Index, k: int = 5, raw: dict[str, Any] | None = None, **bound: Any) -> list[int]:
    passing = None if raw is None else parse_filter(raw)
    return keys_of(index.search_dense(QUERY, k, passing, NEVER, **bound))
