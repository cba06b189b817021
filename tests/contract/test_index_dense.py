"""Searching by meaning: the cosine, compared with the exact index."""

from __future__ import annotations

import numpy as np
import pytest
from index_cases import NEVER, TEXTS, Subject, dense, entry, keys_of, reference, same_dense, vectors_of, write

from embedhouse.domain.filters import parse_filter

pytestmark = pytest.mark.needs("dense")


def test_index_dense_score_is_the_cosine(subject: Subject) -> None:
    vector = vectors_of(1, 5)[0]
    write(subject.index, entry(1, vector=vector), entry(2, vector=-vector), entry(3, vector=vector * 9))
    subject.settle()
    found = subject.index.search_dense(vector * 3, 5, None, NEVER)
    assert sorted(keys_of(found)[:2]) == [1, 3]
    assert found.scores.dtype == np.float32
    assert found.scores == pytest.approx([1.0, 1.0, -1.0], abs=subject.tolerance)
    assert np.all(np.abs(found.scores) <= 1.0)


def test_index_dense_is_the_exact_ranking(subject: Subject) -> None:
    batch = [entry(key) for key in range(1, 201)]
    write(subject.index, *batch)
    subject.settle()
    exact = reference(batch)
    for seed in (900, 901, 902):
        same_dense(dense(subject.index, 20, seed=seed), dense(exact, 20, seed=seed), subject)


@pytest.mark.needs("recall")
def test_index_dense_finds_the_nearest_of_ten_thousand(subject: Subject) -> None:
    vectors = vectors_of(10_000)
    write(subject.index, *(entry(key + 1, "", vector=vectors[key]) for key in range(10_000)))
    subject.settle()
    hits = 0
    noise = np.random.default_rng(2).standard_normal((30, vectors.shape[1]))
    for query in (vectors[::334][:30] + 0.1 * noise).astype(np.float32):
        exact = (np.argsort(-(vectors @ query), kind="stable")[:10] + 1).tolist()
        hits += len({*exact} & {*keys_of(subject.index.search_dense(query, 10, None, NEVER))})
    assert hits / 300 >= 0.99


@pytest.mark.needs("filters")
def test_index_dense_finds_all_that_a_rare_filter_leaves(subject: Subject) -> None:
    vectors = vectors_of(1_500)
    write(
        subject.index,
        *(entry(key, "", vector=vectors[key - 1], metadata={"group": key % 100}) for key in range(1, 1_501)),
    )
    subject.settle()
    for group in (7, 42):
        found = subject.index.search_dense(vectors[0], 30, parse_filter({"group": group}), NEVER)
        assert sorted(keys_of(found)) == list(range(group, 1_501, 100))
        assert found.exhausted


@pytest.mark.needs("ties")
def test_index_dense_breaks_ties_by_key_also_at_the_kth_place(subject: Subject) -> None:
    vector = vectors_of(1, 3)[0]
    keys = [int(key) for key in np.random.default_rng(0).permutation(np.arange(1, 121))]
    write(subject.index, *(entry(key, vector=vector) for key in keys))
    subject.settle()
    for k in (1, 5, 50):
        assert keys_of(subject.index.search_dense(vector, k, None, NEVER)) == list(range(1, k + 1))


def test_index_vectors_come_back_as_they_were_written(subject: Subject) -> None:
    vectors = vectors_of(600)
    write(subject.index, *(entry(key, "", vector=vectors[key - 1] * 3) for key in range(1, 601)))
    subject.settle()
    found = subject.index.vectors([*range(1, 601), 10_001])
    assert sorted(found) == list(range(1, 601))
    assert found[5].shape == vectors[0].shape
    assert found[5].dtype == np.float32
    assert all(float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-3) for vector in found.values())
    assert all(float(found[key] @ vectors[key - 1]) > 0.9999 for key in range(1, 601))


def test_index_dense_scores_are_those_of_a_search(subject: Subject) -> None:
    asked = np.random.default_rng(5).standard_normal(vectors_of(1).shape[1]).astype(np.float32)
    write(subject.index, *(entry(key) for key in range(1, 41)))
    found = subject.index.search_dense(asked, 40, None, NEVER)
    scores = subject.index.dense_scores(asked, [*range(1, 41), 99], NEVER)
    assert sorted(scores) == list(range(1, 41))
    assert [scores[key] for key in keys_of(found)] == pytest.approx(found.scores.tolist(), abs=subject.tolerance)
    assert all(-1.0 <= score <= 1.0 for score in scores.values())


def test_index_dense_names_no_documents_where_they_are_not_asked_for(subject: Subject) -> None:
    write(subject.index, entry(1))
    found = subject.index.search_dense(vectors_of(1)[0], 5, None, NEVER, documents=False)
    assert (keys_of(found), found.document_ids) == ([1], [])


def test_index_dense_results_are_sorted_and_aligned(subject: Subject) -> None:
    write(subject.index, *(entry(key, TEXTS[key % 9]) for key in range(1, 60)))
    subject.settle()
    found = dense(subject.index, 20)
    assert found.keys.dtype == np.int64
    assert len(found.keys) == len(found.scores) == len(found.document_ids) == 20
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.document_ids == [f"doc-{key}" for key in keys_of(found)]


def test_index_dense_results_of_a_smaller_k_begin_those_of_a_larger(subject: Subject) -> None:
    write(subject.index, *(entry(key, "") for key in range(1, 120)))
    subject.settle()
    everything = dense(subject.index, 1_000)
    assert everything.exhausted
    assert len(keys_of(everything)) == 119
    for k in (1, 10, 60):
        found = dense(subject.index, k)
        assert keys_of(found) == keys_of(everything)[:k]
        assert not found.exhausted


def test_index_dense_follows_a_replaced_vector(subject: Subject) -> None:
    write(subject.index, *(entry(key) for key in range(1, 30)))
    subject.settle()
    target = vectors_of(1, 777)[0]
    before = subject.index.dense_scores(target, [9], NEVER)[9]
    write(subject.index, entry(9, seed=777))
    assert keys_of(subject.index.search_dense(target, 1, None, NEVER)) == [9]
    assert subject.index.dense_scores(target, [9], NEVER)[9] == pytest.approx(1.0, abs=subject.tolerance)
    assert before < 0.9
