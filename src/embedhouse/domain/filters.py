"""Metadata filters in the Mongo form, parsed once into a small typed tree."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["All", "AnyOf", "Compare", "Exists", "Filter", "Membership", "Not", "Scalar"]

Scalar = str | int | float | bool | None


class Compare(msgspec.Struct, frozen=True):
    """`field op value`. A list in the metadata matches if one of its elements does. Strings that are ISO 8601
    dates on both sides compare as instants."""

    field: str
    op: Literal["eq", "gt", "gte", "lt", "lte"]
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
