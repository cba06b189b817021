"""One suite over every store: whatever holds for the exact index in memory holds for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from index_cases import (
    DIMENSIONS,
    NEVER,
    TEXTS,
    Subject,
    dense,
    entry,
    keys_of,
    lexical,
    reference,
    vectors_of,
    write,
)

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, DeadlineExceeded, InvalidVector
from embedhouse.domain.filters import parse_filter
from embedhouse.ports import Candidates

# ---- Writing -----------------------------------------------------------------------------------------------------


def test_index_reads_its_own_writes_at_once(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha"), entry(2, "beta"))
    assert keys_of(lexical(subject.index, "alpha")) == [1]
    assert sorted(keys_of(dense(subject.index))) == [1, 2]
    assert subject.index.info().count == 2


def test_index_replaces_an_entry_by_key(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha", metadata={"year": 1}), entry(2, "gamma"))
    subject.settle()
    write(subject.index, entry(1, "beta", seed=7, document_id="other", metadata={"year": 2}))
    subject.settle()
    assert keys_of(lexical(subject.index, "alpha")) == []
    found = lexical(subject.index, "beta", raw={"year": 2})
    assert (keys_of(found), found.document_ids) == ([1], ["other"])
    assert keys_of(dense(subject.index, raw={"year": 1})) == []
    assert np.allclose(subject.index.vectors([1])[1], vectors_of(1, 7)[0], atol=1e-3)
    assert subject.index.info().count == 2


def test_index_deletes_from_both_sides(subject: Subject) -> None:
    write(subject.index, *(entry(key, f"common word{key}") for key in range(1, 41)))
    subject.settle()
    subject.index.write(deletes=[3, 4, 5, 777], deadline=NEVER)
    subject.settle()
    left = [key for key in range(1, 41) if key not in (3, 4, 5)]
    assert sorted(keys_of(dense(subject.index, 100))) == left
    assert sorted(keys_of(lexical(subject.index, "common", 100))) == left
    assert keys_of(lexical(subject.index, "word3")) == []
    assert list(subject.index.keys()) == left
    assert subject.index.vectors([3]) == {}


def test_index_applies_deletes_then_upserts_then_metadata(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha", metadata={"a": 1}))
    subject.index.write(
        deletes=[1], upserts=[entry(1, "beta", metadata={"a": 2})], metadata=[(1, {"a": 3})], deadline=NEVER
    )
    assert keys_of(lexical(subject.index, "beta", raw={"a": 3})) == [1]
    assert keys_of(lexical(subject.index, "alpha")) == []


def test_index_writes_are_idempotent(subject: Subject) -> None:
    batch = [entry(key, f"common word{key}", metadata={"n": key}) for key in range(1, 20)]
    write(subject.index, *batch)
    before = lexical(subject.index, "common word3")
    for _ in range(2):
        subject.index.write(upserts=batch, deletes=[500], metadata=[(3, {"n": 3})], deadline=NEVER)
    after = lexical(subject.index, "common word3")
    assert keys_of(after) == keys_of(before)
    assert np.allclose(after.scores, before.scores, rtol=1e-5)
    assert subject.index.info().count == 19


def test_index_takes_the_last_of_entries_with_one_key(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha"), entry(1, "beta"))
    assert keys_of(lexical(subject.index, "beta")) == [1]
    assert keys_of(lexical(subject.index, "alpha")) == []


def test_index_replaces_metadata_whole_and_leaves_the_rest(subject: Subject) -> None:
    write(
        subject.index, entry(1, "alpha", metadata={"year": 2020, "tag": "x", "on": "2024-05-01"}), entry(2, "beta")
    )
    subject.settle()
    subject.index.write(metadata=[(1, {"year": 2021}), (404, {"year": 2021})], deadline=NEVER)
    subject.settle()
    assert keys_of(lexical(subject.index, "alpha", raw={"year": {"$gt": 2020}})) == [1]
    for gone in ({"tag": "x"}, {"year": 2020}, {"year": {"$lte": 2020}}, {"on": {"$gt": "2024-01-01"}}):
        assert keys_of(dense(subject.index, raw=gone)) == [], gone
    subject.index.write(metadata=[(1, {})], deadline=NEVER)
    assert keys_of(dense(subject.index, raw={"year": {"$exists": True}})) == []
    assert np.allclose(subject.index.vectors([1])[1], vectors_of(1, 1)[0], atol=1e-3)
    assert subject.index.info().count == 2


def test_index_takes_an_empty_write(subject: Subject) -> None:
    subject.index.write(deadline=NEVER)
    assert subject.index.info().count == 0


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(DIMENSIONS, np.float32),
        np.full(DIMENSIONS, np.nan, np.float32),
        np.full(DIMENSIONS, np.inf, np.float32),
        np.ones(DIMENSIONS + 1, np.float32),
        np.ones((1, DIMENSIONS), np.float32),
    ],
    ids=["zero", "nan", "inf", "long", "matrix"],
)
def test_index_refuses_a_bad_vector_before_writing_anything(subject: Subject, vector: Any) -> None:
    with pytest.raises(InvalidVector):
        write(subject.index, entry(1), entry(2, vector=vector))
    with pytest.raises(InvalidVector):
        subject.index.search_dense(vector, 5, None, NEVER)
    assert subject.index.info().count == 0


def test_index_stops_at_a_deadline_or_a_cancelled_caller(subject: Subject) -> None:
    gone = Deadline.never()
    gone.cancel()
    with pytest.raises(Cancelled):
        subject.index.write(upserts=[entry(1)], deadline=gone)
    with pytest.raises(DeadlineExceeded):
        subject.index.search_dense(vectors_of(1)[0], 5, None, Deadline(0.0))
    with pytest.raises(DeadlineExceeded):
        subject.index.search_lexical("alpha", 5, None, Deadline(0.0))


# ---- Dense -------------------------------------------------------------------------------------------------------


def test_index_dense_score_is_the_cosine(subject: Subject) -> None:
    vector = vectors_of(1, 5)[0]
    write(subject.index, entry(1, vector=vector), entry(2, vector=-vector), entry(3, vector=vector * 9))
    subject.settle()
    found = subject.index.search_dense(vector * 3, 5, None, NEVER)
    assert sorted(keys_of(found)[:2]) == [1, 3]
    assert found.scores.dtype == np.float32
    assert found.scores == pytest.approx([1.0, 1.0, -1.0], abs=1e-3)
    assert np.all(np.abs(found.scores) <= 1.0)


def test_index_dense_finds_the_nearest_of_ten_thousand(subject: Subject) -> None:
    vectors = vectors_of(10_000)
    write(subject.index, *(entry(key, "", vector=vectors[key]) for key in range(10_000)))
    subject.settle()
    hits = 0
    noise = np.random.default_rng(2).standard_normal((30, DIMENSIONS))
    for query in (vectors[::334][:30] + 0.1 * noise).astype(np.float32):
        exact = np.argsort(-(vectors @ query), kind="stable")[:10].tolist()
        hits += len({*exact} & {*keys_of(subject.index.search_dense(query, 10, None, NEVER))})
    assert hits / 300 >= 0.99


def test_index_dense_finds_all_that_a_rare_filter_leaves(subject: Subject) -> None:
    vectors = vectors_of(2_000)
    metadata = [{"group": key % 100} for key in range(2_000)]
    write(subject.index, *(entry(k, "", vector=vectors[k], metadata=metadata[k]) for k in range(2_000)))
    subject.settle()
    for group in (7, 42):
        expected = sorted(range(group, 2_000, 100), key=lambda key: -float(vectors[key] @ vectors[0]))
        found = subject.index.search_dense(vectors[0], 30, parse_filter({"group": group}), NEVER)
        assert set(keys_of(found)) == set(expected)
        assert found.exhausted


def test_index_dense_breaks_ties_by_key_also_at_the_kth_place(subject: Subject) -> None:
    vector = vectors_of(1, 3)[0]
    keys = [int(key) for key in np.random.default_rng(0).permutation(np.arange(1, 121))]
    write(subject.index, *(entry(key, vector=vector) for key in keys))
    subject.settle()
    for k in (1, 5, 50):
        assert keys_of(subject.index.search_dense(vector, k, None, NEVER)) == list(range(1, k + 1))


def test_index_vectors_come_back_as_they_were_written(subject: Subject) -> None:
    vectors = vectors_of(600)
    write(subject.index, *(entry(key, vector=vectors[key]) for key in range(600)))
    subject.settle()
    found = subject.index.vectors([*range(600), 10_001])
    assert sorted(found) == list(range(600))
    assert found[5].shape == (DIMENSIONS,)
    assert found[5].dtype == np.float32
    assert all(float(found[key] @ vectors[key]) > 0.9999 for key in range(600))


# ---- Lexical -----------------------------------------------------------------------------------------------------


def _same_ranking(found: Candidates, expected: Candidates) -> None:
    assert keys_of(found) == keys_of(expected)
    assert found.document_ids == expected.document_ids
    assert np.allclose(found.scores, expected.scores, rtol=1e-4)


@pytest.mark.parametrize(
    "query",
    [
        "energy",
        "cells energy",
        "energy energy cells",
        "dividing",
        "IL-2",
        "IT",
        "C++",
        "v1.2.3",
        "東京",
        "Cafe",
        "x y",
    ],
)
def test_index_lexical_scores_are_exact_bm25(subject: Subject, query: str) -> None:
    batch = [entry(key, text) for key, text in enumerate(TEXTS * 4, start=1)]
    write(subject.index, *batch)
    subject.settle()
    _same_ranking(lexical(subject.index, query, 5), lexical(reference(batch), query, 5))


def test_index_lexical_score_by_hand(subject: Subject) -> None:
    write(subject.index, entry(1, "cat cat dog"), entry(2, "dog"))
    length, average = 3, 2
    idf = np.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 * 2.2 / (2 + 1.2 * (1 - 0.75 + 0.75 * length / average))
    assert lexical(subject.index, "cat").scores == pytest.approx([expected], rel=1e-5)


def test_index_lexical_score_does_not_depend_on_when_a_text_was_written(subject: Subject) -> None:
    text = "a rare platypus in the river"
    fillers = [entry(key, f"filler number {key} about rivers") for key in range(10, 210)]
    write(subject.index, entry(1, text), *fillers[:100])
    subject.settle()
    write(subject.index, *fillers[100:], entry(2, text))
    found = lexical(subject.index, "platypus river")
    scores = dict(zip(keys_of(found), found.scores.tolist(), strict=True))
    assert scores[1] == pytest.approx(scores[2], rel=1e-6)
    subject.settle()
    found = lexical(subject.index, "platypus river")
    assert keys_of(found)[:2] == [1, 2]


def test_index_lexical_scores_stay_exact_while_entries_are_added(subject: Subject) -> None:
    batch = [entry(key, TEXTS[key % len(TEXTS)] + f" w{key}") for key in range(1, 200)]
    write(subject.index, *batch[:120])
    subject.settle()
    write(subject.index, *batch[120:])
    _same_ranking(lexical(subject.index, "energy w7 w150"), lexical(reference(batch), "energy w7 w150"))


def test_index_lexical_scores_are_exact_after_deletes_once_settled(subject: Subject) -> None:
    batch = [entry(key, TEXTS[key % len(TEXTS)] + f" w{key}") for key in range(1, 200)]
    write(subject.index, *batch)
    subject.index.write(deletes=list(range(1, 200, 2)), deadline=NEVER)
    subject.settle()
    left = [e for e in batch if e.key % 2 == 0]
    _same_ranking(lexical(subject.index, "cells w8"), lexical(reference(left), "cells w8"))


def test_index_lexical_statistics_ignore_the_filter(subject: Subject) -> None:
    batch = [entry(key, TEXTS[key % len(TEXTS)], metadata={"odd": key % 2}) for key in range(1, 100)]
    write(subject.index, *batch)
    subject.settle()
    every = lexical(subject.index, "energy", 100)
    whole = dict(zip(keys_of(every), every.scores.tolist(), strict=True))
    some = lexical(subject.index, "energy", 100, raw={"odd": 1})
    assert keys_of(some) == [key for key in keys_of(every) if key % 2]
    for key, score in zip(keys_of(some), some.scores.tolist(), strict=True):
        assert score == pytest.approx(whole[key], rel=1e-6)


def test_index_lexical_finds_a_new_acronym_at_once(subject: Subject) -> None:
    write(subject.index, *(entry(key, f"ordinary text {key}") for key in range(1, 100)))
    subject.settle()
    assert keys_of(lexical(subject.index, "QZX-777")) == []
    write(subject.index, entry(500, "They call it QZX-777 now"))
    assert keys_of(lexical(subject.index, "QZX-777")) == [500]
    assert keys_of(lexical(subject.index, "qzx777")) == [500]


def test_index_lexical_ranks_the_exact_compound_first(subject: Subject) -> None:
    write(
        subject.index,
        entry(1, "il 2 and il and 2 and more"),
        entry(2, "treated with IL-2 and more words here"),
        entry(3, "nothing of that kind"),
    )
    subject.settle()
    assert keys_of(lexical(subject.index, "IL-2"))[0] == 2


def test_index_lexical_breaks_ties_by_key_also_at_the_kth_place(subject: Subject) -> None:
    keys = [int(key) for key in np.random.default_rng(0).permutation(np.arange(1, 121))]
    write(subject.index, *(entry(key, "same text") for key in keys))
    subject.settle()
    for k in (1, 5, 50):
        assert keys_of(lexical(subject.index, "same", k)) == list(range(1, k + 1))


@pytest.mark.parametrize("query", ["", "   ", "the of and", "🙂", "absent", "\x00", '"*:()~^\\'])
def test_index_lexical_finds_nothing_without_a_common_term(subject: Subject, query: str) -> None:
    write(subject.index, entry(1, "alpha"))
    found = lexical(subject.index, query)
    assert keys_of(found) == []
    assert found.exhausted


def test_index_keeps_entries_without_terms(subject: Subject) -> None:
    write(subject.index, entry(1, "the"), entry(2, ""), entry(3, "alpha"))
    subject.settle()
    assert sorted(keys_of(dense(subject.index))) == [1, 2, 3]
    assert keys_of(lexical(subject.index, "alpha")) == [3]


# ---- Paging, emptiness, ids --------------------------------------------------------------------------------------


def test_index_results_of_a_smaller_k_begin_those_of_a_larger(subject: Subject) -> None:
    write(subject.index, *(entry(key, f"common {TEXTS[key % 9]}") for key in range(1, 400)))
    subject.settle()
    everything = keys_of(lexical(subject.index, "common energy cells", 1_000))
    for k in (1, 10, 100, 399):
        found = lexical(subject.index, "common energy cells", k)
        assert keys_of(found) == everything[:k]
        assert found.exhausted == (k >= 399)
    assert len(everything) == 399
    assert dense(subject.index, 1_000).exhausted
    assert not dense(subject.index, 10).exhausted


def test_index_candidates_are_sorted_and_aligned(subject: Subject) -> None:
    write(subject.index, *(entry(key, TEXTS[key % 9]) for key in range(1, 60)))
    subject.settle()
    for found in (dense(subject.index, 20), lexical(subject.index, "energy cells", 20)):
        assert found.keys.dtype == np.int64
        assert len(found.keys) == len(found.scores) == len(found.document_ids)
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert found.document_ids == [f"doc-{key}" for key in keys_of(found)]


def test_index_without_entries_answers_with_nothing(subject: Subject) -> None:
    subject.settle()
    for found in (dense(subject.index), lexical(subject.index, "alpha"), dense(subject.index, raw={"a": 1})):
        assert keys_of(found) == []
        assert found.document_ids == []
        assert found.exhausted
    assert list(subject.index.keys()) == []
    assert subject.index.vectors([1]) == {}
    assert subject.index.info().count == 0


def test_index_keeps_large_keys_and_odd_document_ids(subject: Subject) -> None:
    names = {1: "a/b\\c", 2: 'it\'s "quoted"', 2**53 + 1: "ünïcödé 🙂", 2**62: " ", 2**63 - 1: "#1\n\t"}
    write(subject.index, *(entry(key, "common", document_id=name) for key, name in names.items()))
    subject.settle()
    found = lexical(subject.index, "common")
    assert dict(zip(keys_of(found), found.document_ids, strict=True)) == names
    assert list(subject.index.keys()) == sorted(names)


def test_index_keys_are_ascending_over_many_pages(subject: Subject) -> None:
    keys = [int(key) for key in np.random.default_rng(1).permutation(np.arange(1, 2_501) * 7)]
    write(subject.index, *(entry(key, seed=1) for key in keys))
    subject.settle()
    assert list(subject.index.keys()) == sorted(keys)


def test_index_flush_keeps_everything_readable(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha"))
    subject.index.flush()
    assert keys_of(lexical(subject.index, "alpha")) == [1]


def test_index_declares_what_it_supports(subject: Subject) -> None:
    capabilities = subject.index.capabilities
    assert capabilities.lexical
    assert capabilities.filters
    assert capabilities.partial_metadata


def test_index_dense_scores_are_those_of_a_search(subject: Subject) -> None:
    rng = np.random.default_rng(5)
    subject.index.write(upserts=[entry(key) for key in range(40)], deadline=NEVER)
    asked = rng.standard_normal(DIMENSIONS).astype(np.float32)
    found = subject.index.search_dense(asked, 40, None, NEVER)
    scores = subject.index.dense_scores(asked, [*range(40), 99], NEVER)
    assert sorted(scores) == list(range(40))
    assert [scores[key] for key in keys_of(found)] == pytest.approx(found.scores.tolist(), abs=1e-6)


def test_index_names_no_documents_where_they_are_not_asked_for(subject: Subject) -> None:
    subject.index.write(upserts=[entry(1, "alpha")], deadline=NEVER)
    near = subject.index.search_dense(np.ones(DIMENSIONS, np.float32), 5, None, NEVER, documents=False)
    lexical = subject.index.search_lexical("alpha", 5, None, NEVER, documents=False)
    assert (keys_of(near), near.document_ids) == ([1], [])
    assert (keys_of(lexical), lexical.document_ids) == ([1], [])
