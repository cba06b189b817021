"""One suite over every store: whatever holds for the exact index in memory holds for all of them.

Here: writing, and limits of time. Beside it: `test_index_reading`, `_dense`, `_lexical`, `_hybrid`, `_filters`,
`_namespaces`, and the store itself in `test_store_contract`.
"""

from __future__ import annotations

import threading
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
    same_dense,
    same_lexical,
    vectors_of,
    write,
)

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, DeadlineExceeded, InvalidVector
from embedhouse.ports import Index

# ---- Writing -----------------------------------------------------------------------------------------------------


def test_index_reads_its_own_writes_at_once(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha"), entry(2, "beta"))
    assert sorted(keys_of(dense(subject.index))) == [1, 2]
    assert subject.index.info().count == 2
    assert list(subject.index.keys()) == [1, 2]
    assert sorted(subject.index.vectors([1, 2, 3])) == [1, 2]
    subject.index.write(deletes=[1], deadline=NEVER)
    assert keys_of(dense(subject.index)) == [2]
    assert subject.index.info().count == 1


@pytest.mark.needs("lexical")
def test_index_reads_its_own_writes_at_once_by_words(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha"), entry(2, "beta"))
    assert keys_of(lexical(subject.index, "alpha")) == [1]
    subject.index.write(deletes=[1], deadline=NEVER)
    assert keys_of(lexical(subject.index, "alpha beta")) == [2]


def test_index_replaces_an_entry_by_key(subject: Subject) -> None:
    write(subject.index, entry(1), entry(2))
    subject.settle()
    write(subject.index, entry(1, seed=7, document_id="other"))
    subject.settle()
    found = dense(subject.index, seed=7)
    assert found.document_ids[0] == "other"
    assert found.scores[0] == pytest.approx(1.0, abs=subject.tolerance)
    assert np.allclose(subject.index.vectors([1])[1], vectors_of(1, 7)[0], atol=1e-3)
    assert subject.index.info().count == 2


@pytest.mark.needs("lexical")
def test_index_replaces_the_text_with_the_entry(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha common"), entry(2, "gamma"))
    subject.settle()
    write(subject.index, entry(1, "beta common", document_id="other"))
    subject.settle()
    assert keys_of(lexical(subject.index, "alpha")) == []
    found = lexical(subject.index, "beta")
    assert (keys_of(found), found.document_ids) == ([1], ["other"])
    assert keys_of(lexical(subject.index, "common")) == [1]


@pytest.mark.needs("filters")
def test_index_replaces_the_metadata_with_the_entry(subject: Subject) -> None:
    write(subject.index, entry(1, metadata={"year": 1, "tag": ["x", "y"]}))
    write(subject.index, entry(1, metadata={"year": 2}))
    assert keys_of(dense(subject.index, raw={"year": 2})) == [1]
    for gone in ({"year": 1}, {"tag": "x"}, {"tag": {"$exists": True}}, {"year": {"$lt": 2}}):
        assert keys_of(dense(subject.index, raw=gone)) == [], gone


def test_index_deletes_by_id(subject: Subject) -> None:
    write(subject.index, *(entry(key) for key in range(1, 41)))
    subject.settle()
    subject.index.write(deletes=[3, 4, 5, 777], deadline=NEVER)
    subject.settle()
    left = [key for key in range(1, 41) if key not in (3, 4, 5)]
    assert sorted(keys_of(dense(subject.index, 100))) == left
    assert list(subject.index.keys()) == left
    assert subject.index.vectors([3]) == {}
    assert subject.index.dense_scores(vectors_of(1)[0], [3, 4], NEVER) == {}


@pytest.mark.needs("lexical")
def test_index_deletes_from_the_lexical_side(subject: Subject) -> None:
    write(subject.index, *(entry(key, f"common word{key}") for key in range(1, 41)))
    subject.settle()
    subject.index.write(deletes=[3, 4, 5, 777], deadline=NEVER)
    subject.settle()
    left = [key for key in range(1, 41) if key not in (3, 4, 5)]
    assert sorted(keys_of(lexical(subject.index, "common", 100))) == left
    assert keys_of(lexical(subject.index, "word3")) == []


@pytest.mark.needs("filters")
def test_index_deletes_what_a_filter_finds(subject: Subject) -> None:
    write(subject.index, *(entry(key, metadata={"group": key % 3}) for key in range(1, 61)))
    subject.settle()
    doomed = keys_of(dense(subject.index, 100, {"group": {"$gte": 1}}))
    subject.index.write(deletes=doomed, deadline=NEVER)
    assert list(subject.index.keys()) == list(range(3, 61, 3))
    assert keys_of(dense(subject.index, 100, {"group": {"$gte": 1}})) == []


def test_index_deletes_all_and_starts_again(subject: Subject) -> None:
    write(subject.index, *(entry(key) for key in range(1, 31)))
    subject.index.write(deletes=list(range(1, 31)), deadline=NEVER)
    assert list(subject.index.keys()) == []
    assert keys_of(dense(subject.index)) == []
    assert subject.index.info().count == 0
    write(subject.index, entry(7))
    assert keys_of(dense(subject.index)) == [7]


@pytest.mark.needs("filters", "partial_metadata")
def test_index_applies_deletes_then_upserts_then_metadata(subject: Subject) -> None:
    write(subject.index, entry(1, metadata={"a": 1}))
    subject.index.write(
        deletes=[1], upserts=[entry(1, seed=5, metadata={"a": 2})], metadata=[(1, {"a": 3})], deadline=NEVER
    )
    found = dense(subject.index, raw={"a": 3}, seed=5)
    assert keys_of(found) == [1]
    assert found.scores[0] == pytest.approx(1.0, abs=subject.tolerance)
    assert keys_of(dense(subject.index, raw={"a": {"$lt": 3}})) == []


def test_index_writes_are_idempotent(subject: Subject) -> None:
    batch = [entry(key) for key in range(1, 20)]
    write(subject.index, *batch)
    before = dense(subject.index)
    for _ in range(2):
        subject.index.write(upserts=batch, deletes=[500], deadline=NEVER)
    same_dense(dense(subject.index), before, subject)
    assert list(subject.index.keys()) == list(range(1, 20))
    assert subject.index.info().count == 19


@pytest.mark.needs("lexical")
def test_index_writes_are_idempotent_for_the_statistics_of_words(subject: Subject) -> None:
    batch = [entry(key, f"common word{key}") for key in range(1, 20)]
    write(subject.index, *batch)
    subject.settle()
    before = lexical(subject.index, "common word3")
    for _ in range(2):
        write(subject.index, *batch)
    subject.settle()
    same_lexical(lexical(subject.index, "common word3"), before, subject)


@pytest.mark.needs("filters", "partial_metadata")
def test_index_repeats_a_half_done_batch(subject: Subject) -> None:
    batch = [entry(key, metadata={"n": key}) for key in range(1, 41)]
    write(subject.index, *batch[:17])
    for _ in range(2):
        subject.index.write(upserts=batch, deletes=[99], metadata=[(3, {"n": 300})], deadline=NEVER)
    assert list(subject.index.keys()) == list(range(1, 41))
    assert keys_of(dense(subject.index, raw={"n": {"$gt": 40}})) == [3]


def test_index_takes_the_last_of_entries_with_one_key(subject: Subject) -> None:
    write(subject.index, entry(1, seed=4, document_id="first"), entry(1, seed=5, document_id="last"))
    found = dense(subject.index, seed=5)
    assert (keys_of(found), found.document_ids) == ([1], ["last"])
    assert found.scores[0] == pytest.approx(1.0, abs=subject.tolerance)


@pytest.mark.needs("filters", "partial_metadata")
def test_index_replaces_metadata_whole_and_leaves_the_rest(subject: Subject) -> None:
    write(subject.index, entry(1, metadata={"year": 2020, "tag": "x", "on": "2024-05-01"}), entry(2))
    subject.settle()
    subject.index.write(metadata=[(1, {"year": 2021}), (404, {"year": 2021})], deadline=NEVER)
    subject.settle()
    found = dense(subject.index, raw={"year": {"$gt": 2020}})
    assert (keys_of(found), found.document_ids) == ([1], ["doc-1"])
    for gone in ({"tag": "x"}, {"year": 2020}, {"year": {"$lte": 2020}}, {"on": {"$gt": "2024-01-01"}}):
        assert keys_of(dense(subject.index, raw=gone)) == [], gone
    subject.index.write(metadata=[(1, {})], deadline=NEVER)
    assert keys_of(dense(subject.index, raw={"year": {"$exists": True}})) == []
    assert np.allclose(subject.index.vectors([1])[1], vectors_of(1, 1)[0], atol=1e-3)
    assert subject.index.info().count == 2


@pytest.mark.needs("lexical", "partial_metadata")
def test_index_replaces_metadata_and_leaves_the_text(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha beta", metadata={"a": 1}), entry(2, "beta"))
    subject.index.write(metadata=[(1, {"a": 2})], deadline=NEVER)
    assert keys_of(lexical(subject.index, "alpha")) == [1]


def test_index_takes_an_empty_write(subject: Subject) -> None:
    subject.index.write(deadline=NEVER)
    assert subject.index.info().count == 0


BAD_VECTORS: dict[str, Any] = {
    "zero": np.zeros(DIMENSIONS, np.float32),
    "nan": np.full(DIMENSIONS, np.nan, np.float32),
    "infinite": np.full(DIMENSIONS, np.inf, np.float32),
    "long": np.ones(DIMENSIONS + 1, np.float32),
    "matrix": np.ones((1, DIMENSIONS), np.float32),
}


def test_index_refuses_a_bad_vector_before_writing_anything(subject: Subject) -> None:
    for vector in BAD_VECTORS.values():
        with pytest.raises(InvalidVector):
            write(subject.index, entry(1), entry(2, vector=vector))
        with pytest.raises(InvalidVector):
            subject.index.search_dense(vector, 5, None, NEVER)
        with pytest.raises(InvalidVector):
            subject.index.dense_scores(vector, [1], NEVER)
    assert subject.index.info().count == 0


def test_index_stops_at_a_deadline_or_a_cancelled_caller(subject: Subject) -> None:
    gone = Deadline.never()
    gone.cancel()
    with pytest.raises(Cancelled):
        subject.index.write(upserts=[entry(1)], deadline=gone)
    with pytest.raises(Cancelled):
        subject.index.search_dense(vectors_of(1)[0], 5, None, gone)
    with pytest.raises(DeadlineExceeded):
        subject.index.write(upserts=[entry(1)], deadline=Deadline(0.0))
    with pytest.raises(DeadlineExceeded):
        subject.index.search_dense(vectors_of(1)[0], 5, None, Deadline(0.0))
    assert subject.index.info().count == 0


@pytest.mark.needs("lexical")
def test_index_stops_at_a_deadline_by_words(subject: Subject) -> None:
    with pytest.raises(DeadlineExceeded):
        subject.index.search_lexical("alpha", 5, None, Deadline(0.0))


@pytest.mark.needs("lexical", "bm25", "filters", "partial_metadata")
def test_index_is_like_the_exact_one_after_any_order_of_writes(subject: Subject) -> None:
    exact = reference([])
    random = np.random.default_rng(11)
    for step in range(12):
        batch = [
            entry(
                int(key),
                f"{TEXTS[int(key) % 9]} step{step}",
                seed=int(key) * 31 + step,
                metadata={"n": int(key), "even": bool(key % 2 == 0), "tags": [f"t{key % 4}", step]},
            )
            for key in random.permutation(np.arange(1, 60))[:12]
        ]
        deletes = [int(key) for key in random.integers(1, 60, size=4)]
        changes = [(int(key), {"n": -int(key), "step": step}) for key in random.integers(1, 60, size=3)]
        for index in (exact, subject.index):
            index.write(deletes=deletes, upserts=batch, metadata=changes, deadline=NEVER)
    subject.settle()
    assert list(subject.index.keys()) == list(exact.keys())
    for raw in (
        None,
        {"n": {"$lt": 20}},
        {"even": True},
        {"tags": {"$in": ["t1", 3]}},
        {"step": {"$exists": True}},
    ):
        same_dense(dense(subject.index, 60, raw), dense(exact, 60, raw), subject)
        same_lexical(
            lexical(subject.index, "energy cells", 60, raw), lexical(exact, "energy cells", 60, raw), subject
        )


def test_index_is_written_and_searched_by_many_threads(subject: Subject) -> None:
    wrong: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(5):
                keys = [number * 1_000 + step * 10 + place for place in range(1, 11)]
                write(subject.index, *(entry(key) for key in keys))
                _assert_found(subject.index, keys)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert subject.index.info().count == 4 * 50


def _assert_found(index: Index, keys: list[int]) -> None:
    found = index.search_dense(vectors_of(1, keys[0])[0], 10, None, NEVER)
    assert keys[0] in keys_of(found)
    assert sorted(index.vectors(keys)) == keys
