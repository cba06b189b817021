"""A generation's embedder that is opened by its first text: lexical searches never load a model."""

from __future__ import annotations

from collections.abc import Sequence

from embedhouse.domain.binding import sharing_vectors_of
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings
from embedhouse.domain.namespaces import Namespaces
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ports import Tokenizer

__all__ = ["LazyEmbedder"]


class LazyEmbedder:
    """Implements ports.Embedder for a generation, and for callers that see these namespaces (None: all)."""

    def __init__(self, opened: OpenGeneration, namespaces: Namespaces = None) -> None:
        self._opened = opened
        self._namespaces = namespaces

    @property
    def space(self) -> Space:
        """The generation's, whether or not its model is open."""
        return self._opened.generation.space

    @property
    def tokenizer(self) -> Tokenizer:
        """See ports.Embedder."""
        return self._opened.embedder.tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """See ports.Embedder. Errors: SpaceMismatch too."""
        with sharing_vectors_of(self._namespaces):
            return self._opened.embedder.embed(texts, role=role, lane=lane, deadline=deadline)

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """See ports.Embedder."""
        return self._opened.embedder.embed_tokens(texts, role=role, deadline=deadline)

    def close(self) -> None:
        """The model is shared and stays open."""
