"""The vectors of every current chunk in a cache file of their own: from the house's cache, or from its indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.collections import Generation
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Embeddings, Vectors
from embedhouse.domain.spaces import Space
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.parts import Parts
from embedhouse.ledger import chunks, collections
from embedhouse.ledger.database import Database
from embedhouse.ports import VectorCache

__all__ = ["write_vectors"]

_CHUNKS_PER_BLOCK = 1000


def write_vectors(
    parts: Parts, copied: Database, live: dict[int, OpenGeneration], path: Path, deadline: Deadline
) -> tuple[int, int]:
    """For every chunk of the copied ledger; how many chunks there are, and of how many nobody has the vector.
    `live`: the generations that can be asked, by id. Errors: those of the disk, the stores and the deadline."""
    total, without = 0, 0
    with closing(SqliteVectorCache(path)) as kept:
        for generation in _generations(copied):
            for block in _blocks(copied, generation.id):
                deadline.check("backing up vectors")
                left = _from_cache(parts.cache, kept, generation, block)
                left = _from_index(live.get(generation.id), kept, generation, left)
                total += len(block)
                without += len(left)
    return total, without


def _generations(copied: Database) -> list[Generation]:
    with copied.read() as ledger:
        return [
            generation
            for collection in collections.collections(ledger)
            for generation in collections.generations(ledger, collection.id)
        ]


def _blocks(copied: Database, generation_id: int) -> Iterator[list[StoredChunk]]:
    after = 0
    while True:
        with copied.read() as ledger:
            block = chunks.chunks_after(ledger, generation_id, after, _CHUNKS_PER_BLOCK)
        if not block:
            return
        yield block
        after = block[-1].chunk.key


def _from_cache(
    cache: VectorCache, kept: SqliteVectorCache, generation: Generation, block: Sequence[StoredChunk]
) -> list[StoredChunk]:
    """Those that the cache does not have."""
    left = list(block)
    for space in generation.space.searchable:
        hashes = [stored.chunk.hash for stored in left]
        found = cache.get(space.fingerprint, "document", hashes, space.dimensions)
        rows = np.flatnonzero(found.found)
        if rows.size:
            embeddings = Embeddings(
                vectors=found.vectors[rows],
                token_counts=found.token_counts[rows],
                dropped_counts=found.dropped_counts[rows],
            )
            kept.put(space.fingerprint, "document", [hashes[row] for row in rows], embeddings)
        left = [left[row] for row in np.flatnonzero(~found.found)]
    return left


def _from_index(
    opened: OpenGeneration | None, kept: SqliteVectorCache, generation: Generation, left: Sequence[StoredChunk]
) -> list[StoredChunk]:
    """Those that the index does not have either."""
    if opened is None or not left:
        return list(left)
    with opened.slot.borrow() as index:
        held = index.vectors([stored.chunk.key for stored in left])
    _keep(
        kept, generation.space, [(each.chunk.hash, held[each.chunk.key]) for each in left if each.chunk.key in held]
    )
    return [each for each in left if each.chunk.key not in held]


def _keep(kept: SqliteVectorCache, space: Space, found: Sequence[tuple[bytes, Vectors]]) -> None:
    if found:
        nothing = np.zeros(len(found), np.int64)
        embeddings = Embeddings(
            vectors=np.stack([vector for _, vector in found]), token_counts=nothing, dropped_counts=nothing
        )
        kept.put(space.fingerprint, "document", [key for key, _ in found], embeddings)
