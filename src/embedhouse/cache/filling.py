"""One call's texts on their way to vectors: from the cache, from another caller, or from the model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.cache.single_flight import Computation, Key, Row, SingleFlight
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import ModelError
from embedhouse.domain.spaces import Lane, Role
from embedhouse.ports import Cached, Embedder, VectorCache
from embedhouse.telemetry import COUNTERS

__all__ = ["Filling", "Request"]

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1
_LET_DOWN_AT_MOST = 2


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedder is asked, with each text once: SHA-256 of what is embedded -> the text."""

    texts: dict[bytes, str]
    role: Role
    lane: Lane
    deadline: Deadline


class Filling:
    """The rows of one request, in its order: `held` as they are found, and which of them were `computed` for it."""

    def __init__(self, embedder: Embedder, cache: VectorCache, flight: SingleFlight, request: Request) -> None:
        self._embedder = embedder
        self._cache = cache
        self._flight = flight
        self._request = request
        self._fingerprint = embedder.space.fingerprint
        self._hashes = list(request.texts)
        self._texts = list(request.texts.values())
        self._ended_before = flight.ended
        self.held = self._look(self._hashes)
        hits = int(self.held.found.sum())
        COUNTERS.add("cache_hits", hits)
        COUNTERS.add("cache_misses", len(self._hashes) - hits)
        self.computed: npt.NDArray[np.bool_] = np.zeros(len(self._hashes), np.bool_)

    def fill(self) -> None:
        """Find or compute every row. Errors: those of the embedder."""
        let_down: Counter[int] = Counter()
        while missing := self._missing(range(len(self._hashes))):
            self._request.deadline.check("embedding")
            # Whom others' failures have cost time enough computes itself, and does not ask who else does.
            alone = [row for row in missing if let_down[row] >= _LET_DOWN_AT_MOST]
            if alone:
                self._lead(alone, {})
                continue
            keys = {self._key(row): row for row in missing}
            mine, others = self._flight.start(keys, self._request.lane)
            try:
                self._lead([keys[key] for key in mine], mine)
            finally:
                self._flight.end(mine)
            self._follow(keys, others)
            let_down.update(self._missing([keys[key] for key in others]))

    def _follow(self, keys: dict[Key, int], others: dict[Key, Computation]) -> None:
        self._flight.wait(list(others.values()), self._request.deadline)
        told = {keys[key]: other.row for key, other in others.items() if other.row is not None}
        for row, result in told.items():
            self.held.vectors[row] = result.vector
            self.held.token_counts[row] = result.token_count
            self.held.dropped_counts[row] = result.dropped_count
            self.held.found[row] = True
        if told:
            COUNTERS.add("cache_shared", len(told))

    def _lead(self, rows: Sequence[int], mine: dict[Key, Computation]) -> None:
        """Compute what is still missing of these rows, unless another process does; then wait for that."""
        pause_s = _FIRST_PAUSE_S
        while rows:
            with self._claimed(rows) as claimed:
                # After the claim: what somebody put before giving up theirs is seen now.
                self._look_again(rows, mine)
                self._compute(self._missing(claimed), mine)
            rows = self._missing(rows)
            if rows:
                self._request.deadline.check("waiting for a text that another process embeds")
                time.sleep(min(pause_s, self._request.deadline.remaining_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @contextmanager
    def _claimed(self, rows: Sequence[int]) -> Iterator[list[int]]:
        claims = self._cache.claims
        if claims is None:
            yield list(rows)
            return
        role = self._request.role
        won = claims.claim(self._fingerprint, role, [self._hashes[row] for row in rows], self._request.lane)
        ours = [row for row, is_ours in zip(rows, won, strict=True) if is_ours]
        try:
            yield ours
        finally:
            claims.give_up(self._fingerprint, role, [self._hashes[row] for row in ours])

    def _look_again(self, rows: Sequence[int], mine: dict[Key, Computation]) -> None:
        if self._cache.claims is None and self._flight.ended == self._ended_before:
            return
        self._ended_before = self._flight.ended
        again = self._look([self._hashes[row] for row in rows])
        places = np.asarray(rows, np.int64)[again.found]
        self._take(places, again, again.found, mine)

    def _compute(self, rows: Sequence[int], mine: dict[Key, Computation]) -> None:
        if not rows:
            return
        request = self._request
        texts = [self._texts[row] for row in rows]
        computed = self._embedder.embed(texts, role=request.role, lane=request.lane, deadline=request.deadline)
        _check_complete(computed, len(texts), self._embedder)
        places = np.asarray(rows, np.int64)
        self.computed[places] = True
        self._take(places, computed, np.ones(len(rows), np.bool_), mine)
        hashes = [self._hashes[row] for row in rows]
        self._cache.put(self._fingerprint, request.role, hashes, computed, request.lane)

    def _take(
        self,
        places: npt.NDArray[np.int64],
        found: Embeddings | Cached,
        which: npt.NDArray[np.bool_],
        mine: dict[Key, Computation],
    ) -> None:
        held = self.held
        held.vectors[places] = found.vectors[which]
        held.token_counts[places] = found.token_counts[which]
        held.dropped_counts[places] = found.dropped_counts[which]
        held.found[places] = True
        if mine:
            self._flight.tell(mine, {self._key(row): self._row(row) for row in places.tolist()})

    def _look(self, hashes: Sequence[bytes]) -> Cached:
        return self._cache.get(self._fingerprint, self._request.role, hashes, self._embedder.space.dimensions)

    def _missing(self, rows: Sequence[int]) -> list[int]:
        return [row for row in rows if not self.held.found[row]]

    def _key(self, row: int) -> Key:
        return self._fingerprint, self._request.role, self._hashes[row]

    def _row(self, row: int) -> Row:
        held = self.held
        # A copy: the array belongs to a caller, who may change it.
        return Row(held.vectors[row].copy(), int(held.token_counts[row]), int(held.dropped_counts[row]))


def _check_complete(computed: Embeddings, n_texts: int, embedder: Embedder) -> None:
    """Errors: ModelError for anything but one finite vector a text."""
    space = embedder.space
    if computed.vectors.shape != (n_texts, space.dimensions):
        found = " x ".join(map(str, computed.vectors.shape))
        raise ModelError(reason=f"{space.model} returned {found} numbers for {n_texts} x {space.dimensions}.")
    if not np.isfinite(computed.vectors).all():
        raise ModelError(reason=f"{space.model} returned a vector with a number that is not finite.")
