"""A fake house whose model costs money: a provider that asks the meter before each request and tells it after."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from fake_house import SPACE, HashEmbedder, no_parity

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.chunking.chunkers import make_chunker
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.models import Spent
from embedhouse.domain.spaces import Lane, Role
from embedhouse.house import House
from embedhouse.indexing.parts import Parts
from embedhouse.ledger.database import Database
from embedhouse.models.store import ModelStore
from embedhouse.ports import Meter
from embedhouse.settings import Settings, load_settings
from embedhouse.spend.meter import SpendMeter
from embedhouse.spend.prices import PriceTable
from embedhouse.wiring.child import build_in_child
from embedhouse.wiring.paths import cache_path, ledger_path
from embedhouse.wiring.stores import Stores

PROVIDER = "paid"
USD_PER_TOKEN = 0.001
_SECONDS_PER_TOKEN = 0.01


class Clock:
    """Time that passes when the test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class PaidEmbedder(HashEmbedder):
    """A token is a word. One request a call, a hundredth of a second a token as it says."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(msgspec.structs.replace(SPACE, provider=PROVIDER))
        self._meter = meter

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        tokens = sum(self.tokenizer.count(texts))
        self._meter.allow(provider=PROVIDER, model=self.space.model, lane=lane, tokens=tokens)
        found = super().embed(texts, role=role, lane=lane, deadline=deadline)
        self._meter.record(
            Spent(
                provider=PROVIDER,
                model=self.space.model,
                lane=lane,
                items=len(texts),
                tokens=tokens,
                requests=1,
                seconds=tokens * _SECONDS_PER_TOKEN,
            )
        )
        return found


class PaidHouse(House):
    """A house that also hands out its provider and its meter."""

    provider: PaidEmbedder
    meter: SpendMeter


def paid_settings(home: Path, **given: object) -> Settings:
    """A provider, and what a million of its tokens cost."""
    own = {
        "home": home,
        "models_folder": home / "models",
        "offline": True,
        "providers": {PROVIDER: {"kind": "openai-compatible", "url": "http://127.0.0.1:9"}},
        "prices": {f"{PROVIDER}:hash": USD_PER_TOKEN * 1_000_000},
    }
    return load_settings(own | given, {})


def open_paid_house(home: Path, clock: Callable[[], float] = time.time, **given: object) -> PaidHouse:
    """The house in that folder, with these settings."""
    settings = paid_settings(home, **given)
    database = Database(ledger_path(home))
    meter = SpendMeter(database, PriceTable(settings), settings.budgets, clock=clock)
    cache = SqliteVectorCache(cache_path(home))
    provider = PaidEmbedder(meter)
    cached = CachedEmbedder(provider, cache, meter)
    parts = Parts(
        home=home,
        database=database,
        cache=cache,
        open_embedder=lambda choice: cached,
        open_store=Stores(settings, database).open,
        make_chunker=make_chunker,
        build_in_child=build_in_child,
    )
    house = PaidHouse(parts, ModelStore(settings.models_folder, offline=True), settings, no_parity, meter)
    house.provider, house.meter = provider, meter
    return house
