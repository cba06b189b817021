"""What the write path is given: concrete parts, picked by the wiring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from embedhouse.domain.collections import ChunkingSettings, LexicalSettings
from embedhouse.domain.models import ModelChoice
from embedhouse.ledger.database import Database
from embedhouse.models.spaces import SpaceStates
from embedhouse.ports import Chunker, Embedder, Index, Tokenizer, VectorCache

__all__ = ["BuildSpec", "Parts", "RebuildableIndex"]


class RebuildableIndex(Index, Protocol):
    """An index that a child process can build and optimise in a folder of its own."""

    def optimise(self) -> None:
        """Build the dense graph. May hold the interpreter for its whole length."""
        ...


class BuildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a child process needs to build one generation's index beside: from the cache, or, where a
    `vectors_file` is named, what that file adds to it. Paths are relative to the home."""

    home: str
    generation_id: int
    folder: str
    vectors_file: str = ""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Concrete parts behind the ports.

    open_embedder(choice): an embedder over the vector cache, opened once and shared.
    open_index(folder, dimensions, lexical): the index in that folder, made if it is not there.
    spaces: the watch over the models that `open_embedder` opens; None where nobody watches.
    """

    home: Path
    database: Database
    cache: VectorCache
    open_embedder: Callable[[ModelChoice], Embedder]
    open_index: Callable[[Path, int, LexicalSettings], RebuildableIndex]
    make_chunker: Callable[[ChunkingSettings, Tokenizer], Chunker]
    build_in_child: Callable[[BuildSpec], list[int]]
    spaces: SpaceStates | None = None
