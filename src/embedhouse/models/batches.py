"""Texts to batches: sorted by length, within a token budget, in few shapes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Batch", "padded_length", "plan_batches"]

# (up to this length, pad to a multiple of this): short texts lose little to padding, long ones make few shapes.
_STEPS = ((128, 4), (512, 16))
_LAST_STEP = 64
# What one more batch costs, as tokens: 4 to 8 ms, as often with a new shape, where a core embeds 8 tokens a ms.
_BATCH_TOKENS = 64


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
    padded = np.array([padded_length(lengths[place], limit) for place in order], dtype=np.int64)
    budget = min(budget, max(budget // 4, -(-int(padded.sum()) // streams)))
    batches, start = [], 0
    while start < len(order):
        size = max(1, budget // int(padded[start]))
        end = start + _cut(padded[start : start + size])
        batches.append(Batch(order[start:end], int(padded[start])))
        start = end
    return batches


def _cut(padded: npt.NDArray[np.int64]) -> int:
    """How many of these texts, longest first, to run together: fewer where a batch more saves more padding."""
    end = len(padded)
    while end > 1:
        saved = (padded[0] - padded[:end]) * np.arange(end, 0, -1)
        place = int(saved.argmax())
        if saved[place] <= _BATCH_TOKENS:
            break
        end = place
    return end
