"""Each fusion on three candidates, computed by hand."""

import numpy as np
import pytest

from embedhouse.domain.hits import FusionSettings
from embedhouse.search.fusion import Side, fuse

# Found by both, by the dense side alone, by the lexical side alone (with its exact cosine).
DENSE = Side(np.array([0.8, 0.5, 0.2]), np.array([1, 2, 0]))
LEXICAL = Side(np.array([5.0, 0.0, 10.0]), np.array([2, 0, 1]))


def normalised(kind, background=0.1, **fields):
    fused = fuse(DENSE, LEXICAL, FusionSettings(kind=kind, **fields), background)
    return fused.dense.round(5).tolist(), fused.lexical.round(5).tolist()


def test_convex_scales_from_background_and_zero():
    dense, lexical = normalised("convex", background=0.0)
    assert dense == [1.0, 0.625, 0.25]
    assert lexical == [0.5, 0.0, 1.0]


def test_convex_floor_can_be_a_number():
    assert normalised("convex", background=0.1, floor=0.0)[0] == [1.0, 0.625, 0.25]


def test_convex_gives_nothing_below_the_background_but_keeps_its_order():
    fused = fuse(DENSE, LEXICAL, FusionSettings(), 0.6)
    assert fused.dense.round(5).tolist() == [1.0, 0.0, 0.0]
    assert fused.dense[1] > fused.dense[2]


@pytest.mark.parametrize("background", [None, 0.8, 0.9])
def test_convex_without_a_background_below_the_best_starts_at_the_lowest(background):
    assert normalised("convex", background=background)[0] == [1.0, 0.5, 0.0]


def test_convex_does_not_punish_a_model_whose_cosines_lie_close_together():
    narrow = Side(0.7 + DENSE.scores / 4, DENSE.ranks)
    wide = fuse(DENSE, LEXICAL, FusionSettings(), 0.1)
    np.testing.assert_allclose(fuse(narrow, LEXICAL, FusionSettings(), 0.725).scores, wide.scores)


def test_tmm_scales_from_the_least_cosine_there_is():
    dense, lexical = normalised("tmm")
    assert dense == [1.0, round(1.5 / 1.8, 5), round(1.2 / 1.8, 5)]
    assert lexical == [0.5, 0.0, 1.0]


def test_minmax_scales_from_the_lowest_find_of_each_list():
    dense, lexical = normalised("minmax")
    assert dense == [1.0, 0.0, 0.0]
    assert lexical == [0.0, 0.0, 1.0]


def test_dbsf_scales_by_three_deviations():
    dense, lexical = normalised("dbsf")
    # Finds .8 and .5: mean .65, deviation .15, so .2 to 1.1 is the range.
    assert dense == [round(0.6 / 0.9, 5), round(0.3 / 0.9, 5), 0.0]
    # Finds 5 and 10: mean 7.5, deviation 2.5, so 0 to 15 is the range.
    assert lexical == [round(5 / 15, 5), 0.0, round(10 / 15, 5)]


def test_rrf_uses_ranks_alone():
    dense, lexical = normalised("rrf")
    assert dense == [round(1 / 61, 5), round(1 / 62, 5), 0.0]
    assert lexical == [round(1 / 62, 5), 0.0, round(1 / 61, 5)]


def test_rrf_k_can_be_chosen():
    assert normalised("rrf", rrf_k=1)[0] == [0.5, round(1 / 3, 5), 0.0]


def test_logodds_is_the_distance_from_the_median_in_deviations():
    dense, lexical = normalised("logodds")
    deviation = np.std([0.8, 0.5, 0.2])
    assert dense == [round(0.3 / deviation, 5), 0.0, round(-0.3 / deviation, 5)]
    assert lexical[0] == 0.0


def test_fuse_divides_weights_by_their_sum():
    fused = fuse(DENSE, LEXICAL, FusionSettings(dense_weight=3, lexical_weight=1), 0.0)
    assert (fused.dense_weight, fused.lexical_weight) == (0.75, 0.25)
    assert fused.scores[0] == pytest.approx(0.75 * 1.0 + 0.25 * 0.5)
