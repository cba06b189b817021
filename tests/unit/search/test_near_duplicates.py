"""Near-duplicate documents of a small generation."""

import math

import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import DeadlineExceeded, InvalidInput, TooLarge
from embedhouse.search.near_duplicates import MAX_PAIRS, near_duplicates


def pairs(generation, ids, threshold=0.99, limit=10):
    found = near_duplicates(
        generation.parts, [("default", each) for each in ids], threshold, limit, Deadline.never()
    )
    return [(pair.a, pair.b) for pair in found]


def test_near_duplicates_come_best_first_with_ids_in_order(generation):
    for name, angle in {"c": 0, "a": 5, "b": 4, "far": 90}.items():
        generation.add(name, "x", angle)
    assert pairs(generation, ["far", "c", "b", "a"]) == [("a", "b"), ("b", "c"), ("a", "c")]
    assert pairs(generation, ["far", "c", "b", "a"], limit=1) == [("a", "b")]


def test_near_duplicates_of_equal_score_come_by_id(generation):
    for name in "cadb":
        generation.add(name, "x", 77)
    assert pairs(generation, "dcba") == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert pairs(generation, "dcba", threshold=1.0, limit=2) == [("a", "b"), ("a", "c")]


def test_near_duplicates_compare_whole_documents(generation):
    generation.add("a", "shared", 0)
    generation.add("a", "own", 90, ordinal=1)
    generation.add("b", "shared", 0)
    generation.add("c", "middle", 45)
    assert pairs(generation, "abc") == [("a", "c")]


def test_near_duplicates_leave_out_what_is_not_indexed(generation):
    generation.add("a", "x", 0)
    assert pairs(generation, ["a", "unknown"]) == []
    assert pairs(generation, []) == []


@pytest.mark.parametrize(
    ("threshold", "limit", "error"),
    [(math.nan, 1, InvalidInput), (2.0, 1, InvalidInput), (0.9, 0, InvalidInput), (0.9, MAX_PAIRS + 1, TooLarge)],
)
def test_near_duplicates_refuse_what_has_no_answer(generation, threshold, limit, error):
    with pytest.raises(error):
        near_duplicates(generation.parts, [], threshold, limit, Deadline.never())


def test_near_duplicates_stop_at_their_deadline(generation):
    generation.add("a", "x", 0)
    with pytest.raises(DeadlineExceeded):
        near_duplicates(generation.parts, [("default", "a")], 0.9, 1, Deadline(0.0))
