"""Scores that the index did not give: exact cosines, the background, one side alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.search.fusion import Fused, Side
from embedhouse.search.parts import Background, SearchParts
from embedhouse.search.sides import NO_KEY, Merged

__all__ = ["alone", "background_cosine", "exact_dense", "nearest", "unit"]


def unit(vectors: Vectors) -> Vectors:
    """Rows (or one vector) at length 1; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def nearest(vectors: Vectors, parts: SearchParts, keys: Sequence[int]) -> npt.NDArray[np.float64]:
    """(n_keys,) float64: the cosine of each stored vector with the nearest of `vectors`, (m, dimensions).

    Where the index has no vector any more, the lowest of the others: that candidate is about to be dropped.
    """
    stored = parts.index.vectors(keys, namespaces=parts.namespaces)
    rows = [row for row, key in enumerate(keys) if key in stored]
    if not rows:
        return np.zeros(len(keys))
    known = (unit(np.stack([stored[keys[row]] for row in rows])) @ unit(vectors).T).max(axis=1)
    scores = np.full(len(keys), known.min(), np.float64)
    scores[rows] = known
    return scores


def exact_dense(merged: Merged, vector: Vectors, parts: SearchParts, deadline: Deadline) -> Side:
    """The dense side with an exact score for every row that only the lexical side found.

    Where the index has no vector any more, the lowest of the others: that candidate is about to be dropped.
    """
    missing = np.flatnonzero(merged.dense_keys == NO_KEY)
    if not missing.size:
        return merged.dense
    scores = merged.dense.scores.copy()
    keys = merged.lexical_keys[missing].tolist()
    exact = parts.index.dense_scores(vector, keys, deadline, namespaces=parts.namespaces)
    lowest = min(exact.values(), default=0.0)
    scores[missing] = [exact.get(key, lowest) for key in keys]
    return Side(scores, merged.dense.ranks)


def background_cosine(vector: Vectors, background: Background) -> float | None:
    """The query's average cosine with the generation: its product with the mean of the unit vectors.

    Not the cosine with the mean vector's direction: in a collection about one thing that direction is nearer to
    the query than most documents are, and a floor there cuts away good candidates.
    """
    mean = background.mean_vector()
    return None if mean is None else float(unit(vector) @ mean)


def alone(merged: Merged, side: Literal["dense", "lexical"]) -> Fused:
    """One side's own scores, as if fused with weights 1 and 0."""
    return Fused(
        scores=merged.dense.scores if side == "dense" else merged.lexical.scores,
        dense=merged.dense.scores,
        lexical=merged.lexical.scores,
        dense_weight=float(side == "dense"),
        lexical_weight=float(side == "lexical"),
    )
