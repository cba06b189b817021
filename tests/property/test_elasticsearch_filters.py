"""What a query of Elasticsearch matches is what the filter means, however it is nested."""

from __future__ import annotations

import math

from elasticsearch_queries import Scorer, StoredIndex
from hypothesis import given
from hypothesis import strategies as st

from embedhouse.domain.documents import Metadata
from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not, Scalar, matches
from embedhouse.indexes.elasticsearch import filters as elastic_filters
from embedhouse.indexes.elasticsearch.filters import RANGES, TERMS, metadata_fields, query_of

FIELDS = st.sampled_from(["a", "b", "a.b", "ü"])
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -0.0, 1.0, 2**53 + 1, -(2**80), 1e300, 5e-324])
STRINGS = st.sampled_from(
    ["", "a", "b", "B", "\ud7ff", "\ue000", "😀", "2024-05-01", "2024-05-01T00:00:00Z", "a" * 256, "a" * 300]
)
ORDERED = NUMBERS | STRINGS.filter(lambda text: len(text) <= 256)
SCALARS: st.SearchStrategy[Scalar] = st.none() | st.booleans() | NUMBERS | STRINGS
METADATA = st.dictionaries(
    FIELDS,
    SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(["b", "c"]), SCALARS, max_size=2),
    max_size=4,
)
LEAVES: st.SearchStrategy[Filter] = (
    st.builds(Compare, FIELDS, st.just("eq"), SCALARS)
    | st.builds(Compare, FIELDS, st.sampled_from(["gt", "gte", "lt", "lte"]), ORDERED)
    | st.builds(Membership, FIELDS, st.lists(SCALARS, max_size=3).map(tuple))
    | st.builds(Exists, FIELDS)
)


def _grown(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(parts, max_size=3).map(tuple)
    return st.builds(Not, parts) | st.builds(All, several) | st.builds(AnyOf, several)


FILTERS = st.recursive(LEAVES, _grown, max_leaves=6)
MAPPED = {"properties": {TERMS: {"type": "keyword"}, RANGES: {"type": "object"}}}


@given(FILTERS, METADATA, st.booleans())
def test_query_matches_what_the_filter_means(filter: Filter, metadata: Metadata, full: bool) -> None:
    """`full`: no path gets a field of its own any more."""
    known = {str(number) for number in range(elastic_filters.MOST_RANGES)} if full else set()
    index = StoredIndex({}, {}, MAPPED, visible={"1": metadata_fields(metadata, known)})
    found = Scorer(index, False, (9, 1)).scores(query_of(filter))
    assert bool(found) == matches(filter, metadata)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_sortable_digits_sort_as_the_numbers_do(one: float, other: float) -> None:
    digits = [elastic_filters._sortable(number) for number in (one, other)]
    assert (digits[0] < digits[1]) == (one < other)
    assert (digits[0] == digits[1]) == (one == other)
    assert all(len(each) == 16 for each in digits)
    assert math.inf > one or digits[0] == elastic_filters._sortable(math.inf)


@given(st.integers(1, 31))
def test_query_of_nested_parts_of_one_kind_is_flat(depth: int) -> None:
    nested: Filter = Exists("a")
    for _ in range(depth):
        nested = Not(Not(All((nested, Exists("b")))))
    assert query_of(nested) == query_of(All((Exists("a"), *[Exists("b")] * depth)))
