"""The collections that are in use, opened once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from embedhouse.domain.collections import Collection, Generation
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled
from embedhouse.indexing.indexer import Drained, Indexer, IndexReplaced
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.open_indexes import OpenIndexes
from embedhouse.indexing.parts import Parts, RebuildableIndex
from embedhouse.indexing.writer import DocumentWriter
from embedhouse.ledger import changes, collections
from embedhouse.ledger.changes import EVERYTHING, Logged

__all__ = ["OpenCollection", "Shelf"]

Result = TypeVar("Result")

_log = structlog.get_logger("embedhouse.indexing")


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
        self._open: dict[int, OpenCollection] = {}
        self._background = ThreadPoolExecutor(1, "index-soon")
        self._stopping = Deadline.never()

    def get(self, name: str) -> OpenCollection:
        """The collection of that name. Errors: UnknownCollection."""
        with self._lock:
            with self.parts.database.read() as ledger:
                collection = collections.collection_named(ledger, name)
                found = self._open.get(collection.id)
                if found is None:
                    written = collections.generations(ledger, collection.id)
                    found = self._open[collection.id] = OpenCollection(self.parts, collection, written)
                    for indexer in found.indexers:
                        indexer.tell_uses(self._open_indexes.used)
            return found

    def take_off(self, name: str) -> OpenCollection:
        """The collection, no longer kept open: its caller closes it."""
        found = self.get(name)
        with self._lock:
            self._open.pop(found.collection.id, None)
        return found

    def index_soon(self, opened: OpenCollection) -> None:
        """Index what was accepted, in the background. What is left when the house closes stays logged."""
        self._background.submit(self._index, opened)

    def _index(self, opened: OpenCollection) -> None:
        try:
            opened.finish(EVERYTHING, self._stopping)
        except Cancelled:
            return
        except Exception:
            # The changes stay pending, `status` counts them, and the next write tries again.
            _log.exception("indexing in the background failed", collection=opened.collection.name)

    def close(self) -> None:
        """Close every collection."""
        self._stopping.cancel()
        self._background.shutdown()
        self._open_indexes.close()
        with self._lock:
            for found in self._open.values():
                found.close()
            self._open.clear()
