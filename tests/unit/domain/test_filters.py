"""Parsing of filters, and what each operator means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from embedhouse.domain.errors import InvalidFilter
from embedhouse.domain.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_ORDERED_STRING,
    MAX_VALUES,
    All,
    AnyOf,
    Compare,
    Exists,
    Membership,
    Not,
    matches,
    parse_filter,
)


def test_parse_filter_reads_a_bare_value_as_equality() -> None:
    assert parse_filter({"tags": "x"}) == Compare("tags", "eq", "x")


def test_parse_filter_joins_several_keys_and_operators_with_and() -> None:
    assert parse_filter({"year": {"$gte": 2020, "$lt": 2024}, "tags": "x"}) == All(
        (All((Compare("year", "gte", 2020), Compare("year", "lt", 2024))), Compare("tags", "eq", "x"))
    )


@pytest.mark.parametrize(
    ("raw", "tree"),
    [
        ({}, All(())),
        ({"a": None}, Compare("a", "eq", None)),
        ({"a": {"$ne": 1}}, Not(Compare("a", "eq", 1))),
        ({"a": {"$in": [1, "b"]}}, Membership("a", (1, "b"))),
        ({"a": {"$nin": []}}, Not(Membership("a", ()))),
        ({"a": {"$exists": True}}, Exists("a")),
        ({"a": {"$exists": False}}, Not(Exists("a"))),
        ({"a": {"$not": {"$gt": 1}}}, Not(Compare("a", "gt", 1))),
        ({"$not": {"a": 1}}, Not(Compare("a", "eq", 1))),
        ({"$or": [{"a": 1}, {"b": 2}]}, AnyOf((Compare("a", "eq", 1), Compare("b", "eq", 2)))),
        ({"$and": [{"a": 1}]}, All((Compare("a", "eq", 1),))),
        ({'it\'s "q"': "o'\"\\"}, Compare('it\'s "q"', "eq", "o'\"\\")),
    ],
)
def test_parse_filter_builds_the_tree(raw: dict[str, Any], tree: object) -> None:
    assert parse_filter(raw) == tree


@pytest.mark.parametrize(
    ("raw", "path", "reason"),
    [
        ([], "filter", "an object is needed here, not a list"),
        ("x", "filter", "an object is needed here, not a string"),
        (None, "filter", "an object is needed here, not null"),
        ({"a": {"$regex": "x"}}, "filter.a.$regex", "unknown operator"),
        ({"$nor": [{"a": 1}]}, "filter.$nor", "unknown operator"),
        ({"$gt": 3}, "filter.$gt", "stands inside a field"),
        ({"a": {"b": 1}}, "filter.a.b", "unknown operator"),
        ({"a": {}}, "filter.a", "name an operator"),
        ({"a": {"$and": [{"a": 1}]}}, "filter.a.$and", "unknown operator"),
        ({"a": [1]}, "filter.a", "use $in"),
        ({"a": {"$eq": {"b": 1}}}, "filter.a.$eq", "not an object"),
        ({"a": {"$in": 1}}, "filter.a.$in", "a list of values is needed"),
        ({"a": {"$in": [1, [2]]}}, "filter.a.$in[1]", "not a list"),
        ({"a": {"$exists": 1}}, "filter.a.$exists", "true or false is needed"),
        ({"a": {"$gt": True}}, "filter.a.$gt", "a boolean has no order"),
        ({"a": {"$lte": None}}, "filter.a.$lte", "null has no order"),
        ({"a": {"$gt": "x" * (MAX_ORDERED_STRING + 1)}}, "filter.a.$gt", "at most"),
        ({"a": {"$not": 3}}, "filter.a.$not", "operators are needed here"),
        ({"$or": []}, "filter.$or", "at least one"),
        ({"$or": {"a": 1}}, "filter.$or", "a list"),
        ({"$or": [{"a": 1}, 2]}, "filter.$or[1]", "an object is needed"),
        ({"a": float("nan")}, "filter.a", "NaN"),
        ({"a": "\ud800"}, "filter.a", "valid Unicode"),
        ({3: 1}, "filter", "not a valid string"),
    ],
)
def test_parse_filter_names_the_place_and_the_reason(raw: object, path: str, reason: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(raw)
    assert caught.value.fields["path"] == path
    assert reason in str(caught.value)


def _nested(depth: int) -> dict[str, Any]:
    raw: dict[str, Any] = {"a": 1}
    for _ in range(depth):
        raw = {"$not": raw}
    return raw


def test_parse_filter_limits_depth() -> None:
    parse_filter(_nested(MAX_DEPTH))
    with pytest.raises(InvalidFilter, match="nested deeper"):
        parse_filter(_nested(MAX_DEPTH + 1))
    with pytest.raises(InvalidFilter, match="nested deeper"):
        parse_filter(_nested(900))


def test_parse_filter_limits_conditions_and_values() -> None:
    with pytest.raises(InvalidFilter, match="conditions"):
        parse_filter({f"k{i}": i for i in range(MAX_CONDITIONS + 1)})
    with pytest.raises(InvalidFilter, match="conditions"):
        parse_filter({"$or": [{}] * (MAX_CONDITIONS + 1)})
    parse_filter({"a": {"$in": list(range(MAX_VALUES))}})
    with pytest.raises(InvalidFilter, match="values"):
        parse_filter({"a": {"$in": list(range(MAX_VALUES + 1))}})


def _passes(raw: dict[str, Any], metadata: dict[str, Any]) -> bool:
    return matches(parse_filter(json.loads(json.dumps(raw))), metadata)


@pytest.mark.parametrize(
    ("value", "same", "different"),
    [
        (1, [1, 1.0], [True, "1", 2, None, 1.5]),
        (True, [True], [1, "true", False]),
        (False, [False], [0, None, ""]),
        (0, [0, -0.0], [False, None]),
        (None, [None], [0, "", False]),
        ("a", ["a"], ["A", "a ", "b"]),
        ("", [""], [None, 0]),
        (2**53 + 1, [2**53 + 1], [2**53, float(2**53)]),
        ("2024-05-01", ["2024-05-01T00:00:00Z", "2024-05-01 02:00:00.000+02:00"], ["2024-05-02", "2024-05"]),
        ("2024-02-30", ["2024-02-30"], ["2024-02-30T00:00:00Z"]),
    ],
)
def test_eq_compares_by_type_and_dates_as_instants(
    value: object, same: list[object], different: list[object]
) -> None:
    for other in same:
        assert _passes({"f": {"$eq": value}}, {"f": other}), other
        assert not _passes({"f": {"$ne": value}}, {"f": other}), other
        assert _passes({"f": {"$in": ["?", value]}}, {"f": other}), other
    for other in different:
        assert not _passes({"f": {"$eq": value}}, {"f": other}), other
        assert _passes({"f": {"$ne": value}}, {"f": other}), other
        assert _passes({"f": {"$nin": ["?", value]}}, {"f": other}), other


def test_ne_nin_and_not_match_documents_that_lack_the_key() -> None:
    for raw in ({"f": {"$ne": 1}}, {"f": {"$nin": [1, None]}}, {"f": {"$not": {"$gt": 0}}}, {"f": {"$ne": None}}):
        assert _passes(raw, {})
        assert _passes(raw, {"g": 1})


def test_null_equals_an_explicit_null_only() -> None:
    assert _passes({"f": None}, {"f": None})
    assert not _passes({"f": None}, {})


@pytest.mark.parametrize(
    ("op", "expected"), [("$gt", [3]), ("$gte", [2, 2.0, 3]), ("$lt", [-1, 1.5]), ("$lte", [-1, 1.5, 2, 2.0])]
)
def test_order_operators_compare_numbers_and_nothing_else(op: str, expected: list[float]) -> None:
    values: list[Any] = [-1, 1.5, 2, 2.0, 3, True, "2", None, "2024-01-01", [], {}]
    assert [value for value in values if _passes({"f": {op: 2}}, {"f": value})] == expected


def test_order_operators_compare_dates_as_instants_across_offsets() -> None:
    late = {"f": "2024-05-01T01:00:00+03:00"}  # 30 April, 22:00 UTC
    assert _passes({"f": {"$lt": "2024-05-01"}}, late)
    assert _passes({"f": {"$gt": "2024-04-30T21:59:59.999999Z"}}, late)
    assert not _passes({"f": {"$lt": "2024-05-01"}}, {"f": "1 May"})


def test_order_operators_compare_other_strings_by_code_points() -> None:
    assert _passes({"f": {"$gt": "a"}}, {"f": "b"})
    assert _passes({"f": {"$gt": "Z"}}, {"f": "a"})
    assert _passes({"f": {"$gte": "2024-05"}}, {"f": "2024-05-01"})
    assert not _passes({"f": {"$gt": "a"}}, {"f": "a"})


def test_order_operators_survive_integers_beyond_float64() -> None:
    assert _passes({"f": {"$gt": 1e300}}, {"f": 10**400})
    assert _passes({"f": {"$lt": -1e300}}, {"f": -(10**400)})


def test_lists_match_if_an_element_does() -> None:
    metadata = {"tags": ["a", "b"], "years": [1999, 2024], "none": []}
    assert _passes({"tags": "b"}, metadata)
    assert not _passes({"tags": {"$ne": "b"}}, metadata)
    assert _passes({"years": {"$gt": 2000, "$lt": 2000}}, metadata)
    assert _passes({"none": {"$exists": True}}, metadata)
    assert not _passes({"none": {"$in": [None, ""]}}, metadata)


def test_paths_reach_nested_objects_literal_dots_and_objects_in_lists() -> None:
    assert _passes({"author.name": "Ada"}, {"author": {"name": "Ada"}})
    assert _passes({"author.name": "Ada"}, {"author.name": "Ada"})
    assert _passes({"authors.name": "Ada"}, {"authors": [{"name": "Bob"}, {"name": "Ada"}]})
    assert _passes({"a.b.c": 1}, {"a.b": {"c": 1}})
    assert _passes({"author": {"$exists": True}}, {"author": {"name": "Ada"}})
    assert not _passes({"author": "Ada"}, {"author": {"name": "Ada"}})
    assert not _passes({"author": {"$exists": True}}, {"author.name": "Ada"})


def test_and_or_not_combine() -> None:
    raw = {"$or": [{"a": 1, "b": 2}, {"$and": [{"a": 3}, {"$not": {"b": 4}}]}]}
    assert _passes(raw, {"a": 1, "b": 2})
    assert not _passes(raw, {"a": 1, "b": 3})
    assert _passes(raw, {"a": 3})
    assert not _passes(raw, {"a": 3, "b": 4})


def test_matches_survives_deep_and_invalid_metadata() -> None:
    deep: dict[str, Any] = {"f": 1}
    for _ in range(5_000):
        deep = {"d": deep}
    assert _passes({"f": {"$exists": False}}, deep)
    assert not _passes({"f": "x"}, {"f": ["\ud800", float("nan"), [["x"]]]})
