"""What a search reads of the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.ledger import chunks, collections
from embedhouse.ledger.database import Database

__all__ = ["LedgerReader"]


class LedgerReader:
    """One generation's side of the ledger: implements search's ChunkReader and Background."""

    def __init__(self, database: Database, generation_id: int) -> None:
        self._database = database
        self._generation_id = generation_id

    def current(self, keys: Sequence[int]) -> dict[int, StoredChunk]:
        """See ChunkReader."""
        with self._database.read() as ledger:
            return chunks.current_chunks(ledger, [int(key) for key in keys])

    def document_keys(self, document_ids: Sequence[str]) -> dict[str, list[int]]:
        """See ChunkReader."""
        with self._database.read() as ledger:
            return chunks.keys_by_document(ledger, self._generation_id, document_ids)

    def mean_vector(self) -> Vectors | None:
        """See Background."""
        with self._database.read() as ledger:
            return collections.mean_vector(ledger, self._generation_id)
