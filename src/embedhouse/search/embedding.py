"""A query's vector; and what a hybrid search does without one."""

from __future__ import annotations

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    EmbedhouseError,
    ProviderRateLimited,
    ProviderUnauthorized,
    ProviderUnavailable,
    SpaceFrozen,
)
from embedhouse.ports import Embedder
from embedhouse.telemetry import COUNTERS

__all__ = ["NO_VECTOR", "NotEmbedded", "embed_or_degrade", "embed_query"]

NO_VECTOR = (
    BudgetExceeded,
    DeadlineExceeded,
    ProviderRateLimited,
    ProviderUnauthorized,
    ProviderUnavailable,
    SpaceFrozen,
)
"""What keeps a query from being embedded without being the query's fault."""

# What is left of a time limit must do for searching by words.
_SHARE = 0.8


class NotEmbedded(Exception):
    """A hybrid search has no vector for its query; `reason` is the error that says why."""

    def __init__(self, reason: EmbedhouseError) -> None:
        self.reason = reason
        super().__init__(str(reason))


def embed_query(embedder: Embedder, text: str, deadline: Deadline) -> Vectors:
    """The query's vector, (dimensions,) float32. Errors: those of `embed`."""
    embeddings = embedder.embed([text], role="query", lane="interactive", deadline=deadline)
    vector: Vectors = embeddings.vectors[0]
    return vector


def embed_or_degrade(embedder: Embedder, text: str, deadline: Deadline) -> Vectors:
    """The same, in a part of the time. Errors: NotEmbedded where words alone can answer, and those of `embed`."""
    try:
        return embed_query(embedder, text, deadline.share(_SHARE))
    except NO_VECTOR as error:
        deadline.check("embedding the query")
        COUNTERS.add("searches_degraded")
        raise NotEmbedded(error) from error
