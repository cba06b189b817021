"""Queries on chunks: what is current, and the difference that a new version of a document makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from embedhouse.domain.documents import Chunk, StoredChunk
from embedhouse.domain.namespaces import Place
from embedhouse.ledger import collections
from embedhouse.ledger import tables as t
from embedhouse.ledger.blocks import blocks

__all__ = [
    "NewChunk",
    "chunk_keys",
    "chunks_after",
    "chunks_of_document",
    "current_chunks",
    "delete_chunks",
    "insert_chunks",
    "insert_chunks_of",
    "keys_and_places",
    "keys_by_document",
    "keys_by_hash",
    "keys_of",
    "known_chunks",
    "known_places",
    "move_chunks",
    "needed_hashes",
    "stream_chunks",
]


class NewChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk as the chunker made it, with the SHA-256 of the bytes that are embedded: the vector cache's key."""

    ordinal: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    context: str
    hash: bytes


def known_chunks(connection: Connection, generation_id: int, document_pk: int) -> list[tuple[int, bytes, str]]:
    """(key, hash, text) of a document's chunks, in order."""
    columns = (t.chunk.c.key, t.chunk.c.hash, t.chunk.c.text)
    where = (t.chunk.c.document_pk == document_pk, t.chunk.c.generation_id == generation_id)
    rows = connection.execute(select(*columns).where(*where).order_by(t.chunk.c.ordinal))
    return [(row.key, row.hash, row.text) for row in rows]


def keys_of(connection: Connection, generation_id: int, document_pks: Sequence[int]) -> list[int]:
    """Keys of the chunks of these documents."""
    found: list[int] = []
    for block in blocks(document_pks):
        where = (t.chunk.c.document_pk.in_(block), t.chunk.c.generation_id == generation_id)
        found.extend(connection.execute(select(t.chunk.c.key).where(*where).order_by(t.chunk.c.key)).scalars())
    return found


def insert_chunks(
    connection: Connection, generation_id: int, document_pk: int, chunks: Sequence[NewChunk]
) -> list[int]:
    """Add chunks; their new keys, in order."""
    return insert_chunks_of(connection, generation_id, [(document_pk, chunk) for chunk in chunks])


def insert_chunks_of(
    connection: Connection, generation_id: int, chunks: Sequence[tuple[int, NewChunk]]
) -> list[int]:
    """The same for chunks of several documents, each with its document's pk."""
    if not chunks:
        return []
    rows = [
        {"generation_id": generation_id, "document_pk": pk, **_position(chunk)}
        | {"text": chunk.text, "context": chunk.context, "hash": chunk.hash}
        for pk, chunk in chunks
    ]
    statement = insert(t.chunk).returning(t.chunk.c.key, sort_by_parameter_order=True)
    return list(connection.execute(statement, rows).scalars())


def move_chunks(connection: Connection, moved: Sequence[tuple[int, NewChunk]]) -> None:
    """Give kept chunks their new places in the document."""
    if moved:
        names = ("ordinal", "start", "end", "headings")
        statement = (
            update(t.chunk).where(t.chunk.c.key == bindparam("k")).values({n: bindparam(f"v_{n}") for n in names})
        )
        rows = [{"k": key} | {f"v_{n}": v for n, v in _position(chunk).items()} for key, chunk in moved]
        connection.execute(statement, rows)


def delete_chunks(connection: Connection, keys: Sequence[int]) -> None:
    """Forget chunks; the index is told by a change."""
    for block in blocks(keys):
        connection.execute(delete(t.chunk).where(t.chunk.c.key.in_(block)))


def current_chunks(connection: Connection, keys: Sequence[int]) -> dict[int, StoredChunk]:
    """The chunks of those keys that are current; a key that is absent must not be shown."""
    return {row.key: _stored(row) for block in blocks(keys) for row in connection.execute(_BY_KEY, {"keys": block})}


def stream_chunks(connection: Connection, generation_id: int, block_size: int) -> Iterator[list[StoredChunk]]:
    """Every chunk of a generation in key order, in blocks."""
    query = _with_document().where(t.chunk.c.generation_id == generation_id).order_by(t.chunk.c.key)
    result = connection.execute(query.execution_options(yield_per=block_size))
    for rows in result.partitions():
        yield [_stored(row) for row in rows]


def chunk_keys(connection: Connection, generation_id: int) -> Iterator[int]:
    """Every key of a generation, ascending."""
    query = select(t.chunk.c.key).where(t.chunk.c.generation_id == generation_id).order_by(t.chunk.c.key)
    yield from connection.execute(query.execution_options(yield_per=10_000)).scalars()


def needed_hashes(connection: Connection, fingerprint: str, hashes: Sequence[bytes]) -> set[bytes]:
    """Those of the hashes whose vector in the space of that fingerprint belongs into an index, now or when it is
    built again."""
    generations = [
        generation.id
        for collection in collections.collections(connection)
        for generation in collections.generations(connection, collection.id)
        if fingerprint in {space.fingerprint for space in generation.space.searchable}
    ]
    needed: set[bytes] = set()
    for block in blocks(hashes) if generations else ():
        where = (t.chunk.c.hash.in_(block), t.chunk.c.generation_id.in_(generations))
        needed.update(connection.execute(select(t.chunk.c.hash).where(*where)).scalars())
    return needed


def known_places(connection: Connection, generation_id: int, document_pk: int) -> list[tuple[int, bytes]]:
    """(ordinal, hash) of a document's chunks, in order."""
    where = (t.chunk.c.document_pk == document_pk, t.chunk.c.generation_id == generation_id)
    query = select(t.chunk.c.ordinal, t.chunk.c.hash).where(*where).order_by(t.chunk.c.ordinal, t.chunk.c.key)
    return [(row.ordinal, row.hash) for row in connection.execute(query)]


def keys_and_places(connection: Connection, generation_id: int, document_pk: int) -> list[tuple[int, int]]:
    """(key, ordinal) of a document's chunks, the newest first."""
    where = (t.chunk.c.document_pk == document_pk, t.chunk.c.generation_id == generation_id)
    query = select(t.chunk.c.key, t.chunk.c.ordinal).where(*where).order_by(t.chunk.c.key.desc())
    return [(row.key, row.ordinal) for row in connection.execute(query)]


def chunks_after(connection: Connection, generation_id: int, after_key: int, limit: int) -> list[StoredChunk]:
    """The next chunks of a generation in the order of their keys."""
    where = (t.chunk.c.generation_id == generation_id, t.chunk.c.key > after_key)
    query = _with_document().where(*where).order_by(t.chunk.c.key).limit(limit)
    return [_stored(row) for row in connection.execute(query)]


def keys_by_hash(connection: Connection, generation_id: int, hashes: Sequence[bytes]) -> dict[bytes, int]:
    """Hash -> key of one of a generation's chunks with it; hashes that it does not have are absent."""
    found: dict[bytes, int] = {}
    for block in blocks(hashes):
        where = (t.chunk.c.hash.in_(block), t.chunk.c.generation_id == generation_id)
        found |= {
            row.hash: row.key for row in connection.execute(select(t.chunk.c.hash, t.chunk.c.key).where(*where))
        }
    return found


def keys_by_document(connection: Connection, generation_id: int, places: Sequence[Place]) -> dict[Place, list[int]]:
    """Place -> keys of its document's chunks in order; documents that do not exist are absent."""
    found: dict[Place, list[int]] = {}
    # By the documents' index, which begins with the collection.
    of_generation = select(t.generation.c.collection_id).where(t.generation.c.id == generation_id).scalar_subquery()
    for namespace in sorted({namespace for namespace, _ in places}):
        for block in blocks([document_id for own, document_id in places if own == namespace]):
            of_collection = (t.document.c.collection_id == of_generation, t.document.c.namespace == namespace)
            of_documents = (*of_collection, t.document.c.id.in_(block))
            query = (
                select(t.document.c.id, t.chunk.c.key)
                .select_from(t.chunk.join(t.document))
                .where(t.chunk.c.generation_id == generation_id, *of_documents)
                .order_by(t.document.c.id, t.chunk.c.ordinal)
            )
            for row in connection.execute(query):
                found.setdefault((namespace, row.id), []).append(row.key)
    return found


def chunks_of_document(connection: Connection, generation_id: int, document_pk: int) -> list[StoredChunk]:
    """A document's chunks, in order."""
    where = (t.chunk.c.document_pk == document_pk, t.chunk.c.generation_id == generation_id)
    rows = connection.execute(_with_document().where(*where).order_by(t.chunk.c.ordinal))
    return [_stored(row) for row in rows]


def _with_document() -> Any:
    document = t.document.c
    columns = (document.namespace, document.id, document.title, document.source, document.metadata)
    return select(t.chunk, *columns).select_from(t.chunk.join(t.document))


# Made once: every search runs it.
_BY_KEY = _with_document().where(t.chunk.c.key.in_(bindparam("keys", expanding=True)))


def _stored(row: Row[Any]) -> StoredChunk:
    chunk = Chunk(
        key=row.key,
        document_id=row.id,
        ordinal=row.ordinal,
        start=row.start,
        end=row.end,
        text=row.text,
        headings=tuple(msgspec.json.decode(row.headings)),
        context=row.context,
        hash=row.hash,
    )
    return StoredChunk(
        chunk=chunk,
        title=row.title,
        source=row.source,
        metadata=msgspec.json.decode(row.metadata),
        namespace=row.namespace,
    )


def _position(chunk: NewChunk) -> dict[str, object]:
    return {
        "ordinal": chunk.ordinal,
        "start": chunk.start,
        "end": chunk.end,
        "headings": msgspec.json.encode(chunk.headings).decode(),
    }
