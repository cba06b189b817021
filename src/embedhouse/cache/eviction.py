"""Keeps a cache file under its size: the least recently used vectors go, but none that the indexes need."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import structlog

from embedhouse.telemetry import COUNTERS

__all__ = ["Eviction", "Needed", "nothing_needed"]

Needed = Callable[[str, Sequence[bytes]], set[bytes]]
"""Of these hashes of documents' texts, those whose vector an index needs; the space by its fingerprint."""

_log = structlog.get_logger("embedhouse.cache")

_ENTRY_BYTES = 150
"""What an entry takes beside its value: itself, its place in the index, and its share of pages not quite full."""
_KEEP_SHARE = 0.9
_RETRY_SHARE = 0.05
_ENTRIES_PER_STEP = 1000
_Entry = tuple[int, str, str, bytes, int, int]
"""id, fingerprint, role, hash of the text, size, id of the value"""


def nothing_needed(fingerprint: str, hashes: Sequence[bytes]) -> set[bytes]:
    """For a cache of its own."""
    return set()


class Eviction:
    """The size of the vectors in a file, and what to do when it passes `max_bytes` (0: nothing). Its caller holds
    the file's write transaction."""

    def __init__(self, max_bytes: int, needed: Needed) -> None:
        self._max_bytes = max_bytes
        self._needed = needed
        self._bytes: int | None = None
        self._next_try_bytes = max_bytes
        self.free_ids: list[int] = []
        """Of values that are gone: a new one with such an id takes the old one's room in the file."""

    def added(self, connection: sqlite3.Connection, sizes: Sequence[int]) -> bool:
        """Values of these sizes were just written. Whether others had to go."""
        if not self._max_bytes:
            return False
        if self._bytes is None:
            self._bytes = _size(connection)
        else:
            self._bytes += sum(sizes) + len(sizes) * _ENTRY_BYTES
        if self._bytes <= self._next_try_bytes:
            return False
        self._evict(connection)
        return True

    def rolled_back(self) -> None:
        """The transaction came to nothing: forget what was counted in it."""
        self._bytes = None
        self._next_try_bytes = self._max_bytes
        self.free_ids.clear()

    def _evict(self, connection: sqlite3.Connection) -> None:
        goal = int(self._max_bytes * _KEEP_SHARE)
        count = 0
        for step in _least_recently_used(connection):
            going = self._not_needed(step, self._size_over(goal))
            self._forget(connection, going)
            count += len(going)
            if self._size_over(goal) == 0:
                break
        COUNTERS.add("cache_evicted", count)
        over = self._size_over(self._max_bytes)
        if over:
            _log.warning("the vector cache stays over its size: indexes need all that is in it", over_by_bytes=over)
        # Where most of it is needed, it is looked through for little: not again before it has grown.
        self._next_try_bytes = max(self._max_bytes, self._size_over(0) + int(self._max_bytes * _RETRY_SHARE))

    def _size_over(self, limit: int) -> int:
        return max(0, (self._bytes or 0) - limit)

    def _not_needed(self, entries: Sequence[_Entry], enough_bytes: int) -> list[_Entry]:
        """Those that may go, in order, until they make up for that many bytes."""
        documents: defaultdict[str, list[bytes]] = defaultdict(list)
        for _, fingerprint, role, text_sha256, _, _ in entries:
            if role == "document":
                documents[fingerprint].append(text_sha256)
        kept = {
            (fingerprint, "document", text_sha256)
            for fingerprint, hashes in documents.items()
            for text_sha256 in self._needed(fingerprint, hashes)
        }
        going: list[_Entry] = []
        for entry in entries:
            if enough_bytes <= 0:
                break
            if entry[1:4] not in kept:
                going.append(entry)
                enough_bytes -= entry[4] + _ENTRY_BYTES
        return going

    def _forget(self, connection: sqlite3.Connection, going: Sequence[_Entry]) -> None:
        connection.executemany("DELETE FROM entry WHERE id = ?", [(entry[0],) for entry in going])
        connection.executemany("DELETE FROM value WHERE id = ?", [(entry[5],) for entry in going])
        self.free_ids.extend(entry[5] for entry in reversed(going))
        self._bytes = (self._bytes or 0) - sum(entry[4] + _ENTRY_BYTES for entry in going)


def _size(connection: sqlite3.Connection) -> int:
    count, size = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM entry").fetchone()
    return int(size + count * _ENTRY_BYTES)


def _least_recently_used(connection: sqlite3.Connection) -> Iterator[list[_Entry]]:
    """Every entry, in steps. The order is made at once, so entries may go meanwhile."""
    ids = [row[0] for row in connection.execute("SELECT id FROM entry ORDER BY used_at, value_id")]
    for start in range(0, len(ids), _ENTRIES_PER_STEP):
        block = ids[start : start + _ENTRIES_PER_STEP]
        marks = ",".join("?" * len(block))
        found = connection.execute(
            "SELECT entry.id, fingerprint, role, text_sha256, size, value_id FROM entry "  # noqa: S608 - marks alone
            "JOIN space ON space.id = space_id JOIN value ON value.id = value_id "
            f"WHERE entry.id IN ({marks}) ORDER BY used_at, value_id",
            block,
        )
        yield found.fetchall()
