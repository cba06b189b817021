"""The cache in a real Redis server that is down at the start, dies in the middle, hangs, is full, and comes back;
and several processes over one."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import redis
from fake_house import HashEmbedder, vector_of
from redis_server import RedisServer

from embedhouse.cache.claims import RedisClaims
from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.cache.redis import RedisVectorCache
from embedhouse.cache.redis_link import RedisLink
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import DeadlineExceeded, InvalidSetting, ModelError
from embedhouse.domain.spaces import Lane, Role
from embedhouse.telemetry import COUNTERS
from embedhouse.wiring.caches import CacheChoice, open_cache

SPACE = "space"
SUPPORT = Path(__file__).parent.parent / "support"


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _until(happened: Callable[[], object], seconds: float = 8.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as started:
        yield started


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as opened:
        yield opened


@pytest.fixture
def cache(server: RedisServer) -> Iterator[RedisVectorCache]:
    opened = RedisVectorCache(server.url, name="redis")
    yield opened
    opened.close()


def _embed(cache: RedisVectorCache, text: str, inner: HashEmbedder) -> bool:
    """Whether it was cached; the vector is right in any case."""
    found = CachedEmbedder(inner, cache).embed([text], role="document", deadline=Deadline(20))
    np.testing.assert_array_equal(found.vectors, [vector_of(text)])
    return found.cached_count == 1


def test_server_that_is_down_at_the_start_is_used_when_it_comes(tmp_path: Path) -> None:
    with RedisServer(tmp_path, started=False) as server:
        before = COUNTERS.snapshot().get("cache_failures", 0)
        cache = RedisVectorCache(server.url, name="redis")
        assert COUNTERS.snapshot()["cache_failures"] == before + 1
        inner = HashEmbedder()
        assert not _embed(cache, "a", inner)
        assert (cache.info().vectors, cache.info().bytes) == (None, None)
        server.start()
        _until(lambda: cache.info().vectors is not None)
        assert not _embed(cache, "a", inner)
        assert _embed(cache, "a", inner)
        cache.close()


def test_server_that_dies_in_the_middle_costs_only_the_cache(server: RedisServer, cache: RedisVectorCache) -> None:
    inner = HashEmbedder()
    _embed(cache, "a", inner)
    assert _embed(cache, "a", inner)
    server.kill()
    before = COUNTERS.snapshot().get("cache_failures", 0)
    for _ in range(20):
        assert not _embed(cache, "a", inner)
    assert COUNTERS.snapshot()["cache_failures"] == before + 1  # then it is left alone
    server.start()
    _until(lambda: cache.info().vectors is not None)
    assert not _embed(cache, "a", inner)
    assert _embed(cache, "a", inner)


def test_server_that_hangs_costs_one_call_a_second_and_the_others_nothing(
    server: RedisServer, cache: RedisVectorCache
) -> None:
    inner = HashEmbedder()
    _embed(cache, "a", inner)
    server.freeze()
    started = time.monotonic()
    assert not _embed(cache, "a", inner)
    assert time.monotonic() - started < 3
    started = time.monotonic()
    for _ in range(20):
        _embed(cache, "a", inner)
    assert time.monotonic() - started < 1
    server.thaw()
    _until(lambda: cache.info().vectors is not None)
    assert _embed(cache, "a", inner)


def test_full_server_refuses_and_still_answers(cache: RedisVectorCache, client: redis.Redis) -> None:
    inner = HashEmbedder()
    _embed(cache, "a", inner)
    client.config_set("maxmemory", "1")
    before = COUNTERS.snapshot().get("cache_failures", 0)
    assert not _embed(cache, "b", inner)
    assert COUNTERS.snapshot()["cache_failures"] > before
    assert _embed(cache, "a", inner)


@pytest.mark.parametrize("value", [b"", b"text", b"\0" * 84, b'{"vector": [0.1]}'])
def test_foreign_value_in_the_server_is_a_miss(cache: RedisVectorCache, client: redis.Redis, value: bytes) -> None:
    inner = HashEmbedder()
    _embed(cache, "a", inner)
    (key,) = client.keys("*")
    client.set(key, value)
    before = sum(COUNTERS.snapshot().get(f"cache_{kind}_entries", 0) for kind in ("damaged", "foreign"))
    assert not _embed(cache, "a", inner)
    after = sum(COUNTERS.snapshot().get(f"cache_{kind}_entries", 0) for kind in ("damaged", "foreign"))
    assert after > before
    assert _embed(cache, "a", inner)


def test_value_of_another_type_is_a_miss(cache: RedisVectorCache, client: redis.Redis) -> None:
    inner = HashEmbedder()
    _embed(cache, "a", inner)
    (key,) = client.keys("*")
    client.delete(key)
    client.lpush(key, "a list")
    assert not _embed(cache, "a", inner)


def test_time_limit_begins_anew_with_each_use(server: RedisServer, client: redis.Redis) -> None:
    cache = RedisVectorCache(server.url, name="redis", ttl_s=100)
    _embed(cache, "a", HashEmbedder())
    (key,) = client.keys("*")
    assert 90 < client.ttl(key) <= 100
    client.expire(key, 5)
    assert _embed(cache, "a", HashEmbedder())
    assert 90 < client.ttl(key) <= 100
    cache.close()


def test_without_a_time_limit_vectors_stay(cache: RedisVectorCache, client: redis.Redis) -> None:
    _embed(cache, "a", HashEmbedder())
    (key,) = client.keys("*")
    assert client.ttl(key) == -1


@pytest.mark.parametrize("url", ["http://127.0.0.1/0", "redis", "redis://127.0.0.1:port/0"])
def test_url_that_is_none_is_a_setting_that_is_not_valid(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSetting, match="redis_url"):
        open_cache(CacheChoice(backend="redis", redis_url=url), tmp_path)


def test_password_is_neither_logged_nor_shown(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with RedisServer(tmp_path, started=False) as server:
        url = server.url.replace("redis://", "redis://:hunter2@")
        choice = CacheChoice(backend="redis", redis_url=url)
        open_cache(choice, tmp_path).close()
        assert "hunter2" not in repr(choice)
    out, err = capfd.readouterr()
    assert "does not answer" in out + err
    assert "hunter2" not in out + err


class Slow(HashEmbedder):
    """Takes half a second."""

    def __init__(self, seconds: float = 0.5) -> None:
        super().__init__(seconds_per_batch=seconds)


class Failing(Slow):
    """Takes half a second to fail."""

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        super().embed(texts, role=role, lane=lane, deadline=deadline)
        raise ModelError(reason="not today")


class Another:
    """Another process, as far as the cache can tell: its own cache object over the same server."""

    def __init__(self, server: RedisServer, inner: HashEmbedder) -> None:
        self.cache = RedisVectorCache(server.url, name="redis")
        self.inner = inner
        self.embedder = CachedEmbedder(inner, self.cache)


@pytest.fixture
def pair(server: RedisServer) -> Iterator[Callable[[HashEmbedder, HashEmbedder], tuple[Another, Another]]]:
    opened: list[Another] = []

    def make(one: HashEmbedder, two: HashEmbedder) -> tuple[Another, Another]:
        opened.extend([Another(server, one), Another(server, two)])
        return opened[-2], opened[-1]

    yield make
    for another in opened:
        another.cache.close()


Pair = Callable[[HashEmbedder, HashEmbedder], tuple[Another, Another]]


def test_two_processes_compute_a_text_once_between_them(pair: Pair) -> None:
    one, two = pair(Slow(), Slow())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.embedder.embed, ["a", "b"], role="document", deadline=Deadline(20))
        time.sleep(0.2)
        second = pool.submit(two.embedder.embed, ["b", "c", "a"], role="document", deadline=Deadline(20))
        np.testing.assert_array_equal(first.result().vectors, [vector_of("a"), vector_of("b")])
        np.testing.assert_array_equal(second.result().vectors, [vector_of("b"), vector_of("c"), vector_of("a")])
    assert (one.inner.calls, two.inner.calls) == (["a", "b"], ["c"])
    assert second.result().cached is not None
    assert second.result().cached.tolist() == [True, False, True]  # type: ignore[union-attr]


def test_query_does_not_wait_for_another_process_that_computes_in_bulk(pair: Pair) -> None:
    one, two = pair(Slow(2.0), HashEmbedder())
    with ThreadPoolExecutor(1) as pool:
        bulk = pool.submit(one.embedder.embed, ["a"], role="query", lane="bulk", deadline=Deadline(20))
        time.sleep(0.2)
        started = time.monotonic()
        two.embedder.embed(["a"], role="query", lane="interactive", deadline=Deadline(20))
        assert time.monotonic() - started < 1.0
        bulk.result()


def test_process_whose_partner_fails_computes_itself(pair: Pair) -> None:
    one, two = pair(Failing(), HashEmbedder())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.embedder.embed, ["a"], role="document", deadline=Deadline(20))
        time.sleep(0.2)
        second = pool.submit(two.embedder.embed, ["a"], role="document", deadline=Deadline(20))
        with pytest.raises(ModelError):
            first.result()
        np.testing.assert_array_equal(second.result().vectors, [vector_of("a")])


def test_follower_in_another_process_has_a_deadline_of_its_own(pair: Pair) -> None:
    one, two = pair(Slow(1.0), HashEmbedder())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.embedder.embed, ["a"], role="document", deadline=Deadline(20))
        time.sleep(0.2)
        with pytest.raises(DeadlineExceeded):
            two.embedder.embed(["a"], role="document", deadline=Deadline(0.2))
        first.result()


def test_server_that_dies_while_one_waits_for_another_lets_both_compute(server: RedisServer, pair: Pair) -> None:
    one, two = pair(Slow(1.0), HashEmbedder())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.embedder.embed, ["a"], role="document", deadline=Deadline(20))
        time.sleep(0.2)
        second = pool.submit(two.embedder.embed, ["a"], role="document", deadline=Deadline(20))
        time.sleep(0.1)
        server.kill()
        for call in (first, second):
            np.testing.assert_array_equal(call.result().vectors, [vector_of("a")])


@pytest.fixture
def link(server: RedisServer) -> Iterator[RedisLink]:
    opened = RedisLink(server.url, name="redis")
    yield opened
    opened.close()


def test_claim_is_renewed_while_it_is_held_and_runs_out_when_its_process_dies(link: RedisLink) -> None:
    one, two = (RedisClaims(link, b"claim:", ttl_s=0.6) for _ in range(2))
    assert one.claim(SPACE, "document", [_hash("a")], "bulk") == [True]
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert two.claim(SPACE, "document", [_hash("a")], "bulk") == [False]
        time.sleep(0.05)
    one.close()  # as if it had died: nothing is given up
    _until(lambda: two.claim(SPACE, "document", [_hash("a")], "bulk") == [True], seconds=2.0)
    two.close()


def test_claim_that_another_took_over_is_not_given_up_for_it(link: RedisLink) -> None:
    one, two, three = (RedisClaims(link, b"claim:") for _ in range(3))
    hashes = [_hash("a")]
    assert one.claim(SPACE, "document", hashes, "bulk") == [True]
    assert two.claim(SPACE, "document", hashes, "interactive") == [True]  # queries do not wait for bulk
    one.give_up(SPACE, "document", hashes)
    assert three.claim(SPACE, "document", hashes, "bulk") == [False]
    assert three.claim(SPACE, "document", hashes, "interactive") == [False]
    two.give_up(SPACE, "document", hashes)
    assert three.claim(SPACE, "document", hashes, "bulk") == [True]
    for claims in (one, two, three):
        claims.close()


WORKER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from fake_house import HashEmbedder
from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.cache.redis import RedisVectorCache
from embedhouse.domain.deadline import Deadline
cache = RedisVectorCache(sys.argv[2], name="redis")
inner = HashEmbedder(seconds_per_batch=0.5)
sys.stdin.readline()
found = CachedEmbedder(inner, cache).embed(json.loads(sys.argv[3]), role="document", deadline=Deadline(20))
cache.close()
print(json.dumps([inner.calls, found.vectors.tolist()]))
"""


def test_real_processes_compute_each_text_once(server: RedisServer) -> None:
    texts = [["a", "b", "c"], ["c", "d", "a"], ["d", "b", "e"]]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(SUPPORT), server.url, json.dumps(each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for each in texts
    ]
    answers = _answers(workers)
    computed = [text for calls, _ in answers for text in calls]
    assert sorted(computed) == ["a", "b", "c", "d", "e"]
    for (_, vectors), each in zip(answers, texts, strict=True):
        np.testing.assert_allclose(vectors, [vector_of(text) for text in each], rtol=1e-6)


def _answers(workers: Sequence["subprocess.Popen[str]"]) -> list[tuple[list[str], list[list[float]]]]:
    with ThreadPoolExecutor(len(workers)) as pool:
        outputs = [pool.submit(worker.communicate, "go\n", 60) for worker in workers]
        return [json.loads(output.result()[0]) for output in outputs]
