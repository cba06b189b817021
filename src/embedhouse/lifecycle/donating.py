"""Vectors for a new generation out of the old one's index, where the cache has lost them: a move calls no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import chunks

__all__ = ["IndexDonor"]


class IndexDonor:
    """The vectors of another generation of the same space."""

    def __init__(self, old: OpenGeneration) -> None:
        self._old = old

    def vectors(self, wanted: Sequence[StoredChunk]) -> dict[int, Vectors]:
        """See Donor. As exact as the old index keeps them."""
        missing = self._uncached(wanted)
        if not missing:
            return {}
        with self._old.parts.database.read() as ledger:
            old_keys = chunks.keys_by_hash(
                ledger, self._old.generation.id, [stored.chunk.hash for stored in missing]
            )
        with self._old.slot.borrow() as index:
            held = index.vectors(sorted(set(old_keys.values())))
        found = {stored.chunk.key: held.get(old_keys.get(stored.chunk.hash, 0)) for stored in missing}
        return {key: vector for key, vector in found.items() if vector is not None}

    def _uncached(self, wanted: Sequence[StoredChunk]) -> list[StoredChunk]:
        left = list(wanted)
        for space in self._old.generation.space.searchable:
            hashes = [stored.chunk.hash for stored in left]
            found = self._old.parts.cache.get(space.fingerprint, "document", hashes, space.dimensions).found
            left = [left[row] for row in np.flatnonzero(~found)]
        return left
