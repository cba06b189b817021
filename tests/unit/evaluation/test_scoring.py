from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from embedhouse.domain.errors import InvalidInput
from embedhouse.evaluation.judgements import Run, read_qrels, read_run
from embedhouse.evaluation.measures import DEFAULT_MEASURES, parse_measures
from embedhouse.evaluation.scoring import Evaluation, compare, evaluate

QRELS = """
q1 0 d1 1
q1 0 d2 2
q1 0 d9 0
q2 0 d3 1
q2 0 d4 1
q3 0 d5 1
"""
RUN = """
q1 Q0 d1 1 0.9 t
q1 Q0 d9 2 0.8 t
q1 Q0 d2 3 0.7 t
q2 Q0 d8 1 0.9 t
q2 Q0 d3 2 0.5 t
q4 Q0 d1 1 0.9 t
"""


def _evaluate(folder: Path, measures: str) -> Evaluation:
    (folder / "qrels").write_text(QRELS)
    (folder / "run").write_text(RUN)
    return evaluate(read_qrels(folder / "qrels"), read_run(folder / "run"), parse_measures(measures))


def test_evaluate_gives_the_values_worked_out_by_hand(tmp_path: Path) -> None:
    found = _evaluate(tmp_path, "nDCG@10,RR@10,R@100,P@1,AP")
    # q1: gains 1, 0, 2 at ranks 1, 2, 3; the best order is 2, 1. q2: one of two found, at rank 2. q3: nothing.
    third, second = 1 / math.log2(4), 1 / math.log2(3)
    q1 = {"nDCG@10": (1 + 2 * third) / (2 + second), "RR@10": 1.0, "R@100": 1.0, "P@1": 1.0, "AP": (1 + 2 / 3) / 2}
    q2 = {"nDCG@10": second / (1 + second), "RR@10": 0.5, "R@100": 0.5, "P@1": 0.0, "AP": 0.25}
    assert found.per_query["q1"] == pytest.approx(q1)
    assert found.per_query["q2"] == pytest.approx(q2)
    assert found.measures == pytest.approx({name: (q1[name] + q2[name]) / 3 for name in q1})


def test_evaluate_counts_a_judged_query_without_hits_as_zero(tmp_path: Path) -> None:
    found = _evaluate(tmp_path, "nDCG@10,RR@10,R@100")
    assert found.per_query["q3"] == {"nDCG@10": 0.0, "RR@10": 0.0, "R@100": 0.0}
    assert (found.n_queries, found.n_without_hits, found.n_not_judged) == (3, 1, 1)


def test_evaluate_leaves_out_queries_without_judgements(tmp_path: Path) -> None:
    assert set(_evaluate(tmp_path, "RR@10").per_query) == {"q1", "q2", "q3"}


def test_evaluate_of_nothing_found_is_zero() -> None:
    found = evaluate({"q": {"d": 1}}, {"q": {}}, parse_measures(DEFAULT_MEASURES))
    assert found.measures == {"nDCG@10": 0.0, "RR@10": 0.0, "R@100": 0.0}


def test_evaluate_refuses_empty_qrels() -> None:
    with pytest.raises(InvalidInput, match="qrels are empty"):
        evaluate({}, {"q": {"d": 1.0}}, parse_measures("AP"))


@pytest.mark.parametrize(("relevant", "value"), [("a", 1.0), ("b", 0.5), ("c", 1 / 3)])
def test_evaluate_breaks_ties_by_id(relevant: str, value: float) -> None:
    found = evaluate({"q": {relevant: 1}}, {"q": {"c": 1.0, "a": 1.0, "b": 1.0}}, parse_measures("RR@10,RR"))
    assert found.measures == pytest.approx({"RR@10": value, "RR": value})


def test_evaluate_tells_scores_apart_that_float32_would_not() -> None:
    hits = {"a": 1.0, "b": 1.0 + 1e-12}
    assert evaluate({"q": {"b": 1}}, {"q": hits}, parse_measures("RR@10")).measures["RR@10"] == 1.0


def test_parse_measures_keeps_order_and_drops_doubles() -> None:
    names = [str(measure) for measure in parse_measures(" R@100, nDCG@10  NDCG@10,R(rel=2, judged_only=True)@5 ")]
    assert names == ["R@100", "nDCG@10", "R(rel=2,judged_only=True)@5"]


@pytest.mark.parametrize(
    "text",
    ["", " , ", "nDCF@10", "nDCG@ten", "nDCG@0", "nDCG@-1", "R", "ERR@10", "__import__('os')", "R(k=1)@2", "1"],
)
def test_parse_measures_names_what_would_work(text: str) -> None:
    with pytest.raises(InvalidInput, match="nDCG@10"):
        parse_measures(text)


def _evaluation(values: list[float]) -> Evaluation:
    per_query = {f"q{number:03}": {"AP": value} for number, value in enumerate(values)}
    n = len(values)
    return Evaluation(measures={}, per_query=per_query, n_queries=n, n_without_hits=0, n_not_judged=0)


def test_compare_is_exact_for_few_queries() -> None:
    # Gains of .1, .2, .3 and one tie: of 8 sign flips only all-plus and all-minus reach a sum of .6.
    found = compare(_evaluation([0.1, 0.1, 0.1, 0.5]), _evaluation([0.2, 0.3, 0.4, 0.5]), "AP")
    assert found.p_value == 2 / 8
    assert found.difference == pytest.approx(0.15)
    assert (found.n_queries, found.n_better, found.n_worse) == (4, 3, 0)


def test_compare_of_a_run_with_itself_finds_nothing() -> None:
    same = _evaluation([0.1, 0.9])
    found = compare(same, same, "AP")
    assert (found.p_value, found.difference) == (1.0, 0.0)


def test_compare_tells_a_real_gain_from_noise_and_repeats_itself() -> None:
    random = np.random.default_rng(1)
    a = random.random(200)
    noise = random.normal(0, 0.1, 200)
    noisy, better = _evaluation(list(a + noise - noise.mean())), _evaluation(list(a + noise + 0.05))
    assert compare(_evaluation(list(a)), noisy, "AP").p_value > 0.9
    assert compare(_evaluation(list(a)), better, "AP").p_value < 0.001
    assert compare(_evaluation(list(a)), better, "AP") == compare(_evaluation(list(a)), better, "AP")


def test_compare_refuses_evaluations_without_shared_queries() -> None:
    with pytest.raises(InvalidInput, match="share no query"):
        compare(_evaluation([0.1]), _evaluation([0.1]), "RR@10")


def test_evaluate_agrees_with_itself_on_a_reordered_run() -> None:
    qrels = {"q": {"a": 1, "c": 2}}
    run: Run = {"q": {"a": 0.3, "b": 0.3, "c": 0.1}}
    backwards: Run = {"q": dict(reversed(run["q"].items()))}
    measures = parse_measures("nDCG@10,AP")
    assert evaluate(qrels, run, measures) == evaluate(qrels, backwards, measures)
