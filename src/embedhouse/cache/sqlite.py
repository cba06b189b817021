"""The embedded vector cache: one SQLite file of float32 bytes with a checksum each."""

from __future__ import annotations

import sqlite3
import struct
import threading
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.spaces import Role
from embedhouse.domain.storage import storage_error
from embedhouse.ports import Cached
from embedhouse.telemetry import COUNTERS

__all__ = ["SqliteVectorCache"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS space (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS embedding (
    space_id INTEGER NOT NULL, role TEXT NOT NULL, text_sha256 BLOB NOT NULL, value BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS embedding_by_text ON embedding (space_id, role, text_sha256);
"""
_HEADER = struct.Struct("<II")  # crc32, dropped tokens
_HASHES_PER_QUERY = 1000
_FLOAT_BYTES = 4


class SqliteVectorCache:
    """Implements ports.VectorCache in one file. Thread-safe: readers have a connection a thread, writers share
    one behind a lock.

    A value is crc32(fingerprint, role, text hash, rest) + dropped token count + float32 little-endian: what
    was written for another text or space, or is damaged, fails its checksum and is a miss.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._write_lock = threading.Lock()
        self._space_ids: dict[str, int] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            self._writer.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise storage_error(error, path) from error

    def get(self, fingerprint: str, role: Role, hashes: Sequence[bytes], dimensions: int) -> Cached:
        """See ports.VectorCache."""
        found = np.zeros(len(hashes), np.bool_)
        vectors = np.zeros((len(hashes), dimensions), np.float32)
        dropped = np.zeros(len(hashes), np.int64)
        values = self._values(fingerprint, role, hashes)
        seed = _seed(fingerprint, role)
        for row, text_sha256 in enumerate(hashes):
            value = values.get(text_sha256)
            if value is not None and _is_sound(value, seed, text_sha256, dimensions):
                found[row] = True
                dropped[row] = _HEADER.unpack_from(value)[1]
                vectors[row] = np.frombuffer(value, "<f4", offset=_HEADER.size)
            elif value is not None:
                COUNTERS.add("cache_damaged_entries")
        COUNTERS.add("cache_hits", int(found.sum()))
        COUNTERS.add("cache_misses", int(len(hashes) - found.sum()))
        return Cached(found=found, vectors=vectors, dropped_counts=dropped)

    def put(
        self, fingerprint: str, role: Role, hashes: Sequence[bytes], vectors: Vectors, dropped_counts: Sequence[int]
    ) -> None:
        """See ports.VectorCache."""
        seed = _seed(fingerprint, role)
        values = [
            _value(seed, text_sha256, int(dropped), vector)
            for text_sha256, vector, dropped in zip(hashes, vectors, dropped_counts, strict=True)
        ]
        try:
            with self._write_lock, self._writer:
                space_id = self._space_id(fingerprint)
                self._writer.executemany(
                    "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?, ?)",
                    [(space_id, role, key, value) for key, value in zip(hashes, values, strict=True)],
                )
        except sqlite3.Error as error:
            raise storage_error(error, self._path) from error

    def count(self) -> int:
        """How many vectors are kept."""
        with closing(self._reader().execute("SELECT count(*) FROM embedding")) as rows:
            return int(rows.fetchone()[0])

    def close(self) -> None:
        """See ports.VectorCache."""
        with self._write_lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()

    def _values(self, fingerprint: str, role: Role, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        space_id = self._known_space_id(fingerprint)
        if space_id is None:
            return {}
        found: dict[bytes, bytes] = {}
        try:
            for start in range(0, len(hashes), _HASHES_PER_QUERY):
                block = hashes[start : start + _HASHES_PER_QUERY]
                marks = ",".join("?" * len(block))
                sql = (
                    "SELECT text_sha256, value FROM embedding "  # noqa: S608 - only question marks are put in
                    f"WHERE space_id = ? AND role = ? AND text_sha256 IN ({marks})"
                )
                found.update(self._reader().execute(sql, (space_id, role, *block)))
        except sqlite3.Error as error:
            raise storage_error(error, self._path) from error
        return found

    def _known_space_id(self, fingerprint: str) -> int | None:
        if fingerprint not in self._space_ids:
            row = self._reader().execute("SELECT id FROM space WHERE fingerprint = ?", (fingerprint,)).fetchone()
            if row is None:
                return None
            self._space_ids[fingerprint] = row[0]
        return self._space_ids[fingerprint]

    def _space_id(self, fingerprint: str) -> int:
        self._writer.execute("INSERT OR IGNORE INTO space (fingerprint) VALUES (?)", (fingerprint,))
        row = self._writer.execute("SELECT id FROM space WHERE fingerprint = ?", (fingerprint,)).fetchone()
        return int(row[0])

    def _reader(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connect()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30, check_same_thread=False)
        # NORMAL: a power cut may lose the last entries, which are then computed again; never a wrong one.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "mmap_size=1073741824"):
            connection.execute(f"PRAGMA {pragma}")
        self._opened.append(connection)
        return connection


def _seed(fingerprint: str, role: Role) -> int:
    return zlib.crc32(f"{fingerprint}\x1f{role}".encode())


def _value(seed: int, text_sha256: bytes, dropped: int, vector: Vectors) -> bytes:
    body = dropped.to_bytes(4, "little") + vector.astype("<f4", copy=False).tobytes()
    return zlib.crc32(body, zlib.crc32(text_sha256, seed)).to_bytes(4, "little") + body


def _is_sound(value: bytes, seed: int, text_sha256: bytes, dimensions: int) -> bool:
    if len(value) != _HEADER.size + dimensions * _FLOAT_BYTES:
        return False
    checksum = zlib.crc32(memoryview(value)[4:], zlib.crc32(text_sha256, seed))
    return checksum == int.from_bytes(value[:4], "little")
