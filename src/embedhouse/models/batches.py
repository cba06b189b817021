"""Texts to batches: sorted by length, within a token budget, in few shapes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Batch", "padded_length", "plan_batches"]

# (up to this length, pad to a multiple of this): short texts lose little to padding, long ones make few shapes.
_STEPS = ((64, 4), (128, 8), (512, 16))
_LAST_STEP = 64


class Batch(msgspec.Struct, frozen=True):
    """The places of its texts in the caller's order, and the length that they are padded to."""

    rows: npt.NDArray[np.int64]
    length: int


def padded_length(tokens: int, limit: int) -> int:
    """The next step at or above `tokens`, never over `limit`."""
    step = next((step for bound, step in _STEPS if tokens <= bound), _LAST_STEP)
    return min(-(-tokens // step) * step, limit)


def plan_batches(lengths: Sequence[int], *, budget: int, streams: int, limit: int) -> list[Batch]:
    """Longest first, so that streams finish together; each batch holds up to `budget` padded tokens.

    A small call is shared among the streams rather than left to one of them. Equal lengths keep their order.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    padded = sum(padded_length(tokens, limit) for tokens in lengths)
    budget = min(budget, max(budget // 4, -(-padded // streams)))
    batches, start = [], 0
    while start < len(order):
        length = padded_length(lengths[order[start]], limit)
        size = max(1, budget // length)
        batches.append(Batch(order[start : start + size], length))
        start += size
    return batches
