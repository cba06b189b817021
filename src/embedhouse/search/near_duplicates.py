"""Pairs of documents that say nearly the same: the symmetric use of one collection's document vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import InvalidInput, TooLarge
from embedhouse.domain.namespaces import Place
from embedhouse.domain.reports import SimilarPair
from embedhouse.search.examples import document_vectors
from embedhouse.search.parts import SearchParts

__all__ = ["MAX_PAIRS", "near_duplicates", "similar_rows"]

MAX_PAIRS = 100_000

_READ_BLOCK = 1024
_ROWS = 2048
_DECIMALS = 6
_ROUNDING = 10.0**-_DECIMALS
"""Products of equal vectors differ in the seventh decimal with their place in a block."""

Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]


def near_duplicates(
    parts: SearchParts, places: Iterable[Place], threshold: float, limit: int, deadline: Deadline
) -> list[SimilarPair]:
    """The `limit` most similar pairs of cosine >= `threshold` between document vectors (means of their chunks).

    Pairs come by score descending, then by ids; `a` <= `b`; scores are rounded to 6 decimals. Exact: each pair is
    compared, block by block, so time grows with the square of the documents and memory does not: it holds one
    vector a document. Documents without an indexed chunk are left out.
    Errors: InvalidInput, TooLarge, DeadlineExceeded, Cancelled.
    """
    _check(threshold, limit)
    # By id: pairs come in that order.
    found, vectors = _all_vectors(parts, sorted(places, key=lambda place: (place[1], place[0])), deadline)
    first, second, scores = similar_rows(vectors, threshold, limit, deadline)
    return [
        SimilarPair(a=found[a][1], b=found[b][1], score=score, a_namespace=found[a][0], b_namespace=found[b][0])
        for a, b, score in zip(first.tolist(), second.tolist(), scores.tolist(), strict=True)
    ]


def _check(threshold: float, limit: int) -> None:
    if not (math.isfinite(threshold) and -1 <= threshold <= 1):
        raise InvalidInput(reason=f"threshold is {threshold}. Give a cosine from -1 to 1; 0.95 is usual.")
    if limit < 1:
        raise InvalidInput(reason=f"limit is {limit}. Ask for 1 pair or more.")
    if limit > MAX_PAIRS:
        raise TooLarge(what="limit", size=limit, limit=MAX_PAIRS, remedy="Raise the threshold to see fewer pairs.")


def _all_vectors(parts: SearchParts, places: list[Place], deadline: Deadline) -> tuple[list[Place], Vectors]:
    known: list[Place] = []
    rows: list[Vectors] = []
    for start in range(0, len(places), _READ_BLOCK):
        deadline.check("reading document vectors")
        found = document_vectors(places[start : start + _READ_BLOCK], parts.chunks, parts.index)
        block = [place for place in places[start : start + _READ_BLOCK] if place in found]
        known += block
        rows += [found[place] for place in block]
    return known, np.stack(rows) if rows else np.empty((0, 1), np.float32)


def similar_rows(vectors: Vectors, threshold: float, limit: int, deadline: Deadline) -> Pairs:
    """The `limit` best pairs of rows (a, b, cosine), a < b, of cosine >= threshold; by cosine descending, then a,
    then b. vectors: (n, dimensions) float32, rows L2-normalised. Memory beyond them: two blocks of pairs."""
    kept: Pairs = (np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))
    for pairs in _blocks_of_pairs(vectors, round(threshold, _DECIMALS), deadline):
        kept = _best_pairs(kept, pairs, limit)
    return kept


def _blocks_of_pairs(vectors: Vectors, threshold: float, deadline: Deadline) -> Iterator[Pairs]:
    for top in range(0, len(vectors), _ROWS):
        for left in range(top, len(vectors), _ROWS):
            deadline.check("comparing documents")
            cosines = vectors[top : top + _ROWS] @ vectors[left : left + _ROWS].T
            rows, columns = np.nonzero(cosines >= threshold - _ROUNDING)
            scores = np.clip(cosines[rows, columns].astype(np.float64).round(_DECIMALS), -1.0, 1.0)
            kept = (rows + top < columns + left) & (scores >= threshold)
            yield (rows + top)[kept], (columns + left)[kept], scores[kept]


def _best_pairs(kept: Pairs, more: Pairs, limit: int) -> Pairs:
    first, second, scores = (np.concatenate(both) for both in zip(kept, more, strict=True))
    order = np.lexsort((second, first, -scores))[:limit]
    return first[order], second[order], scores[order]
