"""Two sides to one ranking: pure functions over arrays, one a kind.

Every kind normalises each side and adds the weighted results, so that `explain` can show the sum. `n` is the
number of candidates: the union of what both sides found. A candidate that only the dense side found has lexical
score 0; the dense score of one that only the lexical side found is exact all the same, because the searcher
computes it before it fuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.domain.hits import FusionName, FusionSettings

__all__ = ["FUSIONS", "Fused", "Side", "best_first", "fuse"]

Floats = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.int64]

_LOWEST_COSINE = -1.0
_COSINE_RANGE = 2.0
_BELOW_FLOOR = 1e-6
_DBSF_DEVIATIONS = 3.0
_NO_SPREAD = 1e-9


class Side(msgspec.Struct, frozen=True):
    """One side's view of the candidates. scores: (n,) float64, higher is better. ranks: (n,) int64 from 1;
    0 where this side did not find the candidate by itself."""

    scores: Floats
    ranks: Ranks

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(n,) bool: the candidates that this side found by itself."""
        return self.ranks > 0


class Fused(msgspec.Struct, frozen=True, kw_only=True):
    """The fused scores and what they are made of, all (n,) float64:
    `scores == dense_weight * dense + lexical_weight * lexical`; the weights add up to 1."""

    scores: Floats
    dense: Floats
    lexical: Floats
    dense_weight: float
    lexical_weight: float


class _Scale(msgspec.Struct, frozen=True):
    """What a kind may need beyond the scores. `floor` is the dense score that means nothing in common."""

    floor: float
    rrf_k: int


_Normalised = tuple[Floats, Floats]


def fuse(dense: Side, lexical: Side, settings: FusionSettings, background: float | None = None) -> Fused:
    """Fuse the two sides as `settings` says.

    `background` is the query's average cosine with the generation; None where it is not known, and then the lowest
    dense score of the candidates takes its place.
    """
    scale = _Scale(_floor(dense.scores, settings.floor, background), settings.rrf_k)
    normalised_dense, normalised_lexical = FUSIONS[settings.kind](dense, lexical, scale)
    total = settings.dense_weight + settings.lexical_weight
    dense_weight = settings.dense_weight / total
    lexical_weight = settings.lexical_weight / total
    return Fused(
        scores=dense_weight * normalised_dense + lexical_weight * normalised_lexical,
        dense=normalised_dense,
        lexical=normalised_lexical,
        dense_weight=dense_weight,
        lexical_weight=lexical_weight,
    )


def best_first(scores: Floats) -> npt.NDArray[np.intp]:
    """(n,) positions by score descending; equal scores stay in the order given (ids decide later)."""
    return np.argsort(-scores, kind="stable")


def _floor(scores: Floats, floor: Literal["background"] | float, background: float | None) -> float:
    """The dense score that is worth nothing. One that no candidate exceeds would tell nothing apart: then it is
    the lowest score of the candidates."""
    wanted = background if floor == "background" else float(floor)
    lowest = float(scores.min()) if scores.size else 0.0
    return lowest if wanted is None or wanted >= _best(scores) else wanted


def _over_floor(scores: Floats, floor: float) -> Floats:
    """The floor to (nearly) 0, the best to 1. What lies below the floor shares the last millionth, so that it
    weighs nothing and keeps its order."""
    best = _best(scores)
    if best <= floor:
        return np.ones_like(scores)
    return np.interp(scores, [floor - _COSINE_RANGE, floor, best], [0.0, _BELOW_FLOOR, 1.0])


def _between(scores: Floats, low: float, high: float) -> Floats:
    """`low` to 0, `high` to 1, clipped; all 1 where the two are one point (one hit, or all hits equal)."""
    if high <= low:
        return np.ones_like(scores)
    return np.clip((scores - low) / (high - low), 0.0, 1.0)


def _of_best(lexical: Side) -> Floats:
    """Scores over the best score; 0 is the known floor of BM25."""
    best = _best(lexical.scores)
    return lexical.scores / best if best > 0 else np.zeros_like(lexical.scores)


def _best(scores: Floats) -> float:
    return float(scores.max()) if scores.size else 0.0


def convex(dense: Side, lexical: Side, scale: _Scale) -> _Normalised:
    """Scores over known floors: BM25 / best, and (cosine - background) / (best cosine - background).

    The convex combination of Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM
    TOIS 42(1), 2023, with the floor of the dense side measured for each query: its average
    cosine with the generation.
    """
    return _over_floor(dense.scores, scale.floor), _of_best(lexical)


def tmm(dense: Side, lexical: Side, scale: _Scale) -> _Normalised:
    """Theoretical min-max (TM2C2 of Bruch et al., ACM TOIS 2023): the floors are the least that each score can
    be, -1 for a cosine and 0 for BM25; the ceilings are the best of the candidates."""
    return _between(dense.scores, _LOWEST_COSINE, _best(dense.scores)), _of_best(lexical)


def minmax(dense: Side, lexical: Side, scale: _Scale) -> _Normalised:
    """Plain min-max (CombSUM after Lee, "Analyses of Multiple Evidence Combination", SIGIR 1997): the floors are
    the lowest scores of the lists, so a weak list is stretched as far as a strong one."""
    return _stretched(dense), _stretched(lexical)


def _stretched(side: Side) -> Floats:
    found = side.scores[side.found]
    if not found.size:
        return np.zeros_like(side.scores)
    return np.where(side.scores < found.min(), 0.0, _between(side.scores, found.min(), _best(side.scores)))


def dbsf(dense: Side, lexical: Side, scale: _Scale) -> _Normalised:
    """Distribution-based score fusion (Mazzeschi, 2023; Qdrant's DBSF): mean - 3 deviations of a list to 0, mean
    + 3 deviations to 1. A score further up is above 1, so that the best of a long list keep their order."""
    return _spread(dense), np.where(lexical.found, _spread(lexical), 0.0)


def _spread(side: Side) -> Floats:
    found = side.scores[side.found]
    if not found.size:
        return np.zeros_like(side.scores)
    mean, reach = found.mean(), _DBSF_DEVIATIONS * found.std()
    if reach <= _NO_SPREAD * abs(mean):
        return np.where(side.scores >= found.min(), 1.0, 0.0)
    return np.asarray(np.maximum((side.scores - (mean - reach)) / (2 * reach), 0.0))


def rrf(dense: Side, lexical: Side, scale: _Scale) -> _Normalised:
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009): 1 / (k + rank), 0 where not found."""
    return _reciprocal(dense, scale.rrf_k), _reciprocal(lexical, scale.rrf_k)


def _reciprocal(side: Side, k: int) -> Floats:
    return np.asarray(np.where(side.found, 1.0 / (k + side.ranks), 0.0))


def logodds(dense: Side, lexical: Side, scale: _Scale) -> _Normalised:
    """Log-odds pooling with local calibration (Jeong, "Bayesian BM25", 2026; the logarithmic opinion pool of
    Genest and Zidek, Statistical Science 1986).

    A score's probability is the logistic function of its distance from the list's median in standard
    deviations, so its log-odds is that distance, and the pooled log-odds is the weighted sum. Not in [0, 1].
    """
    return _log_odds(dense), _log_odds(lexical)


def _log_odds(side: Side) -> Floats:
    deviation = float(side.scores.std()) if side.scores.size else 0.0
    if deviation == 0.0:
        return np.zeros_like(side.scores)
    return np.asarray((side.scores - np.median(side.scores)) / deviation)


FUSIONS: Mapping[FusionName, Callable[[Side, Side, _Scale], _Normalised]] = MappingProxyType(
    {"convex": convex, "tmm": tmm, "minmax": minmax, "dbsf": dbsf, "rrf": rrf, "logodds": logodds}
)
