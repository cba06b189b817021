"""A canary: a few fixed texts whose vectors tell whether a model is still what it was.

A provider may put another model behind a name that stays, and nothing in its answers says so. Vectors of the two
then meet in one index, and every score is a little wrong. So the texts are embedded at first use, three times, to
learn how far a provider's answers to the same question lie apart; and again later, to be compared with the first.
"""

from __future__ import annotations

import hashlib

import numpy as np

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.spaces import Role
from embedhouse.ledger.spaces import Canary, CanaryVectors
from embedhouse.ports import Embedder

__all__ = ["TEXTS", "distance", "learn_canary", "take_canary"]

TEXTS = (
    "The river rose in the night, and by morning the lower road was under water.",
    "Wie lange dauert es, bis eine Rechnung bezahlt ist?",
    "图书馆在周末也开放到晚上九点。",
    "توقف القطار عند الجسر القديم بسبب الضباب.",
    "PCR",
    "Order 48-2217: 3 × 19,95 € = 59,85 €, due 2024-02-29",
    "def area(radius: float) -> float:\n    return 3.14159 * radius**2",
    "not a bug; works as intended, see the note on time zones",
)
"""Several languages and scripts, an acronym, numbers, code, a fragment. Who changes one loses what was recorded."""

_ROLES: tuple[Role, ...] = ("document", "query")
_REPEATS = 3
# A provider's answers to one question differ by up to some 0.0005 (measured as 1 - cosine); a model in another
# precision by 0.003, another model by far more.
_FLOOR = 5e-4
_MARGIN = 4.0


def take_canary(embedder: Embedder, deadline: Deadline) -> CanaryVectors:
    """The vectors of the texts in both roles. `embedder` must not stand on a cache. Errors: those of `embed`."""
    found: CanaryVectors = {}
    for role in _ROLES:
        vectors = embedder.embed(TEXTS, role=role, lane="bulk", deadline=deadline).vectors
        found |= {(role, _sha256(text)): vector for text, vector in zip(TEXTS, vectors, strict=True)}
    return found


def learn_canary(embedder: Embedder, deadline: Deadline) -> Canary:
    """The canary to record at first use, with the tolerance that repeated calls teach. Errors: those of `embed`."""
    first, *others = [take_canary(embedder, deadline) for _ in range(_REPEATS)]
    apart = max(distance(first, other) for other in others)
    return Canary(first, max(_FLOOR, _MARGIN * apart))


def distance(recorded: CanaryVectors, found: CanaryVectors) -> float:
    """The largest 1 - cosine between vectors of one text in one role; at least one must be in both."""
    return max(_apart(recorded[key], found[key]) for key in recorded.keys() & found.keys())


def _apart(one: Vectors, other: Vectors) -> float:
    if one.shape != other.shape:
        return 2.0
    a, b = one.astype(np.float64), other.astype(np.float64)
    cosine = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), np.finfo(np.float64).tiny))
    return 1.0 - cosine if np.isfinite(cosine) else 2.0


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
