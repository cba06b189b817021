"""Changes of documents from a source of events: in one transaction with the versions that they bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection

from embedhouse.domain.documents import Document
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE
from embedhouse.domain.reports import Failure
from embedhouse.indexing.compare import Comparison
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.writer import DocumentWriter, Written
from embedhouse.ledger import bindings, documents, source_versions
from embedhouse.ledger.bindings import SourceLetter
from embedhouse.ledger.changes import Logged
from embedhouse.ledger.database import Database
from embedhouse.ledger.source_versions import EventVersion

__all__ = ["DocumentChange", "EventWriter", "EventsWritten"]


class DocumentChange(msgspec.Struct, frozen=True, kw_only=True):
    """The document, or None where it is deleted; the version that brings it, and where that stands."""

    document: Document | None
    version: EventVersion
    topic: str
    place: str


class EventsWritten(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a batch. `late`: changes that were older than what the ledger had. `failures` are by
    document."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    late: int = 0
    failures: Sequence[Failure] = ()
    logged: Logged = Logged(0, 0)


class EventWriter(DocumentWriter):
    """Writes changes where they are newer than what is there. Of several workers with events of one document, the
    newest event wins, whoever comes last. All is of one namespace. What `write` returns from is on disk."""

    def __init__(
        self, database: Database, written: Written, source_id: int, namespace: str = DEFAULT_NAMESPACE
    ) -> None:
        super().__init__(database, written)
        self._source_id = source_id
        self._namespace = namespace

    def write(self, changes: Mapping[str, DocumentChange], letters: Sequence[SourceLetter]) -> EventsWritten:
        """One change a document, by its id; and what could not be read. A document that cannot go in becomes a dead
        letter at its event's place, and leaves what is there."""
        return self._as_of_now(partial(self._write, changes, letters))

    def _write(
        self,
        changes: Mapping[str, DocumentChange],
        letters: Sequence[SourceLetter],
        revision: int,
        generations: Sequence[OpenGeneration],
    ) -> EventsWritten:
        comparison = Comparison(self._database, self._written.collection.id, generations)
        compared = comparison.compare(
            [
                msgspec.structs.replace(each.document, namespace=self._namespace)
                for each in changes.values()
                if each.document is not None
            ]
        )
        failed = {failure.id: failure for failure in compared.failures}
        good = [change.version for document_id, change in changes.items() if document_id not in failed]
        with self._logged(revision) as (ledger, log):
            newer = source_versions.advance(ledger, self._source_id, good)
            prepared = [each for each in compared.prepared if each.document.id in newer]
            if prepared:
                self._store(ledger, comparison, prepared, generations)
            deletions = [each for each in newer if changes[each].document is None]
            deleted = self._delete_ids(ledger, deletions, generations)
            self._note_letters(ledger, newer, [*letters, *_letters(changes, failed)])
        added = sum(each.known is None for each in prepared)
        return EventsWritten(
            added=added,
            updated=len(prepared) - added,
            unchanged=len(newer) - len(prepared) - len(deletions),
            deleted=deleted,
            late=len(good) - len(newer),
            failures=compared.failures,
            logged=log.logged,
        )

    def _delete_ids(self, ledger: Connection, ids: Sequence[str], generations: Sequence[OpenGeneration]) -> int:
        places = [(self._namespace, document_id) for document_id in ids]
        known = documents.known_documents(ledger, self._written.collection.id, places)
        self._delete_within(ledger, [found.pk for found in known.values()], self._namespace, generations)
        return len(known)

    def _note_letters(self, ledger: Connection, healed: set[str], letters: Sequence[SourceLetter]) -> None:
        bindings.forget_source_letters(ledger, self._source_id, document_ids=sorted(healed))
        bindings.add_source_letters(ledger, self._source_id, letters)


def _letters(changes: Mapping[str, DocumentChange], failed: Mapping[str, Failure]) -> list[SourceLetter]:
    return [
        SourceLetter(
            document_id=document_id,
            topic=changes[document_id].topic,
            partition=changes[document_id].version.partition,
            offset=changes[document_id].version.offset,
            place=changes[document_id].place,
            code=failure.code,
            message=failure.message,
        )
        for document_id, failure in failed.items()
        if document_id in changes
    ]
