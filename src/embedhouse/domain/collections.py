"""Collections and their generations."""

from __future__ import annotations

from typing import Literal, TypedDict

import msgspec

from embedhouse.domain.spaces import Role, Space
from embedhouse.domain.stores import EMBEDDED

__all__ = [
    "ChunkerName",
    "ChunkingSettings",
    "Collection",
    "CollectionFields",
    "CollectionOptions",
    "Generation",
    "GenerationState",
    "LexicalSettings",
]

GenerationState = Literal["building", "shadow", "live", "standby", "retired"]
ChunkerName = Literal["sentence", "paragraph", "markdown", "window"]


class ChunkingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How documents are cut. Sizes are in tokens of the generation's model, special tokens not counted.

    `overlap_tokens` is used by `window` alone. `with_context` puts title and heading path in front of the text
    that is embedded and searched by words (never of the text that is shown).
    """

    chunker: ChunkerName = "markdown"
    max_tokens: int = 200
    overlap_tokens: int = 0
    with_context: bool = True


class LexicalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """BM25 as this generation scores it (Robertson et al., TREC-3; Lucene's form of IDF)."""

    analyzer: str = "english"
    k1: float = 1.2
    b: float = 0.75


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One built index of a collection.

    `model` and `precision` are what the user asked for; `space` is what came of it. `store`: where the index is, a
    store's name in the settings or its URL; `lexical_store`: where words are searched, empty for the same.
    `index_name`: see ports.IndexSpec.
    """

    id: int
    collection_id: int
    state: GenerationState
    model: str
    precision: str
    space: Space
    chunking: ChunkingSettings
    lexical: LexicalSettings
    store: str = EMBEDDED
    lexical_store: str = ""
    index_name: str = ""
    created_at: float = 0.0


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of documents that is searched together. `revision` is another one after each change of its
    generations."""

    id: int
    name: str
    created_at: float
    revision: int = 0


class CollectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection is made with. None: as the settings say, or as the collection is where it exists.

    `prompts`: role -> text put in front of what is embedded, instead of the model's own. `store`, `lexical_store`:
    as in Generation.
    """

    model: str | None = None
    precision: str | None = None
    dimensions: int | None = None
    prompts: dict[Role, str] | None = None
    chunking: ChunkingSettings | None = None
    lexical: LexicalSettings | None = None
    store: str | None = None
    lexical_store: str | None = None


class CollectionFields(TypedDict, total=False):
    """CollectionOptions as keyword arguments."""

    model: str | None
    precision: str | None
    dimensions: int | None
    prompts: dict[Role, str] | None
    chunking: ChunkingSettings | None
    lexical: LexicalSettings | None
    store: str | None
    lexical_store: str | None
