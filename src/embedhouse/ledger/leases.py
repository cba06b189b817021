"""Queries on leases: which process works on which changes, in a ledger that several share (PostgreSQL).

A lease counts until its time is over, by the server's clock. Whoever writes an index first locks what it still
holds (`hold`): from there to the end of its transaction nobody else takes it, however long that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, Float, cast, delete, func, insert, or_, select, update

from embedhouse.ledger import tables as t
from embedhouse.ledger.blocks import blocks
from embedhouse.ledger.changes import EVERYTHING, Change, Logged

__all__ = [
    "count_nothing",
    "finish",
    "give_back",
    "hold",
    "hold_documents",
    "log_strays",
    "mark_counted",
    "never_counted",
    "renew",
    "take",
    "unapplied",
]

_NOW = cast(func.extract("epoch", func.clock_timestamp()), Float)


def take(
    connection: Connection,
    generation_id: int,
    owner: str,
    seconds: float,
    *,
    limit: int,
    within: Logged = EVERYTHING,
    replays_only: bool = False,
) -> list[Change]:
    """Lease the oldest changes among those `within` that the index has not seen and nobody works on; or only those
    that it had seen and may have lost."""
    if replays_only:
        return _take(connection, (generation_id, t.REPLAY), owner, seconds, limit, EVERYTHING)
    pending = _take(connection, (generation_id, t.PENDING), owner, seconds, limit, within)
    return pending or _take(connection, (generation_id, t.REPLAY), owner, seconds, limit, within)


def _take(
    connection: Connection, of: tuple[int, int], owner: str, seconds: float, limit: int, within: Logged
) -> list[Change]:
    generation_id, state = of
    change = t.change.c
    free = select(change.seq).where(
        change.generation_id == generation_id,
        change.state == state,
        change.seq > within.after,
        change.seq <= within.upto,
        or_(change.leased_until.is_(None), change.leased_until < _NOW),
    )
    # A query of its own: the limit counts what was locked.
    taken = free.order_by(change.seq).limit(limit).with_for_update(skip_locked=True).cte("taken")
    lease = update(t.change).where(change.seq == taken.c.seq).values(lease_owner=owner, leased_until=_NOW + seconds)
    columns = (change.seq, change.chunk_key, change.action, change.namespace)
    rows = connection.execute(lease.returning(*columns)).all()
    return [Change(**row._mapping, counted=state == t.REPLAY) for row in sorted(rows, key=lambda row: row.seq)]


def renew(connection: Connection, owner: str, seqs: Sequence[int], seconds: float) -> None:
    """Hold leases for longer: those that are still the owner's. Waits for nobody: what is locked is being worked on
    at this moment."""
    for block in blocks(seqs):
        mine = select(t.change.c.seq).where(t.change.c.seq.in_(block), t.change.c.lease_owner == owner)
        free = mine.order_by(t.change.c.seq).with_for_update(skip_locked=True).cte("mine")
        statement = update(t.change).where(t.change.c.seq == free.c.seq)
        connection.execute(statement.values(leased_until=_NOW + seconds))


def give_back(connection: Connection, owner: str, seqs: Sequence[int]) -> None:
    """Let others take what was not applied."""
    for block in blocks(seqs):
        statement = update(t.change).where(t.change.c.seq.in_(block), t.change.c.lease_owner == owner)
        connection.execute(statement.values(lease_owner=None, leased_until=None))


def hold(connection: Connection, owner: str, seqs: Sequence[int]) -> set[int]:
    """Those that are still the owner's and were not applied: nobody takes them until the transaction ends."""
    held: set[int] = set()
    for block in blocks(seqs):
        where = (t.change.c.seq.in_(block), t.change.c.lease_owner == owner, t.change.c.state != t.APPLIED)
        query = select(t.change.c.seq).where(*where).order_by(t.change.c.seq).with_for_update()
        held.update(connection.execute(query).scalars())
    return held


def hold_documents(connection: Connection, keys: Sequence[int]) -> None:
    """Whoever changes or deletes the documents of these chunks waits until the transaction ends: their chunks and
    metadata stay as they are read from here on."""
    pks: set[int] = set()
    for block in blocks(keys):
        pks.update(connection.execute(select(t.chunk.c.document_pk).where(t.chunk.c.key.in_(block))).scalars())
    # All of them in one order, the writers' too: two that lock the same never wait for each other.
    document = t.document.c
    query = select(document.pk).where(document.pk.in_(sorted(pks))).order_by(document.namespace, document.id)
    connection.execute(query.with_for_update(read=True)).all()
    for block in blocks(keys):
        chunks = select(t.chunk.c.key).where(t.chunk.c.key.in_(block)).order_by(t.chunk.c.key)
        connection.execute(chunks.with_for_update(read=True, key_share=True)).all()


def finish(connection: Connection, generation_id: int, seqs: Sequence[int], *, durable: bool) -> None:
    """The index has seen them. One that is `durable` has them for good: they are forgotten, unless an index that is
    built beside still needs them."""
    of_generation = select(t.generation.c.keep_changes_after).where(t.generation.c.id == generation_id)
    # Held, so that nobody begins to build beside meanwhile.
    kept = connection.execute(of_generation.with_for_update(key_share=True)).scalar()
    for block in blocks(seqs):
        if durable and kept is None:
            connection.execute(delete(t.change).where(t.change.c.seq.in_(block)))
        else:
            applied = update(t.change).where(t.change.c.seq.in_(block))
            connection.execute(applied.values(state=t.APPLIED, lease_owner=None, leased_until=None))


def never_counted(connection: Connection, generation_id: int, deletes: Sequence[Change]) -> set[int]:
    """Those of the deleted chunks whose upsert was never applied: the index may hold them from a process that died
    over it, the running sum does not."""
    found: set[int] = set()
    for block in blocks([change.chunk_key for change in deletes]):
        where = (*_of_chunks(generation_id, "upsert", block), t.change.c.seq < max(one.seq for one in deletes))
        found.update(connection.execute(select(t.change.c.chunk_key).where(*where)).scalars())
    return found


def count_nothing(connection: Connection, generation_id: int, upserts: Sequence[Change]) -> None:
    """Of chunks that are gone before they were counted: their deletion takes nothing out of the running sum. One
    that another process is just applying knows that from `never_counted`."""
    for block in blocks([change.chunk_key for change in upserts]):
        where = (*_of_chunks(generation_id, "delete", block), t.change.c.seq > min(one.seq for one in upserts))
        free = select(t.change.c.seq).where(*where).with_for_update(skip_locked=True).cte("free")
        connection.execute(update(t.change).where(t.change.c.seq == free.c.seq).values(state=t.REPLAY))


def _of_chunks(generation_id: int, action: str, keys: Sequence[int]) -> tuple[ColumnElement[bool], ...]:
    change = t.change.c
    of_generation = (change.generation_id == generation_id, change.state == t.PENDING)
    return (*of_generation, change.action == action, change.chunk_key.in_(keys))


def mark_counted(connection: Connection, seqs: Sequence[int]) -> None:
    """The running sum has them: applying them again leaves it alone."""
    for block in blocks(seqs):
        connection.execute(update(t.change).where(t.change.c.seq.in_(block)).values(state=t.REPLAY))


def log_strays(connection: Connection, generation_id: int, sent: Mapping[int, str]) -> None:
    """Of chunks that were sent to an index without the ledger's word, each key with its namespace: those that are
    not current are to be deleted from it. The running sum never had them."""
    current: set[int] = set()
    for block in blocks(list(sent)):
        current.update(connection.execute(select(t.chunk.c.key).where(t.chunk.c.key.in_(block))).scalars())
    rows = [
        {"generation_id": generation_id, "chunk_key": key, "action": "delete", "state": t.REPLAY}
        | {"namespace": namespace}
        for key, namespace in sent.items()
        if key not in current
    ]
    if rows:
        connection.execute(insert(t.change), rows)


def unapplied(connection: Connection, generation_id: int, within: Logged) -> int:
    """How many changes `within` the index has not seen, whoever works on them."""
    where = (
        t.change.c.generation_id == generation_id,
        t.change.c.state.in_((t.PENDING, t.REPLAY)),
        t.change.c.seq > within.after,
        t.change.c.seq <= within.upto,
    )
    return int(connection.execute(select(func.count()).select_from(t.change).where(*where)).scalar_one())
