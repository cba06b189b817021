"""How many indexes are open at once: each costs memory, so the least recently used are closed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import structlog

from embedhouse.indexing.indexer import Indexer

__all__ = ["OpenIndexes"]

_log = structlog.get_logger("embedhouse.indexing")


class OpenIndexes:
    """Closes the least recently used indexes, in a thread of its own, when more than `limit` are open. One that is
    in use is never closed, so for as long there can be more. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._by_use: dict[Indexer, None] = {}
        """The least recently used first; some may be closed already."""
        self._closer = ThreadPoolExecutor(1, "close-index")
        self._thread: threading.Thread | None = None
        self._closing = False
        self._tried: set[Indexer] = set()
        """Those that were not idle since they were last used."""
        self._stopped = False

    def used(self, indexer: Indexer) -> None:
        """A use of this index has ended."""
        if threading.current_thread() is self._thread:  # flushing an index before it closes it
            return
        with self._lock:
            self._by_use.pop(indexer, None)
            self._by_use[indexer] = None
            self._tried.discard(indexer)
            if len(self._by_use) <= self._limit or self._closing or self._stopped:
                return
            self._closing = True
            self._closer.submit(self._close_least_used)

    def close(self) -> None:
        """Finish what is being closed; close nothing more."""
        with self._lock:
            self._stopped = True
        self._closer.shutdown()

    def _close_least_used(self) -> None:
        self._thread = threading.current_thread()
        while indexer := self._least_used():
            try:
                indexer.rest()
            except Exception:
                # A full disk, say: it stays open, nothing is lost, and a later use of any index tries again.
                _log.exception("an index that nobody uses could not be closed")

    def _least_used(self) -> Indexer | None:
        """The next one to try, or None when enough are closed, or all have been tried."""
        with self._lock:
            self._by_use = {indexer: None for indexer in self._by_use if indexer.is_open}
            if len(self._by_use) > self._limit and not self._stopped:
                for indexer in self._by_use:
                    if indexer not in self._tried:
                        self._tried.add(indexer)
                        return indexer
            self._tried.clear()
            self._closing = False
            return None
