"""Every vector cache against the same cases. Redis is the real server."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_house import vector_of
from redis_server import RedisServer

from embedhouse.cache.redis import RedisVectorCache
from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.embeddings import Embeddings
from embedhouse.ports import VectorCache

DIMENSIONS = 16
SPACE = "space"


def hash_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def computed(texts: list[str]) -> Embeddings:
    lengths = np.array([len(text) for text in texts])
    return Embeddings(
        vectors=np.stack([vector_of(text) for text in texts]), token_counts=lengths, dropped_counts=lengths * 2
    )


def put(cache: VectorCache, texts: list[str], fingerprint: str = SPACE) -> None:
    cache.put(fingerprint, "document", [hash_of(text) for text in texts], computed(texts))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(params=["sqlite", "redis", "redis with a time limit"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorCache]:
    opened: VectorCache
    if request.param == "sqlite":
        opened = SqliteVectorCache(tmp_path / "cache.db")
    else:
        server: RedisServer = request.getfixturevalue("server")
        opened = RedisVectorCache(server.url, name="redis", ttl_s=60 if "limit" in request.param else 0)
        opened._link.client.flushdb()
    yield opened
    opened.close()


def test_get_returns_what_was_put_in_the_order_asked(cache: VectorCache) -> None:
    put(cache, ["a", "bb"])
    found = cache.get(SPACE, "document", [hash_of(text) for text in ("bb", "x", "a", "bb")], DIMENSIONS)
    assert found.found.tolist() == [True, False, True, True]
    assert found.token_counts.tolist() == [2, 0, 1, 2]
    assert found.dropped_counts.tolist() == [4, 0, 2, 4]
    np.testing.assert_array_equal(found.vectors[[0, 2, 3]], np.stack([vector_of(t) for t in ("bb", "a", "bb")]))


def test_get_never_crosses_space_role_or_dimensions(cache: VectorCache) -> None:
    put(cache, ["a"])
    for fingerprint, role, dimensions in (
        ("other", "document", DIMENSIONS),
        (SPACE, "query", DIMENSIONS),
        (SPACE, "document", DIMENSIONS - 1),
    ):
        assert not cache.get(fingerprint, role, [hash_of("a")], dimensions).found.any()  # type: ignore[arg-type]


def test_get_of_no_text_is_empty(cache: VectorCache) -> None:
    assert cache.get(SPACE, "document", [], DIMENSIONS).vectors.shape == (0, DIMENSIONS)


def test_put_again_replaces(cache: VectorCache) -> None:
    put(cache, ["a"])
    other = computed(["b"])
    cache.put(SPACE, "document", [hash_of("a")], other)
    found = cache.get(SPACE, "document", [hash_of("a")], DIMENSIONS)
    np.testing.assert_array_equal(found.vectors, other.vectors)
    assert cache.info().vectors == 1


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 999, 1000, 1001, 2500])
def test_batches_of_any_size_come_back_whole(cache: VectorCache, count: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    put(cache, texts)
    found = cache.get(SPACE, "document", [hash_of(text) for text in reversed(texts)], DIMENSIONS)
    assert found.found.all()
    np.testing.assert_array_equal(found.vectors, computed(texts).vectors[::-1])
    info = cache.info()
    assert info.vectors == count
    assert info.bytes is not None
    assert info.bytes > count * DIMENSIONS * 4


def test_many_threads_read_and_write_at_once(cache: VectorCache) -> None:
    wrong: list[str] = []

    def work(number: int) -> None:
        texts = [f"text {(number * 7 + each) % 40}" for each in range(20)]
        for _ in range(10):
            put(cache, texts)
            found = cache.get(SPACE, "document", [hash_of(text) for text in texts], DIMENSIONS)
            if not (found.found.all() and np.array_equal(found.vectors, computed(texts).vectors)):
                wrong.append(f"thread {number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
