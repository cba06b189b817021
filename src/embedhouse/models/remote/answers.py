"""What a provider answered, and whether it can be believed: never a wrong vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import ProviderError

__all__ = ["Answer", "Row", "apportioned", "checked_vectors", "normalised"]


class Row(msgspec.Struct, frozen=True):
    """One vector, (dimensions,) float32, and the place of its text in the request."""

    index: int
    values: npt.NDArray[np.float32]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in any order; tokens that were billed, None where the provider does not say; lower-case headers."""

    rows: list[Row]
    tokens: int | None
    headers: Mapping[str, str]


def checked_vectors(answer: Answer, count: int, dimensions: int | None, provider: str) -> Vectors:
    """(count, dimensions) float32 in the request's order. `dimensions` of None: whatever they all have.

    Errors: ProviderError for a vector too few or too many, an index twice, another length, NaN, infinity, zero.
    """
    if len(answer.rows) != count:
        raise _wrong(provider, f"{len(answer.rows)} vectors for {count} texts")
    if sorted(row.index for row in answer.rows) != list(range(count)):
        raise _wrong(provider, "vectors whose indexes are not those of the texts")
    ordered = [row.values for row in sorted(answer.rows, key=lambda row: row.index)]
    wanted = len(ordered[0]) if dimensions is None and ordered else dimensions
    for values in ordered:
        if len(values) != wanted or not wanted:
            raise _wrong(provider, f"a vector of {len(values)} dimensions, not {wanted or 'some'}")
    found = np.stack(ordered) if ordered else np.empty((0, wanted or 0), np.float32)
    if not np.isfinite(found).all():
        raise _wrong(provider, "a vector with NaN or infinity")
    if not found.any(axis=1).all():
        raise _wrong(provider, "a vector of zeros")
    return found


def normalised(vectors: Vectors) -> Vectors:
    """Rows of length 1, whatever their magnitude was."""
    wide = vectors.astype(np.float64)
    wide /= np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    found: Vectors = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    return found


def apportioned(estimates: Sequence[int], total: int | None) -> npt.NDArray[np.int64]:
    """Tokens of each text, (n,) int64, that add up to the provider's total: shares as estimated, at least 1 each.

    Without a total, or with one below the number of texts, the estimates themselves.
    """
    shares = np.asarray(estimates, np.int64)
    if total is None or total < len(shares) or not len(shares):
        return shares
    exact = shares * (total - len(shares)) / shares.sum()
    found: npt.NDArray[np.int64] = np.floor(exact).astype(np.int64)
    left = total - len(shares) - int(found.sum())
    found[np.argsort(found - exact, kind="stable")[:left]] += 1
    found += 1
    return found


def _wrong(provider: str, what: str) -> ProviderError:
    return ProviderError(provider=provider, reason=f"it answered {what}. Nothing of the answer is used.")
