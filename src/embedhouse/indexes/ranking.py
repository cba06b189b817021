"""What every index shares: which vectors it takes, and how it orders what it found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import InvalidVector
from embedhouse.ports import Candidates, IndexEntry

__all__ = ["NOTHING_FOUND", "check_entries", "check_vector", "ranked"]

NOTHING_FOUND = Candidates(
    keys=np.empty(0, np.int64), scores=np.empty(0, np.float32), document_ids=[], exhausted=True
)


def check_vector(vector: Vectors, dimensions: int, where: str) -> None:
    """Raise InvalidVector for a vector that has no direction or another length; `where` names it in the message."""
    if vector.shape != (dimensions,):
        reason = f"its shape is {vector.shape}, and the index holds vectors of {dimensions} dimensions"
        raise InvalidVector(where=where, reason=reason)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(length):
        raise InvalidVector(where=where, reason="it holds NaN or infinity")
    if length < np.finfo(np.float32).tiny:
        raise InvalidVector(where=where, reason="it is zero, so it has no direction")


def check_entries(entries: Sequence[IndexEntry], dimensions: int) -> None:
    """`check_vector` on every entry, before anything is written."""
    for entry in entries:
        check_vector(entry.vector, dimensions, f"of chunk {entry.key} (document {entry.document_id!r})")


def ranked(
    keys: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], document_ids: Sequence[str], k: int, more: bool
) -> Candidates:
    """The best k, by score and then by key ascending. `document_ids` may be empty. `more`: the index may hold
    candidates beyond these."""
    order = np.lexsort((keys, -scores))[:k]
    return Candidates(
        keys=keys[order],
        scores=scores[order],
        document_ids=[document_ids[i] for i in order] if document_ids else [],
        exhausted=not more and len(keys) <= k,
    )
