"""What was used when: noted in memory, written now and then."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable

__all__ = ["Recency"]

_WRITE_AFTER_S = 300.0
_NOTED_AT_MOST = 65_536


class Recency:
    """Entries of a cache file that were read since it was last written down. Thread-safe.

    A crash loses five minutes of it, and while nothing is written only so many entries are noted: then some count
    as used a little longer ago than they were.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: set[int] = set()
        self._written_at = time.monotonic()

    def note(self, ids: Iterable[int]) -> None:
        """These were read just now."""
        with self._lock:
            if len(self._noted) < _NOTED_AT_MOST:
                self._noted.update(ids)

    @property
    def is_due(self) -> bool:
        """Whether it should be written with whatever is written next."""
        return len(self._noted) >= _NOTED_AT_MOST or time.monotonic() - self._written_at > _WRITE_AFTER_S

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it, within the caller's transaction."""
        with self._lock:
            ids, self._noted = self._noted, set()
        self._written_at = time.monotonic()
        now = time.time_ns() // 1000
        connection.executemany("UPDATE entry SET used_at = ? WHERE id = ?", [(now, one) for one in sorted(ids)])
