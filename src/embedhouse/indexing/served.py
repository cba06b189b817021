"""One generation that can be asked and written, with what brings its index up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from embedhouse.domain.deadline import Deadline
from embedhouse.indexing.indexer import Indexer, IndexReplaced
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import changes, collections
from embedhouse.ledger.builds import Build
from embedhouse.ports import Index

__all__ = ["ServedGeneration"]

Result = TypeVar("Result")


class ServedGeneration:
    """A generation and its indexer. Thread-safe."""

    def __init__(self, opened: OpenGeneration) -> None:
        self.opened = opened
        self.indexer = Indexer(opened)
        self.build: Build | None = None
        """How far it is built, and its shares; None for a collection's first generation."""
        self._restored = 0

    def ask(self, question: Callable[[Index], Result], deadline: Deadline) -> Result:
        """Ask the index. One that turns out to be missing or damaged is built again first, from the ledger and the
        vector cache."""
        with self.opened.slot.borrow():  # so that it stays open from the check to the answer
            self._restore(deadline)
            try:
                with self.indexer.guarded() as index:
                    return question(index)
            except IndexReplaced:
                self.indexer.drain(deadline)
            with self.opened.slot.borrow() as index:
                return question(index)

    def close(self) -> None:
        """Flush and close the index."""
        if self.indexer.is_open:
            self.indexer.flush()
        self.opened.close()

    def _restore(self, deadline: Deadline) -> None:
        """Once after each opening: write again what a crash, or a deleted folder, took from the index. New
        documents that still wait are left to whoever indexes."""
        if self._restored == self.opened.slot.openings:
            return
        with self.opened.lock:
            self.indexer.drain(deadline, replays_only=not self.opened.replacements)
            if self._lacks_entries():
                with self.opened.slot.borrow() as index:
                    damaged = index
                self.opened.replace_damaged(damaged)
                self.indexer.drain(deadline)
            self._restored = self.opened.slot.openings

    def _lacks_entries(self) -> bool:
        """Whether the index holds less than the ledger says was written to it: an engine may open a damaged
        folder without an error. One that others write to as well is compared by `verify` alone."""
        with self.opened.slot.borrow() as index:
            if index.capabilities.durable:
                return False
            with self.opened.parts.database.read() as ledger:
                written = collections.vector_count(ledger, self.opened.generation.id)
                unsure = changes.pending_count(ledger, self.opened.generation.id)
            return index.info().count + unsure < written
