"""A real house (ledger, cache, index, chunker) on a model that is a hash function: fast, and always the same."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.chunking.chunkers import make_chunker
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import check_text
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.house import House
from embedhouse.indexing.leasing import Leases
from embedhouse.indexing.parts import Parts
from embedhouse.ledger.database import Database
from embedhouse.models.parity import Parity
from embedhouse.models.spaces import GuardedEmbedder, SpaceStates
from embedhouse.models.store import ModelStore
from embedhouse.settings import load_settings
from embedhouse.wiring.caches import cache_choice, needed_by_indexes, open_cache
from embedhouse.wiring.child import build_in_child
from embedhouse.wiring.ledger import ledger_place
from embedhouse.wiring.stores import Stores

DIMENSIONS = 16
SPACE = Space(
    provider="test",
    model="hash",
    revision="1",
    weights_sha256="0" * 64,
    dimensions=DIMENSIONS,
    pooling="mean",
    normalised=True,
    precision="f32",
    max_tokens=256,
)


class WordTokenizer:
    """A token is a run of characters without white space."""

    special_count = 0

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


class HashEmbedder:
    """A vector that depends on the text's bytes alone. `seconds_per_batch` makes it slow; `calls` holds every
    text it was asked for."""

    def __init__(self, space: Space = SPACE, seconds_per_batch: float = 0.0) -> None:
        self.space = space
        self.tokenizer = WordTokenizer()
        self.calls: list[str] = []
        self._seconds_per_batch = seconds_per_batch

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        for number, text in enumerate(texts):
            check_text(text, f"number {number}")
        deadline.check("embedding")
        time.sleep(self._seconds_per_batch)
        self.calls.extend(texts)
        counts = np.asarray(self.tokenizer.count(texts), np.int64)
        vectors = np.stack([vector_of(text, self.space.dimensions) for text in texts])
        return Embeddings(vectors=vectors, token_counts=counts, dropped_counts=np.zeros(len(texts), np.int64))

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def vector_of(text: str, dimensions: int = DIMENSIONS) -> np.ndarray:
    """(dimensions,) float32, L2-normalised."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


def open_fake_house(home: Path, embedder: HashEmbedder | None = None, **given: object) -> House:
    """The house in that folder, with these settings. The compaction's child is real too: it needs no model. Given
    `canary_hours`, the model is watched."""
    settings = load_settings({"home": home, "models_folder": home / "models", "offline": True, **given}, {})
    database = Database(ledger_place(settings))
    cache = open_cache(cache_choice(settings), home, needed_by_indexes(database))
    states = SpaceStates(database, settings.canary_hours if "canary_hours" in given else 0)
    guarded = GuardedEmbedder(embedder or HashEmbedder(), states)
    states.watch(guarded)
    cached = CachedEmbedder(guarded, cache)
    stores = Stores(settings, database)
    parts = Parts(
        home=home,
        database=database,
        cache=cache,
        open_embedder=lambda choice: cached,
        open_store=stores.open,
        make_chunker=make_chunker,
        build_in_child=partial(build_in_child, cache=cache_choice(settings), ledger_url=settings.ledger_url),
        spaces=states,
        leases=Leases.of(database, settings.lease_s),
    )
    house = FakeHouse(parts, ModelStore(settings.models_folder, offline=True), settings, no_parity)
    house.stores = stores
    return house


class FakeHouse(House):
    """Closes its stores too, as the wiring does."""

    stores: Stores

    def close(self) -> None:
        super().close()
        self.stores.close()


def no_parity(model: str, precision: str) -> Parity:
    raise NotImplementedError
