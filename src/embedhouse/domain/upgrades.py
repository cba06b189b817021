"""What is said of a generation that is built beside the live one: plans, progress, what its shadow showed."""

from __future__ import annotations

from typing import Literal

import msgspec

from embedhouse.domain.stores import EMBEDDED

__all__ = [
    "ChangedQuery",
    "GenerationStatus",
    "JudgedMeasure",
    "Latency",
    "Promotion",
    "ShadowReport",
    "UpgradePlan",
    "UpgradeStage",
    "UpgradeStatus",
]

UpgradeStage = Literal["building", "paused", "complete"]


class UpgradePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an upgrade would take. `uncached_chunks` and `tokens`: what the model would have to read. `usd` None: no
    known price; `seconds` None: nothing was measured with this model yet. `disk_bytes`: of the new index, about."""

    collection: str
    model: str
    space: str
    same_space: bool
    documents: int
    chunks: int
    uncached_chunks: int
    tokens: int
    usd: float | None
    seconds: float | None
    disk_bytes: int


class GenerationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One generation as it is now. `pending_chunks`: its lag. `stage` and what follows: of one that was built
    beside another; `seconds_left` None while its rate is not known."""

    id: int
    state: str
    model: str
    precision: str
    dimensions: int
    space: str
    store: str = EMBEDDED
    lexical_store: str = ""
    chunks: int
    pending_chunks: int
    dead_letters: int
    created_at: str
    stage: UpgradeStage | None = None
    documents: int = 0
    total: int = 0
    tokens: int = 0
    chunks_per_s: float = 0.0
    seconds_left: float | None = None
    busy_share: float = 1.0
    shadow_share: float = 0.0
    traffic_share: float = 0.0
    shadow_queries: int = 0
    error: str = ""


class UpgradeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All generations of a collection that are written: the live one first."""

    collection: str
    generations: list[GenerationStatus]


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    p50_ms: float
    p99_ms: float


class ChangedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query whose answer changed: documents, best first."""

    query: str
    overlap: float
    live: list[str]
    shadow: list[str]


class JudgedMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """A measure on judged queries. `difference`: shadow less live, with its 95 % interval by paired bootstrap."""

    measure: str
    queries: int
    live: float
    shadow: float
    difference: float
    low: float
    high: float


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """What queries on both generations showed. Without any, the figures are None and the lists empty."""

    collection: str
    generation: int
    queries: int
    overlap_at_10: float | None
    rank_correlation: float | None
    live: Latency | None
    shadow: Latency | None
    judged: list[JudgedMeasure]
    most_changed: list[ChangedQuery]


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What a promotion or a rollback did. `flip_ms`: how long the flip itself took."""

    collection: str
    live: int
    standby: int
    flip_ms: float
    gates: list[str] = []
