"""What a search reads of the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.namespaces import Namespaces, Place
from embedhouse.ledger import chunks, collections

__all__ = ["LedgerReader"]


class LedgerReader:
    """One generation's side of the ledger in one read transaction, which begins with the first question: implements
    search's ChunkReader and Background. What an index finds in other namespaces than these (None: all) is not
    shown."""

    def __init__(self, ledger: Connection, generation_id: int, namespaces: Namespaces = None) -> None:
        self._ledger = ledger
        self._namespaces = namespaces
        self._generation_id = generation_id

    def current(self, keys: Sequence[int]) -> dict[int, StoredChunk]:
        """See ChunkReader."""
        found = chunks.current_chunks(self._ledger, [int(key) for key in keys])
        if self._namespaces is None:
            return found
        return {key: stored for key, stored in found.items() if stored.namespace in self._namespaces}

    def document_keys(self, places: Sequence[Place]) -> dict[Place, list[int]]:
        """See ChunkReader."""
        return chunks.keys_by_document(self._ledger, self._generation_id, places)

    def mean_vector(self) -> Vectors | None:
        """See Background."""
        return collections.mean_vector(self._ledger, self._generation_id)
