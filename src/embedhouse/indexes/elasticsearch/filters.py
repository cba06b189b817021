"""Filters as queries of Elasticsearch and OpenSearch, and the fields that they read.

Metadata is kept as the terms of `filter_terms` in one keyword field, whose order by bytes is that of code points,
and its numbers and dates as doubles, each path in a field of its own. A server keeps the names of all fields in its
cluster's state, so only the first few hundred paths get one; the numbers of others are terms that sort as they do.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from embedhouse.domain.documents import Metadata
from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not
from embedhouse.domain.namespaces import Namespaces
from embedhouse.domain.scalars import flatten, instant_us, order_number
from embedhouse.indexes.filter_terms import (
    equality_term,
    exists_term,
    metadata_terms,
    range_field,
    string_prefix,
)

__all__ = ["MOST_RANGES", "NAMESPACE", "RANGES", "TERMS", "metadata_fields", "query_of", "within"]

TERMS = "k"
"""The field with the metadata's terms."""
RANGES = "r"
"""The field with an object: range field -> numbers. It is a list of that one object, since the server would merge a
new object into the old one where it replaces a list."""
NAMESPACE = "n"
"""The field with the namespace."""
MOST_RANGES = 400
"""Fields of numbers or dates that one index gets."""

_LONGEST_PATH = 4_000
_SORTED = "=o"
_PAST_HEX = "g"

Query = dict[str, Any]


def metadata_fields(metadata: Metadata, known: set[str]) -> dict[str, Any]:
    """The fields of a document that filters read. `known`: the range fields that there are; new ones are added."""
    found = metadata_terms({_named(path): values for path, values in flatten(metadata).items()})
    kept: dict[str, list[float]] = {}
    for name, numbers in found.ranges.items():
        if name in known or len(known) < MOST_RANGES:
            known.add(name)
            kept[name] = [number + 0.0 for number in numbers]  # -0.0 would be less than 0.0
        else:
            found.terms.extend(_sorted_prefix(name) + _sortable(number) for number in numbers)
    return {TERMS: found.terms, RANGES: [kept] if kept else []}


def within(namespaces: Namespaces) -> list[Query]:
    """The queries, one or none, that an entry of one of these namespaces meets."""
    return [] if namespaces is None else [{"terms": {NAMESPACE: list(namespaces)}}]


def query_of(filter: Filter) -> Query:
    """The query that means exactly what the filter means."""
    match filter:
        case Compare(field, "eq", value):
            return {"term": {TERMS: equality_term(_named(field), value)}}
        case Compare():
            return _ordered(filter)
        case Membership(field, values):
            return {"terms": {TERMS: [equality_term(_named(field), value) for value in values]}}
        case Exists(field):
            return {"term": {TERMS: exists_term(_named(field))}}
        case Not(Not(inner)):
            return query_of(inner)
        case Not(inner):
            return {"bool": {"must_not": [query_of(inner)]}}
        case All(parts):
            return _bool("filter", [query_of(part) for part in parts]) if parts else {"match_all": {}}
        case AnyOf(parts):
            return _bool("should", [query_of(part) for part in parts]) if parts else {"match_none": {}}


def _bool(occurs: str, parts: list[Query]) -> Query:
    """Parts of the same form are taken in: servers limit how deep queries are nested."""
    flat: list[Query] = []
    for part in parts:
        inner = part.get("bool", {})
        flat += inner.get(occurs, [part])
    least = {"minimum_should_match": 1} if occurs == "should" else {}
    return {"bool": {occurs: flat, **least}}


def _named(path: str) -> str:
    """The path, or what stands for one that is too long for a term."""
    if len(path) <= _LONGEST_PATH:
        return path
    return f"\x00{hashlib.sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _ordered(filter: Compare) -> Query:
    path, op, bound = _named(filter.field), filter.op, filter.value
    instant = instant_us(bound) if isinstance(bound, str) else None
    if isinstance(bound, str) and instant is None:
        return _term_range(string_prefix(path), exists_term(path) + "=t", op, bound)
    number = order_number(float(instant) if instant is not None else bound or 0) + 0.0  # type: ignore[arg-type]
    name = range_field(path, "n" if instant is None else "d")
    prefix = _sorted_prefix(name)
    as_terms = _term_range(prefix, prefix + _PAST_HEX, op, _sortable(number))
    return _bool("should", [{"range": {f"{RANGES}.{name}": {op: number}}}, as_terms])


def _term_range(prefix: str, past: str, op: str, bound: str) -> Query:
    """Among the terms that begin with `prefix`, all of them before `past`: those whose rest is in this order with
    `bound`."""
    if op in ("gt", "gte"):
        return {"range": {TERMS: {op: prefix + bound, "lt": past}}}
    return {"range": {TERMS: {"gte": prefix, op: prefix + bound}}}


def _sorted_prefix(name: str) -> str:
    return f"{name}{_SORTED}"


def _sortable(number: float) -> str:
    """16 hexadecimal digits that sort as the numbers do (IEEE 754 bits, negative ones turned round)."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", number + 0.0))
    return f"{bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63):016x}"
