"""`house.documents`: what users put in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from embedhouse.chunking.document_vectors import centroid_of_largest_cluster, mean_vector
from embedhouse.domain.binding import one_namespace, visible_namespaces
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document, Metadata, check_length
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import InvalidInput, TooLarge, UnknownDocument
from embedhouse.domain.filters import Filter, matches, parse_filter
from embedhouse.domain.models import attributed
from embedhouse.domain.namespaces import Namespaces, Place, place_name, place_of
from embedhouse.domain.reports import DocumentPage, DocumentView, Failure, Wait, WriteReport
from embedhouse.house.collections import iso_time
from embedhouse.house.shelf import Shelf
from embedhouse.indexing.indexer import Drained
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import changes, chunks, documents
from embedhouse.ledger.changes import Logged
from embedhouse.ledger.documents import StoredDocument
from embedhouse.ports import Index

__all__ = ["Documents"]

_PAGE = 200
_MAX_LIMIT = 1000


class Documents:
    """Put documents in, take them out, look at them. Thread-safe."""

    def __init__(self, shelf: Shelf, max_text_bytes: int) -> None:
        self._shelf = shelf
        self._max_text_bytes = max_text_bytes
        self._database = shelf.parts.database

    def upsert(
        self,
        collection: str,
        batch: Sequence[Document],
        *,
        wait: Wait = "indexed",
        namespace: str | None = None,
        deadline: Deadline | None = None,
    ) -> WriteReport:
        """Add or replace documents by namespace and id. Once it returns nothing of it can be lost; with `wait`
        "indexed" it is found by searches too. Bad documents are `failures` of the report. `namespace`: of those
        that name none; without it the caller's, or `default`.

        Errors: UnknownCollection, DuplicateId; Forbidden for a namespace that is not the caller's.
        """
        opened = self._shelf.get(collection)
        fitting, too_long = self._fitting(_placed(batch, namespace))
        report, logged = opened.writer.upsert(fitting)
        report = msgspec.structs.replace(report, failures=[*too_long, *report.failures])
        within = deadline or Deadline.never()
        with attributed(collection=collection):
            if wait == "indexed" and report.unchanged:
                for unfinished in self._unfinished(opened, fitting):
                    opened.finish(unfinished, within)
            return self._waited(opened, report, logged, wait, within)

    def update_metadata(
        self,
        collection: str,
        id: str,
        metadata: Metadata,
        *,
        replace: bool = False,
        namespace: str | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        """Change a document's metadata without embedding anything: merge (None deletes a key), or replace. Errors:
        those of `get`, InvalidInput."""
        opened = self._shelf.get(collection)
        stored = self._stored(opened, id, namespace)
        logged = opened.writer.set_metadata(stored.document.place, metadata, merge=not replace)
        self._finish(opened, logged, deadline or Deadline.never())

    def delete(
        self,
        collection: str,
        *,
        ids: Sequence[str] | None = None,
        filter: dict[str, Any] | None = None,
        namespace: str | None = None,
        deadline: Deadline | None = None,
    ) -> int:
        """Delete documents of one namespace (see `get`), by id or by filter; how many there were. Unknown ids count
        as deleted before."""
        if (ids is None) == (filter is None):
            raise InvalidInput(reason="Say what to delete: either ids or a filter.")
        opened = self._shelf.get(collection)
        own = one_namespace(namespace)
        deadline = deadline or Deadline.never()
        if ids is not None:
            with self._database.read() as ledger:
                places = [(own, document_id) for document_id in dict.fromkeys(ids)]
                known = documents.known_documents(ledger, opened.collection.id, places)
            pks = [found.pk for found in known.values()]
        else:
            only = parse_filter(filter or {})
            pks = [stored.pk for stored in self._matching(opened, only, None, [own], deadline)]
        for logged in opened.writer.delete(pks, own):
            self._finish(opened, logged, deadline)
        return len(pks)

    def get(
        self, collection: str, id: str, *, namespace: str | None = None, deadline: Deadline | None = None
    ) -> DocumentView:
        """One document, by its id in a namespace: `default`, or the only one of a caller that is bound.

        Errors: UnknownCollection, UnknownDocument; Forbidden for a namespace that is not the caller's, InvalidInput
        where it has several and names none.
        """
        return _view(self._stored(self._shelf.get(collection), id, namespace), with_text=True)

    def list(
        self,
        collection: str,
        *,
        filter: dict[str, Any] | None = None,
        limit: int = 100,
        after: str = "",
        with_text: bool = False,
        namespaces: Namespaces = None,
        deadline: Deadline | None = None,
    ) -> DocumentPage:
        """Documents of these namespaces (None: all that the caller may see), by namespace and id, `limit` (1 to
        1000) at a time. Pass a page's `next` as `after` for the next: where one namespace is listed it is an id."""
        if not 1 <= limit <= _MAX_LIMIT:
            raise InvalidInput(reason=f"limit is {limit}; ask for 1 to {_MAX_LIMIT} documents a page.")
        opened = self._shelf.get(collection)
        only = None if filter is None else parse_filter(filter)
        seen = visible_namespaces(namespaces)
        page: list[DocumentView] = []
        for stored in self._matching(opened, only, _place_after(after, seen), seen, deadline or Deadline.never()):
            if len(page) == limit:
                return DocumentPage(documents=page, next=_next_after(page[-1], seen))
            page.append(_view(stored, with_text=with_text))
        return DocumentPage(documents=page, next=None)

    def vector(
        self,
        collection: str,
        id: str,
        *,
        kind: Literal["mean", "centroid"] = "mean",
        namespace: str | None = None,
        deadline: Deadline | None = None,
    ) -> Sequence[float]:
        """A document's own vector: the mean of its chunks, or the centroid of their largest cluster. Errors: those
        of `get`, InvalidInput."""
        opened = self._shelf.get(collection)
        stored = self._stored(opened, id, namespace)

        def vectors(live: OpenGeneration, index: Index) -> dict[int, Vectors]:
            with self._database.read() as ledger:
                return index.vectors(chunks.keys_of(ledger, live.generation.id, [stored.pk]))

        found = opened.ask(vectors, deadline or Deadline.never())
        if not found:
            raise InvalidInput(reason=f"Document {id!r} has no indexed chunk yet.")
        rows = np.stack([found[key] for key in sorted(found)])
        vector = mean_vector(rows) if kind == "mean" else centroid_of_largest_cluster(rows)
        return [float(value) for value in vector]

    def _unfinished(self, opened: OpenCollection, batch: Sequence[Document]) -> Sequence[Logged]:
        """What earlier writes of these documents logged and an index has not seen: a full disk, say, stopped it."""
        generation_id = opened.live.generation.id
        with self._database.read() as ledger:
            if not changes.pending_count(ledger, generation_id):
                return []
            known = documents.known_documents(ledger, opened.collection.id, [document.place for document in batch])
            keys = chunks.keys_of(ledger, generation_id, [one.pk for one in known.values()])
            return changes.unseen(ledger, generation_id, keys)

    def _fitting(self, batch: Sequence[Document]) -> tuple[Sequence[Document], Sequence[Failure]]:
        fitting, too_long = [], []
        for document in batch:
            try:
                check_length(document.text, self._max_text_bytes, f"The text of document {document.id!r}")
                fitting.append(document)
            except TooLarge as error:
                too_long.append(
                    Failure(id=document.id, source=document.source, code=error.code, message=str(error))
                )
        return fitting, too_long

    def _waited(
        self, opened: OpenCollection, report: WriteReport, logged: Logged, wait: Wait, deadline: Deadline
    ) -> WriteReport:
        if wait == "accepted":
            pending = report.chunks
            self._shelf.background.submit(opened, logged)
            return msgspec.structs.replace(report, pending_chunks=pending)
        drained = self._finish(opened, logged, deadline)
        return msgspec.structs.replace(report, tokens=drained.tokens, cached_chunks=drained.cached_chunks)

    def _finish(self, opened: OpenCollection, logged: Logged, deadline: Deadline) -> Drained:
        """Wait for the index that answers; those that do not get the write soon."""
        drained = opened.finish(logged, deadline)
        if opened.has_others:
            self._shelf.background.submit(opened, logged)
        return drained

    def _stored(self, opened: OpenCollection, id: str, namespace: str | None) -> StoredDocument:
        place = one_namespace(namespace), id
        with self._database.read() as ledger:
            found = documents.documents_by_id(ledger, opened.collection.id, [place])
        if place not in found:
            raise UnknownDocument(collection=opened.collection.name, id=id)
        return found[place]

    def _matching(
        self,
        opened: OpenCollection,
        only: Filter | None,
        after: Place | None,
        namespaces: Namespaces,
        deadline: Deadline,
    ) -> Iterator[StoredDocument]:
        while True:
            deadline.check("listing documents")
            with self._database.read() as ledger:
                page = list(documents.documents_after(ledger, opened.collection.id, after, _PAGE, namespaces))
            for stored in page:
                if only is None or matches(only, stored.document.metadata):
                    yield stored
            if len(page) < _PAGE:
                return
            after = page[-1].document.place


def _placed(batch: Sequence[Document], namespace: str | None) -> list[Document]:
    """The documents, each in its namespace. Errors: Forbidden, InvalidInput."""
    if namespace is not None:
        one_namespace(namespace)
    return [_in_namespace(document, namespace) for document in batch]


def _in_namespace(document: Document, namespace: str | None) -> Document:
    try:
        return msgspec.structs.replace(document, namespace=one_namespace(document.namespace or namespace))
    except InvalidInput:
        if not document.namespace:
            raise
        return document  # a bad name is this document's failure, not the batch's


def _place_after(after: str, namespaces: Namespaces) -> Place | None:
    if not after:
        return None
    return (namespaces[0], after) if namespaces is not None and len(namespaces) == 1 else place_of(after)


def _next_after(last: DocumentView, namespaces: Namespaces) -> str:
    one = namespaces is not None and len(namespaces) == 1
    return last.id if one else place_name((last.namespace, last.id))


def _view(stored: StoredDocument, *, with_text: bool) -> DocumentView:
    document = stored.document
    return DocumentView(
        id=document.id,
        title=document.title,
        text=document.text if with_text else "",
        source=document.source,
        metadata=document.metadata,
        content_hash=stored.content_hash.hex(),
        chunks=stored.chunks,
        updated_at=iso_time(stored.updated_at),
        namespace=document.namespace,
    )
