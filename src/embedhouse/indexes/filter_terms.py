"""Metadata as an inverted index sees it: typed terms for equality, float64 for order.

An engine's own idea of equality and order differs from ours (booleans, 1 and 1.0, dates, null, dotted keys), so
metadata is written in a form in which only exact matches of strings and ranges of floats are left to it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import msgspec

from embedhouse.domain.filters import MAX_ORDERED_STRING
from embedhouse.domain.scalars import FlatMetadata, Scalar, instant_us, is_unicode, order_number

__all__ = [
    "MetadataTerms",
    "equality_term",
    "exists_term",
    "metadata_terms",
    "range_field",
    "string_of",
    "string_prefix",
]


class MetadataTerms(msgspec.Struct, frozen=True):
    """`terms`: one for each path and each value at it. `ranges`: range field -> numbers or instants."""

    terms: list[str]
    ranges: dict[str, list[float]]


def exists_term(path: str) -> str:
    """The term of everything that has the path. The length in front keeps paths and values apart."""
    return f"{len(path)}:{path}"


def equality_term(path: str, value: Scalar) -> str:
    """The term of everything that has this value at the path: same value, same term."""
    return f"{exists_term(path)}{_value_term(value)}"


def _value_term(value: Scalar) -> str:
    if isinstance(value, str):
        instant = instant_us(value)
        return _string_term(value) if instant is None else f"=d{instant}"
    if value is None:
        return "=z"
    if isinstance(value, bool):
        return f"=b{value:d}"
    if isinstance(value, float) and not value.is_integer():
        return f"=n{value!r}"
    return f"=n{int(value):x}"


def _string_term(text: str) -> str:
    if len(text) <= MAX_ORDERED_STRING:
        return f"=s{text}"
    # One character more than any bound has decides every order; the digest tells long strings apart.
    return f"=s{text[: MAX_ORDERED_STRING + 1]}\x00{hashlib.sha256(text.encode()).hexdigest()}"


def string_prefix(path: str) -> str:
    """How the terms of all strings at the path begin."""
    return f"{exists_term(path)}=s"


def string_of(term: str, path: str) -> str:
    """The string that a term stands for, as far as any bound can tell."""
    return term[len(string_prefix(path)) :][: MAX_ORDERED_STRING + 1]


@lru_cache(maxsize=4096)
def range_field(path: str, kind: str) -> str:
    """The name under which the numbers (`n`) or dates (`d`) at a path are kept, safe in any engine."""
    return f"{kind}{hashlib.blake2b(path.encode(), digest_size=8).hexdigest()}"


def metadata_terms(flat: FlatMetadata) -> MetadataTerms:
    """All that filters can ask about this metadata."""
    terms: dict[str, None] = {}
    ranges: dict[str, list[float]] = {}
    for path, values in flat.items():
        if not is_unicode(path):  # no filter can name it
            continue
        terms[exists_term(path)] = None
        for value in values:
            if value != value:  # NaN equals nothing and has no order
                continue
            terms[equality_term(path, value)] = None
            _add_order(terms, ranges, path, value)
    return MetadataTerms(list(terms), ranges)


def _add_order(terms: dict[str, None], ranges: dict[str, list[float]], path: str, value: Scalar) -> None:
    if isinstance(value, str):
        instant = instant_us(value)
        if instant is not None:  # a date is a string too: a bound that is no date compares its characters
            terms[exists_term(path) + _string_term(value)] = None
            ranges.setdefault(range_field(path, "d"), []).append(float(instant))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        ranges.setdefault(range_field(path, "n"), []).append(order_number(value))
