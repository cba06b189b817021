"""Filters as conditions of the Qdrant engine over the fields that `filter_terms` writes."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator

import msgspec
from qdrant_edge import FieldCondition, IsEmptyCondition, MatchAny, MatchValue, RangeFloat
from qdrant_edge import Filter as Condition

from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.domain.scalars import instant_us, is_order, order_number
from embedhouse.indexes.filter_terms import equality_term, exists_term, range_field, string_of, string_prefix

__all__ = ["NAMESPACE", "RANGES", "TERMS", "Known", "condition_of", "has_path", "ranges_of", "within"]

TERMS = "k"
"""The payload field with the metadata's terms."""
RANGES = "r"
"""The payload field with an object: range field -> numbers."""
NAMESPACE = "n"
"""The payload field with the namespace; those of the default one have none."""


class Known(msgspec.Struct, frozen=True):
    """What the index knows: which range fields are indexed, and the distinct terms that begin with a prefix."""

    indexed: Container[str]
    terms_from: Callable[[str], Iterable[str]]


def condition_of(filter: Filter, known: Known) -> Condition:
    """The engine's condition that means exactly what the filter means."""
    match filter:
        case Compare(field, "eq", value):
            return _has(equality_term(field, value))
        case Compare():
            return _ordered(filter, known)
        case Membership(field, values):
            return _has_any([equality_term(field, value) for value in values])
        case Exists(field):
            return has_path(field)
        case Not(inner):
            return Condition(must_not=[condition_of(inner, known)])
        case All(parts):
            return Condition(must=[condition_of(part, known) for part in parts])
        case AnyOf(parts):
            return Condition(should=[condition_of(part, known) for part in parts])


def within(namespaces: Namespaces) -> list[Condition]:
    """The conditions, one or none, that an entry of one of these namespaces meets."""
    if namespaces is None:
        return []
    some: list[FieldCondition | IsEmptyCondition] = [FieldCondition(NAMESPACE, match=MatchAny(list(namespaces)))]
    if DEFAULT_NAMESPACE in namespaces:
        some.append(IsEmptyCondition(NAMESPACE))
    return [Condition(should=[*some])]


def ranges_of(filter: Filter) -> Iterator[tuple[str, str]]:
    """Each (path, range field) that the filter compares by order."""
    match filter:
        case Compare(field, op, bound) if op != "eq":
            kind = _range_kind(bound)
            if kind:
                yield field, _range_path(field, kind)
        case Not(inner):
            yield from ranges_of(inner)
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from ranges_of(part)
        case _:
            return


def has_path(path: str) -> Condition:
    """Everything whose metadata has the path."""
    return _has(exists_term(path))


def _has(term: str) -> Condition:
    return Condition(must=[FieldCondition(TERMS, match=MatchValue(term))])


def _has_any(terms: list[str]) -> Condition:
    return Condition(must=[FieldCondition(TERMS, match=MatchAny(terms))])


def _range_kind(bound: object) -> str:
    """`n` for numbers, `d` for dates, nothing for other strings: the engine has no order for them."""
    if isinstance(bound, str):
        return "" if instant_us(bound) is None else "d"
    return "n"


def _range_path(path: str, kind: str) -> str:
    return f"{RANGES}.{range_field(path, kind)}"


def _ordered(filter: Compare, known: Known) -> Condition:
    path, bound = filter.field, filter.value
    kind = _range_kind(bound)
    if not kind:
        terms = known.terms_from(string_prefix(path))
        return _has_any([term for term in terms if is_order(string_of(term, path), filter.op, bound)])
    number = float(instant_us(bound) or 0) if isinstance(bound, str) else order_number(bound or 0)
    name = _range_path(path, kind)
    within = FieldCondition(name, range=RangeFloat(**{filter.op: number}))
    # Without an index the engine reads each payload: let it read only those that have the path.
    return Condition(must=[within] if name in known.indexed else [has_path(path), within])
