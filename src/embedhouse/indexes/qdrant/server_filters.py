"""Conditions as the types of Qdrant's client."""

from __future__ import annotations

from collections.abc import Sequence

from qdrant_client import models

from embedhouse.domain.namespaces import Namespaces
from embedhouse.indexes.qdrant.filters import NAMESPACE, TERMS

__all__ = ["ServerConditions", "only_keys"]


class ServerConditions:
    """Implements qdrant_filters.Conditions. Every entry has its NAMESPACE."""

    def has_any(self, terms: Sequence[str]) -> models.Filter:
        """One of TERMS is one of these."""
        return _where(TERMS, terms)

    def in_range(self, field: str, op: str, bound: float) -> models.Filter:
        """One number of the field is `op` the bound."""
        return models.Filter(must=[models.FieldCondition(key=field, range=models.Range(**{op: bound}))])

    def every(self, parts: Sequence[models.Filter]) -> models.Filter:
        """All of them."""
        return models.Filter(must=[*parts])

    def some(self, parts: Sequence[models.Filter]) -> models.Filter:
        """At least one of them."""
        return models.Filter(should=[*parts])

    def no(self, part: models.Filter) -> models.Filter:
        """Everything else."""
        return models.Filter(must_not=[part])

    def within(self, namespaces: Namespaces) -> list[models.Filter]:
        """The conditions, one or none, that an entry of one of these namespaces meets."""
        return [] if namespaces is None else [_where(NAMESPACE, namespaces)]


def only_keys(keys: Sequence[int], *others: models.Filter) -> models.Filter:
    """The entries of these keys that meet the other conditions as well."""
    return models.Filter(must=[models.HasIdCondition(has_id=[*keys]), *others])


def _where(field: str, values: Sequence[str]) -> models.Filter:
    match = models.MatchValue(value=values[0]) if len(values) == 1 else models.MatchAny(any=[*values])
    return models.Filter(must=[models.FieldCondition(key=field, match=match)])
