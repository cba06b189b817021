"""Conditions of SQL mean what the house's filters mean: asked of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgvector_store import connect
from postgres_server import fresh_database

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not, Scalar, matches
from embedhouse.indexes.pgvector.filters import storable, stored
from embedhouse.ports import Index, IndexEntry, IndexSpec

VALUES: list[Scalar] = [
    *(None, True, False, 0, 1, 1.0, -1, 0.1, 1e308, -1e-308, 2**53, 2**53 + 1, 10**400, -(10**400)),
    *("", "a", "b", "B", "ab", "a\x00", "a\x01", "a\x02", "\U0001f642", "\uffff", "é", "1", "true", "%s", "?", "'"),
    *("2024-05-01", "2024-05-01T00:00:00Z", "2024-05-01T02:00:00+02:00", "2024-05-02", "2024-05", "x" * 300),
]
SCALARS = st.sampled_from(VALUES)
FIELDS = st.sampled_from(["a", "b", "a.b", "\x00", '"', "$"])
ORDERS = st.sampled_from(["gt", "gte", "lt", "lte"])
BOUNDS = st.sampled_from(
    [v for v in VALUES if not (v is None or isinstance(v, bool) or (isinstance(v, str) and len(v) > 256))]
)
LEAVES: st.SearchStrategy[Filter] = (
    st.builds(Compare, FIELDS, st.just("eq"), SCALARS)
    | st.builds(Compare, FIELDS, ORDERS, BOUNDS)
    | st.builds(Membership, FIELDS, st.lists(SCALARS, max_size=3).map(tuple))
    | st.builds(Exists, FIELDS)
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


def _metadata() -> list[dict[str, Any]]:
    random = np.random.default_rng(5)

    def some() -> Any:
        picked = [VALUES[int(place)] for place in random.integers(len(VALUES), size=int(random.integers(1, 4)))]
        return picked if random.random() < 0.4 else picked[0]

    made: list[dict[str, Any]] = [{}, {"a": []}, {"a": {}}, {"a": {"b": [{"c": 1}, 2]}}]
    names = ["a", "b", "a.b", "\x00", '"', "$"]
    for _ in range(150):
        keys = [names[int(place)] for place in random.integers(len(names), size=int(random.integers(1, 4)))]
        made.append({key: {"b": some()} if random.random() < 0.2 else some() for key in keys})
    return made


METADATA = _metadata()


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with fresh_database() as url:
        store = connect(url, "0123456789ab")
        made = store.open(IndexSpec(name="indexes/1/x", dimensions=2, lexical=LexicalSettings()))
        vector = np.array([1, 0], np.float32)
        entries = [
            IndexEntry(key=key, document_id="d", vector=vector, text="word", metadata=metadata)
            for key, metadata in enumerate(METADATA)
        ]
        made.write(upserts=entries, deadline=Deadline.never())
        yield made
        store.close()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=FILTERS)
def test_pgvector_filter_means_what_the_house_means(index: Index, filter: Filter) -> None:
    expected = [key for key, metadata in enumerate(METADATA) if matches(filter, metadata)]
    for found in (
        index.search_dense(np.array([1, 0], np.float32), len(METADATA), filter, Deadline.never()),
        index.search_lexical("word", len(METADATA), filter, Deadline.never()),
    ):
        assert [int(key) for key in found.keys] == expected


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=4), min_size=2, max_size=2))
def test_storable_keeps_order_and_prefixes(texts: list[str]) -> None:
    first, second = (storable(text) for text in texts)
    assert (first < second) == (texts[0] < texts[1])
    assert first.startswith(second) == texts[0].startswith(texts[1])
    assert [stored(first), stored(second)] == texts
