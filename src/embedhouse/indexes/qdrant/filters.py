"""Filters as conditions of Qdrant over the fields that `filter_terms` writes, for the embedded engine and for a
server: the two build their conditions from types of their own."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not
from embedhouse.domain.namespaces import Namespaces
from embedhouse.domain.scalars import instant_us, is_order, order_number
from embedhouse.indexes.filter_terms import equality_term, exists_term, range_field, string_of, string_prefix

__all__ = ["NAMESPACE", "RANGES", "TERMS", "Conditions", "Known", "condition_of", "has_path", "ranges_of"]

TERMS = "k"
"""The payload field with the metadata's terms."""
RANGES = "r"
"""The payload field with an object: range field -> numbers."""
NAMESPACE = "n"
"""The payload field with the namespace."""

Condition = TypeVar("Condition")


class Conditions(Protocol[Condition]):
    """How one of Qdrant's APIs writes a condition. Each part of `every` and `some` is a condition itself."""

    def has_any(self, terms: Sequence[str]) -> Condition:
        """One of TERMS is one of these."""
        ...

    def in_range(self, field: str, op: str, bound: float) -> Condition:
        """One number of the field is `op` (gt, gte, lt, lte) the bound."""
        ...

    def every(self, parts: Sequence[Condition]) -> Condition:
        """All of them; what no parts ask for, everything meets."""
        ...

    def some(self, parts: Sequence[Condition]) -> Condition:
        """At least one of them."""
        ...

    def no(self, part: Condition) -> Condition:
        """Everything else."""
        ...

    def within(self, namespaces: Namespaces) -> list[Condition]:
        """The conditions, one or none, that an entry of one of these namespaces meets."""
        ...


class Known(msgspec.Struct, Generic[Condition], frozen=True):
    """The API's conditions, and what the index knows: which range fields are indexed, and the distinct terms of a
    path that begin with a prefix."""

    conditions: Conditions[Condition]
    indexed: Container[str]
    terms_from: Callable[[str, str], Iterable[str]]


def condition_of(filter: Filter, known: Known[Condition]) -> Condition:
    """The condition that means exactly what the filter means."""
    to = known.conditions
    match filter:
        case Compare(field, "eq", value):
            return to.has_any([equality_term(field, value)])
        case Compare():
            return _ordered(filter, known)
        case Membership(field, values):
            return to.has_any([equality_term(field, value) for value in values])
        case Exists(field):
            return has_path(field, to)
        case Not(inner):
            return to.no(condition_of(inner, known))
        case All(parts):
            return to.every([condition_of(part, known) for part in parts])
        case AnyOf(parts):
            return to.some([condition_of(part, known) for part in parts])


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


def has_path(path: str, conditions: Conditions[Condition]) -> Condition:
    """Everything whose metadata has the path."""
    return conditions.has_any([exists_term(path)])


def _range_kind(bound: object) -> str:
    """`n` for numbers, `d` for dates, nothing for other strings: the engine has no order for them."""
    if isinstance(bound, str):
        return "" if instant_us(bound) is None else "d"
    return "n"


def _range_path(path: str, kind: str) -> str:
    return f"{RANGES}.{range_field(path, kind)}"


def _ordered(filter: Compare, known: Known[Condition]) -> Condition:
    path, bound, to = filter.field, filter.value, known.conditions
    kind = _range_kind(bound)
    if not kind:
        terms = known.terms_from(path, string_prefix(path))
        return to.has_any([term for term in terms if is_order(string_of(term, path), filter.op, bound)])
    number = float(instant_us(bound) or 0) if isinstance(bound, str) else order_number(bound or 0)
    name = _range_path(path, kind)
    within = to.in_range(name, filter.op, number)
    # Without an index the engine reads each payload: let it read only those that have the path.
    return within if name in known.indexed else to.every([has_path(path, to), within])
