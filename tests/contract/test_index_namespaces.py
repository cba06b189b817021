"""Namespaces: what is bound to one never sees another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from index_cases import DIMENSIONS, LEXICAL, NEVER, Subject, entry, keys_of, vectors_of, write
from stores_under_test import StoreUnderTest

from embedhouse.domain.filters import parse_filter
from embedhouse.ports import Index, IndexSpec

QUERY = vectors_of(1, 999)[0]
TENANTS = {
    "default": range(1, 11),
    "a": range(11, 21),
    "b": range(21, 31),
    "A": range(31, 41),
    "a-b_9": range(41, 51),
}


SPEC = IndexSpec(name="indexes/8/namespaces", dimensions=DIMENSIONS, lexical=LEXICAL)


@pytest.fixture(scope="module")
def filled(under_test: StoreUnderTest) -> Iterator[Index]:
    """One for all tests that only read."""
    subject = Subject(under_test, SPEC)
    _fill(subject)
    yield subject.index
    subject.remove()


@pytest.fixture
def index(able: StoreUnderTest, filled: Index) -> Index:
    return filled


def _fill(subject: Subject) -> None:
    """Ten entries in each of five namespaces; the names differ as little as they may."""
    for namespace, keys in TENANTS.items():
        entries = [entry(key, f"common word{key}", metadata={"odd": key % 2}) for key in keys]
        subject.index.write(namespace=namespace, upserts=entries, deadline=NEVER)
    subject.settle()


@pytest.mark.parametrize("namespace", TENANTS)
def test_index_dense_is_bound_to_a_namespace(index: Index, namespace: str) -> None:
    found = index.search_dense(QUERY, 50, None, NEVER, namespaces=[namespace])
    assert sorted(keys_of(found)) == list(TENANTS[namespace])
    assert found.exhausted
    few = index.search_dense(QUERY, 3, None, NEVER, namespaces=[namespace])
    assert keys_of(few) == keys_of(found)[:3]


@pytest.mark.needs("lexical")
@pytest.mark.parametrize("namespace", TENANTS)
def test_index_lexical_is_bound_to_a_namespace(index: Index, namespace: str) -> None:
    found = index.search_lexical("common", 50, None, NEVER, namespaces=[namespace])
    assert sorted(keys_of(found)) == list(TENANTS[namespace])
    assert keys_of(index.search_lexical("word1", 50, None, NEVER, namespaces=[namespace])) == (
        [1] if namespace == "default" else []
    )


def test_index_dense_is_bound_to_several_namespaces(index: Index) -> None:
    found = index.search_dense(QUERY, 50, None, NEVER, namespaces=["default", "b"])
    assert sorted(keys_of(found)) == [*TENANTS["default"], *TENANTS["b"]]
    best = index.search_dense(QUERY, 5, None, NEVER, namespaces=["default", "b"])
    assert keys_of(best) == keys_of(found)[:5]
    assert not best.exhausted


@pytest.mark.needs("lexical")
def test_index_lexical_is_bound_to_several_namespaces(index: Index) -> None:
    found = index.search_lexical("common", 50, None, NEVER, namespaces=["A", "a-b_9", "absent"])
    assert sorted(keys_of(found)) == [*TENANTS["A"], *TENANTS["a-b_9"]]


def test_index_unbound_sees_every_namespace(index: Index) -> None:
    assert sorted(keys_of(index.search_dense(QUERY, 100, None, NEVER))) == list(range(1, 51))
    assert list(index.keys()) == list(range(1, 51))
    assert index.info().count == 50
    assert sorted(index.vectors(range(1, 60))) == list(range(1, 51))


@pytest.mark.parametrize("namespaces", [[], ["absent"], ["defaul"], ["DEFAULT"]], ids=str)
def test_index_bound_to_no_namespace_of_its_own_finds_nothing(index: Index, namespaces: list[str]) -> None:
    found = index.search_dense(QUERY, 5, None, NEVER, namespaces=namespaces)
    assert keys_of(found) == []
    assert found.exhausted
    assert index.vectors([1, 11], namespaces=namespaces) == {}
    assert index.dense_scores(QUERY, [1, 11], NEVER, namespaces=namespaces) == {}


def test_index_reads_no_vector_or_score_of_another_namespace(index: Index) -> None:
    keys = [1, 11, 12, 21, 31, 999]
    assert sorted(index.vectors(keys, namespaces=["a"])) == [11, 12]
    assert sorted(index.vectors(keys, namespaces=["default", "b"])) == [1, 21]
    assert sorted(index.dense_scores(QUERY, keys, NEVER, namespaces=["a"])) == [11, 12]
    assert sorted(index.dense_scores(QUERY, keys, NEVER, namespaces=["default", "b"])) == [1, 21]


@pytest.mark.needs("filters")
@pytest.mark.parametrize(
    "raw",
    [{"odd": 1}, {"$or": [{"odd": 1}, {"odd": {"$exists": True}}]}, {"$not": {"odd": 0}}, {"odd": {"$gt": 0}}],
    ids=str,
)
def test_index_filter_cannot_leave_the_namespace(index: Index, raw: dict[str, object]) -> None:
    found = index.search_dense(QUERY, 50, parse_filter(raw), NEVER, namespaces=["a"])
    assert set(keys_of(found)) <= set(TENANTS["a"])
    assert {key for key in TENANTS["a"] if key % 2} <= set(keys_of(found))


@pytest.mark.needs("partial_metadata", "filters")
def test_index_keeps_the_namespace_when_metadata_is_replaced(subject: Subject) -> None:
    _fill(subject)
    index = subject.index
    index.write(namespace="a", metadata=[(11, {"new": 1})], deadline=NEVER)
    only = parse_filter({"new": 1})
    assert keys_of(index.search_dense(QUERY, 5, only, NEVER, namespaces=["a"])) == [11]
    assert keys_of(index.search_dense(QUERY, 5, only, NEVER, namespaces=["b", "default"])) == []


def test_index_replaces_and_deletes_within_a_namespace(subject: Subject) -> None:
    _fill(subject)
    index = subject.index
    index.write(namespace="a", upserts=[entry(11, seed=5)], deletes=[12], deadline=NEVER)
    target = vectors_of(1, 5)[0]
    assert keys_of(index.search_dense(target, 1, None, NEVER, namespaces=["a"])) == [11]
    left = [key for key in TENANTS["a"] if key != 12]
    assert sorted(keys_of(index.search_dense(QUERY, 50, None, NEVER, namespaces=["a"]))) == left
    assert index.info().count == 49


@pytest.mark.needs("lexical", "bm25")
def test_index_statistics_are_those_of_all_namespaces(index: Index) -> None:
    bound = index.search_lexical("common word15", 50, None, NEVER, namespaces=["a"])
    whole = index.search_lexical("common word15", 50, None, NEVER)
    scores = dict(zip(keys_of(whole), whole.scores.tolist(), strict=True))
    for key, score in zip(keys_of(bound), bound.scores.tolist(), strict=True):
        assert score == pytest.approx(scores[key], rel=1e-5)


def test_index_writes_to_the_default_namespace_unless_told(subject: Subject) -> None:
    write(subject.index, entry(1))
    assert keys_of(subject.index.search_dense(QUERY, 5, None, NEVER, namespaces=["default"])) == [1]
