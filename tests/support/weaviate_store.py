"""The Weaviate under test: the one that EMBEDHOUSE_TEST_WEAVIATE_URL names, else the stub.

The URL is a store's: weaviate+http://HOST:8080?grpc_port=50051, its key in EMBEDHOUSE_TEST_WEAVIATE_KEY.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import msgspec
from weaviate_stub import WeaviateStub

from embedhouse.domain.stores import Option, StoreSettings, store_of_url

__all__ = ["foreign_class", "running_weaviate", "settings_of"]


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
