"""Step one of a write: read and chunk outside any transaction, then one ledger transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Connection

from embedhouse.domain.documents import ChunkDraft, Document, Metadata, check_text
from embedhouse.domain.errors import DuplicateId, EmbedhouseError, InvalidInput
from embedhouse.domain.reports import Failure, WriteReport
from embedhouse.indexing.diff import diff_chunks
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import changes, chunks, documents
from embedhouse.ledger.changes import Logged
from embedhouse.ledger.chunks import NewChunk
from embedhouse.ledger.documents import KnownDocument

__all__ = ["DocumentWriter"]

_MAX_ID_CHARACTERS = 1024
_IDS_PER_DELETE = 1000


class _Prepared(msgspec.Struct, frozen=True):
    document: Document
    content_hash: bytes
    known: KnownDocument | None
    chunks: list[list[NewChunk]]  # one list a generation; empty when only metadata changed


class _Log:
    logged = Logged(0, 0)


class DocumentWriter:
    """Puts documents into the ledger for every generation of a collection that is written. What it returns from
    is acknowledged: on disk, with the work for the indexes logged."""

    def __init__(self, generations: Sequence[OpenGeneration]) -> None:
        self._generations = generations
        self._database = generations[0].parts.database
        self._collection_id = generations[0].collection.id

    def upsert(self, batch: Sequence[Document]) -> tuple[WriteReport, Logged]:
        """Add, replace or leave alone, by content; what was changed, and what was logged for the indexes. A bad
        document is a failure in the report and never stops the rest. Errors: DuplicateId."""
        _check_distinct(batch)
        good, failures = _partition(batch)
        with self._database.read() as ledger:
            known = documents.known_documents(ledger, self._collection_id, [d.id for d in good])
        prepared = []
        for document in good:
            content_hash = document.content_hash
            if not _is_same(document, content_hash, known.get(document.id)):
                prepared.append(self._prepare(document, content_hash, known.get(document.id)))
        logged = Logged(0, 0)
        if prepared:
            with self._logged() as (ledger, log):
                self._store(ledger, prepared)
            logged = log.logged
        added = sum(item.known is None for item in prepared)
        report = WriteReport(
            added=added,
            updated=len(prepared) - added,
            unchanged=len(good) - len(prepared),
            chunks=sum(len(item.chunks[0]) for item in prepared if item.chunks),
            failures=failures,
        )
        return report, logged

    def set_metadata(self, pk: int, document_id: str, metadata: Metadata) -> Logged:
        """Replace a document's metadata; nothing is embedded. Errors: InvalidInput."""
        kept = _as_json(document_id, metadata)
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

    def _prepare(self, document: Document, content_hash: bytes, known: KnownDocument | None) -> _Prepared:
        if known is not None and known.content_hash == content_hash:
            return _Prepared(document, content_hash, known, [])
        cut = [_cut(opened, document) for opened in self._generations]
        return _Prepared(document, content_hash, known, cut)

    def _store(self, ledger: Connection, prepared: Sequence[_Prepared]) -> None:
        prepared = self._rechecked(ledger, prepared)
        pks = documents.upsert_documents(ledger, self._collection_id, [item.document for item in prepared])
        for item in prepared:
            pk = pks[item.document.id]
            for opened, cut in zip(self._generations, item.chunks, strict=False):
                self._store_chunks(ledger, opened, pk, cut)
            if item.known is not None and item.known.metadata != item.document.metadata:
                self._log_metadata(ledger, pk)

    def _rechecked(self, ledger: Connection, prepared: Sequence[_Prepared]) -> list[_Prepared]:
        """The same, prepared again where another writer changed the document in the meantime."""
        ids = [item.document.id for item in prepared]
        known = documents.known_documents(ledger, self._collection_id, ids)
        return [
            item
            if item.known == known.get(item.document.id)
            else self._prepare(item.document, item.content_hash, known.get(item.document.id))
            for item in prepared
        ]

    def _store_chunks(self, ledger: Connection, opened: OpenGeneration, pk: int, cut: Sequence[NewChunk]) -> None:
        generation_id = opened.generation.id
        diff = diff_chunks(chunks.known_chunks(ledger, generation_id, pk), cut)
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


def _check_distinct(batch: Iterable[Document]) -> None:
    seen: set[str] = set()
    for document in batch:
        if document.id in seen:
            raise DuplicateId(id=document.id)
        seen.add(document.id)


def _partition(batch: Sequence[Document]) -> tuple[list[Document], list[Failure]]:
    good, failures = [], []
    for document in batch:
        try:
            good.append(_checked(document))
        except EmbedhouseError as error:
            shown = document.id.encode("utf-8", "replace").decode()
            failures.append(Failure(id=shown, source=document.source, code=error.code, message=str(error)))
    return good, failures


def _checked(document: Document) -> Document:
    check_text(document.id, "of an id")
    if len(document.id) > _MAX_ID_CHARACTERS:
        raise InvalidInput(reason=f"An id has {len(document.id)} characters; the limit is {_MAX_ID_CHARACTERS}.")
    check_text(document.text, f"of document {document.id!r}")
    if document.title:
        check_text(document.title + ".", f"of the title of document {document.id!r}")
    return msgspec.structs.replace(document, metadata=_as_json(document.id, document.metadata))


def _as_json(document_id: str, metadata: Metadata) -> Metadata:
    """The metadata as it comes back from the ledger: dates as ISO 8601 strings, tuples and sets as lists."""
    try:
        encoded = msgspec.json.encode(metadata)
        if b"\\u0000" in encoded:
            raise InvalidInput(reason=f"The metadata of document {document_id!r} holds a NUL byte.")
        return msgspec.json.decode(encoded, type=dict[str, Any])
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(reason=f"The metadata of document {document_id!r} is not JSON: {error}") from None


def _is_same(document: Document, content_hash: bytes, known: KnownDocument | None) -> bool:
    return known is not None and (known.content_hash, known.metadata, known.source) == (
        content_hash,
        document.metadata,
        document.source,
    )


def _cut(opened: OpenGeneration, document: Document) -> list[NewChunk]:
    return [
        _new_chunk(ordinal, draft, opened.context_of(document.title, draft.headings, draft.text))
        for ordinal, draft in enumerate(opened.chunker.chunk(document.text))
    ]


def _new_chunk(ordinal: int, draft: ChunkDraft, context: str) -> NewChunk:
    return NewChunk(
        ordinal=ordinal,
        start=draft.start,
        end=draft.end,
        text=draft.text,
        headings=draft.headings,
        context=context,
        hash=hashlib.sha256(f"{context}\n{draft.text}".encode()).digest(),
    )
