"""What an embedder returns."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Embeddings", "SparseEmbedding", "TokenEmbeddings", "Vectors"]

Vectors = npt.NDArray[np.float32]


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of texts, in the caller's order.

    vectors: (n_texts, dimensions) float32, rows L2-normalised unless the space says otherwise.
    token_counts: (n_texts,) int64, tokens the model read, prompt and special tokens included.
    dropped_counts: (n_texts,) int64, tokens past the model's window that it did not read; 0 as a rule.
    cached: (n_texts,) bool, what was not computed for this call: it was in the vector cache, another caller
    computed it at the same time, or an equal text stands before it. None: everything was computed.
    """

    vectors: Vectors
    token_counts: npt.NDArray[np.int64]
    dropped_counts: npt.NDArray[np.int64]
    cached: npt.NDArray[np.bool_] | None = None

    @property
    def cached_count(self) -> int:
        """How many texts were not computed for this call."""
        return 0 if self.cached is None else int(self.cached.sum())

    @property
    def embedded_token_count(self) -> int:
        """Tokens that the model read for this call: what it cost."""
        computed = self.token_counts if self.cached is None else self.token_counts[~self.cached]
        return int(computed.sum())


class TokenEmbeddings(msgspec.Struct, frozen=True, kw_only=True):
    """One text's contextual token vectors (last hidden layer, before pooling; special tokens left out).

    tokens: n_tokens strings. vectors: (n_tokens, hidden) float32, rows L2-normalised.
    offsets: (n_tokens, 2) int64, character spans in the text without its prompt.
    dropped_count: tokens past the model's window.
    """

    tokens: list[str]
    vectors: Vectors
    offsets: npt.NDArray[np.int64]
    dropped_count: int = 0


class SparseEmbedding(msgspec.Struct, frozen=True, kw_only=True):
    """One text's lexical vector: a weight for each distinct term (BM25 term weight, or TF-IDF)."""

    terms: list[str]
    weights: list[float]
