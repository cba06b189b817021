"""The stores that the contract suite runs over. To add one: write a maker, and enter it in MAKERS.

A maker starts what it needs, yields a StoreUnderTest, and stops what it started. It may call `pytest.skip` with the
reason why it cannot start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import qdrant_edge

from embedhouse.domain.errors import IndexDamaged
from embedhouse.indexes import qdrant
from embedhouse.indexes.embedded import EmbeddedStore
from embedhouse.indexes.memory import MemoryIndex
from embedhouse.ports import Index, IndexSpec, Store

__all__ = ["GAPS", "MAKERS", "OWNER", "Maker", "StoreUnderTest"]

OWNER = "0123456789ab"
"""The house's id with which every maker connects."""

GAPS = {
    "dense": "searches by meaning",
    "lexical": "searches by words",
    "bm25": "lexical scores that are BM25 exactly, over the whole index",
    "bm25_now": "the same right after writing, before the store is settled",
    "filters": "metadata filters",
    "partial_metadata": "metadata replaced without the vector",
    "ties": "equal scores ordered by key, also at the k-th place",
    "large_keys": "keys up to 2^63 - 1",
    "recall": "10 000 vectors searched at recall .99",
}
"""What a store may lack: the keys of `gaps`, beside the names of test functions."""


@dataclass(frozen=True, kw_only=True)
class StoreUnderTest:
    """A store and what the suite must know about it.

    `gaps`: what it lacks (a key of GAPS, or the name of one test function) -> the reason, with which it is skipped.
    `tolerance`: how far a dense score may be from the exact cosine. `bm25_tolerance`: relative, of lexical scores.
    `settles`: whether the index is optimised, closed and opened again between writing and searching at rest.
    `make_foreign`: puts something that is not the house's where the spec's index would be, and returns a function
    that says whether it is untouched. `go_away`, `come_back`: stop the server, start it again with all that it had.
    """

    store: Store
    gaps: dict[str, str] = field(default_factory=dict)
    tolerance: float = 1e-3
    bm25_tolerance: float = 1e-4
    settles: bool = True
    make_foreign: Callable[[IndexSpec], Callable[[], bool]] | None = None
    go_away: Callable[[], None] | None = None
    come_back: Callable[[], None] | None = None


Maker = Callable[[Path], AbstractContextManager[StoreUnderTest]]


# ---- In memory, the reference ------------------------------------------------------------------------------------


class _KeptIndex(MemoryIndex):
    """Opened again, it still has everything."""

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def close(self) -> None:
        return


class MemoryStore:
    """Exact indexes by name."""

    def __init__(self) -> None:
        self._indexes: dict[str, _KeptIndex] = {}

    def exists(self, name: str) -> bool:
        return name in self._indexes

    def open(self, spec: IndexSpec) -> Index:
        made = _KeptIndex(dimensions=spec.dimensions, lexical=spec.lexical)
        found = self._indexes.setdefault(spec.name, made)
        if found.dimensions != spec.dimensions:
            raise IndexDamaged(path=Path(spec.name), reason=f"it is of {found.dimensions} dimensions")
        return found

    def drop(self, name: str) -> None:
        self._indexes.pop(name, None)

    def close(self) -> None:
        self._indexes.clear()


@contextmanager
def _memory(folder: Path) -> Iterator[StoreUnderTest]:
    yield StoreUnderTest(store=MemoryStore(), tolerance=1e-6, settles=False)


# ---- Embedded ----------------------------------------------------------------------------------------------------


def _embedded(settles: bool) -> Maker:
    @contextmanager
    def make(folder: Path) -> Iterator[StoreUnderTest]:
        # Small test data must reach the graph, and the segments that are no longer written to.
        graph = qdrant_edge.HnswIndexConfig(m=16, ef_construct=200, full_scan_threshold=10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(qdrant, "_GRAPH_FROM_KB", 1)
            patch.setattr(qdrant, "_GRAPH", graph)
            yield StoreUnderTest(store=EmbeddedStore(folder), settles=settles)

    return make


MAKERS: dict[str, Maker] = {
    "memory": _memory,
    "embedded": _embedded(settles=False),
    "embedded-optimised": _embedded(settles=True),
}
