"""What a search needs of the rest of the house."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

import msgspec

from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.namespaces import Namespaces, Place
from embedhouse.ports import Embedder, Index

__all__ = ["Analyzer", "Background", "ChunkReader", "SearchParts"]


class Analyzer(Protocol):
    """Text to terms, as the collection's lexical index makes them. Hashable: what it made is remembered."""

    def __hash__(self) -> int: ...

    def terms(self, text: str) -> list[str]:
        """The text's terms in order."""
        ...

    def term_spans(self, text: str) -> list[tuple[int, int, str]]:
        """The same terms as (start, end, term), character offsets; spans may overlap."""
        ...


class ChunkReader(Protocol):
    """The ledger's side of a search: text and metadata come from here, never from the index."""

    def current(self, keys: Sequence[int]) -> dict[int, StoredChunk]:
        """The chunks of those keys that are current, and may be seen; a key that is gone or was replaced is
        absent."""
        ...

    def document_keys(self, places: Sequence[Place]) -> dict[Place, list[int]]:
        """The current chunk keys of each document, in document order; unknown documents are absent."""
        ...


class Background(Protocol):
    """What a dense score means when two texts have nothing to do with each other."""

    def mean_vector(self) -> Vectors | None:
        """Mean of the generation's L2-normalised chunk vectors, (dimensions,) float32, itself not normalised; None
        while it is empty."""
        ...


class SearchParts(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of `collection`, ready to be searched. `executor` runs the lexical side while the model embeds
    the query. `namespaces`: those that are searched; None: all."""

    collection: str
    index: Index
    embedder: Embedder
    chunks: ChunkReader
    background: Background
    analyzer: Analyzer
    executor: Executor
    namespaces: Namespaces = None
