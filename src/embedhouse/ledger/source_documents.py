"""Queries on documents by where they came from, for comparing a source with what the ledger has of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec
from sqlalchemy import Connection, select

from embedhouse.domain.namespaces import DEFAULT_NAMESPACE
from embedhouse.ledger import tables as t
from embedhouse.ledger.blocks import blocks

__all__ = ["KnownContent", "documents_below", "documents_of", "known_contents", "text_hashes"]

_IDS_PER_PAGE = 10_000


class KnownContent(msgspec.Struct, frozen=True):
    """What decides whether a document changed, as it is stored: metadata as JSON."""

    content_hash: bytes
    metadata: str
    source: str


def known_contents(
    connection: Connection, collection_id: int, ids: Sequence[str], namespace: str = DEFAULT_NAMESPACE
) -> dict[str, KnownContent]:
    """Those of `ids` that exist in the namespace."""
    c = t.document.c
    found: dict[str, KnownContent] = {}
    for block in blocks(ids):
        query = select(c.id, c.content_hash, c.metadata, c.source).where(
            c.collection_id == collection_id, c.namespace == namespace, c.id.in_(block)
        )
        for document_id, content_hash, metadata, source in connection.execute(query):
            found[document_id] = KnownContent(content_hash, metadata, source)
    return found


def documents_of(
    connection: Connection, collection_id: int, source: str, namespace: str = DEFAULT_NAMESPACE
) -> Iterator[tuple[str, str]]:
    """(id, source) of the namespace's documents that came from exactly this source, in the order of ids."""
    return _paged(connection, collection_id, namespace, t.document.c.source == source)


def documents_below(
    connection: Connection, collection_id: int, root: str, namespace: str = DEFAULT_NAMESPACE
) -> Iterator[tuple[str, str]]:
    """The same for the file `root`, or the files below that folder."""
    source = t.document.c.source
    return _paged(
        connection,
        collection_id,
        namespace,
        (source == root) | source.startswith(root.rstrip("/") + "/", autoescape=True),
    )


def text_hashes(
    connection: Connection, collection_id: int, ids: Sequence[str], namespace: str = DEFAULT_NAMESPACE
) -> dict[str, bytes]:
    """The SHA-256 of each document's text: which of them is another one under a new id."""
    c = t.document.c
    found: dict[str, bytes] = {}
    for block in blocks(ids):
        query = select(c.id, c.text).where(
            c.collection_id == collection_id, c.namespace == namespace, c.id.in_(block)
        )
        for document_id, text in connection.execute(query):
            found[document_id] = hashlib.sha256(text.encode()).digest()
    return found


def _paged(connection: Connection, collection_id: int, namespace: str, where: object) -> Iterator[tuple[str, str]]:
    c = t.document.c
    query = select(c.id, c.source).where(
        c.collection_id == collection_id,
        c.namespace == namespace,
        where,  # type: ignore[arg-type]
    )
    rows = connection.execute(query.execution_options(yield_per=_IDS_PER_PAGE))
    return ((document_id, source) for document_id, source in rows)
