"""Vectors for a new generation out of the old one's index, where the cache has lost them: a move calls no model."""

from __future__ import annotations

from collections.abc import Sequence

from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.indexing.cached import cached_vectors
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import chunks

__all__ = ["IndexDonor"]


class IndexDonor:
    """The vectors of another generation of the same space."""

    def __init__(self, old: OpenGeneration) -> None:
        self._old = old

    def vectors(self, wanted: Sequence[StoredChunk]) -> dict[int, Vectors]:
        """See Donor. As exact as the old index keeps them."""
        cached = cached_vectors(self._old.parts.cache, self._old.generation.space.searchable, wanted)
        missing = [stored for stored in wanted if stored.chunk.key not in cached]
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
