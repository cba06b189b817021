"""Laws that hold for every filter and every metadata."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from embedhouse.domain.errors import InvalidFilter
from embedhouse.domain.filters import (
    All,
    AnyOf,
    Compare,
    Exists,
    Filter,
    Membership,
    Not,
    Scalar,
    matches,
    parse_filter,
)

FIELDS = st.sampled_from(["a", "b", "a.b", "ü"])
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 1.0, 2**53 + 1, 1e300])
STRINGS = st.sampled_from(["", "a", "b", "B", "2024-05-01", "2024-05-01T00:00:00Z", "2024-04-30T23:00:00-01:00"])
ORDERED = NUMBERS | STRINGS
SCALARS: st.SearchStrategy[Scalar] = st.none() | st.booleans() | NUMBERS | STRINGS
METADATA = st.dictionaries(
    st.sampled_from(["a", "b", "a.b", "ü"]),
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
    several = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.builds(Not, parts) | st.builds(All, several) | st.builds(AnyOf, several)


FILTERS = st.recursive(LEAVES, _grown, max_leaves=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$and", "$or", "$not", "$in", "$gt", "$exists", "a"]), inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def written(tree: Filter) -> dict[str, Any]:
    """The tree in the Mongo form."""
    match tree:
        case Compare(field, op, value):
            return {field: {f"${op}": value}}
        case Membership(field, values):
            return {field: {"$in": list(values)}}
        case Exists(field):
            return {field: {"$exists": True}}
        case Not(inner):
            return {"$not": written(inner)}
        case All(parts):
            return {"$and": [written(part) for part in parts]}
        case AnyOf(parts):
            return {"$or": [written(part) for part in parts]}


@given(FILTERS)
def test_parse_filter_reads_back_what_is_written(tree: Filter) -> None:
    assert parse_filter(written(tree)) == tree


@given(FILTERS, FILTERS, METADATA)
def test_matches_obeys_de_morgan(left: Filter, right: Filter, metadata: dict[str, Any]) -> None:
    assert matches(Not(All((left, right))), metadata) == matches(AnyOf((Not(left), Not(right))), metadata)
    assert matches(Not(AnyOf((left, right))), metadata) == matches(All((Not(left), Not(right))), metadata)


@given(FIELDS, SCALARS, METADATA)
def test_ne_is_the_complement_of_eq(field: str, value: Scalar, metadata: dict[str, Any]) -> None:
    assert matches(parse_filter({field: {"$ne": value}}), metadata) != matches(
        parse_filter({field: {"$eq": value}}), metadata
    )


@given(FIELDS, ORDERED, SCALARS)
def test_order_operators_split_what_has_an_order(field: str, bound: Scalar, value: Scalar) -> None:
    above, at_least, below, at_most = (
        matches(parse_filter({field: {op: bound}}), {field: value}) for op in ("$gt", "$gte", "$lt", "$lte")
    )
    assert at_least == (above or (at_least and at_most))
    assert not (above and below)
    assert (above or at_most) == (below or at_least)


@given(JSON)
def test_parse_filter_refuses_with_nothing_but_invalid_filter(raw: object) -> None:
    with contextlib.suppress(InvalidFilter):
        assert isinstance(matches(parse_filter(raw), {"a": [1, "x", None]}), bool)
