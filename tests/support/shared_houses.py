"""Houses on one ledger on PostgreSQL and one store, as if each were a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fake_house import HashEmbedder, no_parity
from stores_under_test import MemoryStore

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.cache.none import NoVectorCache
from embedhouse.chunking.chunkers import make_chunker
from embedhouse.domain.deadline import Deadline
from embedhouse.house import House
from embedhouse.indexes.memory import MemoryIndex
from embedhouse.indexing.leasing import Leases
from embedhouse.indexing.parts import BuildSpec, Parts
from embedhouse.ledger import chunks, collections
from embedhouse.ledger.changes import EVERYTHING
from embedhouse.ledger.database import Database
from embedhouse.ledger.postgresql import LedgerServer
from embedhouse.models.spaces import GuardedEmbedder, SpaceStates
from embedhouse.models.store import ModelStore
from embedhouse.ports import Capabilities, Index, IndexSpec, Store
from embedhouse.settings import load_settings

__all__ = ["SharedStore", "assert_index_is_exact", "open_shared_house"]


class _SharedIndex(MemoryIndex):
    """As an index on a server: durable, and everybody's. `before_write` is called before each write."""

    before_write: Callable[[], None] = staticmethod(lambda: None)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(lexical=True, filters=True, partial_metadata=True, remote=True, durable=True)

    def write(self, **arguments: object) -> None:
        self.before_write()
        super().write(**arguments)  # type: ignore[arg-type]

    def close(self) -> None:
        return


class SharedStore(MemoryStore):
    """One for all houses. Each opens the same index."""

    def __init__(self) -> None:
        self.indexes: dict[str, _SharedIndex] = {}

    def exists(self, name: str) -> bool:
        return name in self.indexes

    def open(self, spec: IndexSpec) -> Index:
        made = _SharedIndex(dimensions=spec.dimensions, lexical=spec.lexical)
        return self.indexes.setdefault(spec.name, made)

    def drop(self, name: str) -> None:
        self.indexes.pop(name, None)

    def close(self) -> None:
        return


def open_shared_house(
    home: Path,
    url: str,
    store: Store,
    embedder: HashEmbedder | None = None,
    *,
    lease_s: float = 30.0,
    **given: object,
) -> House:
    """A house of its own process, without a cache, on the ledger at `url` and that store."""
    settings = load_settings({"home": home, "models_folder": home / "models", "offline": True, **given}, {})
    database = Database(LedgerServer(url=url))
    states = SpaceStates(database, settings.canary_hours if "canary_hours" in given else 0)
    guarded = GuardedEmbedder(embedder or HashEmbedder(), states)
    states.watch(guarded)
    cache = NoVectorCache()
    cached = CachedEmbedder(guarded, cache)
    parts = Parts(
        home=home,
        database=database,
        cache=cache,
        open_embedder=lambda choice: cached,
        open_store=lambda name, lexical: store,
        make_chunker=make_chunker,
        build_in_child=_no_child,
        spaces=states,
        leases=Leases.of(database, lease_s),
    )
    return House(parts, ModelStore(settings.models_folder, offline=True), settings, no_parity)


def _no_child(spec: BuildSpec) -> list[int]:
    raise NotImplementedError


def assert_index_is_exact(house: House, collection: str) -> Sequence[int]:
    """Nothing waits, and index, ledger and running sum are of the same chunks; their keys."""
    opened = house._shelf.get(collection)
    opened.finish(EVERYTHING, Deadline(30.0))
    with house._parts.database.read() as ledger:
        expected = list(chunks.chunk_keys(ledger, opened.live.generation.id))
        counted = collections.vector_count(ledger, opened.live.generation.id)
    with opened.live.slot.borrow() as index:
        assert list(index.keys()) == expected
    assert counted == len(expected)
    assert house.collections.get(collection).pending_chunks == 0
    return expected
