"""A text that many callers ask for at once is computed by one of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.spaces import Lane, Role
from embedhouse.ports import VectorCache

__all__ = ["Computation", "Key", "Row", "SingleFlight", "flights_over"]

# How soon a caller who waits notices that its deadline was cancelled.
_POLL_S = 0.05

Key = tuple[str, Role, bytes]
"""Fingerprint, role, hash of the text."""


class Row(NamedTuple):
    """One text's result: vector (dimensions,) float32."""

    vector: Vectors
    token_count: int
    dropped_count: int


class Computation:
    """One text that somebody computes. `row` is its result; None while it is under way, and for good if it is
    `over` without one."""

    __slots__ = ("lane", "over", "row")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.row: Row | None = None
        self.over = False


class SingleFlight:
    """The texts that are being computed in this process. Thread-safe.

    Whoever starts computations ends them, whatever happens, and waits for nobody else's before: so nobody waits in
    a circle.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way: dict[Key, Computation] = {}
        self.ended = 0
        """How many computations there have been. If it moved, something new may be in the cache."""

    def start(self, keys: Iterable[Key], lane: Lane) -> tuple[dict[Key, Computation], dict[Key, Computation]]:
        """(for the caller to compute, for the caller to wait for). The interactive lane never waits for bulk."""
        mine: dict[Key, Computation] = {}
        others: dict[Key, Computation] = {}
        with self._changed:
            for key in keys:
                known = self._under_way.get(key)
                if known is not None and (lane == "bulk" or known.lane == "interactive"):
                    others[key] = known
                else:
                    mine[key] = self._under_way[key] = Computation(lane)
        return mine, others

    def tell(self, mine: Mapping[Key, Computation], rows: Mapping[Key, Row]) -> None:
        """Hand results to those who wait, and to those who come until the computations end."""
        with self._changed:
            for key, row in rows.items():
                if key in mine:
                    mine[key].row = row
            self._changed.notify_all()

    def end(self, mine: Mapping[Key, Computation]) -> None:
        """The results are in the cache, or there are none."""
        with self._changed:
            self.ended += 1
            for key, computation in mine.items():
                computation.over = True
                if self._under_way.get(key) is computation:
                    del self._under_way[key]
            self._changed.notify_all()

    def wait(self, others: Sequence[Computation], deadline: Deadline) -> None:
        """Until each has a result or is over. Errors: DeadlineExceeded, Cancelled."""
        with self._changed:
            while not all(one.row is not None or one.over for one in others):
                deadline.check("waiting for a text that another request embeds")
                self._changed.wait(min(deadline.remaining_s, _POLL_S))


_flights: WeakKeyDictionary[VectorCache, SingleFlight] = WeakKeyDictionary()
_flights_lock = threading.Lock()


def flights_over(cache: VectorCache) -> SingleFlight:
    """The one of all embedders over a cache: two of them may have the same space."""
    with _flights_lock:
        return _flights.setdefault(cache, SingleFlight())
