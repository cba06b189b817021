"""Filters: every index answers exactly as `matches` does, over every operator and type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from stores_under_test import StoreUnderTest

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.filters import matches, parse_filter
from embedhouse.ports import Index, IndexEntry, IndexSpec

pytestmark = pytest.mark.needs("filters")
NEVER = Deadline.never()
QUERY = np.array([1, 0, 0, 0], np.float32)

VALUES: list[Any] = [
    *(0, 1, 1.0, -0.0, 2, -1.5, 0.1, 1e300, 2**53, 2**53 + 1, 10**400, -(10**400)),
    *(True, False, None),
    *("", "1", "a", "A", "b", "ab", "Ä", "é", "true", "null", 'it\'s "q"', "a\\b", "🙂", "line\nbreak", "2024"),
    *(
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "2024-01-01T01:00:00+01:00",
        "2023-12-31",
        "2024-01-01T00:00:00.000001",
    ),
    *("0001-01-01", "9999-12-31T23:59:59.999999Z", "2024-02-30", "2024-01", "n/a"),
    *("x" * 256, "x" * 300, "x" * 300 + "y", "y" * 5_000),
    *([], [1, 2], ["a", "b"], [True, "1"], [None], [[1]], [1, "a", None, "2024-01-01"]),
    *({}, {"name": "x"}, {"name": [1, "x"]}, [{"name": 1}, {"name": "y"}], {"name": {"deep": 3}}),
]
METADATA: list[dict[str, Any]] = [
    {},
    *({"f": value} for value in VALUES),
    {"f.name": "x"},
    {"f": "a", "g": 1},
    {"f": 5, "g": 2},
    {"g": {"h": {"i": 3}}},
    {"g.h": {"i": 4}},
    {"odd \"field' [0].x\\": 1},
    {"": 1},
    {"ключ": "значение"},
]
SCALARS = [value for value in VALUES if not isinstance(value, list | dict) and len(str(value)[:600]) <= 300]
BOUNDS = [v for v in SCALARS if v is not None and not isinstance(v, bool) and len(str(v)) <= 256] + [
    10**300,
    0.5,
    "c",
]


SPEC = IndexSpec(name="indexes/7/filters", dimensions=4, lexical=LexicalSettings())


@pytest.fixture(scope="module")
def filled(under_test: StoreUnderTest) -> Iterator[Index]:
    made = under_test.store.open(SPEC)
    _fill(made)
    if under_test.settles:
        made.optimise()
        made.close()
        made = under_test.store.open(SPEC)
    yield made
    made.close()
    under_test.store.drop(SPEC.name)


@pytest.fixture
def index(able: StoreUnderTest, filled: Index) -> Index:
    return filled


def _fill(index: Index) -> None:
    random = np.random.default_rng(0)
    index.write(
        upserts=[
            IndexEntry(
                key=key,
                document_id=f"doc-{key}",
                vector=random.standard_normal(4).astype(np.float32),
                text="common words",
                metadata=METADATA[key % len(METADATA)],
            )
            for key in range(3 * len(METADATA))
        ],
        deadline=NEVER,
    )


def assert_exact(index: Index, raw: dict[str, Any], *, by_words: bool = True) -> None:
    """Both sides of the index find exactly the entries whose metadata matches."""
    tree = parse_filter(raw)
    expected = [key for key in range(3 * len(METADATA)) if matches(tree, METADATA[key % len(METADATA)])]
    found = index.search_dense(QUERY, 1_000, tree, NEVER, documents=False)
    assert sorted(found.keys.tolist()) == expected, raw
    if by_words and index.capabilities.lexical:
        found = index.search_lexical("common", 1_000, tree, NEVER, documents=False)
        assert sorted(found.keys.tolist()) == expected, raw


@pytest.mark.parametrize("op", ["$eq", "$ne"])
def test_index_filter_equality_is_exact_for_every_value(index: Index, op: str) -> None:
    for value in [*SCALARS, "absent", 7]:
        for field in ("f", "f.name"):
            assert_exact(index, {field: {op: value}}, by_words=field == "f")


@pytest.mark.parametrize("op", ["$gt", "$gte", "$lt", "$lte"])
def test_index_filter_order_is_exact_for_every_value(index: Index, op: str) -> None:
    for bound in BOUNDS:
        for field in ("f", "f.name"):
            assert_exact(index, {field: {op: bound}}, by_words=field == "f")


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"f": {"$in": []}},
        {"f": {"$nin": []}},
        {"f": {"$in": [1, "a", None, True]}},
        {"f": {"$nin": [1, "a", None, True]}},
        {"f": {"$in": ["2024-01-01", "x" * 300]}},
        {"f": {"$exists": True}},
        {"f": {"$exists": False}},
        {"f.name": {"$exists": True}},
        {"f.name.deep": 3},
        {"g": {"$exists": True}},
        {"g.h.i": {"$gte": 3}},
        {"g.h": {"$exists": True}},
        {"absent": {"$gt": 0}},
        {"absent": {"$lt": "z"}},
        {"absent": {"$ne": 0}},
        {"odd \"field' [0].x\\": 1},
        {"": 1},
        {"ключ": "значение"},
        {"f": {"$gt": 0, "$lt": 2}},
        {"f": {"$not": {"$gt": 0}}},
        {"f": {"$not": {"$in": ["a", "b"]}}},
        {"f": {"$not": {"$gt": 0, "$lt": 2}}},
        {"f": {"$gte": "2024-01-01", "$lt": "2024-01-02"}},
        {"$or": [{"f": 1}, {"f": "a"}, {"g": {"$gt": 1}}]},
        {"$and": [{"f": {"$ne": 1}}, {"f": {"$ne": "a"}}, {"g": {"$exists": False}}]},
        {"$or": [{"f": {"$gt": 1}}, {"$and": [{"f": "a"}, {"g": 1}]}], "f": {"$nin": [2]}},
        {"$not": {"$or": [{"f": {"$exists": True}}, {"g": {"$exists": True}}]}},
        {"$not": {}},
        {"$not": {"$not": {"f": 1}}},
    ],
    ids=str,
)
def test_index_filter_combinations_are_exact(index: Index, raw: dict[str, Any]) -> None:
    assert_exact(index, raw)


def test_index_filter_follows_writes(index: Index) -> None:
    extra = IndexEntry(key=9_000, document_id="new", vector=QUERY, text="common", metadata={"late": 3.5, "f": "zz"})
    raw = [{"late": {"$gt": 3}}, {"late": 3.5}, {"f": {"$gt": "zy"}}, {"late": {"$exists": True}}]
    for wanted in raw:
        assert index.search_dense(QUERY, 5, parse_filter({**wanted, "f": "zz"}), NEVER).keys.tolist() == []
    index.write(upserts=[extra], deadline=NEVER)
    for wanted in raw:
        assert index.search_dense(QUERY, 5, parse_filter({**wanted}), NEVER).keys.tolist()[:1] == [9_000]
    index.write(deletes=[9_000], deadline=NEVER)
    for wanted in raw[:2]:
        assert index.search_dense(QUERY, 5, parse_filter(wanted), NEVER).keys.tolist() == []
