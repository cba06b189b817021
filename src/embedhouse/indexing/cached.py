"""Vectors of chunks out of the vector cache, in any of the spaces that may stand in for one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.spaces import Space
from embedhouse.ports import VectorCache

__all__ = ["cached_vectors"]


def cached_vectors(
    cache: VectorCache, spaces: Sequence[Space], wanted: Sequence[StoredChunk]
) -> dict[int, Vectors]:
    """Chunk key -> vector, of those that are cached in one of the spaces; the first that has it counts."""
    found: dict[int, Vectors] = {}
    left = list(wanted)
    for space in spaces:
        hashes = [stored.chunk.hash for stored in left]
        cached = cache.get(space.fingerprint, "document", hashes, space.dimensions)
        found |= {left[row].chunk.key: cached.vectors[row] for row in np.flatnonzero(cached.found).tolist()}
        left = [left[row] for row in np.flatnonzero(~cached.found).tolist()]
    return found
