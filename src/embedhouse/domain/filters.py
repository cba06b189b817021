"""Metadata filters in the Mongo form, parsed once into a small typed tree, and what they mean.

`matches` is the reference: every index answers exactly as it does. Its rules:

- A field names a path: `author.name` is the key `name` inside `author`, or a key that itself contains the dot.
  Objects inside lists are looked into.
- A list matches if one of its elements does; `$ne`, `$nin` and `$not` match whatever the inner condition does
  not, so they match documents that lack the key.
- Values of different types are never equal (`true` is not 1), but 1 and 1.0 are. Integers of any size are equal
  only to themselves.
- Order: numbers with numbers (as float64), dates with dates, to the microsecond (no offset means UTC), and any
  string with a bound that is not a date, by code points. Nothing else has an order.
- `null` equals an explicit `null`; a missing key is found with `{"$exists": false}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from embedhouse.domain.documents import Metadata
from embedhouse.domain.errors import InvalidFilter
from embedhouse.domain.scalars import FlatMetadata, Op, Scalar, flatten, is_order, is_unicode, same_value

__all__ = [
    "MAX_ORDERED_STRING",
    "All",
    "AnyOf",
    "Compare",
    "Exists",
    "Filter",
    "Membership",
    "Not",
    "Scalar",
    "matches",
    "matches_flat",
    "parse_filter",
]

MAX_DEPTH = 32
MAX_CONDITIONS = 1_000
MAX_VALUES = 10_000
MAX_STRING = 65_536
MAX_ORDERED_STRING = 256
"""Longest string that `$gt`, `$gte`, `$lt`, `$lte` take, in characters."""


class Compare(msgspec.Struct, frozen=True):
    """`field op value`. A list in the metadata matches if one of its elements does. Strings that are ISO 8601
    dates on both sides compare as instants."""

    field: str
    op: Op
    value: Scalar


class Membership(msgspec.Struct, frozen=True):
    """`field` is one of `values`."""

    field: str
    values: tuple[Scalar, ...]


class Exists(msgspec.Struct, frozen=True):
    """The metadata has `field`."""

    field: str


class Not(msgspec.Struct, frozen=True):
    """Everything that `inner` does not match: so `$ne` and `$nin` match documents that lack the key."""

    inner: Filter


class All(msgspec.Struct, frozen=True):
    """Every part matches."""

    parts: tuple[Filter, ...]


class AnyOf(msgspec.Struct, frozen=True):
    """At least one part matches."""

    parts: tuple[Filter, ...]


Filter = Compare | Membership | Exists | Not | All | AnyOf


def matches(filter: Filter, metadata: Metadata) -> bool:
    """Whether a document with this metadata passes: the exact meaning of every filter."""
    return matches_flat(filter, flatten(metadata))


def matches_flat(filter: Filter, flat: FlatMetadata) -> bool:
    """`matches` on metadata that is flattened already."""
    match filter:
        case Compare(field, "eq", wanted):
            return any(same_value(value, wanted) for value in flat.get(field, ()))
        case Compare(field, op, bound):
            return any(is_order(value, op, bound) for value in flat.get(field, ()))
        case Membership(field, wanted_values):
            return any(same_value(v, wanted) for v in flat.get(field, ()) for wanted in wanted_values)
        case Exists(field):
            return field in flat
        case Not(inner):
            return not matches_flat(inner, flat)
        case All(parts):
            return all(matches_flat(part, flat) for part in parts)
        case AnyOf(parts):
            return any(matches_flat(part, flat) for part in parts)


# ---- Parsing ----------------------------------------------------------------------------------------------------


class _Budget:
    """What one filter may still hold."""

    def __init__(self) -> None:
        self.conditions = MAX_CONDITIONS
        self.values = MAX_VALUES

    def condition(self, path: str) -> None:
        self.conditions -= 1
        if self.conditions < 0:
            raise InvalidFilter(path=path, reason=f"more than {MAX_CONDITIONS} conditions")

    def take_values(self, count: int, path: str) -> None:
        self.values -= count
        if self.values < 0:
            raise InvalidFilter(path=path, reason=f"more than {MAX_VALUES} values in $in and $nin")


def parse_filter(raw: object) -> Filter:
    """A filter in the Mongo form, as decoded from JSON: `{"year": {"$gte": 2020}, "tags": "x"}`.

    Several keys mean all of them; `{}` matches everything. Errors: InvalidFilter, with the path to what is wrong.
    """
    return _parse_object(raw, "filter", 0, _Budget())


def _parse_object(raw: object, path: str, depth: int, budget: _Budget) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidFilter(path=path, reason=f"nested deeper than {MAX_DEPTH}")
    if not isinstance(raw, dict):
        raise InvalidFilter(path=path, reason=f"an object is needed here, not {_describe(raw)}")
    return _all([_parse_entry(key, value, path, depth, budget) for key, value in raw.items()])


def _all(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _parse_entry(key: object, value: object, path: str, depth: int, budget: _Budget) -> Filter:
    if not isinstance(key, str) or not is_unicode(key):
        raise InvalidFilter(path=path, reason="a key is not a valid string")
    here = f"{path}.{key}"
    if key in ("$and", "$or"):
        parts = tuple(_parse_parts(value, here, depth, budget))
        return All(parts) if key == "$and" else AnyOf(parts)
    if key == "$not":
        return Not(_parse_object(value, here, depth + 1, budget))
    if key.startswith("$"):
        raise InvalidFilter(path=here, reason=_misplaced(key))
    if isinstance(value, dict):
        return _parse_operators(key, value, here, depth + 1, budget)
    budget.condition(here)
    return Compare(key, "eq", _scalar(value, here))


def _misplaced(key: str) -> str:
    if key in _OPERATORS:
        return f"{key} stands inside a field, as in {{'year': {{'{key}': ...}}}}"
    return f"unknown operator {key[:40]!r}"


def _parse_parts(raw: object, path: str, depth: int, budget: _Budget) -> Iterator[Filter]:
    if not isinstance(raw, list) or not raw:
        raise InvalidFilter(path=path, reason="a list of at least one filter is needed here")
    for place, part in enumerate(raw):
        budget.condition(path)
        yield _parse_object(part, f"{path}[{place}]", depth + 1, budget)


def _parse_operators(field: str, raw: dict[Any, Any], path: str, depth: int, budget: _Budget) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidFilter(path=path, reason=f"nested deeper than {MAX_DEPTH}")
    if not raw:
        raise InvalidFilter(path=path, reason="an empty object compares with nothing; name an operator")
    parts: list[Filter] = []
    for operator, value in raw.items():
        here = f"{path}.{operator}" if isinstance(operator, str) else path
        budget.condition(here)
        parts.append(_parse_operator(field, operator, value, here, depth, budget))
    return _all(parts)


def _parse_operator(field: str, operator: object, value: object, path: str, depth: int, budget: _Budget) -> Filter:
    if operator == "$not":
        if not isinstance(value, dict):
            raise InvalidFilter(path=path, reason=f"operators are needed here, not {_describe(value)}")
        return Not(_parse_operators(field, value, path, depth + 1, budget))
    build = _OPERATORS.get(operator) if isinstance(operator, str) else None
    if build is None:
        raise InvalidFilter(path=path, reason=f"unknown operator {str(operator)[:40]!a} in a field")
    return build(field, value, path, budget)


def _equals(field: str, value: object, path: str, budget: _Budget) -> Filter:
    return Compare(field, "eq", _scalar(value, path))


def _one_of(field: str, value: object, path: str, budget: _Budget) -> Filter:
    if not isinstance(value, list):
        raise InvalidFilter(path=path, reason=f"a list of values is needed here, not {_describe(value)}")
    budget.take_values(len(value), path)
    return Membership(field, tuple(_scalar(element, f"{path}[{i}]") for i, element in enumerate(value)))


def _exists(field: str, value: object, path: str, budget: _Budget) -> Filter:
    if not isinstance(value, bool):
        raise InvalidFilter(path=path, reason=f"true or false is needed here, not {_describe(value)}")
    return Exists(field) if value else Not(Exists(field))


def _order(op: Op) -> Callable[[str, object, str, _Budget], Filter]:
    def build(field: str, value: object, path: str, budget: _Budget) -> Filter:
        bound = _scalar(value, path)
        if bound is None or isinstance(bound, bool):
            raise InvalidFilter(path=path, reason=f"{_describe(bound)} has no order; use a number, date or string")
        if isinstance(bound, str) and len(bound) > MAX_ORDERED_STRING:
            raise InvalidFilter(path=path, reason=f"a bound is at most {MAX_ORDERED_STRING} characters long")
        return Compare(field, op, bound)

    return build


_OPERATORS: dict[str, Callable[[str, object, str, _Budget], Filter]] = {
    "$eq": _equals,
    "$ne": lambda *a: Not(_equals(*a)),
    "$gt": _order("gt"),
    "$gte": _order("gte"),
    "$lt": _order("lt"),
    "$lte": _order("lte"),
    "$in": _one_of,
    "$nin": lambda *a: Not(_one_of(*a)),
    "$exists": _exists,
}


_STRING_RULE = f"a string here is valid Unicode of at most {MAX_STRING} characters"


def _scalar(value: object, path: str) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidFilter(path=path, reason="NaN and infinity compare with nothing")
    if isinstance(value, str):
        if len(value) > MAX_STRING or not is_unicode(value):
            raise InvalidFilter(path=path, reason=_STRING_RULE)
        return value
    if value is None or isinstance(value, bool | int | float):
        return value
    hint = "; to find one of several values use $in" if isinstance(value, list) else ""
    raise InvalidFilter(path=path, reason=f"a value is needed here, not {_describe(value)}{hint}")


def _describe(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
