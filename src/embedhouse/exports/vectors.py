"""Vectors of chunks without the model: those of a generation, and those that an export brought."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.spaces import Space
from embedhouse.ledger.exporting import PlacedChunk
from embedhouse.ports import Cached, VectorCache

__all__ = ["CacheDonor", "StoredVectors"]


class StoredVectors:
    """Finds vectors without the model. `read_index(keys)` gives those that the index holds."""

    def __init__(
        self, cache: VectorCache, space: Space, read_index: Callable[[Sequence[int]], dict[int, Vectors]]
    ) -> None:
        self._cache = cache
        self._space = space
        self._read_index = read_index

    def of(self, chunks: Sequence[PlacedChunk]) -> Cached:
        """In the order of the chunks. A vector from the index is as exact as the index keeps it, and its token
        counts are 0."""
        space = self._space
        held = self._cache.get(space.fingerprint, "document", [chunk.hash for chunk in chunks], space.dimensions)
        # An index keeps vectors of length 1, whatever the space says.
        if space.normalised and not held.found.all():
            missing = {chunks[row].key: row for row in np.flatnonzero(~held.found).tolist()}
            for key, vector in self._read_index(sorted(missing)).items():
                held.vectors[missing[key]] = vector
                held.found[missing[key]] = True
        return held


class CacheDonor:
    """Implements indexing.open_generation.Donor: the vectors that the cache has in a space that may stand in."""

    def __init__(self, cache: VectorCache, space: Space) -> None:
        self._cache = cache
        self._space = space

    def vectors(self, wanted: Sequence[StoredChunk]) -> dict[int, Vectors]:
        """See Donor."""
        hashes = [stored.chunk.hash for stored in wanted]
        held = self._cache.get(self._space.fingerprint, "document", hashes, self._space.dimensions)
        return {wanted[row].chunk.key: held.vectors[row] for row in np.flatnonzero(held.found).tolist()}
