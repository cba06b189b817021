"""What every fusion must keep, whatever the scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedhouse.domain.hits import FusionSettings
from embedhouse.search.fusion import FUSIONS, Side, best_first, fuse

KINDS = sorted(FUSIONS)
BOUNDED = [kind for kind in KINDS if kind not in ("dbsf", "logodds")]
# Steps far above float rounding: two scores are equal or clearly apart.
COSINES = st.integers(-1000, 1000).map(lambda thousandths: thousandths / 1000)
BM25 = st.one_of(st.just(0.0), st.integers(1, 60_000).map(lambda thousandths: thousandths / 1000))


def ranked(scores, found):
    ranks = np.zeros(len(scores), np.int64)
    order = [row for row in best_first(scores) if found[row]]
    ranks[order] = np.arange(1, len(order) + 1)
    return Side(scores, ranks)


@st.composite
def sides(draw, least=1):
    """Candidates as a search makes them: each found by a side; the best cosines are the dense side's finds."""
    pairs = draw(st.lists(st.tuples(COSINES, BM25), min_size=least, max_size=12))
    dense, lexical = (
        (np.array(column, float) for column in zip(*pairs, strict=True)) if pairs else (np.empty(0),) * 2
    )
    depth = draw(st.integers(0, len(pairs)))
    in_dense = np.zeros(len(pairs), bool)
    in_dense[best_first(dense)[:depth]] = True
    in_dense |= lexical == 0
    return ranked(dense, in_dense), ranked(lexical, lexical > 0)


BACKGROUND = st.one_of(st.none(), st.floats(-1, 1))
WEIGHT = st.integers(1, 9).map(lambda tenths: tenths / 10)


@st.composite
def settings(draw, kinds=KINDS):
    weight = draw(WEIGHT)
    return FusionSettings(kind=draw(st.sampled_from(kinds)), dense_weight=weight, lexical_weight=1 - weight)


@given(sides(least=0), settings(), BACKGROUND)
def test_fuse_gives_finite_scores_that_explain_themselves(pair, chosen, background):
    fused = fuse(*pair, chosen, background)
    assert np.isfinite(fused.scores).all()
    assert fused.dense_weight + fused.lexical_weight == pytest.approx(1)
    total = fused.dense_weight * fused.dense + fused.lexical_weight * fused.lexical
    np.testing.assert_allclose(fused.scores, total)


@given(sides(), settings(BOUNDED), BACKGROUND)
def test_fuse_stays_between_0_and_1(pair, chosen, background):
    fused = fuse(*pair, chosen, background)
    assert ((fused.scores >= 0) & (fused.scores <= 1 + 1e-12)).all()


@given(sides(), settings(), BACKGROUND)
def test_fuse_never_ranks_a_candidate_below_one_that_it_beats_on_both_sides(pair, chosen, background):
    dense, lexical = pair
    scores = fuse(dense, lexical, chosen, background).scores
    for a in range(len(scores)):
        for b in range(len(scores)):
            beats_by_score = dense.scores[a] > dense.scores[b] and lexical.scores[a] > lexical.scores[b]
            # A rank is known only where a side found the candidate by itself.
            if beats_by_score and (chosen.kind != "rrf" or dense.ranks[a] > 0 or dense.ranks[b] == 0):
                assert scores[a] >= scores[b] - 1e-12


@given(sides(), settings(), BACKGROUND, st.randoms())
def test_fuse_does_not_depend_on_the_order_of_candidates(pair, chosen, background, random):
    dense, lexical = pair
    order = list(range(len(dense.scores)))
    random.shuffle(order)
    shuffled = fuse(
        Side(dense.scores[order], dense.ranks[order]),
        Side(lexical.scores[order], lexical.ranks[order]),
        chosen,
        background,
    )
    np.testing.assert_allclose(shuffled.scores, fuse(dense, lexical, chosen, background).scores[order], atol=1e-12)


@given(sides(), st.sampled_from(KINDS), BACKGROUND)
def test_fuse_with_weights_1_and_0_ranks_as_the_dense_side(pair, kind, background):
    dense, lexical = pair
    scores = fuse(dense, lexical, FusionSettings(kind=kind, dense_weight=1, lexical_weight=0), background).scores
    by_itself = [row for row in best_first(dense.scores) if dense.ranks[row]]
    assert np.all(np.diff(scores[by_itself]) <= 1e-12)


@given(sides(), st.sampled_from(KINDS), BACKGROUND)
def test_fuse_with_weights_0_and_1_ranks_as_the_lexical_side(pair, kind, background):
    dense, lexical = pair
    scores = fuse(dense, lexical, FusionSettings(kind=kind, dense_weight=0, lexical_weight=1), background).scores
    assert np.all(np.diff(scores[best_first(lexical.scores)]) <= 1e-12)


@given(st.lists(COSINES, min_size=1, max_size=12, unique=True), st.sampled_from(["convex", "tmm", "minmax", "rrf"]))
def test_fuse_without_lexical_finds_keeps_the_dense_order(cosines, kind):
    dense = ranked(np.array(cosines), np.ones(len(cosines), bool))
    lexical = Side(np.zeros(len(cosines)), np.zeros(len(cosines), np.int64))
    scores = fuse(dense, lexical, FusionSettings(kind=kind), 0.1).scores
    assert best_first(scores).tolist() == best_first(dense.scores).tolist()


@given(COSINES, BM25, BACKGROUND)
def test_convex_gives_a_single_hit_all_that_its_sides_can_give(cosine, bm25, background):
    dense, lexical = ranked(np.array([cosine]), [True]), ranked(np.array([bm25]), [bm25 > 0])
    fused = fuse(dense, lexical, FusionSettings(), background)
    assert fused.lexical[0] == (bm25 > 0)
    assert fused.dense[0] == pytest.approx(1)


@given(st.integers(2, 12), COSINES, BACKGROUND)
def test_convex_gives_equal_hits_equal_scores(count, cosine, background):
    dense = ranked(np.full(count, cosine), np.ones(count, bool))
    fused = fuse(dense, ranked(np.full(count, 3.0), np.ones(count, bool)), FusionSettings(), background)
    assert set(fused.scores.round(12).tolist()) == {1.0}


@given(sides(least=2))
def test_convex_keeps_the_order_below_a_background_that_lies_above_every_hit(pair):
    dense, _ = pair
    silent = Side(np.zeros(len(dense.scores)), np.zeros(len(dense.scores), np.int64))
    scores = fuse(dense, silent, FusionSettings(), 1.0).scores
    assert best_first(scores.round(12)).tolist() == best_first(dense.scores).tolist()
