"""Queries on named API keys. Only their SHA-256 is kept: each key is 256 random bits, so it cannot be guessed
from that."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from embedhouse.domain.errors import Conflict
from embedhouse.ledger import tables as t

__all__ = ["StoredKey", "add_key", "all_keys", "delete_key"]


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the ledger knows it."""

    name: str
    sha256: bytes
    hint: str
    created_at: float
    namespaces: tuple[str, ...] | None
    """Those that it is bound to; None: it may see everything."""


def add_key(
    connection: Connection, name: str, sha256: bytes, hint: str, namespaces: Sequence[str] | None = None
) -> None:
    """Keep a new key. Errors: Conflict where there is one of that name."""
    bound = "" if namespaces is None else msgspec.json.encode(namespaces).decode()
    row = {"name": name, "sha256": sha256, "hint": hint, "created_at": time.time(), "namespaces": bound}
    try:
        connection.execute(insert(t.api_key).values(row))
    except IntegrityError:
        reason = f"There is an API key named {name!r} already. Revoke it first, or choose another name."
        raise Conflict(reason=reason) from None


def all_keys(connection: Connection) -> list[StoredKey]:
    """Every key, by name."""
    rows = connection.execute(select(t.api_key).order_by(t.api_key.c.name))
    return [
        StoredKey(
            name=row.name,
            sha256=row.sha256,
            hint=row.hint,
            created_at=row.created_at,
            namespaces=msgspec.json.decode(row.namespaces, type=tuple[str, ...]) if row.namespaces else None,
        )
        for row in rows
    ]


def delete_key(connection: Connection, name: str) -> bool:
    """Forget a key; whether there was one."""
    return connection.execute(delete(t.api_key).where(t.api_key.c.name == name)).rowcount > 0
