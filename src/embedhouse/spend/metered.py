"""An embedder whose work is metered: for models that run in this process, and know nothing of money."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings
from embedhouse.domain.models import Spent
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.ports import Embedder, Meter, Tokenizer

__all__ = ["MeteredEmbedder"]


class MeteredEmbedder:
    """Implements ports.Embedder over another one."""

    def __init__(self, embedder: Embedder, meter: Meter, clock: Callable[[], float] = time.perf_counter) -> None:
        self._embedder = embedder
        self._meter = meter
        self._clock = clock

    @property
    def space(self) -> Space:
        """See ports.Embedder."""
        return self._embedder.space

    @property
    def tokenizer(self) -> Tokenizer:
        """See ports.Embedder."""
        return self._embedder.tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """See ports.Embedder. Errors: BudgetExceeded too, where the settings give the model a price."""
        self._allow(lane)
        started = self._clock()
        found = self._embedder.embed(texts, role=role, lane=lane, deadline=deadline)
        self._record(lane, len(texts), int(found.token_counts.sum()), self._clock() - started)
        return found

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """See ports.Embedder."""
        self._allow("bulk")
        started = self._clock()
        found = self._embedder.embed_tokens(texts, role=role, deadline=deadline)
        self._record("bulk", len(texts), sum(len(each.tokens) for each in found), self._clock() - started)
        return found

    def close(self) -> None:
        """See ports.Embedder."""
        self._embedder.close()

    def _allow(self, lane: Lane) -> None:
        space = self._embedder.space
        # Not counted beforehand: that would tokenise every text twice.
        self._meter.allow(provider=space.provider, model=space.model, lane=lane, tokens=0)

    def _record(self, lane: Lane, items: int, tokens: int, seconds: float) -> None:
        space = self._embedder.space
        self._meter.record(
            Spent(
                provider=space.provider, model=space.model, lane=lane, items=items, tokens=tokens, seconds=seconds
            )
        )
