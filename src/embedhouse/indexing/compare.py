"""Documents beside what the ledger has of them: which are new or changed, and how the changed ones are cut."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from embedhouse.cache.embedder import text_sha256
from embedhouse.domain.binding import salt_of
from embedhouse.domain.documents import ChunkDraft, Document, Metadata, check_text, embedded_text
from embedhouse.domain.errors import DuplicateId, EmbedhouseError, InvalidInput
from embedhouse.domain.namespaces import Place, check_namespace
from embedhouse.domain.reports import Failure
from embedhouse.domain.spaces import Space
from embedhouse.indexing.diff import ChunkDiff, diff_chunks
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import chunks, documents
from embedhouse.ledger.chunks import NewChunk
from embedhouse.ledger.database import Database
from embedhouse.ledger.documents import KnownDocument

__all__ = ["Compared", "Comparison", "Prepared", "as_json", "cut_document", "stored_diff"]

_MAX_ID_CHARACTERS = 1024
_MAX_ID_BYTES = 2048  # what PostgreSQL's indexes can hold


class Prepared(msgspec.Struct, frozen=True):
    """A document to be written. `known`: what the ledger has of it. `chunks`: one list a generation; none at all
    when only metadata changed."""

    document: Document
    content_hash: bytes
    known: KnownDocument | None
    chunks: list[list[NewChunk]]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A batch: what is to be written, how many documents need nothing, and those that cannot go in."""

    prepared: list[Prepared]
    unchanged: int
    failures: list[Failure]


class Comparison:
    """Compares documents with a collection's, for every generation that is written. Writes nothing."""

    def __init__(self, database: Database, collection_id: int, generations: Sequence[OpenGeneration]) -> None:
        self._database = database
        self._collection_id = collection_id
        self._generations = generations

    def compare(self, batch: Sequence[Document]) -> Compared:
        """What this batch changes. A bad document is a failure and never stops the rest. Errors: DuplicateId."""
        _check_distinct(batch)
        good, failures = _partition(batch)
        with self._database.read() as ledger:
            known = documents.known_documents(ledger, self._collection_id, [d.place for d in good])
        prepared = []
        for document in good:
            content_hash = document.content_hash
            if not _is_same(document, content_hash, known.get(document.place)):
                prepared.append(self.prepare(document, content_hash, known.get(document.place)))
        return Compared(prepared=prepared, unchanged=len(good) - len(prepared), failures=failures)

    def rechecked(self, ledger: Connection, prepared: Sequence[Prepared]) -> list[Prepared]:
        """The same, prepared again where another writer changed the document in the meantime."""
        places = [item.document.place for item in prepared]
        known = documents.known_documents(ledger, self._collection_id, places, hold=True)
        return [
            item
            if item.known == known.get(item.document.place)
            else self.prepare(item.document, item.content_hash, known.get(item.document.place))
            for item in prepared
        ]

    def prepare(self, document: Document, content_hash: bytes, known: KnownDocument | None) -> Prepared:
        """The document, cut where its text is another than the ledger's."""
        if known is not None and known.content_hash == content_hash:
            return Prepared(document, content_hash, known, [])
        return Prepared(
            document, content_hash, known, [cut_document(opened, document) for opened in self._generations]
        )


def stored_diff(ledger: Connection, generation_id: int, document_pk: int, cut: Sequence[NewChunk]) -> ChunkDiff:
    """What a new cut changes among the chunks that the ledger has of a document."""
    return diff_chunks(chunks.known_chunks(ledger, generation_id, document_pk), cut)


def as_json(document_id: str, metadata: Metadata) -> Metadata:
    """The metadata as it comes back from the ledger: dates as ISO 8601 strings, tuples and sets as lists."""
    try:
        if not _is_finite(metadata):
            raise ValueError("NaN and infinity are no numbers in it")
        encoded = msgspec.json.encode(metadata)
        if b"\\u0000" in encoded:
            raise InvalidInput(reason=f"The metadata of document {document_id!r} holds a NUL byte.")
        return msgspec.json.decode(encoded, type=dict[str, Any])
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(reason=f"The metadata of document {document_id!r} is not JSON: {error}") from None


def _check_distinct(batch: Iterable[Document]) -> None:
    seen: set[Place] = set()
    for document in batch:
        if document.place in seen:
            raise DuplicateId(id=document.id)
        seen.add(document.place)


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
    if len(encoded := document.id.encode()) > _MAX_ID_BYTES:
        raise InvalidInput(reason=f"An id has {len(encoded)} bytes of UTF-8; the limit is {_MAX_ID_BYTES}.")
    if "\0" in document.source:
        raise InvalidInput(reason=f"The source of document {document.id!r} holds a NUL byte.")
    check_text(document.text, f"of document {document.id!r}")
    if document.title:
        check_text(document.title + ".", f"of the title of document {document.id!r}")
    namespace = check_namespace(document.place[0])
    return msgspec.structs.replace(document, namespace=namespace, metadata=as_json(document.id, document.metadata))


def _is_finite(value: object) -> bool:
    """Whether every number in it is one. The encoder would write null for those that are not."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, list | tuple | set | frozenset) or all(map(_is_finite, value))


def _is_same(document: Document, content_hash: bytes, known: KnownDocument | None) -> bool:
    return known is not None and (known.content_hash, known.metadata, known.source) == (
        content_hash,
        document.metadata,
        document.source,
    )


def cut_document(opened: OpenGeneration, document: Document) -> list[NewChunk]:
    """The document as this generation cuts it."""
    space, salt = opened.generation.space, salt_of([document.place[0]])
    return [
        _new_chunk(ordinal, draft, opened.context_of(document.title, draft.headings, draft.text), (space, salt))
        for ordinal, draft in enumerate(opened.chunker.chunk(document.text))
    ]


def _new_chunk(ordinal: int, draft: ChunkDraft, context: str, embedded: tuple[Space, str]) -> NewChunk:
    space, salt = embedded
    return NewChunk(
        ordinal=ordinal,
        start=draft.start,
        end=draft.end,
        text=draft.text,
        headings=draft.headings,
        context=context,
        hash=text_sha256(space, "document", embedded_text(context, draft.text), salt),
    )
