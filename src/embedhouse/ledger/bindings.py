"""Queries on the sources that collections are bound to, and on what these hold that could not go in."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from embedhouse.domain.errors import Conflict
from embedhouse.ledger import tables as t
from embedhouse.ledger.blocks import blocks

__all__ = [
    "NO_PLACE",
    "SourceBinding",
    "SourceLetter",
    "add_binding",
    "add_source_letters",
    "any_trouble",
    "bindings",
    "count_source_letters",
    "delete_binding",
    "forget_source_letters",
    "note_run",
    "replace_source_letters",
    "source_letters",
]

NO_PLACE = -1
"""Partition and offset of what did not come from a topic."""


class SourceBinding(msgspec.Struct, frozen=True, kw_only=True):
    """A source of a collection. `settings` and `mark` are JSON of the kind's own, `mark` empty at first. Times are
    seconds since the epoch."""

    id: int
    collection_id: int
    name: str
    kind: str
    settings: str
    mark: str
    created_at: float
    last_run_at: float | None
    last_outcome: str
    last_message: str


class SourceLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a source holds and that cannot go in. `place` names it as a message does; `topic`, `partition`
    and `offset` are those of an event. `id` is the ledger's, 0 before it is there."""

    id: int = 0
    topic: str = ""
    partition: int = NO_PLACE
    offset: int = NO_PLACE
    document_id: str = ""
    place: str
    code: str
    message: str
    created_at: float = 0.0


def add_binding(connection: Connection, collection_id: int, name: str, kind: str, settings: str) -> SourceBinding:
    """Bind a collection to a source. Errors: Conflict where it has one of that name."""
    row = {"collection_id": collection_id, "name": name, "kind": kind, "settings": settings, "mark": ""}
    row |= {"created_at": time.time(), "last_outcome": "", "last_message": ""}
    try:
        connection.execute(insert(t.source_binding).values(row))
    except IntegrityError:
        reason = f"The collection has a source named {name!r} already. Remove it first, or choose another name."
        raise Conflict(reason=reason) from None
    return next(each for each in bindings(connection, collection_id) if each.name == name)


def bindings(connection: Connection, collection_id: int) -> list[SourceBinding]:
    """A collection's sources, by name."""
    query = select(t.source_binding).where(t.source_binding.c.collection_id == collection_id)
    rows = connection.execute(query.order_by(t.source_binding.c.name))
    return [SourceBinding(**row._mapping) for row in rows]


def delete_binding(connection: Connection, binding_id: int) -> None:
    """Forget a source with its versions and dead letters; documents stay."""
    for table in (t.source_version, t.source_dead_letter):
        connection.execute(delete(table).where(table.c.source_id == binding_id))
    connection.execute(delete(t.source_binding).where(t.source_binding.c.id == binding_id))


def note_run(connection: Connection, binding_id: int, outcome: str, message: str, mark: str | None) -> None:
    """What came of a run, and where the next one begins; without a mark, where this one began."""
    values: dict[str, object] = {"last_run_at": time.time(), "last_outcome": outcome, "last_message": message}
    if mark is not None:
        values["mark"] = mark
    connection.execute(update(t.source_binding).where(t.source_binding.c.id == binding_id).values(**values))


def add_source_letters(connection: Connection, binding_id: int, letters: Sequence[SourceLetter]) -> None:
    """Record what could not go in; a later reason for the same place takes the earlier one's."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(t.source_dead_letter)
    statement = statement.on_conflict_do_update(
        index_elements=["source_id", "topic", "partition", "offset", "place"],
        set_={name: statement.excluded[name] for name in ("document_id", "code", "message", "created_at")},
    )
    now = time.time()
    rows = [
        {**msgspec.structs.asdict(letter), "source_id": binding_id, "created_at": letter.created_at or now}
        for letter in letters
    ]
    for row in rows:
        del row["id"]
    if rows:
        connection.execute(statement, rows)


def replace_source_letters(connection: Connection, binding_id: int, letters: Sequence[SourceLetter]) -> None:
    """All that could not go in now, in place of what could not before: the source was read whole."""
    connection.execute(delete(t.source_dead_letter).where(t.source_dead_letter.c.source_id == binding_id))
    add_source_letters(connection, binding_id, letters)


def source_letters(
    connection: Connection, binding_id: int, after: int = 0, limit: int = 1000
) -> list[SourceLetter]:
    """What could not go in, oldest first, ids greater than `after`."""
    c = t.source_dead_letter.c
    query = select(t.source_dead_letter).where(c.source_id == binding_id, c.id > after).order_by(c.id).limit(limit)
    names = SourceLetter.__struct_fields__
    return [SourceLetter(**{name: row._mapping[name] for name in names}) for row in connection.execute(query)]


def count_source_letters(connection: Connection, binding_id: int) -> int:
    """How many there are."""
    where = t.source_dead_letter.c.source_id == binding_id
    return int(connection.execute(select(func.count()).select_from(t.source_dead_letter).where(where)).scalar_one())


def any_trouble(connection: Connection) -> bool:
    """Whether some source has dead letters, or its last run failed."""
    failed = select(t.source_binding.c.id).where(t.source_binding.c.last_outcome == "failed").limit(1)
    letters = select(t.source_dead_letter.c.id).limit(1)
    return any(connection.execute(query).first() is not None for query in (failed, letters))


def forget_source_letters(
    connection: Connection, binding_id: int, *, ids: Sequence[int] = (), document_ids: Sequence[str] = ()
) -> int:
    """Drop letters by their own ids, and those of documents that went in or are gone. How many."""
    c, gone = t.source_dead_letter.c, 0
    for block in blocks(ids):
        gone += connection.execute(
            delete(t.source_dead_letter).where(c.source_id == binding_id, c.id.in_(block))
        ).rowcount
    for names in blocks(document_ids):
        gone += connection.execute(
            delete(t.source_dead_letter).where(c.source_id == binding_id, c.document_id.in_(names))
        ).rowcount
    return gone
