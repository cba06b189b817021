"""A collection in use: its generations that are written, one of them live."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from embedhouse.domain.collections import Generation
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import UnknownCollection
from embedhouse.indexing.indexer import Drained, Indexer
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.parts import Parts
from embedhouse.indexing.served import ServedGeneration
from embedhouse.indexing.writer import DocumentWriter
from embedhouse.ledger import builds, collections
from embedhouse.ledger.changes import Logged
from embedhouse.ports import Index

__all__ = ["OpenCollection"]

Result = TypeVar("Result")

_WAITED_FOR = ("shadow", "live", "standby")
"""A generation that is being built is brought up to date by whoever builds it."""


class _Seen(msgspec.Struct, frozen=True):
    """The generations as of one revision."""

    revision: int
    served: list[ServedGeneration]


class OpenCollection:
    """Its generations, as the ledger had them when they were last read. Thread-safe: whoever does something in
    steps takes what it needs once."""

    def __init__(self, parts: Parts, name: str, on_new: Callable[[Indexer], None]) -> None:
        """`on_new` hears of every indexer that is made. Errors: UnknownCollection."""
        self._parts = parts
        self._on_new = on_new
        self._lock = threading.Lock()
        with parts.database.read() as ledger:
            self.collection = collections.collection_named(ledger, name)
        self._seen = _Seen(-1, [])
        self.writer = DocumentWriter(parts.database, self)
        self.refresh()

    def refresh(self) -> None:
        """Read the generations again: those that came are opened, those that went are closed once nobody uses
        them. Errors: UnknownCollection."""
        with self._lock:
            with self._parts.database.read() as ledger:
                found = collections.collection_named(ledger, self.collection.name)
                if found.revision == self._seen.revision and found.id == self.collection.id:
                    return
                written = collections.generations(ledger, found.id)
                built = {each.id: builds.build_of(ledger, each.id) for each in written}
            self.collection = found
            known = {each.opened.generation.id: each for each in self._seen.served}
            served = [self._served(each, known.pop(each.id, None)) for each in written]
            for each in served:
                each.build = built[each.opened.generation.id]
            self._seen = _Seen(found.revision, served)
        for gone in known.values():
            gone.opened.close()

    def _served(self, generation: Generation, known: ServedGeneration | None) -> ServedGeneration:
        if known is not None:
            known.opened.generation = generation
            return known
        served = ServedGeneration(OpenGeneration(self._parts, self.collection, generation))
        self._on_new(served.indexer)
        return served

    @property
    def revision(self) -> int:
        """That of the collection when its generations were last read."""
        return self._seen.revision

    def now_written(self) -> tuple[int, Sequence[OpenGeneration]]:
        """See indexing.writer.Written; the live generation comes first."""
        seen = self._seen
        ordered = sorted(seen.served, key=lambda served: served.opened.generation.state != "live")
        return seen.revision, [served.opened for served in ordered]

    @property
    def served(self) -> Sequence[ServedGeneration]:
        """All that are written."""
        return self._seen.served

    @property
    def serving(self) -> ServedGeneration:
        """The one that answers."""
        return next(served for served in self._seen.served if served.opened.generation.state == "live")

    @property
    def shadow(self) -> ServedGeneration | None:
        """The complete one that may become live."""
        return next((each for each in self._seen.served if each.opened.generation.state == "shadow"), None)

    @property
    def live(self) -> OpenGeneration:
        """The generation that answers."""
        return self.serving.opened

    @property
    def live_indexer(self) -> Indexer:
        """What brings that one's index up to date."""
        return self.serving.indexer

    def generation(self, generation_id: int) -> ServedGeneration | None:
        """One of those that are written."""
        return next((each for each in self._seen.served if each.opened.generation.id == generation_id), None)

    @property
    def has_others(self) -> bool:
        """Whether a write is also for generations that do not answer, and nobody waits for them."""
        return sum(served.opened.generation.state in _WAITED_FOR for served in self._seen.served) > 1

    def ask(
        self,
        question: Callable[[OpenGeneration, Index], Result],
        deadline: Deadline,
        served: ServedGeneration | None = None,
    ) -> Result:
        """Ask the live index, or that of one of its others; the generation is that of the index. Errors: those of
        ServedGeneration.ask."""
        if served is not None:
            return served.ask(lambda index: question(served.opened, index), deadline)
        return self._by_live(lambda live: live.ask(lambda index: question(live.opened, index), deadline))

    def finish(self, logged: Logged, deadline: Deadline) -> Drained:
        """Bring the live index up to date with a write, ahead of bulk work; what was done."""
        return self._by_live(lambda live: live.indexer.finish(logged, deadline))

    def _by_live(self, work: Callable[[ServedGeneration], Result]) -> Result:
        """Work on the live generation; again on the next one where it was dropped before the work began."""
        while True:
            live = self.serving
            try:
                return work(live)
            except UnknownCollection:
                if live is self.serving:
                    raise

    def finish_others(self, logged: Logged, deadline: Deadline) -> None:
        """Bring the others up to date with a write, but for one that is being built."""
        for served in self._seen.served:
            if served.opened.generation.state in _WAITED_FOR and served is not self.serving:
                try:
                    served.indexer.finish(logged, deadline)
                except UnknownCollection:
                    if served in self.served:
                        raise

    def close(self) -> None:
        """Flush and close the indexes."""
        for served in self._seen.served:
            served.close()
