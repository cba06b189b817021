"""Near duplicates by blocks against comparing each pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedhouse.domain.deadline import Deadline
from embedhouse.search import near_duplicates as module


def brute_force(vectors, threshold, limit):
    scores = np.round((vectors @ vectors.T).astype(np.float64), 6).clip(-1, 1)
    pairs = [(-scores[a, b], a, b) for a in range(len(vectors)) for b in range(a + 1, len(vectors))]
    return [(a, b, -minus) for minus, a, b in sorted(pairs) if -minus >= threshold][:limit]


@given(st.integers(0, 40), st.integers(0, 2**32 - 1), st.sampled_from([-1.0, 0.0, 0.5, 0.9]), st.integers(1, 30))
def test_similar_rows_finds_the_pairs_that_brute_force_finds(count, seed, threshold, limit):
    # Vectors on a grid of right angles and diagonals: many exact ties, and no score near a rounding edge.
    directions = np.array([[1, 0], [0, 1], [-1, 0], [3, 4], [4, 3]], np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = directions[np.random.default_rng(seed).integers(0, len(directions), count)]
    found = module.similar_rows(vectors, threshold, limit, Deadline.never())
    expected = brute_force(vectors, threshold, limit)
    assert [(int(a), int(b)) for a, b, _ in zip(*found, strict=True)] == [(a, b) for a, b, _ in expected]
    np.testing.assert_allclose(found[2], [score for *_, score in expected], atol=2e-6)


def test_similar_rows_finds_pairs_across_blocks():
    count = 3 * module._ROWS
    angles = np.arange(count) * (np.pi / count)
    angles[[5, count - 5]] = -0.5
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    first, second, scores = module.similar_rows(vectors, 1.0, 1000, Deadline.never())
    assert (5, count - 5) in set(zip(first.tolist(), second.tolist(), strict=True))
    assert (first < second).all()
    assert (np.diff(scores) <= 0).all()
