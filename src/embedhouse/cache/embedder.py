"""An embedder that never computes the same vector twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from embedhouse.cache.filling import Filling, Request
from embedhouse.cache.single_flight import flights_over
from embedhouse.domain.binding import cache_salt
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import check_text
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings
from embedhouse.domain.models import Spent
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.ports import Embedder, Meter, Tokenizer, VectorCache

__all__ = ["CachedEmbedder", "text_sha256"]


def text_sha256(space: Space, role: Role, text: str, salt: str = "") -> bytes:
    """SHA-256 of the exact bytes that are embedded: the prompt is part of them. Under another salt (see
    domain.binding.salt_of) the same text is another one: no text has a NUL, so none is hashed like a salted one."""
    exact = space.prompt(role) + text
    return hashlib.sha256((f"\0{salt}\0{exact}" if salt else exact).encode()).digest()


class CachedEmbedder:
    """Implements ports.Embedder over another embedder and a vector cache, text by text, never batch by batch.

    Each text is computed once, whoever asks for it at the same time: here, and in every process that shares the
    cache. A query never waits for one that is computed in bulk. `cached` of its results says what was not computed
    for the call; the meter hears of that.
    """

    def __init__(self, embedder: Embedder, cache: VectorCache, meter: Meter | None = None) -> None:
        self._embedder = embedder
        self._cache = cache
        self._meter = meter
        self._flight = flights_over(cache)

    @property
    def space(self) -> Space:
        """See ports.Embedder."""
        return self._embedder.space

    @property
    def tokenizer(self) -> Tokenizer:
        """See ports.Embedder."""
        return self._embedder.tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """See ports.Embedder. Errors: ModelError too, for a model that returns anything but a vector a text."""
        for number, text in enumerate(texts):
            check_text(text, f"number {number}")
        first, place = self._distinct(texts, role)
        distinct = {key: texts[number] for key, number in first.items()}
        request = Request(texts=distinct, role=role, lane=lane, deadline=deadline)
        filling = Filling(self._embedder, self._cache, self._flight, request)
        filling.fill()
        cached = np.ones(len(texts), np.bool_)
        cached[list(first.values())] = ~filling.computed
        self._record(int(cached.sum()), lane)
        held = filling.held
        return Embeddings(
            vectors=held.vectors[place],
            token_counts=held.token_counts[place],
            dropped_counts=held.dropped_counts[place],
            cached=cached,
        )

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """See ports.Embedder. Not cached: token vectors are read once, as a rule, and are large."""
        return self._embedder.embed_tokens(texts, role=role, deadline=deadline)

    def close(self) -> None:
        """See ports.Embedder. The cache stays open: others use it."""
        self._embedder.close()

    def _distinct(self, texts: Sequence[str], role: Role) -> tuple[dict[bytes, int], list[int]]:
        """Hash -> number of the first text that has it; and the row of each text among the hashes."""
        first: dict[bytes, int] = {}
        rows: dict[bytes, int] = {}
        place: list[int] = []
        salt = cache_salt()
        for number, text in enumerate(texts):
            key = text_sha256(self.space, role, text, salt)
            first.setdefault(key, number)
            place.append(rows.setdefault(key, len(rows)))
        return first, place

    def _record(self, cached_items: int, lane: Lane) -> None:
        if self._meter is not None and cached_items:
            space = self.space
            spent = Spent(provider=space.provider, model=space.model, lane=lane, cached_items=cached_items)
            self._meter.record(spent)
