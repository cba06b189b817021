"""An index beside the ledger: which chunks it lacks, and which it has too many."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.indexing.served import ServedGeneration
from embedhouse.ledger import changes, chunks

__all__ = ["Drift", "index_drift"]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Chunk keys. `missing`: current, without a dead letter, and not in the index. `orphaned`: in the index, and
    not current. What still waits to be applied counts as neither."""

    missing: list[int]
    orphaned: list[int]

    @property
    def is_clean(self) -> bool:
        """Whether the index holds exactly what it must."""
        return not self.missing and not self.orphaned


def index_drift(served: ServedGeneration, deadline: Deadline) -> Drift:
    """Compare keys, a pass over both. Errors: those of the store."""
    opened = served.opened
    missing: list[int] = []
    orphaned: list[int] = []
    with opened.slot.borrow() as index, opened.parts.database.read() as ledger:
        held = iter(index.keys())
        for current, key in _merged(chunks.chunk_keys(ledger, opened.generation.id), held, deadline):
            (missing if current else orphaned).append(key)
    # Read after the comparison: what was written meanwhile is waiting, or was applied since.
    with opened.parts.database.read() as ledger:
        waiting = changes.waiting_keys(ledger, opened.generation.id, [*missing, *orphaned])
        refused = {letter.chunk_key for letter in changes.dead_letters(ledger, opened.generation.id)}
        current_now = chunks.current_chunks(ledger, [*missing, *orphaned]).keys()
    with opened.slot.borrow() as index:
        held_now = index.vectors([*missing, *orphaned]).keys()
    return Drift(
        missing=[k for k in missing if k not in waiting | refused and k in current_now and k not in held_now],
        orphaned=[k for k in orphaned if k not in waiting and k not in current_now and k in held_now],
    )


def _merged(current: Iterator[int], held: Iterator[int], deadline: Deadline) -> Iterator[tuple[bool, int]]:
    """(whether it is current, key) of each key that only one of two ascending sequences has."""
    left, right = next(current, None), next(held, None)
    while left is not None or right is not None:
        deadline.check("comparing the index with the ledger")
        if right is None or (left is not None and left < right):
            yield True, left if left is not None else 0
            left = next(current, None)
        elif left is None or right < left:
            yield False, right
            right = next(held, None)
        else:
            left, right = next(current, None), next(held, None)
