"""One vector for a document."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from embedhouse.chunking.document_vectors import centroid_of_largest_cluster, mean_vector
from embedhouse.domain.errors import InvalidVector


def rows(*vectors: list[float]) -> npt.NDArray[np.float32]:
    return np.array(vectors, dtype=np.float32)


def unit(*vector: float) -> npt.NDArray[np.float64]:
    return np.array(vector) / np.linalg.norm(vector)


def test_mean_vector_is_normalised() -> None:
    found = mean_vector(rows([1, 0], [0, 1]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, unit(1, 1), rtol=1e-6)


def test_mean_vector_weighs_chunks() -> None:
    np.testing.assert_allclose(mean_vector(rows([1, 0], [0, 1]), [3, 1]), unit(3, 1), rtol=1e-6)


def test_mean_vector_of_one_chunk_is_that_chunk() -> None:
    np.testing.assert_allclose(mean_vector(rows([0.6, 0.8])), [0.6, 0.8], rtol=1e-6)


def test_centroid_leaves_out_the_smaller_topic() -> None:
    vectors = rows([1, 0, 0], [0, 1, 0], [0.9, 0, 0.1], [0, 0.9, 0.1], [0.9, 0, -0.1])
    expected = unit(1, 0, 0) + unit(0.9, 0, 0.1) + unit(0.9, 0, -0.1)
    np.testing.assert_allclose(centroid_of_largest_cluster(vectors), unit(*expected), atol=1e-6)


def test_centroid_of_equal_clusters_is_the_tighter_one() -> None:
    vectors = rows([0, 1, 0.4], [0, 1, -0.4], [1, 0, 0.01], [1, 0, -0.01])
    np.testing.assert_allclose(centroid_of_largest_cluster(vectors), [1, 0, 0], atol=1e-6)


def test_centroid_of_equal_clusters_as_tight_is_the_earlier_one() -> None:
    vectors = rows([0, 1, 0.1], [1, 0, 0.1], [0, 1, -0.1], [1, 0, -0.1])
    np.testing.assert_allclose(centroid_of_largest_cluster(vectors), [0, 1, 0], atol=1e-6)


def test_centroid_of_few_chunks_is_their_mean() -> None:
    np.testing.assert_allclose(centroid_of_largest_cluster(rows([0, 2])), [0, 1], atol=1e-6)
    np.testing.assert_allclose(centroid_of_largest_cluster(rows([1, 0], [0, 1])), unit(1, 1), atol=1e-6)


def test_centroid_of_equal_chunks_is_their_direction() -> None:
    np.testing.assert_allclose(centroid_of_largest_cluster(rows(*[[3.0, 4.0]] * 5)), [0.6, 0.8], atol=1e-6)


def test_centroid_of_thousands_of_chunks_finds_the_main_topic() -> None:
    vectors = np.concatenate([rows(*[[1, 0, 0.01]] * 3000), rows(*[[0, 1, 0]] * 1000)])
    np.testing.assert_allclose(centroid_of_largest_cluster(vectors), unit(1, 0, 0.01), atol=1e-4)


@pytest.mark.parametrize("function", [mean_vector, centroid_of_largest_cluster])
@pytest.mark.parametrize("vectors", [np.empty((0, 3)), np.ones(3), rows([np.nan, 1]), rows([1, 0], [-1, 0])])
def test_document_vector_refuses_what_has_no_direction(function: object, vectors: npt.NDArray[np.float32]) -> None:
    with pytest.raises(InvalidVector):
        function(vectors)  # type: ignore[operator]


def test_centroid_refuses_a_zero_vector() -> None:
    with pytest.raises(InvalidVector, match="zero"):
        centroid_of_largest_cluster(rows([1, 0], [0, 0], [0, 1]))


@pytest.mark.parametrize("weights", [[1], [1, -1], [1, float("nan")]])
def test_mean_vector_refuses_bad_weights(weights: list[float]) -> None:
    with pytest.raises(InvalidVector, match="2 finite numbers"):
        mean_vector(rows([1, 0], [0, 1]), weights)
