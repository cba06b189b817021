"""What the write path is given: concrete parts, picked by the wiring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from embedhouse.domain.collections import ChunkingSettings
from embedhouse.domain.models import ModelChoice
from embedhouse.indexing.leasing import Leases
from embedhouse.ledger.database import Database
from embedhouse.models.spaces import SpaceStates
from embedhouse.ports import Chunker, Embedder, Store, Tokenizer, VectorCache

__all__ = ["BuildSpec", "Parts"]


class BuildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a child process needs to build one generation's index beside, in the embedded store: from the cache, or,
    where a `vectors_file` is named, what that file adds to it. Paths are relative to the home."""

    home: str
    generation_id: int
    name: str
    vectors_file: str = ""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Concrete parts behind the ports.

    open_embedder(choice): an embedder over the vector cache, opened once and shared.
    open_store(store, lexical_store): where a generation's index is, opened once and shared. Errors: InvalidSetting
    for a name that the settings do not have, and those of the store.
    spaces: the watch over the models that `open_embedder` opens; None where nobody watches.
    leases: what this process works on, where the ledger is shared.
    """

    home: Path
    database: Database
    cache: VectorCache
    open_embedder: Callable[[ModelChoice], Embedder]
    open_store: Callable[[str, str], Store]
    make_chunker: Callable[[ChunkingSettings, Tokenizer], Chunker]
    build_in_child: Callable[[BuildSpec], list[int]]
    spaces: SpaceStates | None = None
    leases: Leases | None = None
