"""A filter of Pinecone's, and the look at what it found, mean together what the house's filter means."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pinecone_stub_data import matches_filter

from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not, Scalar, matches
from embedhouse.indexes.pinecone.filters import condition_of, is_coarse, passes
from embedhouse.indexes.pinecone.records import escaped, filterable, string_number, unescaped

FIELDS = st.sampled_from(["a", "b", "a.b", "\\"])
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 1.0, 2**53 + 1, 10**400, -(10**400)])
STRINGS = st.sampled_from(
    [
        "",
        "a",
        "b",
        "B",
        "abcdefg",
        "abcdefh",
        "abcdef",
        "日本語です",
        "\x00",
        "\\0",
        "\\",
        "2024-05-01",
        "2024-05-02",
    ]
) | st.text(max_size=8)
SCALARS: st.SearchStrategy[Scalar] = st.none() | st.booleans() | NUMBERS | STRINGS
METADATA = st.dictionaries(
    FIELDS,
    SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(["b", "c"]), SCALARS, max_size=2),
    max_size=4,
)
LEAVES: st.SearchStrategy[Filter] = (
    st.builds(Compare, FIELDS, st.just("eq"), SCALARS)
    | st.builds(Compare, FIELDS, st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS | STRINGS)
    | st.builds(Membership, FIELDS, st.lists(SCALARS, max_size=3).map(tuple))
    | st.builds(Exists, FIELDS)
)


def _grown(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(parts, max_size=3).map(tuple)
    return st.builds(Not, parts) | st.builds(All, several) | st.builds(AnyOf, several)


FILTERS = st.recursive(LEAVES, _grown, max_leaves=6)


@given(FILTERS, METADATA)
def test_condition_and_look_mean_what_the_filter_means(filter: Filter, metadata: dict[str, Any]) -> None:
    kept = filterable(metadata)
    found = matches_filter(condition_of(filter), kept)
    assert (found and passes(filter, kept)) is matches(filter, metadata)
    if not is_coarse(filter):
        assert found is matches(filter, metadata)


@given(st.text())
def test_escaped_terms_have_no_nul_and_come_back(term: str) -> None:
    assert "\x00" not in escaped(term)
    assert unescaped(escaped(term)) == term


@given(st.text(max_size=9), st.text(max_size=9))
def test_numbers_of_strings_never_contradict_their_order(one: str, other: str) -> None:
    if one <= other:
        assert string_number(one) <= string_number(other)
        assert float(string_number(one)) == string_number(one)
