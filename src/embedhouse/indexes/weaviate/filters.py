"""Filters as Weaviate's, over the properties that hold the metadata's terms and the ends of its values.

Equality is one property of terms, as `filter_terms` writes them. For each path whose values have an order there are
two more, the least and the greatest of its values: some value is above a bound exactly if the greatest is. Negation
is pushed down to single terms, whose complement (NotEqual) every version of Weaviate has.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

import msgspec
from weaviate.classes.query import Filter as Weaviate
from weaviate.collections.classes.filters import FilterReturn

from embedhouse.domain.filters import MAX_ORDERED_STRING, All, AnyOf, Compare, Exists, Filter, Membership, Not
from embedhouse.domain.scalars import FlatMetadata, Scalar, instant_us, is_unicode, order_number
from embedhouse.indexes.filter_terms import equality_term, exists_term, metadata_terms, range_field

__all__ = ["TERMS", "Filterable", "condition_of", "field_of", "filterable", "is_end"]

TERMS = "terms"
"""The property with the metadata's terms."""

_NOTHING = "-"
"""A term that nothing has."""
_END = re.compile(r"[nds][0-9a-f]{16}_(low|high)")
_LONGEST_TERM = 256
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_IN_ORDER = bytes.maketrans(_BASE64, bytes(sorted(_BASE64)))


class Filterable(msgspec.Struct, frozen=True):
    """What filters can ask of one entry. `ends`: property -> least or greatest value at a path."""

    terms: list[str]
    ends: dict[str, float | str]


def filterable(flat: FlatMetadata) -> Filterable:
    """The properties of this metadata."""
    found = metadata_terms(flat)
    fields: dict[str, list[float] | list[str]] = {**found.ranges, **_strings(flat)}
    ends: dict[str, float | str] = {}
    for field, values in fields.items():
        ends[_low(field)], ends[_high(field)] = _stored(min(values)), _stored(max(values))
    # The field's own name is the term of all that have a value of that kind there.
    return Filterable([*map(_term, found.terms), *fields], ends)


def _strings(flat: FlatMetadata) -> dict[str, list[str]]:
    """Range field -> the strings at a path, as far as any bound can tell."""
    found: dict[str, list[str]] = {}
    for path, values in flat.items():
        strings = [value[: MAX_ORDERED_STRING + 1] for value in values if isinstance(value, str)]
        if strings and is_unicode(path):
            found[range_field(path, "s")] = strings
    return found


def is_end(name: str) -> bool:
    """Whether a property holds least or greatest values."""
    return _END.fullmatch(name) is not None


def field_of(end: str) -> str:
    """The path and kind of values whose least or greatest a property holds."""
    return end.partition("_")[0]


def _low(field: str) -> str:
    return f"{field}_low"


def _high(field: str) -> str:
    return f"{field}_high"


def _stored(value: float | str) -> float | str:
    """Numbers without a negative zero, which Weaviate orders before zero. Strings in a form whose bytes have the
    order of their characters, and which no trimming of white space changes."""
    if isinstance(value, str):
        return "=" + base64.b64encode(value.encode()).rstrip(b"=").translate(_IN_ORDER).decode()
    return value + 0.0


def _term(term: str) -> str:
    """A term as Weaviate keeps it whole: it trims white space at the ends, and keys have a longest length."""
    if len(term) > _LONGEST_TERM or "\x00" in term:
        return f"#{hashlib.sha256(term.encode()).hexdigest()}"
    return f"{term}."


def condition_of(filter: Filter, has_property: Callable[[str], bool]) -> FilterReturn:
    """Weaviate's filter that means exactly what the filter means. `has_property`: whether any entry has it."""
    return _condition(filter, has_property, holds=True)


def _condition(filter: Filter, has_property: Callable[[str], bool], *, holds: bool) -> FilterReturn:
    """`holds`: whether the filter, or its negation, is meant."""
    match filter:
        case Compare(field, "eq", value):
            return _one_of([equality_term(field, value)], holds)
        case Compare():
            return _ordered(filter, has_property, holds)
        case Membership(field, values):
            return _one_of([equality_term(field, value) for value in values], holds)
        case Exists(field):
            return _one_of([exists_term(field)], holds)
        case Not(inner):
            return _condition(inner, has_property, holds=not holds)
        case All(parts):
            return _joined([_condition(part, has_property, holds=holds) for part in parts], every=holds)
        case AnyOf(parts):
            return _joined([_condition(part, has_property, holds=holds) for part in parts], every=not holds)


def _one_of(terms: list[str], holds: bool) -> FilterReturn:
    return _terms([_term(term) for term in terms] or [_NOTHING], holds)


def _terms(terms: list[str], holds: bool) -> FilterReturn:
    kept = Weaviate.by_property(TERMS)
    if holds:
        return kept.contains_any(terms)
    return _joined([kept.not_equal(term) for term in terms], every=True)


def _joined(parts: list[FilterReturn], *, every: bool) -> FilterReturn:
    if not parts:
        return _terms([_NOTHING], holds=not every)
    if len(parts) == 1:
        return parts[0]
    return Weaviate.all_of(parts) if every else Weaviate.any_of(parts)


def _ordered(filter: Compare, has_property: Callable[[str], bool], holds: bool) -> FilterReturn:
    field = range_field(filter.field, _kind(filter.value))
    name = _high(field) if filter.op in ("gt", "gte") else _low(field)
    if not has_property(name):
        return _terms([_NOTHING], holds)
    end, bound = Weaviate.by_property(name), _bound(filter.value)
    match filter.op, holds:
        case ("gt", True) | ("lte", False):
            found = end.greater_than(bound)
        case ("gte", True) | ("lt", False):
            found = end.greater_or_equal(bound)
        case ("lt", True) | ("gte", False):
            found = end.less_than(bound)
        case _:
            found = end.less_or_equal(bound)
    return found if holds else _joined([_terms([field], holds=False), found], every=False)


def _kind(bound: Scalar) -> str:
    """`n` for numbers, `d` for dates, `s` for other strings."""
    if not isinstance(bound, str):
        return "n"
    return "s" if instant_us(bound) is None else "d"


def _bound(bound: Scalar) -> float | str:
    if not isinstance(bound, str):
        return _stored(order_number(bound or 0))
    instant = instant_us(bound)
    return _stored(bound) if instant is None else _stored(float(instant))
