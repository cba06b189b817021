"""A tiny generation in memory: exact cosines, BM25 replaced by word overlap, a ledger that can be stale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Chunk, StoredChunk
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings, Vectors
from embedhouse.domain.filters import Compare, Filter
from embedhouse.domain.namespaces import Place
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.ports import Candidates, Capabilities, IndexEntry, IndexInfo, Tokenizer
from embedhouse.search.parts import SearchParts

SPACE = Space(
    provider="fake",
    model="fake",
    revision="1",
    weights_sha256="0",
    dimensions=2,
    pooling="mean",
    normalised=True,
    precision="f32",
    max_tokens=256,
)


class FakeEmbedder:
    """Reads a query's vector from a table."""

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self.vectors = vectors
        self.calls: list[tuple[list[str], Role, Lane]] = []

    @property
    def space(self) -> Space:
        return SPACE

    @property
    def tokenizer(self) -> Tokenizer:
        raise NotImplementedError

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        deadline.check("embedding")
        self.calls.append((list(texts), role, lane))
        vectors = np.array([self.vectors[text] for text in texts], np.float32)
        ones = np.ones(len(texts), np.int64)
        return Embeddings(vectors=vectors, token_counts=ones, dropped_counts=0 * ones)

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to free."""


class FakeIndex:
    """Exact, and it remembers what was asked. A lexical score is the number of shared words."""

    def __init__(self) -> None:
        self.entries: dict[int, IndexEntry] = {}
        self.asked: list[tuple[str, int]] = []
        self.lexical = True
        self.waits = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(lexical=self.lexical, filters=self.lexical, partial_metadata=True, remote=self.waits)

    def write(self, *, namespace="default", upserts=(), deletes=(), metadata=(), deadline) -> None:
        self.entries.update((entry.key, entry) for entry in upserts)

    def search_dense(
        self,
        vector: Vectors,
        k: int,
        filter: Filter | None,
        deadline: Deadline,
        *,
        namespaces=None,
        documents: bool = True,
    ) -> Candidates:
        self.asked.append(("dense", k))
        norm = np.linalg.norm(vector)
        return self._best(lambda entry: float(entry.vector @ vector / norm), k, filter, lowest=-2.0)

    def search_lexical(
        self,
        text: str,
        k: int,
        filter: Filter | None,
        deadline: Deadline,
        *,
        namespaces=None,
        documents: bool = True,
    ) -> Candidates:
        self.asked.append(("lexical", k))
        words = set(text.split())
        return self._best(lambda entry: len(words & set(entry.text.split())), k, filter, lowest=0.0)

    def _best(
        self, score: Callable[[IndexEntry], float], k: int, filter: Filter | None, lowest: float
    ) -> Candidates:
        kept = [entry for entry in self.entries.values() if filter is None or _matches(entry, filter)]
        found = sorted((-score(entry), entry.key) for entry in kept if score(entry) > lowest)
        best = [key for _, key in found[:k]]
        return Candidates(
            keys=np.array(best, np.int64),
            scores=np.array([-value for value, _ in found[:k]], np.float32),
            document_ids=[self.entries[key].document_id for key in best],
            exhausted=len(found) <= k,
        )

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces=None
    ) -> dict[int, float]:
        direction = vector / np.linalg.norm(vector)
        return {key: float(held @ direction) for key, held in self.vectors(keys).items()}

    def vectors(self, keys: Sequence[int], *, namespaces=None) -> dict[int, Vectors]:
        return {key: self.entries[key].vector for key in keys if key in self.entries}

    def keys(self) -> Iterator[int]:
        yield from sorted(self.entries)

    def info(self) -> IndexInfo:
        return IndexInfo(count=len(self.entries), unoptimised=0)

    def flush(self) -> None:
        """Nothing to flush."""

    def close(self) -> None:
        """Nothing to close."""


def _matches(entry: IndexEntry, filter: Filter) -> bool:
    assert isinstance(filter, Compare)
    return entry.metadata.get(filter.field) == filter.value


class FakeLedger:
    """Chunks by key; `stale` ones are in the index and no longer here."""

    def __init__(self) -> None:
        self.stored: dict[int, StoredChunk] = {}
        self.mean: Vectors | None = None
        self.reads: list[list[int]] = []

    def current(self, keys: Sequence[int]) -> dict[int, StoredChunk]:
        self.reads.append(list(keys))
        return {key: self.stored[key] for key in keys if key in self.stored}

    def document_keys(self, places: Sequence[Place]) -> dict[Place, list[int]]:
        found: dict[Place, list[int]] = {}
        for key, stored in self.stored.items():
            if stored.place in places:
                found.setdefault(stored.place, []).append(key)
        return found

    def mean_vector(self) -> Vectors | None:
        return self.mean


class WordAnalyzer:
    """White-space words in lower case."""

    def terms(self, text: str) -> list[str]:
        return text.lower().split()

    def term_spans(self, text: str) -> list[tuple[int, int, str]]:
        spans, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word), word.lower()))
            at += len(word)
        return spans


class Generation:
    """What a test fills: `add` a chunk, `forget` it in the ledger alone, search `parts`."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.index = FakeIndex()
        self.ledger = FakeLedger()
        self.embedder = FakeEmbedder({})
        self.parts = SearchParts(
            collection="fakes",
            index=self.index,
            embedder=self.embedder,
            chunks=self.ledger,
            background=self.ledger,
            analyzer=WordAnalyzer(),
            executor=executor,
        )

    def add(self, document_id: str, text: str, angle: float, *, ordinal: int = 0, **metadata: object) -> int:
        """A chunk whose vector has this angle in degrees; returns its key."""
        key = len(self.index.entries) + 1
        radians = np.radians(angle)
        vector = np.array([np.cos(radians), np.sin(radians)], np.float32)
        entry = IndexEntry(key=key, document_id=document_id, vector=vector, text=text, metadata=metadata)
        self.index.write(upserts=[entry], deadline=Deadline.never())
        chunk = Chunk(
            key=key, document_id=document_id, ordinal=ordinal, start=0, end=len(text), text=text, hash=b"h"
        )
        title = f"About {document_id}"
        self.ledger.stored[key] = StoredChunk(chunk=chunk, title=title, source="s", metadata=metadata)
        return key

    def ask(self, text: str, angle: float = 0.0) -> str:
        """Make `text` a query whose vector has this angle."""
        radians = np.radians(angle)
        self.embedder.vectors[text] = [float(np.cos(radians)), float(np.sin(radians))]
        return text

    def forget(self, key: int) -> None:
        """The ledger replaced or deleted the chunk; the index has not heard of it yet."""
        del self.ledger.stored[key]


@pytest.fixture
def generation() -> Iterator[Generation]:
    with ThreadPoolExecutor(2) as executor:
        yield Generation(executor)
