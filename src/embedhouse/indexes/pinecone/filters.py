"""Filters as Pinecone's, over the fields that `pinecone_records.filterable` writes.

Pinecone orders numbers only. An order of strings is asked for by the number of their first six bytes, which finds
every record that passes and some that do not; `passes` tells them apart by the metadata that comes back.
Pinecone has no `$not`: a negation is carried inwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not
from embedhouse.domain.scalars import instant_us, is_order, order_number
from embedhouse.indexes.filter_terms import equality_term, exists_term, range_field, string_of, string_prefix
from embedhouse.indexes.pinecone.records import TERMS, escaped, string_number, unescaped

__all__ = ["condition_of", "has_any", "is_coarse", "passes"]

Condition = dict[str, Any]

_OPPOSITES = {"gt": "$lte", "gte": "$lt", "lt": "$gte", "lte": "$gt"}


def has_any(terms: list[str]) -> Condition:
    """Records with one of these terms, as they are stored."""
    return {TERMS: {"$in": terms}}


def condition_of(filter: Filter, wanted: bool = True) -> Condition:
    """What the records meet that pass the filter (or, if not `wanted`, that do not); some others too if it
    `is_coarse`."""
    match filter:
        case Compare(field, "eq", value):
            return _has([equality_term(field, value)], wanted)
        case Compare():
            return _ordered(filter, wanted)
        case Membership(field, values):
            return _has([equality_term(field, value) for value in values], wanted)
        case Exists(field):
            return _has([exists_term(field)], wanted)
        case Not(inner):
            return condition_of(inner, not wanted)
        case All(parts):
            return _joined(parts, wanted, "$and" if wanted else "$or")
        case AnyOf(parts):
            return _joined(parts, wanted, "$or" if wanted else "$and")


def is_coarse(filter: Filter) -> bool:
    """Whether `passes` has to look at what is found: the filter orders strings."""
    match filter:
        case Compare():
            return filter.op != "eq" and not _range_kind(filter.value)
        case Not(inner):
            return is_coarse(inner)
        case All(parts) | AnyOf(parts):
            return any(map(is_coarse, parts))
        case _:
            return False


def passes(filter: Filter, metadata: Mapping[str, Any]) -> bool:
    """Whether a record with this metadata, as it is stored, passes the filter."""
    terms = metadata[TERMS]
    match filter:
        case Compare(field, "eq", value):
            return escaped(equality_term(field, value)) in terms
        case Compare():
            return _is_ordered(filter, metadata)
        case Membership(field, values):
            return any(escaped(equality_term(field, value)) in terms for value in values)
        case Exists(field):
            return escaped(exists_term(field)) in terms
        case Not(inner):
            return not passes(inner, metadata)
        case All(parts):
            return all(passes(part, metadata) for part in parts)
        case AnyOf(parts):
            return any(passes(part, metadata) for part in parts)


def _has(terms: list[str], wanted: bool) -> Condition:
    if not terms:  # Pinecone takes no empty list
        return _all_or_nothing(not wanted)
    return {TERMS: {"$in" if wanted else "$nin": [escaped(term) for term in terms]}}


def _all_or_nothing(everything: bool) -> Condition:
    return {TERMS: {"$exists": everything}}  # every record has terms


def _joined(parts: tuple[Filter, ...], wanted: bool, operator: str) -> Condition:
    if parts:
        return {operator: [condition_of(part, wanted) for part in parts]}
    return _all_or_nothing(operator == "$and")


def _range_kind(bound: object) -> str:
    """`n` for numbers, `d` for dates, nothing for other strings."""
    if isinstance(bound, str):
        return "" if instant_us(bound) is None else "d"
    return "n"


def _extreme(filter: Compare, kind: str) -> str:
    """The field that decides: one of several values is above a bound if the largest is."""
    return f"{range_field(filter.field, kind)}_{'hi' if filter.op in ('gt', 'gte') else 'lo'}"


def _number_of(bound: object) -> float:
    return float(instant_us(bound) or 0) if isinstance(bound, str) else order_number(bound or 0)  # type: ignore[arg-type]


def _ordered(filter: Compare, wanted: bool) -> Condition:
    kind = _range_kind(filter.value)
    if kind:
        field, number = _extreme(filter, kind), _number_of(filter.value)
        operator = f"${filter.op}" if wanted else _OPPOSITES[filter.op]
    else:
        field, number = _extreme(filter, "s"), string_number(str(filter.value))
        operator = "$gte" if (filter.op in ("gt", "gte")) is wanted else "$lte"
    found: Condition = {field: {operator: number}}
    return found if wanted else {"$or": [found, {field: {"$exists": False}}]}


def _is_ordered(filter: Compare, metadata: Mapping[str, Any]) -> bool:
    kind = _range_kind(filter.value)
    if kind:
        value = metadata.get(_extreme(filter, kind))
        return value is not None and is_order(value, filter.op, _number_of(filter.value))
    prefix = escaped(string_prefix(filter.field))
    found = (unescaped(term) for term in metadata[TERMS] if term.startswith(prefix))
    return any(is_order(string_of(term, filter.field), filter.op, filter.value) for term in found)
