"""How sure a difference between two runs is: the paired bootstrap over queries."""

from __future__ import annotations

import msgspec
import numpy as np

from embedhouse.domain.errors import InvalidInput
from embedhouse.evaluation.scoring import Evaluation

__all__ = ["Difference", "paired_difference"]

_SAMPLES = 10_000
_SEED = 20_260_301
_BLOCK = 500


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of b - a over `queries`, and the interval that holds it with probability .95."""

    measure: str
    queries: int
    a: float
    b: float
    mean: float
    low: float
    high: float


def paired_difference(a: Evaluation, b: Evaluation, measure: str) -> Difference:
    """Run b less run a by one measure. The interval is the percentile bootstrap's from 10 000 seeded samples of the
    queries that both scored (Sakai: Evaluating evaluation metrics based on the bootstrap, SIGIR 2006).

    Errors: InvalidInput where the two share no query with this measure.
    """
    shared = sorted(
        query_id
        for query_id, values in a.per_query.items()
        if measure in values and measure in b.per_query.get(query_id, {})
    )
    if not shared:
        raise InvalidInput(reason=f"The two evaluations share no query scored by {measure}.")
    left = np.array([a.per_query[query_id][measure] for query_id in shared])
    right = np.array([b.per_query[query_id][measure] for query_id in shared])
    low, high = _interval(right - left)
    return Difference(
        measure=measure,
        queries=len(shared),
        a=float(left.mean()),
        b=float(right.mean()),
        mean=float((right - left).mean()),
        low=low,
        high=high,
    )


def _interval(gains: np.ndarray) -> tuple[float, float]:
    random = np.random.default_rng(_SEED)
    means = [
        gains[random.integers(0, gains.size, (_BLOCK, gains.size))].mean(axis=1) for _ in range(_SAMPLES // _BLOCK)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)
