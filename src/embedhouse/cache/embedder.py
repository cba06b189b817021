"""An embedder that never computes the same vector twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import check_text
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.ports import Embedder, Tokenizer, VectorCache

__all__ = ["CachedEmbedder", "text_sha256"]


def text_sha256(space: Space, role: Role, text: str) -> bytes:
    """SHA-256 of the exact bytes that are embedded: the prompt is part of them."""
    return hashlib.sha256((space.prompt(role) + text).encode()).digest()


class CachedEmbedder:
    """Implements ports.Embedder over another embedder and a vector cache, text by text, never batch by batch.

    `token_counts` of its results are 0 for what came from the cache: those are the tokens that were embedded.
    """

    def __init__(self, embedder: Embedder, cache: VectorCache) -> None:
        self._embedder = embedder
        self._cache = cache
        self._fingerprint = embedder.space.fingerprint

    @property
    def space(self) -> Space:
        """See ports.Embedder."""
        return self._embedder.space

    @property
    def tokenizer(self) -> Tokenizer:
        """See ports.Embedder."""
        return self._embedder.tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """See ports.Embedder. Equal texts are computed once."""
        for number, text in enumerate(texts):
            check_text(text, f"number {number}")
        hashes, place = self._distinct(texts, role)
        cached = self._cache.get(self._fingerprint, role, list(hashes), self.space.dimensions)
        counts = np.zeros(len(hashes), np.int64)
        missing = np.flatnonzero(~cached.found)
        if len(missing):
            wanted = [texts[first] for first in hashes.values()]
            computed = self._embedder.embed([wanted[i] for i in missing], role=role, lane=lane, deadline=deadline)
            cached.vectors[missing] = computed.vectors
            cached.dropped_counts[missing] = computed.dropped_counts
            counts[missing] = computed.token_counts
            keys = list(hashes)
            dropped = [int(count) for count in computed.dropped_counts]
            self._cache.put(self._fingerprint, role, [keys[i] for i in missing], computed.vectors, dropped)
        token_counts = np.zeros(len(texts), np.int64)
        token_counts[list(hashes.values())] = counts
        return Embeddings(
            vectors=cached.vectors[place], token_counts=token_counts, dropped_counts=cached.dropped_counts[place]
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
        for number, text in enumerate(texts):
            key = text_sha256(self.space, role, text)
            first.setdefault(key, number)
            place.append(rows.setdefault(key, len(rows)))
        return first, place
