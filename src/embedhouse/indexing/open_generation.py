"""A generation in use: its parts, opened on first use."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Protocol

from embedhouse.chunking.context import ContextBudget, chunk_context, context_budget
from embedhouse.domain.collections import Collection, Generation
from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import IndexDamaged, SpaceMismatch, UnknownCollection
from embedhouse.domain.models import ModelChoice
from embedhouse.domain.stores import EMBEDDED
from embedhouse.indexing.parts import Parts
from embedhouse.indexing.slot import IndexSlot
from embedhouse.ledger import changes, collections
from embedhouse.ledger.leadership import in_turn
from embedhouse.ports import Chunker, Embedder, Index, IndexSpec, Store
from embedhouse.telemetry import COUNTERS

__all__ = ["Donor", "OpenGeneration", "readable_tokens"]


def readable_tokens(embedder: Embedder) -> int:
    """Tokens of a document that the model reads: its window less special tokens and the document prompt."""
    prompt = embedder.tokenizer.count([embedder.space.prompt("document")])[0]
    return embedder.space.max_tokens - embedder.tokenizer.special_count - prompt


class Donor(Protocol):
    """Where vectors of this generation's space are besides the vector cache."""

    def vectors(self, wanted: Sequence[StoredChunk]) -> dict[int, Vectors]:
        """Chunk key -> vector, of those chunks that the cache does not have and this does."""
        ...


class OpenGeneration:
    """One generation of a collection with its index, model and chunker. Thread-safe."""

    def __init__(self, parts: Parts, collection: Collection, generation: Generation) -> None:
        self.parts = parts
        self.collection = collection
        self.generation = generation
        self.lock = threading.RLock()
        self.slot = IndexSlot(self._open_current, self.lock)
        self._closed = False
        self._opened_name = ""
        self.donor: Donor | None = None
        """Has the vectors that the cache may have lost."""
        self.replacements = 0
        """How often the index was found missing or damaged, and every chunk logged to be written again."""

    @cached_property
    def store(self) -> Store:
        """Where the index is. Errors: InvalidSetting, those of the store."""
        return self.parts.open_store(self.generation.store, self.generation.lexical_store)

    @cached_property
    def embedder(self) -> Embedder:
        """The model of this generation's space. Errors: SpaceMismatch when the model is not that any more."""
        with self.lock:
            space = self.generation.space
            embedder = self.parts.open_embedder(
                ModelChoice(
                    model=self.generation.model,
                    precision=self.generation.precision,
                    dimensions=space.dimensions,
                    prompts=space.prompts,
                )
            )
            if not embedder.space.searchable_with(space):
                name = self.collection.name
                found = embedder.space.describe()
                raise SpaceMismatch(collection=name, expected=space.describe(), found=found)
            return embedder

    @cached_property
    def chunker(self) -> Chunker:
        """Cuts documents as this generation does."""
        return self.parts.make_chunker(self.generation.chunking, self.embedder.tokenizer)

    def _open_current(self) -> Index:
        """The index that the ledger names. One that is missing or damaged is replaced by an empty one, and the
        ledger is told to write every chunk again; one that was not closed cleanly gets its last changes again."""
        if self._closed:  # a search that was under way when the collection was deleted
            raise UnknownCollection(name=self.collection.name)
        with self._in_turn():
            return self._open_named()

    def _open_named(self) -> Index:
        name = self._opened_name = self.current_name()
        if not self.store.exists(name):
            return self.open_index(name) if self._is_new() else self._replacement()
        try:
            index = self.open_index(name)
        except IndexDamaged:
            self.store.drop(name)
            return self._replacement()
        if index.capabilities.durable:
            return index
        with self.parts.database.write() as ledger:
            changes.mark_unflushed(ledger, self.generation.id)
            collections.set_keep_changes_after(ledger, self.generation.id, None)
        return index

    @cached_property
    def _context_budget(self) -> ContextBudget:
        return context_budget(self.generation.chunking, readable_tokens(self.embedder), self.embedder.tokenizer)

    def context_of(self, title: str, headings: tuple[str, ...], text: str) -> str:
        """What is put in front of a chunk's text before it is embedded; empty without context."""
        if not self.generation.chunking.with_context:
            return ""
        return chunk_context(title, headings, text, self._context_budget)

    def replace_damaged(self, damaged: Index) -> None:
        """Swap an index that reported an error for an empty one; the ledger then writes every chunk again."""
        with self.lock:
            with self.slot.borrow() as current:
                if current is not damaged:  # another thread was faster
                    return
            with self._in_turn():
                name = self.current_name()
                if name != self._opened_name:  # another process was faster
                    self.slot.swap(self._open_named(), _nothing)
                else:
                    self.slot.swap(self._replacement(), partial(self.store.drop, name))

    def follow(self) -> None:
        """Open the index that another process put in the place of this one, if one did."""
        if self.slot.is_open and self.current_name() != self._opened_name:
            with self.lock:
                self.slot.swap(self._open_current(), _nothing)

    def _in_turn(self) -> AbstractContextManager[None]:
        """One process at a time makes or replaces the index."""
        return in_turn(self.parts.database, f"index of generation {self.generation.id}")

    def move_to(self, index: Index, name: str) -> None:
        """Swap in an index that was built beside, and delete the old one."""
        with self.lock:
            old = self.current_name()
            with self.parts.database.write() as ledger:
                collections.set_index_name(ledger, self.generation.id, name)
                collections.set_keep_changes_after(ledger, self.generation.id, None)
                changes.forget_flushed(ledger, self.generation.id, changes.last_seq(ledger))
            self._opened_name = name
            self.slot.swap(index, partial(self.store.drop, old))

    def drop_index(self, name: str) -> None:
        """Delete the index of that name, with what a killed process may have left beside it. It must be closed."""
        self.store.drop(name)
        if EMBEDDED in (self.generation.store, self.generation.lexical_store):
            shutil.rmtree(self.parts.home / "indexes" / str(self.generation.id), ignore_errors=True)

    def close(self) -> None:
        """Close the index for good, flushed. The model is shared and stays open."""
        self._closed = True
        self.slot.close()

    def current_name(self) -> str:
        """The index's name as the ledger has it now. Errors: UnknownCollection."""
        with self.parts.database.read() as ledger:
            name = collections.index_name(ledger, self.generation.id)
        if name is None:  # another process has deleted it
            raise UnknownCollection(name=self.collection.name)
        return name

    def _is_new(self) -> bool:
        with self.parts.database.read() as ledger:
            return collections.vector_count(ledger, self.generation.id) == 0

    def _replacement(self) -> Index:
        """An empty index of another name, with every chunk logged to be written to it."""
        self.replacements += 1
        COUNTERS.add("indexes_replaced")
        name = collections.new_index_name(self.generation.id)
        index = self.open_index(name)
        self._opened_name = name
        self.parts.database.persist(partial(self._log_everything, name))
        return index

    def _log_everything(self, name: str) -> None:
        with self.parts.database.write() as ledger:
            # First: what another process writes at this moment comes to its end.
            changes.replay_all(ledger, self.generation.id)
            collections.set_index_name(ledger, self.generation.id, name)
            collections.set_keep_changes_after(ledger, self.generation.id, None)

    def open_index(self, name: str) -> Index:
        """An index of this generation's kind with that name. Errors: those of Store.open."""
        return self.store.open(
            IndexSpec(name=name, dimensions=self.generation.space.dimensions, lexical=self.generation.lexical)
        )


def _nothing() -> None:
    pass
