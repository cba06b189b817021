"""Step one of a write: read and chunk outside any transaction, then one ledger transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from embedhouse.domain.collections import Collection
from embedhouse.domain.documents import Document, Metadata
from embedhouse.domain.errors import UnknownDocument
from embedhouse.domain.namespaces import Place
from embedhouse.domain.reports import WriteReport
from embedhouse.indexing.compare import Comparison, Prepared, as_json, stored_diff
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import changes, chunks, collections, documents
from embedhouse.ledger.changes import Logged
from embedhouse.ledger.chunks import NewChunk
from embedhouse.ledger.database import Database

__all__ = ["DocumentWriter", "Written", "store_chunks"]

Result = TypeVar("Result")

_IDS_PER_DELETE = 1000


class _Outdated(Exception):
    """The collection has other generations than this write was prepared for."""


class _Log:
    logged = Logged(0, 0)


class Written(Protocol):
    """The generations of a collection that get every write."""

    @property
    def collection(self) -> Collection: ...

    def now_written(self) -> tuple[int, Sequence[OpenGeneration]]:
        """The collection's revision, and its generations as of that."""
        ...

    def refresh(self) -> None:
        """Read them again. Errors: UnknownCollection."""
        ...


class DocumentWriter:
    """Puts documents into the ledger for every generation of a collection that is written. What it returns from
    is acknowledged: on disk, with the work for the indexes logged."""

    def __init__(self, database: Database, written: Written) -> None:
        self._database = database
        self._written = written

    def upsert(self, batch: Sequence[Document]) -> tuple[WriteReport, Logged]:
        """Add, replace or leave alone, by content; what was changed, and what was logged for the indexes. A bad
        document is a failure in the report and never stops the rest. Errors: DuplicateId."""
        return self._as_of_now(partial(self._upsert, batch))

    def _upsert(
        self, batch: Sequence[Document], revision: int, generations: Sequence[OpenGeneration]
    ) -> tuple[WriteReport, Logged]:
        comparison = Comparison(self._database, self._written.collection.id, generations)
        compared = comparison.compare(batch)
        prepared = compared.prepared
        logged = Logged(0, 0)
        if prepared:
            with self._logged(revision) as (ledger, log):
                self._store(ledger, comparison, prepared, generations)
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

    def set_metadata(self, place: Place, metadata: Metadata, *, merge: bool = False) -> Logged:
        """Replace a document's metadata, or `merge` into it (None deletes a key); nothing is embedded. Errors:
        InvalidInput; UnknownDocument where another writer has deleted it."""
        return self._as_of_now(partial(self._set_metadata, place, metadata, merge))

    def _set_metadata(
        self, place: Place, metadata: Metadata, merge: bool, revision: int, generations: Sequence[OpenGeneration]
    ) -> Logged:
        namespace, document_id = place
        collection = self._written.collection
        with self._logged(revision) as (ledger, log):
            known = documents.known_documents(ledger, collection.id, [place], hold=True).get(place)
            if known is None:
                raise UnknownDocument(collection=collection.name, id=document_id)
            if merge:
                both = known.metadata | metadata
                metadata = {key: value for key, value in both.items() if value is not None}
            documents.set_metadata(ledger, known.pk, as_json(document_id, metadata))
            _log_metadata(ledger, generations, known.pk, namespace)
        return log.logged

    def delete(self, pks: Sequence[int], namespace: str) -> list[Logged]:
        """Delete documents of one namespace and their chunks."""
        blocks = (pks[start : start + _IDS_PER_DELETE] for start in range(0, len(pks), _IDS_PER_DELETE))
        return [self._as_of_now(partial(self._delete, block, namespace)) for block in blocks]

    def _delete(
        self, pks: Sequence[int], namespace: str, revision: int, generations: Sequence[OpenGeneration]
    ) -> Logged:
        with self._logged(revision) as (ledger, log):
            self._delete_within(ledger, pks, namespace, generations)
        return log.logged

    @staticmethod
    def _delete_within(
        ledger: Connection, pks: Sequence[int], namespace: str, generations: Sequence[OpenGeneration]
    ) -> None:
        documents.hold_documents(ledger, pks)
        for opened in generations:
            _forget(ledger, opened, chunks.keys_of(ledger, opened.generation.id, pks), namespace)
        documents.delete_documents(ledger, pks)

    def _as_of_now(self, write: Callable[[int, Sequence[OpenGeneration]], Result]) -> Result:
        """Write for the generations as they are; again, if others came or went until the transaction began."""
        while True:
            revision, generations = self._written.now_written()
            try:
                return self._database.persist(partial(write, revision, generations))
            except _Outdated:
                self._written.refresh()

    @contextmanager
    def _logged(self, revision: int) -> Iterator[tuple[Connection, _Log]]:
        """A write transaction that notes which changes it logs, as a range: on a file's ledger exactly those, since
        writers are one at a time; on a server those of others that lie between them too."""
        log = _Log()
        with self._database.write() as ledger:
            if collections.hold_revision(ledger, self._written.collection.id) != revision:
                raise _Outdated
            before = changes.last_seq(ledger)
            yield ledger, log
            log.logged = Logged(before, changes.last_seq(ledger))

    def _store(
        self,
        ledger: Connection,
        comparison: Comparison,
        prepared: Sequence[Prepared],
        generations: Sequence[OpenGeneration],
    ) -> None:
        collection_id = self._written.collection.id
        prepared = comparison.rechecked(ledger, prepared)
        pks = documents.upsert_documents(ledger, collection_id, [item.document for item in prepared])
        for item in prepared:
            place = item.document.place
            for opened, cut in zip(generations, item.chunks, strict=False):
                store_chunks(ledger, opened, pks[place], cut, place[0])
            if item.known is not None and item.known.metadata != item.document.metadata:
                _log_metadata(ledger, generations, pks[place], place[0])


def store_chunks(
    ledger: Connection, opened: OpenGeneration, pk: int, cut: Sequence[NewChunk], namespace: str
) -> None:
    """Make the chunks of a document of that namespace in a generation those of `cut`, and log what that changes for
    its index."""
    generation_id = opened.generation.id
    diff = stored_diff(ledger, generation_id, pk, cut)
    chunks.move_chunks(ledger, diff.kept)
    _forget(ledger, opened, diff.gone, namespace)
    added = chunks.insert_chunks(ledger, generation_id, pk, diff.added)
    changes.add_changes(ledger, generation_id, "upsert", added, namespace)


def _forget(ledger: Connection, opened: OpenGeneration, keys: Sequence[int], namespace: str) -> None:
    chunks.delete_chunks(ledger, keys)
    changes.forget_dead_letters(ledger, keys)
    changes.add_changes(ledger, opened.generation.id, "delete", keys, namespace)


def _log_metadata(ledger: Connection, generations: Sequence[OpenGeneration], pk: int, namespace: str) -> None:
    for opened in generations:
        keys = chunks.keys_of(ledger, opened.generation.id, [pk])
        changes.add_changes(ledger, opened.generation.id, "metadata", keys, namespace)
