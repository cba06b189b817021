"""Searching by words: BM25 over the whole index, compared with the exact index."""

from __future__ import annotations

import numpy as np
import pytest
from index_cases import NEVER, TEXTS, Subject, dense, entry, keys_of, lexical, reference, same_lexical, write

pytestmark = pytest.mark.needs("lexical")

QUERIES = [
    *("energy", "cells energy", "energy energy cells", "dividing", "IL-2", "IT", "C++", "v1.2.3", "東京", "Cafe"),
    "x y",
]


@pytest.mark.needs("bm25", "ties")
def test_index_lexical_scores_are_exact_bm25(subject: Subject) -> None:
    batch = [entry(key, text) for key, text in enumerate(TEXTS * 4, start=1)]
    write(subject.index, *batch)
    subject.settle()
    exact = reference(batch)
    for query in QUERIES:
        same_lexical(lexical(subject.index, query, 5), lexical(exact, query, 5), subject)


@pytest.mark.needs("bm25_now")
def test_index_lexical_score_by_hand(subject: Subject) -> None:
    write(subject.index, entry(1, "cat cat dog"), entry(2, "dog"))
    length, average = 3, 2
    idf = np.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 * 2.2 / (2 + 1.2 * (1 - 0.75 + 0.75 * length / average))
    assert lexical(subject.index, "cat").scores == pytest.approx([expected], rel=1e-5)


@pytest.mark.needs("bm25_now")
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


@pytest.mark.needs("bm25_now")
def test_index_lexical_scores_stay_exact_while_entries_are_added(subject: Subject) -> None:
    batch = [entry(key, TEXTS[key % len(TEXTS)] + f" w{key}") for key in range(1, 200)]
    write(subject.index, *batch[:120])
    subject.settle()
    write(subject.index, *batch[120:])
    same_lexical(lexical(subject.index, "energy w7 w150"), lexical(reference(batch), "energy w7 w150"), subject)


@pytest.mark.needs("bm25")
def test_index_lexical_scores_are_exact_after_deletes_once_settled(subject: Subject) -> None:
    batch = [entry(key, TEXTS[key % len(TEXTS)] + f" w{key}") for key in range(1, 200)]
    write(subject.index, *batch)
    subject.index.write(deletes=list(range(1, 200, 2)), deadline=NEVER)
    subject.settle()
    left = [e for e in batch if e.key % 2 == 0]
    same_lexical(lexical(subject.index, "cells w8"), lexical(reference(left), "cells w8"), subject)


@pytest.mark.needs("bm25", "filters")
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


@pytest.mark.needs("bm25")
def test_index_lexical_ranks_the_exact_compound_first(subject: Subject) -> None:
    write(
        subject.index,
        entry(1, "il 2 and il and 2 and more"),
        entry(2, "treated with IL-2 and more words here"),
        entry(3, "nothing of that kind"),
    )
    subject.settle()
    assert keys_of(lexical(subject.index, "IL-2"))[0] == 2


@pytest.mark.needs("ties")
def test_index_lexical_breaks_ties_by_key_also_at_the_kth_place(subject: Subject) -> None:
    keys = [int(key) for key in np.random.default_rng(0).permutation(np.arange(1, 121))]
    write(subject.index, *(entry(key, "same text") for key in keys))
    subject.settle()
    for k in (1, 5, 50):
        assert keys_of(lexical(subject.index, "same", k)) == list(range(1, k + 1))


def test_index_lexical_finds_nothing_without_a_common_term(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha"))
    for query in ("", "   ", "the of and", "🙂", "absent", "\x00", '"*:()~^\\'):
        found = lexical(subject.index, query)
        assert keys_of(found) == [], query
        assert found.exhausted, query


def test_index_keeps_entries_without_terms(subject: Subject) -> None:
    write(subject.index, entry(1, "the"), entry(2, ""), entry(3, "alpha"))
    subject.settle()
    assert sorted(keys_of(dense(subject.index))) == [1, 2, 3]
    assert keys_of(lexical(subject.index, "alpha")) == [3]


def test_index_lexical_results_of_a_smaller_k_begin_those_of_a_larger(subject: Subject) -> None:
    write(subject.index, *(entry(key, f"common {TEXTS[key % 9]}") for key in range(1, 400)))
    subject.settle()
    everything = keys_of(lexical(subject.index, "common energy cells", 1_000))
    for k in (1, 10, 100, 399):
        found = lexical(subject.index, "common energy cells", k)
        assert keys_of(found) == everything[:k]
        assert found.exhausted == (k >= 399)
    assert len(everything) == 399


def test_index_lexical_results_are_sorted_and_aligned(subject: Subject) -> None:
    write(subject.index, *(entry(key, TEXTS[key % 9]) for key in range(1, 60)))
    subject.settle()
    found = lexical(subject.index, "energy cells", 20)
    assert found.keys.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert len(found.keys) == len(found.scores) == len(found.document_ids)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert np.all(found.scores > 0)
    assert found.document_ids == [f"doc-{key}" for key in keys_of(found)]


def test_index_lexical_names_no_documents_where_they_are_not_asked_for(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha"))
    found = subject.index.search_lexical("alpha", 5, None, NEVER, documents=False)
    assert (keys_of(found), found.document_ids) == ([1], [])


@pytest.mark.needs("filters")
def test_index_lexical_finds_all_that_a_filter_leaves(subject: Subject) -> None:
    write(
        subject.index, *(entry(key, f"common {TEXTS[key % 9]}", metadata={"g": key % 10}) for key in range(1, 300))
    )
    subject.settle()
    found = lexical(subject.index, "common", 50, raw={"g": {"$gte": 3, "$lt": 4}})
    assert sorted(keys_of(found)) == list(range(3, 300, 10))
    assert found.exhausted
    assert keys_of(lexical(subject.index, "absent", 50, raw={"g": 3})) == []


def test_index_lexical_takes_a_long_query(subject: Subject) -> None:
    write(subject.index, *(entry(key, f"word{key} common") for key in range(1, 30)))
    query = " ".join(f"word{key}" for key in range(1, 1_500))
    assert sorted(keys_of(lexical(subject.index, query, 100))) == list(range(1, 30))
