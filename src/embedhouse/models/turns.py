"""Turns on a model that can do one thing at a time: a query goes before bulk work that waits too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.spaces import Lane

__all__ = ["Turns"]

# How soon a caller who waits notices that its deadline was cancelled.
_POLL_S = 0.05


class Turns:
    """A lock that is handed to queries first. Bulk work takes a turn for each small batch, so that a query waits
    for one batch and never for a whole call. Thread-safe."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._busy = False
        self._queries = 0

    @contextmanager
    def turn(self, lane: Lane, deadline: Deadline) -> Iterator[None]:
        """Hold the model in the body. Errors: DeadlineExceeded, Cancelled."""
        self._take(lane, deadline)
        try:
            yield
        finally:
            with self._free:
                self._busy = False
                self._free.notify_all()

    def _take(self, lane: Lane, deadline: Deadline) -> None:
        is_query = lane == "interactive"
        with self._free:
            self._queries += is_query
            try:
                while self._busy or (self._queries and not is_query):
                    deadline.check("waiting for the model")
                    self._free.wait(min(deadline.remaining_s, _POLL_S))
                deadline.check("waiting for the model")
                self._busy = True
            finally:
                self._queries -= is_query
