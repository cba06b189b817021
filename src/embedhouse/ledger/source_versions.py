"""Which version of each document a source of events has brought, so that late and repeated events do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, case, select
from sqlalchemy.dialects import postgresql, sqlite

from embedhouse.ledger import tables as t
from embedhouse.ledger.blocks import blocks

__all__ = ["EventVersion", "advance", "versions"]


class EventVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of a document an event brings.

    Two events that both name a `version` are ordered by it. Otherwise two of one partition are ordered by their
    offsets, and two of different ones (the topic was given more) by when they were sent, in ms since the epoch.
    """

    document_id: str
    version: int | None
    partition: int
    offset: int
    sent_at_ms: int

    def is_newer_than(self, other: EventVersion) -> bool:
        """Whether this one is to take the other's place. `advance` says the same in SQL."""
        if self.version is not None and other.version is not None:
            return self.version > other.version
        if self.partition == other.partition:
            return self.offset > other.offset
        return self.sent_at_ms > other.sent_at_ms


def advance(connection: Connection, source_id: int, events: Sequence[EventVersion]) -> set[str]:
    """Note these versions, one a document, where they are newer than what is noted; the ids of those that are.

    In one statement, so that of several workers with events of one document only one finds its own newer.
    """
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    columns = t.source_version.c
    statement = dialect.insert(t.source_version)
    coming = statement.excluded
    names_versions = and_(coming.version.is_not(None), columns.version.is_not(None))
    same_partition = coming.partition == columns.partition
    is_newer = case(
        (names_versions, coming.version > columns.version),
        (same_partition, coming.offset > columns.offset),
        else_=coming.sent_at_ms > columns.sent_at_ms,
    )
    statement = statement.on_conflict_do_update(
        index_elements=["source_id", "document_id"],
        set_={name: coming[name] for name in ("version", "partition", "offset", "sent_at_ms")},
        where=is_newer,
    ).returning(columns.document_id)
    won: set[str] = set()
    for block in blocks(events):
        rows = [{"source_id": source_id, **msgspec.structs.asdict(event)} for event in block]
        won.update(connection.execute(statement, rows).scalars())
    return won


def versions(connection: Connection, source_id: int, ids: Sequence[str]) -> dict[str, EventVersion]:
    """What is noted of these documents."""
    c = t.source_version.c
    found: dict[str, EventVersion] = {}
    for block in blocks(ids):
        for row in connection.execute(
            select(t.source_version).where(c.source_id == source_id, c.document_id.in_(block))
        ):
            names = EventVersion.__struct_fields__
            found[row.document_id] = EventVersion(**{name: row._mapping[name] for name in names})
    return found
