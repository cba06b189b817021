"""The vector cache in Redis, which several houses may share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import redis as client

from embedhouse.cache.claims import RedisClaims
from embedhouse.cache.redis_link import RedisLink
from embedhouse.cache.values import LAYOUT, Seal, decode, encode, seal_of
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.spaces import Lane, Role
from embedhouse.ports import Cached, CacheInfo, Claims

__all__ = ["RedisVectorCache"]

_PREFIX = b"embedhouse:v%d:" % LAYOUT
_KEYS_PER_COMMAND = 1000

_REFRESH = """
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[1]) end
"""


class RedisVectorCache:
    """Implements ports.VectorCache. Thread-safe. While the server is away everything is a miss.

    url: `redis://USER:PASSWORD@HOST:PORT/DB`. name: the same as it may be logged. ttl_s: seconds that a vector is
    kept after its last use; 0: until the server needs the room. Errors: ValueError for a URL that is none.
    """

    def __init__(self, url: str, *, name: str, ttl_s: int = 0) -> None:
        self._link = RedisLink(url, name=name)
        self._ttl_s = ttl_s
        self._refresh = self._link.client.register_script(_REFRESH)
        self.claims: Claims | None = RedisClaims(self._link, _PREFIX + b"claim:")

    def get(self, fingerprint: str, role: Role, hashes: Sequence[bytes], dimensions: int) -> Cached:
        """See ports.VectorCache."""
        seal = seal_of(fingerprint, role)
        keys = _keys(seal, hashes)
        values: list[bytes | None] = []
        for start in range(0, len(keys), _KEYS_PER_COMMAND):
            block = keys[start : start + _KEYS_PER_COMMAND]
            values += self._link.call(partial(self._read, block), [None] * len(block))
        return decode(seal, hashes, values, dimensions)

    def put(
        self, fingerprint: str, role: Role, hashes: Sequence[bytes], computed: Embeddings, lane: Lane = "bulk"
    ) -> None:
        """See ports.VectorCache."""
        seal = seal_of(fingerprint, role)
        values = encode(seal, hashes, computed)
        entries = list(zip(_keys(seal, hashes), values, strict=True))
        for start in range(0, len(entries), _KEYS_PER_COMMAND):
            block = dict(entries[start : start + _KEYS_PER_COMMAND])
            self._link.call(partial(self._write, block), None)

    def info(self) -> CacheInfo:
        """See ports.VectorCache. The whole database: Redis counts nothing smaller."""
        return self._link.call(
            lambda redis: CacheInfo(vectors=redis.dbsize(), bytes=redis.info("memory")["used_memory"]),
            CacheInfo(vectors=None, bytes=None),
        )

    def close(self) -> None:
        """See ports.VectorCache."""
        if isinstance(self.claims, RedisClaims):
            self.claims.close()
        self._link.close()

    def _read(self, keys: Sequence[bytes], redis: client.Redis) -> list[bytes | None]:
        if not self._ttl_s:
            return cast(list[bytes | None], redis.mget(keys))
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.mget(keys)
            self._refresh(keys=keys, args=[self._ttl_s], client=pipeline)
            found: list[bytes | None] = pipeline.execute()[0]
            return found

    def _write(self, entries: dict[bytes, bytes], redis: client.Redis) -> None:
        if not self._ttl_s:
            redis.mset(entries)
            return
        with redis.pipeline(transaction=False) as pipeline:
            for key, value in entries.items():
                pipeline.set(key, value, ex=self._ttl_s)
            pipeline.execute()


def _keys(seal: Seal, hashes: Sequence[bytes]) -> list[bytes]:
    start = _PREFIX + seal.number.to_bytes(8, "little")
    return [start + text_sha256 for text_sha256 in hashes]
