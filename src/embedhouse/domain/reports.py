"""What the house answers besides hits: the same records in Python, over HTTP and in the shell's --json."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from embedhouse.domain.collections import ChunkingSettings, GenerationState, LexicalSettings
from embedhouse.domain.documents import Metadata
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE
from embedhouse.domain.spaces import Role
from embedhouse.domain.spending import BudgetUse
from embedhouse.domain.stores import EMBEDDED

__all__ = [
    "CACHE_COUNTERS",
    "CacheStatus",
    "CollectionInfo",
    "DocumentPage",
    "DocumentView",
    "EmbedUsage",
    "Embedded",
    "Failure",
    "Granularity",
    "HouseStatus",
    "IndexPlan",
    "IndexReport",
    "ModelInfo",
    "Progress",
    "SimilarPair",
    "SpaceInfo",
    "TokenVectors",
    "Wait",
    "WriteReport",
]

Granularity = Literal["text", "token", "sparse"]
Wait = Literal["accepted", "indexed"]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One document that did not go in, and why. It never stops the rest."""

    id: str
    source: str = ""
    code: str
    message: str


class WriteReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of documents changed. Counts are documents unless named otherwise.

    `tokens` were embedded by the model; `cached_chunks` came from the vector cache.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    chunks: int = 0
    cached_chunks: int = 0
    tokens: int = 0
    pending_chunks: int = 0
    failures: list[Failure] = []


class IndexReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `embedhouse index` did. `skipped` counts files left out, by reason or extension."""

    collection: str
    write: WriteReport
    documents: int
    chunks: int
    seconds: float
    tokens_per_s: float
    skipped: dict[str, int] = {}


class IndexPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What indexing would do, found without the model and without writing anything.

    Counts of documents: `new`, `changed` in text, `retagged` (metadata alone), `unchanged`, `deleted` (with
    `prune`). Counts of chunks: new, kept, gone, and those that wait from before. Of the new and waiting ones
    `uncached_chunks` are not in the vector cache: they have `tokens`. `usd` is None where the price is not known,
    `seconds` where too little was embedded with the model so far.
    """

    collection: str
    provider: str
    model: str
    new: int = 0
    changed: int = 0
    retagged: int = 0
    unchanged: int = 0
    deleted: int = 0
    new_chunks: int = 0
    kept_chunks: int = 0
    gone_chunks: int = 0
    waiting_chunks: int = 0
    uncached_chunks: int = 0
    tokens: int = 0
    usd: float | None = None
    seconds: float | None = None
    failures: list[Failure] = []
    skipped: dict[str, int] = {}


class CollectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A collection as it is now. `prompts`: what is put in front of a text of each role; none where it is empty.
    `store`: where its index is; `lexical_store`: where words are searched, empty for the same."""

    name: str
    model: str
    precision: str
    dimensions: int
    space: str
    prompts: dict[Role, str] = {}
    documents: int
    chunks: int
    pending_chunks: int
    dead_letters: int
    state: GenerationState
    chunking: ChunkingSettings
    lexical: LexicalSettings
    store: str = EMBEDDED
    lexical_store: str = ""
    created_at: str


class DocumentView(msgspec.Struct, frozen=True, kw_only=True):
    """A stored document. `text` is left empty in lists unless asked for."""

    id: str
    title: str
    text: str
    source: str
    metadata: Metadata
    content_hash: str
    chunks: int
    updated_at: str
    namespace: str = DEFAULT_NAMESPACE


class DocumentPage(msgspec.Struct, frozen=True, kw_only=True):
    """Documents by namespace and id. `next` goes into the next call's `after`; None at the end."""

    documents: list[DocumentView]
    next: str | None


class EmbedUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedding call cost: `tokens` that the model read for it, none for `cached_texts`. `dropped_tokens`
    were past the model's window, one number a text."""

    texts: int
    tokens: int
    cached_texts: int
    dropped_tokens: list[int] = []


class TokenVectors(msgspec.Struct, frozen=True, kw_only=True):
    """One text's tokens: strings, (start, end) character offsets, and a vector each."""

    tokens: list[str]
    offsets: list[tuple[int, int]]
    vectors: list[list[float]]


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """Embeddings in the caller's order: one list of floats a text, or one `TokenVectors` a text
    (granularity "token"), or one {term: weight} a text (granularity "sparse")."""

    # Any, because a decoder cannot tell apart unions of lists.
    embeddings: list[Any]
    model: str
    space: str
    dimensions: int
    usage: EmbedUsage


class SimilarPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two documents of one collection that say nearly the same; `a` <= `b`, the same only in two namespaces."""

    a: str
    b: str
    score: float
    a_namespace: str = DEFAULT_NAMESPACE
    b_namespace: str = DEFAULT_NAMESPACE


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model on this machine."""

    name: str
    revision: str
    weights_sha256: str
    folder: str
    source: str
    size_bytes: int


CACHE_COUNTERS = (
    "hits",
    "misses",
    "shared",
    "foreign_entries",
    "damaged_entries",
    "files_set_aside",
    "evicted",
    "failures",
)
"""Fields of CacheStatus that are counters of the same name, with `cache_` in front."""


class CacheStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The vector cache: `vectors` in it, and the `bytes` that they take; None: it does not answer.

    Since the process started: texts found and not found; `shared` were computed by another caller at the same
    time; entries that belong to another text, or were damaged, and so were not found; files that were damaged and
    set aside; vectors that went to make room; and how often the store failed.
    """

    backend: str
    vectors: int | None
    bytes: int | None
    hits: int = 0
    misses: int = 0
    shared: int = 0
    foreign_entries: int = 0
    damaged_entries: int = 0
    files_set_aside: int = 0
    evicted: int = 0
    failures: int = 0


class SpaceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A space that was used, and what came of embedding fixed texts again. Times are ISO 8601 in UTC.

    `frozen`: its model does not return any more what it returned at first use, for that `reason`; nothing new is
    embedded with it. `tolerance`: how far (1 - cosine) the vectors may lie from those of first use.
    """

    space: str
    model: str
    provider: str
    dimensions: int
    frozen: bool
    reason: str
    tolerance: float
    first_used_at: str
    checked_at: str
    frozen_at: str | None = None


class HouseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole house. `clean`: nothing is pending, dead, damaged or frozen. `budgets`: those that are over their
    warning. `spaces`: those whose models are watched."""

    home: str
    version: str
    clean: bool
    collections: list[CollectionInfo]
    server: str | None = None
    counters: dict[str, int] = {}
    stages: dict[str, dict[str, Any]] = {}
    cache: CacheStatus = CacheStatus(backend="none", vectors=None, bytes=None)
    budgets: list[BudgetUse] = []
    spaces: list[SpaceInfo] = []


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A step of something long, for a progress bar: `done` of `total` (None: unknown) `unit`s."""

    stage: str
    done: float
    total: float | None
    unit: str
