"""The vectors of a generation's chunks: from the vector cache, and what it lost from the index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.spaces import Space
from embedhouse.ledger.exporting import PlacedChunk
from embedhouse.ports import Cached, VectorCache

__all__ = ["StoredVectors"]


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
