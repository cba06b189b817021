"""Queries on generations that are built beside the live one, and on what their shadow showed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from embedhouse.domain.documents import Document
from embedhouse.ledger import tables as t

__all__ = [
    "Build",
    "DocumentToCut",
    "ShadowQuery",
    "Stage",
    "add_build",
    "add_shadow_queries",
    "advance",
    "build_of",
    "copy_chunks",
    "cut_already",
    "delete_some_of_generation",
    "document_count",
    "documents_to_cut",
    "forget_shadow_queries",
    "set_build",
    "shadow_queries",
    "shadow_query_count",
    "still_so",
    "work_done",
]

_ROWS_PER_DELETE = 5_000

Stage = Literal["building", "paused", "complete"]


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How far a generation is built; see ledger.tables.build."""

    generation_id: int
    stage: Stage = "building"
    copies_chunks: bool = False
    built_upto: int = 0
    documents: int = 0
    total: int = 0
    chunks: int = 0
    tokens: int = 0
    busy_share: float = 1.0
    shadow_share: float = 0.0
    traffic_share: float = 0.0
    started_at: float = 0.0
    busy_s: float = 0.0
    finished_at: float | None = None
    error: str = ""


class DocumentToCut(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it was when it was read; a changed one has another `content_hash`."""

    pk: int
    namespace: str
    document: Document
    content_hash: bytes


class ShadowQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One live query that ran on both generations; documents, best first."""

    query: str
    mode: str
    overlap: float
    rank_correlation: float | None
    live_ms: float
    shadow_ms: float
    live_ids: list[str]
    shadow_ids: list[str]


def add_build(connection: Connection, build: Build) -> None:
    """Record that a generation is built from now on."""
    connection.execute(insert(t.build).values(msgspec.structs.asdict(build) | {"started_at": time.time()}))


def build_of(connection: Connection, generation_id: int) -> Build | None:
    """The build of a generation; None for one that was the first of its collection."""
    row = connection.execute(select(t.build).where(t.build.c.generation_id == generation_id)).one_or_none()
    if row is None:
        return None
    found = {str(name): value for name, value in row._mapping.items()}
    return msgspec.convert(found, Build, strict=False)


def set_build(connection: Connection, generation_id: int, **values: object) -> None:
    """Change fields of a build."""
    connection.execute(update(t.build).where(t.build.c.generation_id == generation_id).values(**values))


def work_done(connection: Connection, generation_id: int, *, tokens: int, seconds: float) -> None:
    """Add what was embedded for a build, and how long it was worked on."""
    values = {"tokens": t.build.c.tokens + tokens, "busy_s": t.build.c.busy_s + seconds}
    connection.execute(update(t.build).where(t.build.c.generation_id == generation_id).values(values))


def document_count(connection: Connection, collection_id: int, upto_pk: int | None = None) -> int:
    """How many documents a collection has, or those up to a pk."""
    query = select(func.count()).select_from(t.document).where(t.document.c.collection_id == collection_id)
    if upto_pk is not None:
        query = query.where(t.document.c.pk <= upto_pk)
    return int(connection.execute(query).scalar_one())


def documents_to_cut(
    connection: Connection, collection_id: int, after_pk: int, limit: int
) -> Sequence[DocumentToCut]:
    """The next documents in the order of their pk."""
    query = (
        select(t.document)
        .where(t.document.c.collection_id == collection_id, t.document.c.pk > after_pk)
        .order_by(t.document.c.pk)
        .limit(limit)
    )
    return [
        DocumentToCut(
            pk=row.pk,
            namespace=row.namespace,
            document=Document(
                id=row.id,
                title=row.title,
                text=row.text,
                source=row.source,
                metadata=msgspec.json.decode(row.metadata),
                namespace=row.namespace,
            ),
            content_hash=row.content_hash,
        )
        for row in connection.execute(query)
    ]


def still_so(connection: Connection, documents: Sequence[DocumentToCut]) -> set[int]:
    """The pks of those that were not changed or deleted since they were read; they stay so until the transaction
    ends."""
    hashes = {each.pk: each.content_hash for each in documents}
    query = select(t.document.c.pk, t.document.c.content_hash).where(t.document.c.pk.in_(list(hashes)))
    ordered = query.order_by(t.document.c.namespace, t.document.c.id)  # as all who hold documents do
    rows = connection.execute(ordered.with_for_update(read=True))
    return {row.pk for row in rows if row.content_hash == hashes[row.pk]}


def cut_already(connection: Connection, generation_id: int, pks: Sequence[int]) -> set[int]:
    """The pks of those documents that have chunks in this generation."""
    where = (t.chunk.c.generation_id == generation_id, t.chunk.c.document_pk.in_(pks))
    return set(connection.execute(select(t.chunk.c.document_pk).where(*where).distinct()).scalars())


def advance(connection: Connection, generation_id: int, batch: Sequence[DocumentToCut], chunk_count: int) -> None:
    """These documents are done."""
    values = {
        "built_upto": batch[-1].pk,
        "documents": t.build.c.documents + len(batch),
        "chunks": t.build.c.chunks + chunk_count,
    }
    connection.execute(update(t.build).where(t.build.c.generation_id == generation_id).values(values))


def copy_chunks(connection: Connection, from_id: int, to_id: int, pks: Sequence[int]) -> list[int]:
    """Take over the chunks of these documents from another generation, where this one has none; the new keys."""
    names = ["document_pk", "ordinal", "start", "end", "text", "headings", "context", "hash"]
    have = select(t.chunk.c.document_pk).where(t.chunk.c.generation_id == to_id, t.chunk.c.document_pk.in_(pks))
    columns = [t.chunk.c[name] for name in names]
    rows = connection.execute(
        select(*columns)
        .where(t.chunk.c.generation_id == from_id, t.chunk.c.document_pk.in_(pks), ~t.chunk.c.document_pk.in_(have))
        .order_by(t.chunk.c.document_pk, t.chunk.c.ordinal)
    ).all()
    if not rows:
        return []
    statement = insert(t.chunk).returning(t.chunk.c.key, sort_by_parameter_order=True)
    copied = [dict(row._mapping) | {"generation_id": to_id} for row in rows]
    return list(connection.execute(statement, copied).scalars())


def delete_some_of_generation(connection: Connection, generation_id: int) -> bool:
    """Delete a piece of a generation, and itself at last; whether there is more."""
    for table, key in ((t.change, t.change.c.seq), (t.chunk, t.chunk.c.key)):
        some = select(key).where(table.c.generation_id == generation_id).limit(_ROWS_PER_DELETE)
        if connection.execute(delete(table).where(key.in_(some))).rowcount:
            return True
    for small in (t.dead_letter, t.shadow_query, t.build):
        connection.execute(delete(small).where(small.c.generation_id == generation_id))
    connection.execute(delete(t.generation).where(t.generation.c.id == generation_id))
    return False


def add_shadow_queries(connection: Connection, generation_id: int, found: Sequence[ShadowQuery]) -> None:
    """Record queries that ran on both."""
    rows = [
        msgspec.structs.asdict(each)
        | {"generation_id": generation_id, "asked_at": time.time()}
        | {"live_ids": _dumps(each.live_ids), "shadow_ids": _dumps(each.shadow_ids)}
        for each in found
    ]
    if rows:
        connection.execute(insert(t.shadow_query), rows)


def shadow_queries(connection: Connection, generation_id: int) -> list[ShadowQuery]:
    """All that were recorded, those that changed most first."""
    query = select(t.shadow_query).where(t.shadow_query.c.generation_id == generation_id)
    rows = connection.execute(query.order_by(t.shadow_query.c.overlap, t.shadow_query.c.id))
    return [
        ShadowQuery(
            query=row.query,
            mode=row.mode,
            overlap=row.overlap,
            rank_correlation=row.rank_correlation,
            live_ms=row.live_ms,
            shadow_ms=row.shadow_ms,
            live_ids=msgspec.json.decode(row.live_ids),
            shadow_ids=msgspec.json.decode(row.shadow_ids),
        )
        for row in rows
    ]


def shadow_query_count(connection: Connection, generation_id: int) -> int:
    """How many are recorded."""
    where = t.shadow_query.c.generation_id == generation_id
    return int(connection.execute(select(func.count()).select_from(t.shadow_query).where(where)).scalar_one())


def forget_shadow_queries(connection: Connection, generation_id: int, keep: int) -> None:
    """Keep the `keep` newest."""
    newest = (
        select(t.shadow_query.c.id)
        .where(t.shadow_query.c.generation_id == generation_id)
        .order_by(t.shadow_query.c.id.desc())
        .limit(keep)
    )
    where = (t.shadow_query.c.generation_id == generation_id, ~t.shadow_query.c.id.in_(newest))
    connection.execute(delete(t.shadow_query).where(*where))


def _dumps(ids: Sequence[str]) -> str:
    return msgspec.json.encode(ids).decode()
