"""The vector cache that the settings name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from embedhouse.cache.eviction import Needed, nothing_needed
from embedhouse.cache.none import NoVectorCache
from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.errors import InvalidSetting, MissingExtra
from embedhouse.domain.stores import without_password
from embedhouse.ledger import chunks
from embedhouse.ledger.database import Database
from embedhouse.ports import VectorCache
from embedhouse.settings import CacheName, Settings
from embedhouse.wiring.paths import cache_path

__all__ = ["CacheChoice", "cache_choice", "needed_by_indexes", "open_cache"]


class CacheChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the cache, for a child process too. `redis_url` is a secret: it holds a password."""

    backend: CacheName = "sqlite"
    max_bytes: int = 0
    ttl_s: int = 0
    redis_url: str = ""
    redis_url_from: str = "default"

    def __repr__(self) -> str:
        return f"CacheChoice({self.backend!r})"


def cache_choice(settings: Settings) -> CacheChoice:
    """What the settings say."""
    return CacheChoice(
        backend=settings.cache,
        max_bytes=settings.cache_max_bytes,
        ttl_s=settings.cache_ttl_s,
        redis_url=settings.redis_url,
        redis_url_from=settings.origins.get("redis_url", "default"),
    )


def open_cache(choice: CacheChoice, home: Path, needed: Needed = nothing_needed) -> VectorCache:
    """The cache of a house. A Redis server that is away is logged, and does not matter until it is back.

    Errors: CacheTooNew, ReadOnly, DiskFull; MissingExtra, InvalidSetting for Redis.
    """
    if choice.backend == "none":
        return NoVectorCache()
    if choice.backend == "sqlite":
        return SqliteVectorCache(cache_path(home), max_bytes=choice.max_bytes, needed=needed)
    return _open_redis(choice)


def needed_by_indexes(database: Database) -> Needed:
    """What eviction asks: the ledger knows which chunks each generation holds."""

    def needed(fingerprint: str, hashes: Sequence[bytes]) -> set[bytes]:
        with database.read() as ledger:
            return chunks.needed_hashes(ledger, fingerprint, hashes)

    return needed


def _open_redis(choice: CacheChoice) -> VectorCache:
    try:
        from embedhouse.cache.redis import RedisVectorCache
    except ModuleNotFoundError as error:
        raise MissingExtra(what="The vector cache in Redis", extra="redis") from error
    try:
        return RedisVectorCache(choice.redis_url, name=without_password(choice.redis_url), ttl_s=choice.ttl_s)
    except ValueError as error:
        raise InvalidSetting(name="redis_url", origin=choice.redis_url_from, reason=str(error)) from None
