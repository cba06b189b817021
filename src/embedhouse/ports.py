"""The seams: what the house asks of its parts. Batch first; every call takes a deadline that can be cancelled.

An adapter is one file that implements one of these. Contract suites in `tests/contract` run over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import ChunkDraft, Document, Metadata
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings, Vectors
from embedhouse.domain.errors import EmbedhouseError
from embedhouse.domain.filters import Filter
from embedhouse.domain.models import Spent
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.domain.spaces import Lane, Role, Space

__all__ = [
    "CacheInfo",
    "Cached",
    "Candidates",
    "Capabilities",
    "Chunker",
    "Claims",
    "Embedder",
    "Index",
    "IndexEntry",
    "IndexInfo",
    "IndexSpec",
    "Meter",
    "Sides",
    "Source",
    "SourceItem",
    "Store",
    "TermCounts",
    "TermFrequencies",
    "TermStatistics",
    "Tokenizer",
    "VectorCache",
]


class Tokenizer(Protocol):
    """Text to tokens of one model."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not counted, never cut."""
        ...

    @property
    def special_count(self) -> int:
        """Tokens that the model adds around each text."""
        ...


class Embedder(Protocol):
    """Texts to vectors of one space. Adds the role's prompt itself. Thread-safe."""

    @property
    def space(self) -> Space:
        """What the vectors mean."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Counts as this model does."""
        ...

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """Vectors in the caller's order. Text over the window is cut and reported in `dropped_counts`.

        Errors: InvalidText (before anything is embedded), DeadlineExceeded, Cancelled, Overloaded.
        """
        ...

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """Each token's contextual vector; CapabilityMissing where the provider has none."""
        ...

    def close(self) -> None:
        """Free the model. Calls after it fail; calls under way are finished."""
        ...


class Meter(Protocol):
    """Hears of everything that is spent on embeddings, and says when a budget is used up. Thread-safe; never waits
    for the disk. Whose account it is on: domain.models.attribution()."""

    def allow(self, *, provider: str, model: str, lane: Lane, tokens: int) -> None:
        """Before work that will read about so many tokens. Errors: BudgetExceeded."""
        ...

    def record(self, spent: Spent) -> None:
        """After work, a failed attempt included."""
        ...


class CacheInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`vectors` kept, and the room that they take in `bytes`. Of a store that others use as well, all of it; None:
    it does not answer."""

    vectors: int | None
    bytes: int | None


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """What a cache holds of n texts: found (n,) bool; vectors (n, dimensions) float32, token_counts and
    dropped_counts (n,) int64, zero where not found."""

    found: npt.NDArray[np.bool_]
    vectors: Vectors
    token_counts: npt.NDArray[np.int64]
    dropped_counts: npt.NDArray[np.int64]


class Claims(Protocol):
    """Which of several processes over one cache computes a text. Thread-safe. A claim is kept until it is given
    up; that of a process that died runs out."""

    def claim(self, fingerprint: str, role: Role, hashes: Sequence[bytes], lane: Lane) -> list[bool]:
        """Whether the caller is to compute each. False: another process does, and the caller may look for the
        vector, or claim again, in a while. An interactive caller never has to wait for a bulk one."""
        ...

    def give_up(self, fingerprint: str, role: Role, hashes: Sequence[bytes]) -> None:
        """The caller's claims on these are over: the vectors are in the cache, or they could not be computed."""
        ...


class VectorCache(Protocol):
    """(fingerprint, role, SHA-256 of the exact bytes that are embedded) -> vector. Thread-safe. A damaged or
    foreign entry is a miss; so is everything that a store that is out of order should have answered."""

    @property
    def claims(self) -> Claims | None:
        """For a cache that several processes share."""
        ...

    def get(self, fingerprint: str, role: Role, hashes: Sequence[bytes], dimensions: int) -> Cached:
        """What is there for each hash, in the order asked."""
        ...

    def put(
        self, fingerprint: str, role: Role, hashes: Sequence[bytes], computed: Embeddings, lane: Lane = "bulk"
    ) -> None:
        """Keep what was computed for each of the texts with these hashes: `get` finds it from now on. What cannot
        be kept is counted, and computed again when it is asked for. An interactive caller does not wait for the
        disk."""
        ...

    def info(self) -> CacheInfo:
        """Sizes."""
        ...

    def close(self) -> None:
        """Release the backend."""
        ...


class IndexEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk as the index holds it. `text` is what lexical search reads (context included); `document_id` is the
    name of the document's place (domain.namespaces.place_name)."""

    key: int
    document_id: str
    vector: Vectors
    text: str
    metadata: Metadata


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """What one side found, best first, ties by key ascending: keys (n,) int64, scores (n,) float32.

    `document_ids` names each candidate's document; empty where they were not asked for. `exhausted`: asking for
    more would find no more.
    """

    keys: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    document_ids: list[str]
    exhausted: bool


class IndexInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`count` entries, of which `unoptimised` are not yet in the dense graph (and are scanned)."""

    count: int
    unoptimised: int


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an index supports.

    `partial_metadata`: metadata can be replaced without the vector. `remote`: a search waits for another machine,
    so both sides of a hybrid one are asked at the same time. `durable`: what a write returned from survives a
    crash, and other processes see it; without it, only what was flushed does, and one process has the index.
    """

    lexical: bool
    filters: bool
    partial_metadata: bool
    dense: bool = True
    remote: bool = False
    durable: bool = False


Sides = Literal["both", "dense", "lexical"]
"""Which searches an index must answer. One side of two stores need not keep what the other side needs."""


class IndexSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One index of a store. `name` is unlike any other that the house ever gave: "indexes/GENERATION/RANDOM"."""

    name: str
    dimensions: int
    lexical: LexicalSettings
    sides: Sides = "both"


class Index(Protocol):
    """Answers searches over one generation. Derived: it can always be built again. Thread-safe.

    Scores are higher-is-better: dense is the cosine in [-1, 1], lexical is BM25 >= 0. Every entry belongs to one
    namespace; `namespaces` binds a call to the entries of those, None to all.
    Any other error than InvalidFilter, InvalidVector, TooLarge (an entry over a limit of the store; nothing of the
    write was done), StoreError, DiskFull, ReadOnly and those of the deadline is raised as IndexDamaged.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this index supports."""
        ...

    def write(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        upserts: Sequence[IndexEntry] = (),
        deletes: Sequence[int] = (),
        metadata: Sequence[tuple[int, Metadata]] = (),
        deadline: Deadline,
    ) -> None:
        """Apply deletes, then upserts, then whole-metadata replacements, all of one namespace. Idempotent by key;
        readable at once."""
        ...

    def search_dense(
        self,
        vector: Vectors,
        k: int,
        filter: Filter | None,
        deadline: Deadline,
        *,
        namespaces: Namespaces = None,
        documents: bool = True,
    ) -> Candidates:
        """The k entries of highest cosine with `vector`, (dimensions,) float32. `documents`: say whose they are."""
        ...

    def search_lexical(
        self,
        text: str,
        k: int,
        filter: Filter | None,
        deadline: Deadline,
        *,
        namespaces: Namespaces = None,
        documents: bool = True,
    ) -> Candidates:
        """The k entries of highest BM25; entries that share no term with `text` are not found."""
        ...

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """The exact cosine with `vector` of those keys that the index holds."""
        ...

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """The stored vectors of those keys that the index holds, L2-normalised."""
        ...

    def keys(self) -> Iterator[int]:
        """Every key, ascending (for verify)."""
        ...

    def info(self) -> IndexInfo:
        """Sizes."""
        ...

    def optimise(self) -> None:
        """Build what makes dense searches fast over everything written so far. May take long; where an index is not
        `remote` it may hold the interpreter for all of it."""
        ...

    def flush(self) -> None:
        """Make everything written so far survive a crash."""
        ...

    def close(self) -> None:
        """Flush and release it."""
        ...


class Store(Protocol):
    """Where indexes are: a folder of this machine, a database, a cluster. Thread-safe.

    Errors of every method: StoreUnavailable, StoreUnauthorized, StoreRefused.
    """

    def exists(self, name: str) -> bool:
        """Whether the index of that name is there."""
        ...

    def open(self, spec: IndexSpec) -> Index:
        """The index, made if it is not there.

        Errors: CapabilityMissing for what the store cannot do (before anything is made); StoreRefused where
        something else has that name, which is never touched; IndexDamaged where it is not what `spec` says.
        """
        ...

    def drop(self, name: str) -> None:
        """Delete the index of that name, if it is there. It must be closed."""
        ...

    def close(self) -> None:
        """Release connections. Its indexes must be closed."""
        ...


class TermCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of one entry: `counts` term id -> how often; `length`: of all of them together."""

    counts: Mapping[int, int]
    length: int


class TermFrequencies(msgspec.Struct, frozen=True, kw_only=True):
    """What BM25 must know of an index: how many `documents` (entries) it has, how many terms they have together
    (`length`), and in how many of them each of the asked terms stands; terms that stand in none are left out."""

    documents: int
    length: int
    documents_with: Mapping[int, int]


class TermStatistics(Protocol):
    """Term frequencies of indexes on stores that have no BM25 of their own. Term ids are unsigned 32-bit numbers,
    `index` is the name of an IndexSpec. Every method is one transaction; adding and removing are idempotent by
    (index, namespace, key). Thread-safe."""

    def add(self, index: str, namespace: str, entries: Mapping[int, TermCounts]) -> None:
        """Count these entries, by key; one that was counted before is counted anew."""
        ...

    def remove(self, index: str, namespace: str, keys: Sequence[int]) -> None:
        """Count these entries no more."""
        ...

    def frequencies(self, index: str, terms: Sequence[int]) -> TermFrequencies:
        """Of these terms, over all namespaces."""
        ...

    def drop(self, index: str) -> None:
        """Forget the index."""
        ...


class SourceItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing read from a source: a document, or the reason why it could not be read. `id`: the document's, where
    it is known although there is no document; `deleted`: the source says that it is gone."""

    document: Document | None = None
    error: EmbedhouseError | None = None
    source: str
    id: str = ""
    deleted: bool = False


class Source(Protocol):
    """Documents from somewhere, one after the other, in a stable order."""

    def read(self, deadline: Deadline) -> Iterator[SourceItem]:
        """Read lazily; what cannot be read is an item with an error and never stops the rest."""
        ...

    def sizes(self) -> Iterable[int]:
        """Bytes of each file still to read, for a progress bar; empty where unknown."""
        ...


class Chunker(Protocol):
    """Text to chunks. Pure; the tokenizer was given when it was made."""

    def chunk(self, text: str) -> list[ChunkDraft]:
        """Spans in order; together they cover everything but white space (overlap aside)."""
        ...
