"""What a new version of a document changes among its chunks."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

import msgspec

from embedhouse.ledger.chunks import NewChunk

__all__ = ["ChunkDiff", "diff_chunks"]


class ChunkDiff(msgspec.Struct, frozen=True, kw_only=True):
    """`kept` chunks keep their key and vector, at a new place; `added` get new keys; `gone` leave the index."""

    kept: list[tuple[int, NewChunk]]
    added: list[NewChunk]
    gone: list[int]


def diff_chunks(known: Sequence[tuple[int, bytes, str]], new: Sequence[NewChunk]) -> ChunkDiff:
    """Match chunks by hash and text, equal ones in order of appearance.

    The hash alone is not enough: it is of the text with its context, and two cuts of context and text could
    read the same.
    """
    free: defaultdict[tuple[bytes, str], deque[int]] = defaultdict(deque)
    for key, chunk_hash, text in known:
        free[chunk_hash, text].append(key)
    kept, added = [], []
    for chunk in new:
        same = free[chunk.hash, chunk.text]
        if same:
            kept.append((same.popleft(), chunk))
        else:
            added.append(chunk)
    return ChunkDiff(kept=kept, added=added, gone=sorted(key for keys in free.values() for key in keys))
