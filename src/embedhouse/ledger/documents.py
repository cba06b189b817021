"""Queries on documents."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from embedhouse.domain.documents import Document, Metadata
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces, Place
from embedhouse.ledger import tables as t
from embedhouse.ledger.blocks import blocks

__all__ = [
    "KnownDocument",
    "StoredDocument",
    "delete_documents",
    "document_ids_from_source",
    "documents_after",
    "documents_by_id",
    "hold_documents",
    "known_documents",
    "namespaces_of",
    "places_after",
    "set_metadata",
    "upsert_documents",
]


class KnownDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether a document changed."""

    pk: int
    content_hash: bytes
    metadata: Metadata
    source: str


class StoredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document with its place in the ledger."""

    pk: int
    document: Document
    content_hash: bytes
    chunks: int
    updated_at: float


def known_documents(
    connection: Connection, collection_id: int, places: Sequence[Place], *, hold: bool = False
) -> dict[Place, KnownDocument]:
    """Those of the places where there is a document. `hold`: nobody changes them until the transaction ends."""
    columns = (
        t.document.c.pk,
        t.document.c.namespace,
        t.document.c.id,
        t.document.c.content_hash,
        t.document.c.metadata,
        t.document.c.source,
    )
    found: dict[Place, KnownDocument] = {}
    # All who hold documents do so in one order: two never wait for each other.
    for at_block in _at(places):
        query = select(*columns).where(t.document.c.collection_id == collection_id, *at_block)
        if hold:
            query = query.order_by(t.document.c.namespace, t.document.c.id).with_for_update(key_share=True)
        for row in connection.execute(query):
            found[row.namespace, row.id] = KnownDocument(
                pk=row.pk,
                content_hash=row.content_hash,
                metadata=msgspec.json.decode(row.metadata),
                source=row.source,
            )
    return found


def upsert_documents(connection: Connection, collection_id: int, documents: Sequence[Document]) -> dict[Place, int]:
    """Insert or replace; place -> pk. A replaced document keeps its pk, so its unchanged chunks stay."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(t.document)
    replaced = ("title", "text", "source", "metadata", "content_hash", "updated_at")
    statement = statement.on_conflict_do_update(
        index_elements=["collection_id", "namespace", "id"],
        set_={name: statement.excluded[name] for name in replaced},
    )
    now = time.time()
    if documents:
        ordered = sorted(documents, key=lambda document: document.place)
        connection.execute(statement, [_row(collection_id, document, now) for document in ordered])
    known = known_documents(connection, collection_id, [document.place for document in documents])
    return {place: found.pk for place, found in known.items()}


def namespaces_of(connection: Connection, collection_id: int) -> list[str]:
    """The namespaces in which a collection has documents, and the default one."""
    query = select(t.document.c.namespace).where(t.document.c.collection_id == collection_id).distinct()
    return sorted({DEFAULT_NAMESPACE, *connection.execute(query).scalars()})


def set_metadata(connection: Connection, pk: int, metadata: Metadata) -> None:
    """Replace a document's metadata."""
    values = {"metadata": msgspec.json.encode(metadata).decode(), "updated_at": time.time()}
    connection.execute(update(t.document).where(t.document.c.pk == pk).values(**values))


def hold_documents(connection: Connection, pks: Sequence[int]) -> None:
    """Nobody changes them, or their chunks, until the transaction ends."""
    held = select(t.document.c.pk).where(t.document.c.pk.in_(bindparam("pks", expanding=True)))
    held = held.order_by(t.document.c.namespace, t.document.c.id).with_for_update()
    if pks and connection.dialect.name == "postgresql":  # a file has one writer
        connection.execute(held, {"pks": list(pks)}).all()


def delete_documents(connection: Connection, pks: Sequence[int]) -> None:
    """Delete documents; their chunks must be gone."""
    for block in blocks(pks):
        connection.execute(delete(t.document).where(t.document.c.pk.in_(block)))


def documents_by_id(
    connection: Connection, collection_id: int, places: Sequence[Place]
) -> dict[Place, StoredDocument]:
    """Whole documents; those that do not exist are absent."""
    found: dict[Place, StoredDocument] = {}
    for at_block in _at(places):
        query = _whole(collection_id).where(*at_block)
        found |= {(row.namespace, row.id): _stored(row) for row in connection.execute(query)}
    return found


def documents_after(
    connection: Connection, collection_id: int, after: Place | None, limit: int, namespaces: Namespaces = None
) -> Iterator[StoredDocument]:
    """Whole documents of these namespaces (None: all), by namespace and id, those after `after`."""
    query = _after(_whole(collection_id), after, limit, namespaces)
    return (_stored(row) for row in connection.execute(query))


def places_after(
    connection: Connection, collection_id: int, after: Place | None, limit: int, namespaces: Namespaces = None
) -> list[Place]:
    """The places of the same documents."""
    columns = (t.document.c.namespace, t.document.c.id)
    query = select(*columns).where(t.document.c.collection_id == collection_id)
    rows = connection.execute(_after(query, after, limit, namespaces))
    return [(row.namespace, row.id) for row in rows]


def _after(query: Any, after: Place | None, limit: int, namespaces: Namespaces) -> Any:
    place = tuple_(t.document.c.namespace, t.document.c.id)
    if namespaces is not None and len(namespaces) == 1:  # as one range of the index
        (namespace,) = namespaces
        query = query.where(t.document.c.namespace == namespace)
        if after is not None and after[0] == namespace:
            return query.where(t.document.c.id > after[1]).order_by(t.document.c.id).limit(limit)
    elif namespaces is not None:
        query = query.where(t.document.c.namespace.in_(namespaces))
    if after is not None:
        query = query.where(place > after)
    return query.order_by(*place.clauses).limit(limit)


def document_ids_from_source(connection: Connection, collection_id: int, root: str, namespace: str) -> list[str]:
    """Ids of the documents of a namespace that were read from `root` or from a file below it."""
    source = t.document.c.source
    # Not LIKE: SQLite's takes "Notes" for "notes", and these documents may be deleted.
    below, rows = (func.substr(source, 1, len(prefix)) == prefix for prefix in (root.rstrip("/") + "/", root + "#"))
    of_namespace = (t.document.c.collection_id == collection_id, t.document.c.namespace == namespace)
    where = (*of_namespace, (source == root) | below | rows)
    return list(connection.execute(select(t.document.c.id).where(*where).order_by(t.document.c.id)).scalars())


def _at(places: Sequence[Place]) -> Iterator[tuple[ColumnElement[bool], ...]]:
    """Conditions that together name exactly the documents at these places, by namespace and id."""
    ids: dict[str, list[str]] = {}
    for namespace, document_id in sorted(places):
        ids.setdefault(namespace, []).append(document_id)
    for namespace, of_namespace in ids.items():
        for block in blocks(of_namespace):
            yield t.document.c.namespace == namespace, t.document.c.id.in_(block)


def _whole(collection_id: int) -> Any:
    chunks = (
        select(func.count())
        .select_from(t.chunk.join(t.generation))
        .where(t.chunk.c.document_pk == t.document.c.pk, t.generation.c.state == "live")
        .scalar_subquery()
        .label("chunks")
    )
    return select(t.document, chunks).where(t.document.c.collection_id == collection_id)


def _row(collection_id: int, document: Document, now: float) -> Mapping[str, object]:
    return {
        "collection_id": collection_id,
        "namespace": document.place[0],
        "id": document.id,
        "title": document.title,
        "text": document.text,
        "source": document.source,
        "metadata": msgspec.json.encode(document.metadata).decode(),
        "content_hash": document.content_hash,
        "updated_at": now,
    }


def _stored(row: Row[Any]) -> StoredDocument:
    document = Document(
        id=row.id,
        title=row.title,
        text=row.text,
        source=row.source,
        metadata=msgspec.json.decode(row.metadata),
        namespace=row.namespace,
    )
    return StoredDocument(
        pk=row.pk,
        document=document,
        content_hash=row.content_hash,
        chunks=row.chunks,
        updated_at=row.updated_at,
    )
