"""Long lists of keys in blocks: a statement may bind only so many values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["blocks"]

Item = TypeVar("Item")

_VALUES_PER_STATEMENT = 500


def blocks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in order, at most 500 at a time."""
    for start in range(0, len(items), _VALUES_PER_STATEMENT):
        yield items[start : start + _VALUES_PER_STATEMENT]
