"""Filters as conditions of the Qdrant engine over the fields that `filter_terms` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qdrant_edge import FieldCondition, MatchAny, MatchValue, RangeFloat
from qdrant_edge import Filter as Condition

from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not
from embedhouse.domain.scalars import instant_us, is_order, order_number
from embedhouse.indexes.filter_terms import equality_term, exists_term, range_field, string_of, string_prefix

__all__ = ["RANGES", "TERMS", "condition_of"]

TERMS = "k"
"""The payload field with the metadata's terms."""
RANGES = "r"
"""The payload field with an object: range field -> numbers."""

StringTerms = Callable[[str], Iterable[str]]
"""Prefix -> the distinct terms in the index that begin with it."""


def condition_of(filter: Filter, string_terms: StringTerms) -> Condition:
    """The engine's condition that means exactly what the filter means."""
    match filter:
        case Compare(field, "eq", value):
            return _has(equality_term(field, value))
        case Compare():
            return _ordered(filter, string_terms)
        case Membership(field, values):
            return _has_any([equality_term(field, value) for value in values])
        case Exists(field):
            return _has(exists_term(field))
        case Not(inner):
            return Condition(must_not=[condition_of(inner, string_terms)])
        case All(parts):
            return Condition(must=[condition_of(part, string_terms) for part in parts])
        case AnyOf(parts):
            return Condition(should=[condition_of(part, string_terms) for part in parts])


def _has(term: str) -> Condition:
    return Condition(must=[FieldCondition(TERMS, match=MatchValue(term))])


def _has_any(terms: list[str]) -> Condition:
    return Condition(must=[FieldCondition(TERMS, match=MatchAny(terms))])


def _ordered(filter: Compare, string_terms: StringTerms) -> Condition:
    bound = filter.value
    if not isinstance(bound, str):
        return _within(range_field(filter.field, "n"), filter.op, order_number(bound or 0))
    instant = instant_us(bound)
    if instant is not None:
        return _within(range_field(filter.field, "d"), filter.op, float(instant))
    # The engine has no order of strings: the index's distinct strings are compared here.
    terms = string_terms(string_prefix(filter.field))
    return _has_any([t for t in terms if is_order(string_of(t, filter.field), filter.op, bound)])


def _within(field: str, op: str, bound: float) -> Condition:
    return Condition(must=[FieldCondition(f"{RANGES}.{field}", range=RangeFloat(**{op: bound}))])
