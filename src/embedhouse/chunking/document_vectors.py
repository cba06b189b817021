"""One vector for a whole document, from the vectors of its chunks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import InvalidVector

__all__ = ["centroid_of_largest_cluster", "mean_vector"]

Rows = npt.NDArray[np.float64]

_MAX_CHUNKS = 512
# Far above float64's error in a cosine, far below any difference that matters.
_ROUNDING = 1e-9


def mean_vector(vectors: Vectors, weights: npt.ArrayLike | None = None) -> Vectors:
    """The mean of chunk vectors, L2-normalised.

    vectors: (n_chunks, dimensions) float32, n_chunks >= 1. weights: (n_chunks,), not negative, for instance
    token counts; equal if not given. Returns (dimensions,) float32.
    Errors: InvalidVector for no chunk, NaN, wrong shapes, negative weights, and a mean of length zero.
    """
    rows = _checked(vectors)
    if weights is None:
        return _normalised(rows.mean(axis=0))
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(rows),) or not np.isfinite(shares).all() or (shares < 0).any():
        raise InvalidVector(where="weights", reason=f"expected {len(rows)} finite numbers that are not negative")
    return _normalised(shares @ rows)


def centroid_of_largest_cluster(vectors: Vectors) -> Vectors:
    """The centroid, L2-normalised, of the largest cluster of a document's chunks: what it is mostly about.

    Average-linkage agglomeration by cosine (Sokal and Michener, 1958; Jain and Dubes, Algorithms for Clustering
    Data, 1988): the two clusters with the highest mean cosine between their members are merged until none reaches
    the mean cosine over all pairs, so that no number of clusters is guessed and the result depends on no seed. Over
    `_MAX_CHUNKS` chunks, neighbours in the document are averaged first, so that the work stays bounded.

    Ties: of equally similar pairs the first is merged; of two clusters of one size the tighter one wins (mean
    cosine of its members to its centroid), then the one with the earliest chunk. Of one chunk the result is that
    chunk; of two, their mean.

    vectors: (n_chunks, dimensions) float32, n_chunks >= 1. Returns (dimensions,) float32.
    Errors: InvalidVector for no chunk, NaN, a zero vector, and a centroid of length zero.
    """
    rows = _unit_rows(_checked(vectors))
    if len(rows) < 3:
        return _normalised(rows.mean(axis=0))
    points, sizes = _runs_of_neighbours(rows)
    clusters = _agglomerate(points, sizes)
    largest = max(clusters, key=lambda members: _rank(points, sizes, members))
    return _normalised(_centroid(points, sizes, largest))


def _runs_of_neighbours(rows: Rows) -> tuple[Rows, Rows]:
    """At most `_MAX_CHUNKS` rows (sums of neighbours, not normalised) and how many chunks each stands for."""
    run = -(-len(rows) // _MAX_CHUNKS)
    starts = np.arange(0, len(rows), run)
    sizes = np.diff(np.append(starts, len(rows))).astype(np.float64)
    return np.add.reduceat(rows, starts, axis=0) / sizes[:, None], sizes


def _agglomerate(points: Rows, sizes: Rows) -> list[list[int]]:
    """Average linkage down to the mean cosine of all pairs; members ascending."""
    similarity = points @ points.T
    pairs = similarity[np.triu_indices(len(points), 1)]
    threshold = float(pairs.mean()) - _ROUNDING
    np.fill_diagonal(similarity, -np.inf)
    weights = sizes.copy()
    members = [[place] for place in range(len(points))]
    while True:
        first, second = divmod(int(similarity.argmax()), len(points))
        if not similarity[first, second] >= threshold:
            return [member for member in members if member]
        share = weights[first] / (weights[first] + weights[second])
        merged = share * similarity[first] + (1 - share) * similarity[second]
        merged[[first, second]] = -np.inf
        similarity[first], similarity[:, first] = merged, merged
        similarity[second], similarity[:, second] = -np.inf, -np.inf
        weights[first] += weights[second]
        members[first] = sorted(members[first] + members[second])
        members[second] = []


def _rank(points: Rows, sizes: Rows, members: list[int]) -> tuple[float, float, int]:
    centroid = _centroid(points, sizes, members)
    return float(sizes[members].sum()), round(float(np.linalg.norm(centroid)), 9), -members[0]


def _centroid(points: Rows, sizes: Rows, members: list[int]) -> Rows:
    """The mean of the members' chunks. Of unit vectors its length is their mean cosine to it."""
    centroid: Rows = np.average(points[members], axis=0, weights=sizes[members])
    return centroid


def _checked(vectors: Vectors) -> Rows:
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise InvalidVector(where="of chunks", reason=f"expected (n_chunks, dimensions), got shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise InvalidVector(where="of chunks", reason="it holds NaN or infinity")
    return rows


def _unit_rows(rows: Rows) -> Rows:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if (lengths == 0).any():
        raise InvalidVector(where="of chunks", reason="one is zero")
    unit: Rows = rows / lengths
    return unit


def _normalised(vector: Rows) -> Vectors:
    length = float(np.linalg.norm(vector))
    if length < 1e-12:
        raise InvalidVector(where="of the document", reason="its chunks cancel each other out")
    return (vector / length).astype(np.float32)
