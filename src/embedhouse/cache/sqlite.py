"""The embedded vector cache: one SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedhouse.cache.cache_file import CacheFile, is_damage, open_cache_file, set_aside
from embedhouse.cache.eviction import Eviction, Needed, nothing_needed
from embedhouse.cache.outage import Outage
from embedhouse.cache.recency import Recency
from embedhouse.cache.values import Seal, decode, encode, seal_of
from embedhouse.cache.write_behind import WriteBehind
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import StorageError
from embedhouse.domain.spaces import Lane, Role
from embedhouse.ports import Cached, CacheInfo, Claims

__all__ = ["SqliteVectorCache"]

_IDS_PER_QUERY = 1000
_QUERY_SIZES = (1, 8, 64, 256, _IDS_PER_QUERY)
"""Statements are made for these many ids alone, so that few are ever compiled."""
_VALUES = "SELECT text_sha256, value FROM entry JOIN value ON value.id = value_id WHERE entry.id"


class SqliteVectorCache:
    """Implements ports.VectorCache in one file. Thread-safe; reading never waits for writing.

    max_bytes: size of its vectors at which the least recently used go; 0: none ever do. needed(fingerprint,
    hashes) names those that must not.
    Errors, of opening alone: CacheTooNew, ReadOnly, DiskFull, StorageError.
    """

    claims: Claims | None = None

    def __init__(self, path: Path, *, max_bytes: int = 0, needed: Needed = nothing_needed) -> None:
        self._path = path
        self._opening = threading.Lock()
        self._outage = Outage(str(path))
        self._behind = WriteBehind(self._put)
        self._limits = (max_bytes, needed)
        self._begin(open_cache_file(path))

    def get(self, fingerprint: str, role: Role, hashes: Sequence[bytes], dimensions: int) -> Cached:
        """See ports.VectorCache."""
        # Looked at first: what is written meanwhile is in the file.
        waiting = self._behind.waiting(fingerprint, role, hashes)
        seal, file = seal_of(fingerprint, role), self._file
        try:
            ids = _ids(seal, hashes)
            with file.reading() as connection:
                found = dict(_select_blocks(connection, _VALUES, ids))
            if self._limits[0]:
                self._recency.note(ids)
            self._outage.ended()
        except sqlite3.Error as error:
            self._outage.failed(error)
            self._replace_if_damaged(file, error)
            found = {}
        found |= waiting
        return decode(seal, hashes, [found.get(one) for one in hashes], dimensions)

    def put(
        self, fingerprint: str, role: Role, hashes: Sequence[bytes], computed: Embeddings, lane: Lane = "bulk"
    ) -> None:
        """See ports.VectorCache."""
        values = dict(zip(hashes, encode(seal_of(fingerprint, role), hashes, computed), strict=True))
        if lane == "bulk" or not self._behind.add(fingerprint, role, values):
            self._put(fingerprint, role, values)

    def _put(self, fingerprint: str, role: Role, values: dict[bytes, bytes]) -> None:
        file, eviction = self._file, self._eviction
        ids = _ids(seal_of(fingerprint, role), list(values))
        by_id = dict(zip(ids, values.items(), strict=True))
        try:
            with file.writing(eviction.rolled_back) as connection:
                evicted = self._write(connection, eviction, _space_id(connection, fingerprint, role), by_id)
            if evicted:
                file.give_back_free_pages()
        except (sqlite3.Error, StorageError) as error:  # the latter from the ledger: what is needed
            self._outage.refused(error)
            self._replace_if_damaged(file, error)

    def info(self) -> CacheInfo:
        """See ports.VectorCache."""
        file = self._file
        try:
            with file.reading() as connection:
                return CacheInfo(
                    vectors=connection.execute("SELECT count(*) FROM entry").fetchone()[0], bytes=file.bytes
                )
        except sqlite3.Error as error:
            self._outage.failed(error)
            self._replace_if_damaged(file, error)
            return CacheInfo(vectors=None, bytes=None)

    def close(self) -> None:
        """See ports.VectorCache."""
        self._behind.close()
        try:
            with self._file.writing() as connection:
                self._recency.write(connection)
        except sqlite3.Error as error:
            self._outage.refused(error)
        for file in self._files:
            file.close()

    def _begin(self, file: CacheFile) -> None:
        self._files = [*getattr(self, "_files", []), file]
        self._file = file
        self._recency = Recency()
        self._eviction = Eviction(*self._limits)

    def _replace_if_damaged(self, file: CacheFile, error: Exception) -> None:
        """Go on with a new file. Others may still read the old one, so it stays open."""
        if isinstance(error, sqlite3.Error) and is_damage(error):
            # Without a new one (a full disk) everything is a miss.
            with self._opening, contextlib.suppress(StorageError):
                if file is self._file:
                    set_aside(self._path, error)
                    self._begin(open_cache_file(self._path))

    def _write(
        self,
        connection: sqlite3.Connection,
        eviction: Eviction,
        space_id: int,
        values: dict[int, tuple[bytes, bytes]],
    ) -> bool:
        """Whether others were evicted."""
        now = time.time_ns() // 1000
        value_ids = dict(_select_blocks(connection, "SELECT id, value_id FROM entry WHERE id", list(values)))
        fresh = [one for one in values if one not in value_ids]
        value_ids.update(zip(fresh, _new_value_ids(connection, eviction.free_ids, len(fresh)), strict=True))
        connection.executemany(
            "INSERT INTO entry (id, value_id, space_id, size, used_at) VALUES (?, ?, ?, ?, ?)",
            [(one, value_ids[one], space_id, len(values[one][1]), now) for one in fresh],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO value (id, text_sha256, value) VALUES (?, ?, ?)",
            [(value_ids[one], text_sha256, value) for one, (text_sha256, value) in values.items()],
        )
        if self._recency.is_due:
            self._recency.write(connection)
        return eviction.added(connection, [len(values[one][1]) for one in fresh])


def _ids(seal: Seal, hashes: Sequence[bytes]) -> list[int]:
    """Where the values are. Texts with one id put each other out; the hash beside the value tells them apart."""
    words = np.frombuffer(b"".join(hashes), "<i8").reshape(-1, 4)
    ids: list[int] = (words[:, 0] ^ np.uint64(seal.number).astype(np.int64)).tolist()
    return ids


def _select_blocks(connection: sqlite3.Connection, select: str, ids: Sequence[int]) -> Iterator[tuple[Any, Any]]:
    """Rows of two columns, of a statement that ends with the column that is to be one of the ids."""
    for start in range(0, len(ids), _IDS_PER_QUERY):
        block = ids[start : start + _IDS_PER_QUERY]
        size = next(size for size in _QUERY_SIZES if size >= len(block))
        marks = ",".join("?" * size)
        yield from connection.execute(f"{select} IN ({marks})", (*block, *[None] * (size - len(block)))).fetchall()


def _new_value_ids(connection: sqlite3.Connection, free: list[int], count: int) -> list[int]:
    reused = [free.pop() for _ in range(min(count, len(free)))]
    last = connection.execute("SELECT max(id) FROM value").fetchone()[0] or 0
    return [*reused, *range(last + 1, last + 1 + count - len(reused))]


def _space_id(connection: sqlite3.Connection, fingerprint: str, role: Role) -> int:
    place = (fingerprint, role)
    connection.execute("INSERT INTO space (fingerprint, role) VALUES (?, ?) ON CONFLICT DO NOTHING", place)
    row = connection.execute("SELECT id FROM space WHERE fingerprint = ? AND role = ?", place).fetchone()
    return int(row[0])
