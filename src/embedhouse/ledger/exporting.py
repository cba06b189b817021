"""Queries that read a collection from end to end, as it stands at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from embedhouse.domain.namespaces import Namespaces
from embedhouse.ledger import tables as t

__all__ = ["DocumentRow", "PlacedChunk", "count_documents", "pages_of_documents", "placed_chunks"]

_DOCUMENTS_PER_PAGE = 32


class DocumentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A document as the ledger keeps it: `metadata` is JSON."""

    pk: int
    namespace: str
    id: str
    title: str
    text: str
    source: str
    metadata: str
    content_hash: bytes
    updated_at: float


class PlacedChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk with its place in its document: `headings` is JSON."""

    key: int
    document_pk: int
    ordinal: int
    start: int
    end: int
    text: str
    headings: str
    context: str
    hash: bytes


def count_documents(connection: Connection, collection_id: int, namespaces: Namespaces) -> int:
    """How many documents `pages_of_documents` gives."""
    query = select(func.count()).select_from(t.document).where(*_bound(collection_id, namespaces))
    return int(connection.execute(query).scalar_one())


def pages_of_documents(
    connection: Connection, collection_id: int, namespaces: Namespaces
) -> Iterator[list[DocumentRow]]:
    """Documents of these namespaces (None: all), by namespace and id, a page at a time."""
    place = tuple_(t.document.c.namespace, t.document.c.id)
    columns = [t.document.c[name] for name in DocumentRow.__struct_fields__]
    query = select(*columns).where(*_bound(collection_id, namespaces)).order_by(*place.clauses)
    after = ("", "")
    while True:
        found = connection.execute(query.where(place > after).limit(_DOCUMENTS_PER_PAGE))
        page = [DocumentRow(**row._mapping) for row in found]
        if page:
            yield page
        if len(page) < _DOCUMENTS_PER_PAGE:
            return
        after = (page[-1].namespace, page[-1].id)


def placed_chunks(
    connection: Connection, generation_id: int, document_pks: Sequence[int]
) -> dict[int, list[PlacedChunk]]:
    """Each document's chunks of a generation, in order; a page of documents at most."""
    columns = [t.chunk.c[name] for name in PlacedChunk.__struct_fields__]
    where = (t.chunk.c.document_pk.in_(document_pks), t.chunk.c.generation_id == generation_id)
    found: dict[int, list[PlacedChunk]] = {pk: [] for pk in document_pks}
    for row in connection.execute(
        select(*columns).where(*where).order_by(t.chunk.c.document_pk, t.chunk.c.ordinal)
    ):
        found[row.document_pk].append(PlacedChunk(**row._mapping))
    return found


def _bound(collection_id: int, namespaces: Namespaces) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [t.document.c.collection_id == collection_id]
    return where if namespaces is None else [*where, t.document.c.namespace.in_(namespaces)]
