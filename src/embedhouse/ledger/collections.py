"""Queries on collections and generations."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from embedhouse.domain.collections import (
    ChunkingSettings,
    Collection,
    Generation,
    GenerationState,
    LexicalSettings,
)
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import CollectionExists, UnknownCollection
from embedhouse.domain.namespaces import Namespaces
from embedhouse.domain.spaces import Space
from embedhouse.ledger import tables as t
from embedhouse.ledger.leadership import alone

__all__ = [
    "WRITTEN_STATES",
    "Counts",
    "add_collection",
    "add_generation",
    "add_to_mean",
    "collection_named",
    "collections",
    "counts",
    "delete_collection",
    "generation",
    "generations",
    "hold_revision",
    "house_id",
    "index_name",
    "live_generation",
    "mean_vector",
    "new_house_id",
    "new_index_name",
    "set_index_name",
    "set_keep_changes_after",
    "set_mean",
    "set_state",
    "touch",
    "vector_count",
]

WRITTEN_STATES = ("building", "shadow", "live", "standby")
"""Generations in these states get every write."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of one generation."""

    documents: int
    chunks: int
    pending_chunks: int
    dead_letters: int


def add_collection(connection: Connection, name: str) -> int:
    """Make a collection; its id. Errors: CollectionExists."""
    row = {"name": name, "created_at": time.time()}
    try:
        added = connection.execute(insert(t.collection).values(row).returning(t.collection.c.id))
    except IntegrityError:
        raise CollectionExists(name=name) from None
    return int(added.scalar_one())


def add_generation(connection: Connection, generation: Generation) -> int:
    """Add a generation (its `id`, `index_name` and `created_at` are ignored); the new id."""
    row = {
        "collection_id": generation.collection_id,
        "state": generation.state,
        "model": generation.model,
        "precision": generation.precision,
        "store": generation.store,
        "lexical_store": generation.lexical_store,
        "created_at": time.time(),
        "space": _dumps(generation.space),
        "chunking": _dumps(generation.chunking),
        "lexical": _dumps(generation.lexical),
        "index_name": "",
    }
    added = connection.execute(insert(t.generation).values(row).returning(t.generation.c.id)).scalar_one()
    set_index_name(connection, int(added), new_index_name(int(added)))
    touch(connection, generation.collection_id)
    return int(added)


def new_index_name(generation_id: int) -> str:
    """A name that no index had before."""
    return f"indexes/{generation_id}/{uuid.uuid4().hex[:12]}"


def touch(connection: Connection, collection_id: int) -> None:
    """Its generations are others now: whoever has it open reads them again."""
    values = {"revision": t.collection.c.revision + 1}
    connection.execute(update(t.collection).where(t.collection.c.id == collection_id).values(values))


def hold_revision(connection: Connection, collection_id: int) -> int | None:
    """The collection's revision, which stays until the transaction ends; None when the collection is gone."""
    query = select(t.collection.c.revision).where(t.collection.c.id == collection_id)
    found = connection.execute(query.with_for_update(read=True)).scalar()
    return None if found is None else int(found)


def collections(connection: Connection) -> list[Collection]:
    """All collections, by name."""
    return [_collection(row) for row in connection.execute(select(t.collection).order_by(t.collection.c.name))]


def collection_named(connection: Connection, name: str) -> Collection:
    """One collection. Errors: UnknownCollection."""
    row = connection.execute(_BY_NAME, {"wanted": name}).one_or_none()
    if row is None:
        raise UnknownCollection(name=name)
    return _collection(row)


# Made once: every search runs it, and the one below.
_BY_NAME = select(t.collection).where(t.collection.c.name == bindparam("wanted"))


def delete_collection(connection: Connection, collection_id: int) -> None:
    """Delete a collection with everything that belongs to it."""
    # Writers hold it meanwhile: those under way come to their end first, and later ones find it gone.
    connection.execute(select(t.collection.c.id).where(t.collection.c.id == collection_id).with_for_update())
    # Children first and by hand: one statement each is far faster than cascading row by row.
    generation_ids = select(t.generation.c.id).where(t.generation.c.collection_id == collection_id)
    for table in (t.dead_letter, t.change, t.chunk):
        connection.execute(delete(table).where(table.c.generation_id.in_(generation_ids)))
    connection.execute(delete(t.generation).where(t.generation.c.collection_id == collection_id))
    connection.execute(delete(t.document).where(t.document.c.collection_id == collection_id))
    connection.execute(delete(t.collection).where(t.collection.c.id == collection_id))


def generations(
    connection: Connection, collection_id: int, states: Sequence[str] = WRITTEN_STATES
) -> list[Generation]:
    """A collection's generations in these states, oldest first."""
    query = (
        select(t.generation)
        .where(t.generation.c.collection_id == collection_id, t.generation.c.state.in_(states))
        .order_by(t.generation.c.id)
    )
    return [_generation(row) for row in connection.execute(query)]


def live_generation(connection: Connection, collection_id: int) -> Generation:
    """The one generation that answers searches."""
    (found,) = generations(connection, collection_id, ("live",))
    return found


def generation(connection: Connection, generation_id: int) -> Generation:
    """One generation, in whatever state; it must exist."""
    return _generation(connection.execute(select(t.generation).where(t.generation.c.id == generation_id)).one())


def index_name(connection: Connection, generation_id: int) -> str | None:
    """The name of a generation's index; None when the generation is gone."""
    query = select(t.generation.c.index_name).where(t.generation.c.id == generation_id)
    return connection.execute(query).scalar()


def set_index_name(connection: Connection, generation_id: int, name: str) -> None:
    """Point a generation at another index."""
    _update(connection, generation_id, index_name=name)


def set_state(connection: Connection, collection_id: int, generation_id: int, state: GenerationState) -> None:
    """Give a generation another state."""
    _update(connection, generation_id, state=state)
    touch(connection, collection_id)


def new_house_id() -> str:
    """One that no house had before: twelve hexadecimal digits."""
    return uuid.uuid4().hex[:12]


def house_id(connection: Connection) -> str:
    """The house's own id, twelve hexadecimal digits, made on first use. Needs a write transaction."""
    alone(connection, "house id")
    found = connection.execute(select(t.house.c.id)).scalar()
    if found is None:
        found = new_house_id()
        connection.execute(insert(t.house).values(id=found, created_at=time.time()))
    return str(found)


def set_keep_changes_after(connection: Connection, generation_id: int, seq: int | None) -> None:
    """Keep flushed changes after `seq`, for an index that is built beside; None keeps none."""
    _update(connection, generation_id, keep_changes_after=seq)


def counts(connection: Connection, collection_id: int, generation_id: int, namespaces: Namespaces = None) -> Counts:
    """Sizes of a generation and its collection, in these namespaces (None: all)."""
    if namespaces is not None:
        return _counts_within(connection, collection_id, generation_id, namespaces)

    def count(table: Any, *where: Any) -> int:
        return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())

    return Counts(
        documents=count(t.document, t.document.c.collection_id == collection_id),
        chunks=count(t.chunk, t.chunk.c.generation_id == generation_id),
        pending_chunks=count(t.change, t.change.c.generation_id == generation_id, t.change.c.state != t.APPLIED),
        dead_letters=count(
            t.dead_letter, t.dead_letter.c.generation_id == generation_id, t.dead_letter.c.dropped == 0
        ),
    )


def _counts_within(
    connection: Connection, collection_id: int, generation_id: int, namespaces: Sequence[str]
) -> Counts:
    def count(table: Any, *where: Any) -> int:
        return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())

    documents = (t.document.c.collection_id == collection_id, t.document.c.namespace.in_(namespaces))
    chunks = (t.chunk.c.generation_id == generation_id, *documents)
    letters = t.dead_letter.join(t.chunk, t.chunk.c.key == t.dead_letter.c.chunk_key).join(t.document)
    waits = (t.change.c.generation_id == generation_id, t.change.c.state != t.APPLIED)
    return Counts(
        documents=count(t.document, *documents),
        chunks=count(t.chunk.join(t.document), *chunks),
        pending_chunks=count(t.change, *waits, t.change.c.namespace.in_(namespaces)),
        dead_letters=count(letters, *chunks, t.dead_letter.c.dropped == 0),
    )


def add_to_mean(connection: Connection, generation_id: int, vectors: Vectors, sign: int) -> None:
    """Add vectors, (n, dimensions) float32, to the generation's running sum, or take them away (`sign` -1)."""
    total, count = _sum(connection, generation_id, _HELD_SUM)
    added = vectors.sum(axis=0, dtype=np.float64) * sign
    total = added if total is None else total + added
    count += sign * len(vectors)
    _update(connection, generation_id, vector_sum=total.tobytes(), vector_count=count)


def set_mean(connection: Connection, generation_id: int, total: npt.NDArray[np.float64], count: int) -> None:
    """Set the running sum, of shape (dimensions,) float64, and how many vectors it is of."""
    _update(connection, generation_id, vector_sum=total.tobytes(), vector_count=count)


def mean_vector(connection: Connection, generation_id: int) -> Vectors | None:
    """The mean of the generation's vectors, (dimensions,) float32, not normalised; None when it is empty."""
    total, count = _sum(connection, generation_id)
    return None if total is None or count <= 0 else (total / count).astype(np.float32)


def vector_count(connection: Connection, generation_id: int) -> int:
    """How many vectors the generation's index must hold: those written, less those deleted."""
    return _sum(connection, generation_id)[1]


def _sum(
    connection: Connection, generation_id: int, query: Any = None
) -> tuple[npt.NDArray[np.float64] | None, int]:
    blob, count = connection.execute(_SUM if query is None else query, {"wanted": generation_id}).one()
    return (None if blob is None else np.frombuffer(blob, np.float64)), count


_SUM = select(t.generation.c.vector_sum, t.generation.c.vector_count).where(
    t.generation.c.id == bindparam("wanted")
)
# Nobody else adds to it until the transaction ends; those that refer to the generation are not kept waiting.
_HELD_SUM = _SUM.with_for_update(key_share=True)


def _update(connection: Connection, generation_id: int, **values: object) -> None:
    connection.execute(update(t.generation).where(t.generation.c.id == generation_id).values(**values))


def _collection(row: Row[Any]) -> Collection:
    return Collection(**row._mapping)


def _generation(row: Row[Any]) -> Generation:
    return Generation(
        id=row.id,
        collection_id=row.collection_id,
        state=row.state,
        space=msgspec.json.decode(row.space, type=Space),
        chunking=msgspec.json.decode(row.chunking, type=ChunkingSettings),
        lexical=msgspec.json.decode(row.lexical, type=LexicalSettings),
        model=row.model,
        precision=row.precision,
        store=row.store,
        lexical_store=row.lexical_store,
        index_name=row.index_name,
        created_at=row.created_at,
    )


def _dumps(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
