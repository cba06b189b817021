"""Chunks and metadata as an index is given them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata, StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.namespaces import place_name
from embedhouse.ledger.changes import Change, DeadLetter
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
) -> list[DeadLetter]:
    """Write to each namespace what is its own; see Index.write. The entries that the index refuses for good: they
    are over its limits, and never stop the rest."""
    shares: dict[str, _Share] = {}
    for stored, vector in upserts:
        shares.setdefault(stored.namespace, _Share()).upserts.append(index_entry(stored, vector))
    for namespace, key in deletes:
        shares.setdefault(namespace, _Share()).deletes.append(key)
    for stored in metadata:
        shares.setdefault(stored.namespace, _Share()).metadata.append((stored.chunk.key, stored.metadata))
    return [
        letter for namespace, share in shares.items() for letter in _write_share(index, namespace, share, deadline)
    ]


def _write_share(index: Index, namespace: str, share: _Share, deadline: Deadline) -> list[DeadLetter]:
    try:
        index.write(
            namespace=namespace,
            upserts=share.upserts,
            deletes=share.deletes,
            metadata=share.metadata,
            deadline=deadline,
        )
        return []
    except InvalidInput as error:
        parts = _parts(share)
        if parts:
            return [letter for part in parts for letter in _write_share(index, namespace, part, deadline)]
        refused = [*(entry.key for entry in share.upserts), *(key for key, _ in share.metadata)]
        if not refused:
            raise
        return [DeadLetter(chunk_key=key, code=error.code, message=str(error)) for key in refused]


def _parts(share: _Share) -> list[_Share]:
    """The same in smaller writes, deletes first; none where it is one entry alone."""
    if len(share.upserts) + len(share.metadata) + bool(share.deletes) <= 1:
        return []
    middle, half = len(share.upserts) // 2, len(share.metadata) // 2
    if share.deletes:
        return [_Share(deletes=share.deletes), _Share(upserts=share.upserts, metadata=share.metadata)]
    if share.upserts and share.metadata:
        return [_Share(upserts=share.upserts), _Share(metadata=share.metadata)]
    if share.upserts:
        return [_Share(upserts=share.upserts[:middle]), _Share(upserts=share.upserts[middle:])]
    return [_Share(metadata=share.metadata[:half]), _Share(metadata=share.metadata[half:])]
