"""What the house answers besides hits: the same records in Python, over HTTP and in the shell's --json."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from embedhouse.domain.collections import ChunkingSettings, GenerationState, LexicalSettings
from embedhouse.domain.documents import Metadata

__all__ = [
    "CollectionInfo",
    "DocumentPage",
    "DocumentView",
    "EmbedUsage",
    "Embedded",
    "Failure",
    "Granularity",
    "HouseStatus",
    "IndexReport",
    "ModelInfo",
    "Progress",
    "SimilarPair",
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


class CollectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A collection as it is now."""

    name: str
    model: str
    precision: str
    dimensions: int
    space: str
    documents: int
    chunks: int
    pending_chunks: int
    dead_letters: int
    state: GenerationState
    chunking: ChunkingSettings
    lexical: LexicalSettings
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


class DocumentPage(msgspec.Struct, frozen=True, kw_only=True):
    """Documents in id order. `next` goes into the next call's `after`; None at the end."""

    documents: list[DocumentView]
    next: str | None


class EmbedUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedding call cost. `dropped_tokens` were past the model's window, one number a text."""

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
    """Two documents of one collection that say nearly the same; `a` < `b`."""

    a: str
    b: str
    score: float


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model on this machine."""

    name: str
    revision: str
    weights_sha256: str
    folder: str
    source: str
    size_bytes: int


class HouseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole house. `clean`: nothing is pending, dead or damaged."""

    home: str
    version: str
    clean: bool
    collections: list[CollectionInfo]
    server: str | None = None
    counters: dict[str, int] = {}
    stages: dict[str, dict[str, Any]] = {}
    cached_vectors: int = 0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A step of something long, for a progress bar: `done` of `total` (None: unknown) `unit`s."""

    stage: str
    done: float
    total: float | None
    unit: str
