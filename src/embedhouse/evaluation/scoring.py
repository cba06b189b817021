"""How good a run is by judged relevance, and whether another run is really better."""

from __future__ import annotations

from collections.abc import Sequence

import ir_measures
import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.domain.errors import InvalidInput
from embedhouse.evaluation.judgements import Qrels, Run, ranked

__all__ = ["Comparison", "Evaluation", "compare", "evaluate"]

_SAMPLES = 10_000
_EXACT_UP_TO = 12
_SEED = 20_240_229
_BLOCK = 500


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """A run's measures: the aggregate over all judged queries (most measures: the mean), and each query's.

    `n_queries` have judgements; `n_without_hits` of them found nothing and count with 0; `n_not_judged` queries of
    the run have no judgements and do not count.
    """

    measures: dict[str, float]
    per_query: dict[str, dict[str, float]]
    n_queries: int
    n_without_hits: int
    n_not_judged: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Run b against run a by one measure. `difference` is the mean of b - a; `p_value` is two-sided."""

    measure: str
    difference: float
    p_value: float
    n_queries: int
    n_better: int
    n_worse: int


def evaluate(qrels: Qrels, run: Run, measures: Sequence[ir_measures.Measure]) -> Evaluation:
    """Score a run. Only queries with qrels count; one without hits counts with 0; ties are broken by document id.

    Errors: InvalidInput where there are no qrels.
    """
    judged = {query_id: relevances for query_id, relevances in qrels.items() if relevances}
    if not judged:
        raise InvalidInput(reason="There are no judgements to score by: the qrels are empty.")
    scored = {query_id: _untied(hits) for query_id, hits in run.items() if hits and query_id in judged}
    aggregates = {measure: measure.aggregator() for measure in measures}
    per_query: dict[str, dict[str, float]] = {query_id: {} for query_id in judged}
    for metric in ir_measures.DefaultPipeline.iter_calc(measures, judged, scored):
        aggregates[metric.measure].add(metric.value)
        per_query[metric.query_id][str(metric.measure)] = float(metric.value)
    return Evaluation(
        measures={str(measure): float(aggregate.result()) for measure, aggregate in aggregates.items()},
        per_query=per_query,
        n_queries=len(judged),
        n_without_hits=len(judged) - len(scored),
        n_not_judged=len(run.keys() - judged.keys()),
    )


def compare(a: Evaluation, b: Evaluation, measure: str) -> Comparison:
    """Whether b differs from a by chance: the paired randomisation test over the queries that both scored.

    Exact up to 12 queries that differ, else from 10 000 seeded samples (Smucker, Allan, Carterette: A comparison of
    statistical significance tests for information retrieval evaluation, CIKM 2007). Errors: InvalidInput where the
    two share no query with this measure.
    """
    shared = [
        query_id
        for query_id, values in a.per_query.items()
        if measure in values and measure in b.per_query.get(query_id, {})
    ]
    if not shared:
        raise InvalidInput(reason=f"The two evaluations share no query scored by {measure}.")
    gains = np.array([b.per_query[query_id][measure] - a.per_query[query_id][measure] for query_id in shared])
    return Comparison(
        measure=measure,
        difference=float(gains.mean()),
        p_value=_p_value(gains[gains != 0]),
        n_queries=len(shared),
        n_better=int((gains > 0).sum()),
        n_worse=int((gains < 0).sum()),
    )


def _untied(hits: dict[str, float]) -> dict[str, float]:
    # trec_eval breaks ties by id descending, other tools otherwise: scores made of ranks leave them no tie.
    order = ranked(hits)
    return {document_id: float(len(order) - rank) for rank, document_id in enumerate(order)}


def _p_value(gains: npt.NDArray[np.float64]) -> float:
    """Share of sign flips whose sum is at least as far from 0 as the one seen."""
    seen = abs(gains.sum()) * (1 - 1e-12)  # equal sums may differ in their last bit
    if len(gains) <= _EXACT_UP_TO:
        flips = (np.arange(2 ** len(gains))[:, None] >> np.arange(len(gains))) & 1
        return float(np.mean(np.abs((2 * flips - 1) @ gains) >= seen))
    random = np.random.default_rng(_SEED)
    as_far = 0
    for _ in range(_SAMPLES // _BLOCK):
        signs = 2 * random.integers(0, 2, size=(_BLOCK, len(gains)), dtype=np.int8) - 1
        as_far += int((np.abs(signs @ gains) >= seen).sum())
    return (as_far + 1) / (_SAMPLES + 1)
