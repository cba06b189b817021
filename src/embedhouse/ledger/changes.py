"""The change log of each generation: what its index has not seen, or has seen but not yet flushed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlalchemy import Connection, delete, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from embedhouse.domain.namespaces import DEFAULT_NAMESPACE
from embedhouse.ledger import tables as t
from embedhouse.ledger.blocks import blocks

__all__ = [
    "EVERYTHING",
    "Action",
    "Change",
    "DeadLetter",
    "Logged",
    "add_changes",
    "add_dead_letters",
    "changes_after",
    "collections_with_pending",
    "dead_letters",
    "drop_dead_letters",
    "forget_dead_letters",
    "forget_flushed",
    "last_seq",
    "mark_applied",
    "mark_unflushed",
    "pending_changes",
    "pending_count",
    "replay",
    "replay_all",
    "replays",
    "unseen",
    "waiting_keys",
]

Action = Literal["upsert", "delete", "metadata"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One step to bring an index up to date. `counted`: its vector is in the running sum already."""

    seq: int
    chunk_key: int
    action: Action
    counted: bool
    namespace: str = DEFAULT_NAMESPACE


class Logged(msgspec.Struct, frozen=True):
    """What a write logged: the changes after `after`, up to `upto`. None at all when they are equal."""

    after: int = 0
    upto: int = 2**63 - 1


EVERYTHING = Logged()


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that failed for good."""

    chunk_key: int
    code: str
    message: str
    dropped: bool = False


def add_changes(
    connection: Connection,
    generation_id: int,
    action: Action,
    keys: Sequence[int],
    namespace: str = DEFAULT_NAMESPACE,
) -> None:
    """Log the same action for many chunks of one namespace."""
    if keys:
        same = {"generation_id": generation_id, "action": action, "namespace": namespace}
        connection.execute(insert(t.change), [same | {"chunk_key": key} for key in keys])


def replay(
    connection: Connection,
    generation_id: int,
    action: Action,
    keys: Sequence[int],
    namespace: str = DEFAULT_NAMESPACE,
) -> None:
    """Log the same action for many chunks again: what it brings or takes is in the running sum already."""
    if keys:
        same = {"generation_id": generation_id, "action": action, "state": t.REPLAY, "namespace": namespace}
        connection.execute(insert(t.change), [same | {"chunk_key": key} for key in keys])


def pending_changes(
    connection: Connection, generation_id: int, limit: int, within: Logged = EVERYTHING
) -> list[Change]:
    """The oldest changes that the index has not seen, among those `within`."""
    where = (
        t.change.c.generation_id == generation_id,
        t.change.c.state.in_((t.PENDING, t.REPLAY)),
        t.change.c.seq > within.after,
        t.change.c.seq <= within.upto,
    )
    return _changes(connection, where, limit)


def replays(connection: Connection, generation_id: int, limit: int, within: Logged = EVERYTHING) -> list[Change]:
    """The oldest changes that the index had seen and may have lost in a crash; `within` is for all of them."""
    return _changes(connection, (t.change.c.generation_id == generation_id, t.change.c.state == t.REPLAY), limit)


def changes_after(connection: Connection, generation_id: int, seq: int, limit: int) -> list[Change]:
    """The oldest changes after `seq` that the index has seen (for the one that is built beside it)."""
    where = (t.change.c.generation_id == generation_id, t.change.c.state == t.APPLIED, t.change.c.seq > seq)
    return _changes(connection, where, limit)


def pending_count(connection: Connection, generation_id: int) -> int:
    """How many changes the index has not seen."""
    where = (t.change.c.generation_id == generation_id, t.change.c.state.in_((t.PENDING, t.REPLAY)))
    return int(connection.execute(select(func.count()).select_from(t.change).where(*where)).scalar_one())


def unseen(connection: Connection, generation_id: int, keys: Sequence[int]) -> list[Logged]:
    """What is logged of these chunks and the index has not seen, as ranges."""
    seqs: list[int] = []
    for block in blocks(keys):
        where = (
            t.change.c.generation_id == generation_id,
            t.change.c.state.in_((t.PENDING, t.REPLAY)),
            t.change.c.chunk_key.in_(block),
        )
        seqs.extend(connection.execute(select(t.change.c.seq).where(*where)).scalars())
    ranges: list[Logged] = []
    for seq in sorted(seqs):
        if ranges and ranges[-1].upto == seq - 1:
            ranges[-1] = Logged(ranges[-1].after, seq)
        else:
            ranges.append(Logged(seq - 1, seq))
    return ranges


def collections_with_pending(connection: Connection) -> list[str]:
    """Names of the collections of which a written generation has not seen every change."""
    pending = select(t.change.c.generation_id).where(t.change.c.state.in_((t.PENDING, t.REPLAY)))
    query = (
        select(t.collection.c.name)
        .join(t.generation, t.generation.c.collection_id == t.collection.c.id)
        .where(t.generation.c.id.in_(pending))
        .distinct()
        .order_by(t.collection.c.name)
    )
    return list(connection.execute(query).scalars())


def waiting_keys(connection: Connection, generation_id: int, keys: Sequence[int]) -> set[int]:
    """Those of the chunks for which something is logged that the index has not seen."""
    found: set[int] = set()
    for block in blocks(keys):
        where = (
            t.change.c.generation_id == generation_id,
            t.change.c.state.in_((t.PENDING, t.REPLAY)),
            t.change.c.chunk_key.in_(block),
        )
        found.update(connection.execute(select(t.change.c.chunk_key).where(*where)).scalars())
    return found


def last_seq(connection: Connection) -> int:
    """The newest change of any generation; 0 when there is none."""
    return int(connection.execute(select(func.max(t.change.c.seq))).scalar() or 0)


def mark_applied(connection: Connection, seqs: Sequence[int]) -> set[int]:
    """The index has seen them; they stay until it is flushed. Those that were still in the log, and not applied."""
    applied: set[int] = set()
    for block in blocks(seqs):
        statement = update(t.change).where(t.change.c.seq.in_(block), t.change.c.state != t.APPLIED)
        applied.update(connection.execute(statement.values(state=t.APPLIED).returning(t.change.c.seq)).scalars())
    return applied


def forget_flushed(connection: Connection, generation_id: int, upto_seq: int) -> None:
    """Drop what the index has on disk: applied changes up to `upto_seq`, but for those that an index built
    beside still needs."""
    kept = select(t.generation.c.keep_changes_after).where(t.generation.c.id == generation_id).scalar_subquery()
    where = (
        t.change.c.generation_id == generation_id,
        t.change.c.state == t.APPLIED,
        t.change.c.seq <= func.coalesce(kept, upto_seq),
        t.change.c.seq <= upto_seq,
    )
    connection.execute(delete(t.change).where(*where))


def mark_unflushed(connection: Connection, generation_id: int) -> int:
    """After an unclean stop: what was applied but not flushed is to be written again. How many."""
    where = (t.change.c.generation_id == generation_id, t.change.c.state == t.APPLIED)
    return connection.execute(update(t.change).where(*where).values(state=t.REPLAY)).rowcount


def replay_all(connection: Connection, generation_id: int) -> None:
    """The index is gone: write every chunk again, into an empty one, and sum the vectors anew."""
    of_generation = t.change.c.generation_id == generation_id
    connection.execute(delete(t.change).where(of_generation))
    connection.execute(
        update(t.generation).where(t.generation.c.id == generation_id).values(vector_sum=None, vector_count=0)
    )
    every_chunk = select(
        t.chunk.c.generation_id, t.chunk.c.key, literal("upsert"), literal(t.PENDING), t.document.c.namespace
    ).select_from(t.chunk.join(t.document))
    every_chunk = every_chunk.where(t.chunk.c.generation_id == generation_id).order_by(t.chunk.c.key)
    columns = ["generation_id", "chunk_key", "action", "state", "namespace"]
    connection.execute(insert(t.change).from_select(columns, every_chunk))


def add_dead_letters(connection: Connection, generation_id: int, letters: Sequence[DeadLetter]) -> None:
    """Record chunks that failed for good; a later failure of the same chunk replaces the earlier."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(t.dead_letter)
    statement = statement.on_conflict_do_update(
        index_elements=["generation_id", "chunk_key"],
        set_={name: statement.excluded[name] for name in ("code", "message", "created_at")} | {"dropped": 0},
    )
    rows = [
        {"generation_id": generation_id, "chunk_key": letter.chunk_key, "code": letter.code}
        | {"message": letter.message, "created_at": time.time()}
        for letter in letters
    ]
    if rows:
        connection.execute(statement, rows)


def forget_dead_letters(connection: Connection, keys: Sequence[int]) -> None:
    """Their chunks are gone or went in after all."""
    for block in blocks(keys):
        connection.execute(delete(t.dead_letter).where(t.dead_letter.c.chunk_key.in_(block)))


def drop_dead_letters(connection: Connection, generation_id: int, keys: Sequence[int]) -> int:
    """Speak of these no more: their chunks are not searched, and that is meant. How many there were."""
    dropped = 0
    for block in blocks(keys):
        where = (t.dead_letter.c.generation_id == generation_id, t.dead_letter.c.chunk_key.in_(block))
        dropped += connection.execute(update(t.dead_letter).where(*where).values(dropped=1)).rowcount
    return dropped


def dead_letters(connection: Connection, generation_id: int) -> list[DeadLetter]:
    """All, by chunk key, those that were dropped among them."""
    where = t.dead_letter.c.generation_id == generation_id
    rows = connection.execute(select(t.dead_letter).where(where).order_by(t.dead_letter.c.chunk_key))
    return [
        DeadLetter(chunk_key=row.chunk_key, code=row.code, message=row.message, dropped=bool(row.dropped))
        for row in rows
    ]


def _changes(connection: Connection, where: tuple[object, ...], limit: int) -> list[Change]:
    query = select(t.change).where(*where).order_by(t.change.c.seq).limit(limit)  # type: ignore[arg-type]
    return [
        Change(
            seq=row.seq,
            chunk_key=row.chunk_key,
            action=row.action,
            counted=row.state == t.REPLAY,
            namespace=row.namespace,
        )
        for row in connection.execute(query)
    ]
