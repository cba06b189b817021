"""No vector cache: everything is computed whenever it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from embedhouse.cache.values import nothing_found
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.spaces import Lane, Role
from embedhouse.ports import Cached, CacheInfo, Claims

__all__ = ["NoVectorCache"]


class NoVectorCache:
    """Implements ports.VectorCache and keeps nothing."""

    claims: Claims | None = None

    def get(self, fingerprint: str, role: Role, hashes: Sequence[bytes], dimensions: int) -> Cached:
        """Misses."""
        return nothing_found(len(hashes), dimensions)

    def put(
        self, fingerprint: str, role: Role, hashes: Sequence[bytes], computed: Embeddings, lane: Lane = "bulk"
    ) -> None:
        """Forgets them at once."""

    def info(self) -> CacheInfo:
        """Nothing."""
        return CacheInfo(vectors=0, bytes=0)

    def close(self) -> None:
        """There is nothing to release."""
