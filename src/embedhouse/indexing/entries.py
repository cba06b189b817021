"""Chunks and metadata as an index is given them."""

from __future__ import annotations

from collections.abc import Sequence

from embedhouse.domain.documents import Metadata, StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.ledger.changes import Change
from embedhouse.ports import IndexEntry

__all__ = ["index_entry", "new_metadata"]


def index_entry(stored: StoredChunk, vector: Vectors) -> IndexEntry:
    """A chunk as the index holds it."""
    return IndexEntry(
        key=stored.chunk.key,
        document_id=stored.chunk.document_id,
        vector=vector,
        text=stored.chunk.embedded_text,
        metadata=stored.metadata,
    )


def new_metadata(batch: Sequence[Change], current: dict[int, StoredChunk]) -> list[tuple[int, Metadata]]:
    """(key, metadata) of the batch's chunks whose metadata changed, by key."""
    keys = {change.chunk_key for change in batch if change.action == "metadata"}
    return [(key, current[key].metadata) for key in sorted(keys & current.keys())]
