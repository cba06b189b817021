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
    """

    vectors: Vectors
    token_counts: npt.NDArray[np.int64]
    dropped_counts: npt.NDArray[np.int64]


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
