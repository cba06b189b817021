"""Step one of a write: read and chunk outside any transaction, then one ledger transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection

from embedhouse.domain.documents import Document, Metadata
from embedhouse.domain.reports import WriteReport
from embedhouse.indexing.compare import Comparison, Prepared, as_json, stored_diff
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import changes, chunks, documents
from embedhouse.ledger.changes import Logged
from embedhouse.ledger.chunks import NewChunk

__all__ = ["DocumentWriter"]

_IDS_PER_DELETE = 1000


class _Log:
    logged = Logged(0, 0)


class DocumentWriter:
    """Puts documents into the ledger for every generation of a collection that is written. What it returns from
    is acknowledged: on disk, with the work for the indexes logged."""

    def __init__(self, generations: Sequence[OpenGeneration]) -> None:
        self._generations = generations
        self._database = generations[0].parts.database
        self._collection_id = generations[0].collection.id
        self._comparison = Comparison(self._database, self._collection_id, generations)

    def upsert(self, batch: Sequence[Document]) -> tuple[WriteReport, Logged]:
        """Add, replace or leave alone, by content; what was changed, and what was logged for the indexes. A bad
        document is a failure in the report and never stops the rest. Errors: DuplicateId."""
        compared = self._comparison.compare(batch)
        prepared = compared.prepared
        logged = Logged(0, 0)
        if prepared:
            with self._logged() as (ledger, log):
                self._store(ledger, prepared)
            logged = log.logged
        added = sum(item.known is None for item in prepared)
        report = WriteReport(
            added=added,
            updated=len(prepared) - added,
            unchanged=compared.unchanged,
            chunks=sum(len(item.chunks[0]) for item in prepared if item.chunks),
            failures=compared.failures,
        )
        return report, logged

    def set_metadata(self, pk: int, document_id: str, metadata: Metadata) -> Logged:
        """Replace a document's metadata; nothing is embedded. Errors: InvalidInput."""
        kept = as_json(document_id, metadata)
        with self._logged() as (ledger, log):
            documents.set_metadata(ledger, pk, kept)
            self._log_metadata(ledger, pk)
        return log.logged

    def delete(self, pks: Sequence[int]) -> list[Logged]:
        """Delete documents and their chunks."""
        logged = []
        for start in range(0, len(pks), _IDS_PER_DELETE):
            block = pks[start : start + _IDS_PER_DELETE]
            with self._logged() as (ledger, log):
                for opened in self._generations:
                    self._forget(ledger, opened, chunks.keys_of(ledger, opened.generation.id, block))
                documents.delete_documents(ledger, block)
            logged.append(log.logged)
        return logged

    @contextmanager
    def _logged(self) -> Iterator[tuple[Connection, _Log]]:
        """A write transaction that notes which changes it logs: writers are one at a time, so they are a range."""
        log = _Log()
        with self._database.write() as ledger:
            before = changes.last_seq(ledger)
            yield ledger, log
            log.logged = Logged(before, changes.last_seq(ledger))

    def _store(self, ledger: Connection, prepared: Sequence[Prepared]) -> None:
        prepared = self._rechecked(ledger, prepared)
        pks = documents.upsert_documents(ledger, self._collection_id, [item.document for item in prepared])
        for item in prepared:
            pk = pks[item.document.id]
            for opened, cut in zip(self._generations, item.chunks, strict=False):
                self._store_chunks(ledger, opened, pk, cut)
            if item.known is not None and item.known.metadata != item.document.metadata:
                self._log_metadata(ledger, pk)

    def _rechecked(self, ledger: Connection, prepared: Sequence[Prepared]) -> list[Prepared]:
        """The same, prepared again where another writer changed the document in the meantime."""
        ids = [item.document.id for item in prepared]
        known = documents.known_documents(ledger, self._collection_id, ids)
        return [
            item
            if item.known == known.get(item.document.id)
            else self._comparison.prepare(item.document, item.content_hash, known.get(item.document.id))
            for item in prepared
        ]

    def _store_chunks(self, ledger: Connection, opened: OpenGeneration, pk: int, cut: Sequence[NewChunk]) -> None:
        generation_id = opened.generation.id
        diff = stored_diff(ledger, generation_id, pk, cut)
        chunks.move_chunks(ledger, diff.kept)
        self._forget(ledger, opened, diff.gone)
        added = chunks.insert_chunks(ledger, generation_id, pk, diff.added)
        changes.add_changes(ledger, generation_id, "upsert", added)

    def _forget(self, ledger: Connection, opened: OpenGeneration, keys: Sequence[int]) -> None:
        chunks.delete_chunks(ledger, keys)
        changes.forget_dead_letters(ledger, keys)
        changes.add_changes(ledger, opened.generation.id, "delete", keys)

    def _log_metadata(self, ledger: Connection, pk: int) -> None:
        for opened in self._generations:
            keys = chunks.keys_of(ledger, opened.generation.id, [pk])
            changes.add_changes(ledger, opened.generation.id, "metadata", keys)
