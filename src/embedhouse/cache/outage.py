"""A store that does not answer: counted each time, logged once."""

from __future__ import annotations

import threading

import structlog

from embedhouse.telemetry import COUNTERS

__all__ = ["Outage"]

_log = structlog.get_logger("embedhouse.cache")


class Outage:
    """Whether a store is out of order. Thread-safe."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._refused = False
        self.lasts = False

    def failed(self, error: Exception) -> None:
        """A call failed."""
        COUNTERS.add("cache_failures")
        with self._lock:
            begins, self.lasts = not self.lasts, True
        if begins:
            _log.warning(
                "the vector cache does not answer; vectors are computed meanwhile",
                store=self._store,
                why=str(error),
            )

    def refused(self, error: Exception) -> None:
        """The store answers, and does not do this: it is full, as a rule. Logged the first time."""
        COUNTERS.add("cache_failures")
        with self._lock:
            first, self._refused = not self._refused, True
        if first:
            _log.warning("the vector cache refuses a command", store=self._store, why=str(error))

    def ended(self) -> None:
        """The store answers."""
        if self.lasts:
            with self._lock:
                self.lasts = False
            _log.warning("the vector cache answers again", store=self._store)
