"""The collections that are in use, opened once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from embedhouse.domain.collections import Collection, Generation
from embedhouse.domain.deadline import Deadline
from embedhouse.house.background import BackgroundIndexing
from embedhouse.indexing.indexer import Drained, Indexer, IndexReplaced
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.open_indexes import OpenIndexes
from embedhouse.indexing.parts import Parts, RebuildableIndex
from embedhouse.indexing.writer import DocumentWriter
from embedhouse.ledger import changes, collections
from embedhouse.ledger.changes import Logged

__all__ = ["OpenCollection", "Shelf"]

Result = TypeVar("Result")


class OpenCollection:
    """A collection with its written generations."""

    def __init__(self, parts: Parts, collection: Collection, generations: list[Generation]) -> None:
        self.collection = collection
        self.generations = [OpenGeneration(parts, collection, each) for each in generations]
        self.indexers = [Indexer(opened) for opened in self.generations]
        self.writer = DocumentWriter(self.generations)
        self.live = next(opened for opened in self.generations if opened.generation.state == "live")
        self.live_indexer = self.indexers[self.generations.index(self.live)]
        self._restored = 0

    def ask(self, question: Callable[[RebuildableIndex], Result], deadline: Deadline) -> Result:
        """Ask the live index. One that turns out to be missing or damaged is built again first, from the ledger
        and the vector cache."""
        with self.live.slot.borrow():  # so that it stays open from the check to the answer
            self._restore(deadline)
            try:
                with self.live_indexer.guarded() as index:
                    return question(index)
            except IndexReplaced:
                self.live_indexer.drain(deadline)
            with self.live.slot.borrow() as index:
                return question(index)

    def finish(self, logged: Logged, deadline: Deadline) -> list[Drained]:
        """Bring every written generation up to date with a write, ahead of bulk work; what was done for each."""
        return [indexer.finish(logged, deadline) for indexer in self.indexers]

    def _restore(self, deadline: Deadline) -> None:
        """Once after each opening: write again what a crash, or a deleted folder, took from the index. New
        documents that still wait are left to whoever indexes."""
        if self._restored == self.live.slot.openings:
            return
        with self.live.lock:
            self.live_indexer.drain(deadline, replays_only=not self.live.replacements)
            if self._lacks_entries():
                with self.live.slot.borrow() as index:
                    damaged = index
                self.live.replace_damaged(damaged)
                self.live_indexer.drain(deadline)
            self._restored = self.live.slot.openings

    def _lacks_entries(self) -> bool:
        """Whether the index holds less than the ledger says was written to it: an engine may open a damaged
        folder without an error."""
        with self.live.parts.database.read() as ledger:
            written = collections.vector_count(ledger, self.live.generation.id)
            unsure = changes.pending_count(ledger, self.live.generation.id)
        with self.live.slot.borrow() as index:
            return index.info().count + unsure < written

    def close(self) -> None:
        """Flush and close the indexes."""
        for opened, indexer in zip(self.generations, self.indexers, strict=True):
            if indexer.is_open:
                indexer.flush()
            opened.close()


class Shelf:
    """Opens collections by name and keeps them; of their indexes the `open_indexes` last used. Thread-safe."""

    def __init__(self, parts: Parts, open_indexes: int) -> None:
        self.parts = parts
        self._open_indexes = OpenIndexes(open_indexes)
        self._lock = threading.Lock()
        self._open: dict[str, OpenCollection] = {}
        self.background = BackgroundIndexing(self._keeps)

    def get(self, name: str) -> OpenCollection:
        """The collection of that name. Errors: UnknownCollection."""
        with self._lock:
            return self._open.get(name) or self._opened(name)

    def _opened(self, name: str) -> OpenCollection:
        with self.parts.database.read() as ledger:
            collection = collections.collection_named(ledger, name)
            written = collections.generations(ledger, collection.id)
        found = self._open[name] = OpenCollection(self.parts, collection, written)
        for indexer in found.indexers:
            indexer.tell_uses(self._open_indexes.used)
        return found

    def take_off(self, opened: OpenCollection) -> None:
        """Know a collection no longer by its name: its caller has deleted it, and closes it."""
        with self._lock:
            if self._open.get(opened.collection.name) is opened:
                del self._open[opened.collection.name]

    def _keeps(self, opened: OpenCollection) -> bool:
        with self._lock:
            return self._open.get(opened.collection.name) is opened

    def close(self) -> None:
        """Close every collection."""
        self.background.close()
        self._open_indexes.close()
        with self._lock:
            for found in self._open.values():
                found.close()
            self._open.clear()
