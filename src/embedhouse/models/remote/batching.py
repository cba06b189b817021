"""Texts into requests, within what a provider takes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

__all__ = ["RequestLimits", "split"]


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most items and tokens of one request."""

    items: int
    tokens: int


def split(token_counts: Sequence[int], limits: RequestLimits) -> Iterator[range]:
    """Rows of each request, in order. A text of more tokens than a request may have stands alone in its own."""
    start = tokens = 0
    for row, count in enumerate(token_counts):
        if row > start and (tokens + count > limits.tokens or row - start == limits.items):
            yield range(start, row)
            start, tokens = row, 0
        tokens += count
    if start < len(token_counts):
        yield range(start, len(token_counts))
