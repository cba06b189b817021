"""Queries on spaces: which were used, what their canaries were, and which are frozen."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from sqlalchemy import Connection, Row, delete, insert, select, update

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.models import ModelChoice
from embedhouse.domain.spaces import Role, Space
from embedhouse.ledger import tables as t

__all__ = [
    "Canary",
    "CanaryVectors",
    "KnownSpace",
    "SpaceState",
    "canary_vectors",
    "known_space",
    "known_spaces",
    "mark",
    "record_canary",
]

SpaceState = Literal["ok", "frozen"]

CanaryVectors = dict[tuple[Role, bytes], Vectors]
"""(role, SHA-256 of the text) -> (dimensions,) float32."""


class Canary(msgspec.Struct, frozen=True):
    """What fixed texts came to, and how far (as 1 - cosine) they may lie from it when they are embedded again."""

    vectors: CanaryVectors
    tolerance: float


class KnownSpace(msgspec.Struct, frozen=True, kw_only=True):
    """A space that was used. `choice` is what the user asked for; times are seconds since the epoch.

    tolerance: how far, as 1 - cosine, a canary's vectors may lie from those recorded at first use.
    """

    fingerprint: str
    choice: ModelChoice
    space: Space
    state: SpaceState = "ok"
    reason: str = ""
    frozen_at: float | None = None
    tolerance: float
    recorded_at: float
    checked_at: float


def known_spaces(connection: Connection) -> list[KnownSpace]:
    """Every space, in the order of first use."""
    query = select(t.space).order_by(t.space.c.recorded_at, t.space.c.fingerprint)
    return [_known(row) for row in connection.execute(query)]


def known_space(connection: Connection, fingerprint: str) -> KnownSpace | None:
    """One space; None before its first canary."""
    query = select(t.space).where(t.space.c.fingerprint == fingerprint)
    row = connection.execute(query).one_or_none()
    return None if row is None else _known(row)


def canary_vectors(connection: Connection, fingerprint: str) -> CanaryVectors:
    """What was recorded at first use; empty before it."""
    query = select(t.canary).where(t.canary.c.fingerprint == fingerprint)
    return {
        (row.role, bytes(row.text_sha256)): np.frombuffer(row.vector, "<f4").astype(np.float32)
        for row in connection.execute(query)
    }


def record_canary(
    connection: Connection, space: Space, choice: ModelChoice, canary: Canary, now: float
) -> KnownSpace:
    """Keep a canary in place of any before it; the space is not frozen from here on."""
    known = KnownSpace(
        fingerprint=space.fingerprint,
        choice=choice,
        space=space,
        tolerance=canary.tolerance,
        recorded_at=now,
        checked_at=now,
    )
    connection.execute(delete(t.canary).where(t.canary.c.fingerprint == known.fingerprint))
    connection.execute(delete(t.space).where(t.space.c.fingerprint == known.fingerprint))
    records = {"space": _dumps(space), "choice": _dumps(choice)}
    connection.execute(insert(t.space).values(msgspec.structs.asdict(known) | records))
    vectors = [
        {
            "fingerprint": known.fingerprint,
            "role": role,
            "text_sha256": text,
            "vector": vector.astype("<f4").tobytes(),
        }
        for (role, text), vector in canary.vectors.items()
    ]
    connection.execute(insert(t.canary), vectors)
    return known


def mark(connection: Connection, known: KnownSpace, state: SpaceState, reason: str, now: float) -> KnownSpace:
    """The canary was taken again, and this is what came of it. A space that stays frozen keeps its date."""
    frozen_at = None if state == "ok" else known.frozen_at or now
    values = {"state": state, "reason": reason, "frozen_at": frozen_at, "checked_at": now}
    connection.execute(update(t.space).where(t.space.c.fingerprint == known.fingerprint).values(values))
    return msgspec.structs.replace(known, **values)


def _known(row: Row[Any]) -> KnownSpace:
    records = {
        "space": msgspec.json.decode(row.space, type=Space),
        "choice": msgspec.json.decode(row.choice, type=ModelChoice),
    }
    return KnownSpace(**dict(row._mapping) | records)


def _dumps(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
