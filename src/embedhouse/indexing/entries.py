"""Chunks and metadata as an index is given them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata, StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.namespaces import place_name
from embedhouse.ledger.changes import Change
from embedhouse.ports import Index, IndexEntry

__all__ = ["Deletion", "deletions", "in_namespaces", "index_entry", "new_metadata", "write_index"]

Deletion = tuple[str, int]
"""A chunk's namespace and key."""


class _Share(msgspec.Struct):
    """What is written in one namespace."""

    upserts: list[IndexEntry] = []
    deletes: list[int] = []
    metadata: list[tuple[int, Metadata]] = []


def index_entry(stored: StoredChunk, vector: Vectors) -> IndexEntry:
    """A chunk as the index holds it: the document's name there is that of its place."""
    return IndexEntry(
        key=stored.chunk.key,
        document_id=place_name(stored.place),
        vector=vector,
        text=stored.chunk.embedded_text,
        metadata=stored.metadata,
    )


def deletions(batch: Iterable[Change]) -> list[Deletion]:
    """What the batch takes out of the index."""
    return [(change.namespace, change.chunk_key) for change in batch if change.action == "delete"]


def new_metadata(batch: Sequence[Change], current: Mapping[int, StoredChunk]) -> list[StoredChunk]:
    """The batch's chunks whose metadata changed, by key."""
    keys = {change.chunk_key for change in batch if change.action == "metadata"}
    return [current[key] for key in sorted(keys & current.keys())]


def in_namespaces(chunks: Iterable[StoredChunk]) -> dict[str, list[StoredChunk]]:
    """Chunks by namespace."""
    found: dict[str, list[StoredChunk]] = {}
    for stored in chunks:
        found.setdefault(stored.namespace, []).append(stored)
    return found


def write_index(
    index: Index,
    upserts: Iterable[tuple[StoredChunk, Vectors]] = (),
    deletes: Iterable[Deletion] = (),
    metadata: Iterable[StoredChunk] = (),
    *,
    deadline: Deadline,
) -> None:
    """Write to each namespace what is its own; see Index.write."""
    shares: dict[str, _Share] = {}
    for stored, vector in upserts:
        shares.setdefault(stored.namespace, _Share()).upserts.append(index_entry(stored, vector))
    for namespace, key in deletes:
        shares.setdefault(namespace, _Share()).deletes.append(key)
    for stored in metadata:
        shares.setdefault(stored.namespace, _Share()).metadata.append((stored.chunk.key, stored.metadata))
    for namespace, share in shares.items():
        index.write(
            namespace=namespace,
            upserts=share.upserts,
            deletes=share.deletes,
            metadata=share.metadata,
            deadline=deadline,
        )
