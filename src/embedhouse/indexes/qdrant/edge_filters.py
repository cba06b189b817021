"""Conditions as the embedded engine's types."""

from __future__ import annotations

from collections.abc import Sequence

from qdrant_edge import FieldCondition, IsEmptyCondition, MatchAny, MatchValue, RangeFloat
from qdrant_edge import Filter as Condition

from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.indexes.qdrant.filters import NAMESPACE, TERMS

__all__ = ["EdgeConditions"]


class EdgeConditions:
    """Implements qdrant_filters.Conditions. Entries of the default namespace have no NAMESPACE: those written
    before there were any are in it."""

    def has_any(self, terms: Sequence[str]) -> Condition:
        """One of TERMS is one of these."""
        match = MatchValue(terms[0]) if len(terms) == 1 else MatchAny(list(terms))
        return Condition(must=[FieldCondition(TERMS, match=match)])

    def in_range(self, field: str, op: str, bound: float) -> Condition:
        """One number of the field is `op` the bound."""
        return Condition(must=[FieldCondition(field, range=RangeFloat(**{op: bound}))])

    def every(self, parts: Sequence[Condition]) -> Condition:
        """All of them."""
        return Condition(must=[*parts])

    def some(self, parts: Sequence[Condition]) -> Condition:
        """At least one of them."""
        return Condition(should=[*parts])

    def no(self, part: Condition) -> Condition:
        """Everything else."""
        return Condition(must_not=[part])

    def within(self, namespaces: Namespaces) -> list[Condition]:
        """The conditions, one or none, that an entry of one of these namespaces meets."""
        if namespaces is None:
            return []
        some: list[FieldCondition | IsEmptyCondition] = [
            FieldCondition(NAMESPACE, match=MatchAny(list(namespaces)))
        ]
        if DEFAULT_NAMESPACE in namespaces:
            some.append(IsEmptyCondition(NAMESPACE))
        return [Condition(should=[*some])]
