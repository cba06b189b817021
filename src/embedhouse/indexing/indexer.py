"""Brings one generation's index up to date: cache first, the model for the misses, then the index, then the
ledger's word that it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import numpy as np

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Embeddings, Vectors
from embedhouse.domain.errors import IndexDamaged, InvalidInput
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.parts import RebuildableIndex
from embedhouse.ledger import changes, chunks, collections
from embedhouse.ledger.changes import Change, DeadLetter
from embedhouse.ports import IndexEntry

__all__ = ["Drained", "IndexReplaced", "Indexer", "index_entry"]

_CHANGES_PER_BATCH = 512
_FLUSH_EVERY = 10_000

_Vectors = dict[int, tuple[Vectors, int]]
"""Chunk key -> (its vector, tokens embedded: 0 from the cache)."""


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """What was applied: changes, chunks embedded by the model or found in the cache, and tokens embedded."""

    changes: int = 0
    embedded_chunks: int = 0
    cached_chunks: int = 0
    tokens: int = 0

    def plus(self, other: Drained) -> Drained:
        """Both together."""
        return Drained(
            changes=self.changes + other.changes,
            embedded_chunks=self.embedded_chunks + other.embedded_chunks,
            cached_chunks=self.cached_chunks + other.cached_chunks,
            tokens=self.tokens + other.tokens,
        )


class Indexer:
    """Applies the change log of one generation. Several threads may drain at once: each change is claimed by
    one. Keys are versioned, so the order between changes does not matter."""

    def __init__(self, opened: OpenGeneration) -> None:
        self._opened = opened
        self._database = opened.parts.database
        self._id = opened.generation.id
        self._claims = threading.Condition()
        self._claimed: set[int] = set()
        self._unflushed = 0

    def drain(
        self,
        deadline: Deadline,
        on_batch: Callable[[Drained], None] = lambda _: None,
        *,
        replays_only: bool = False,
    ) -> Drained:
        """Apply everything that is pending now and while it works; or only what a crash took from the index."""
        total = Drained()
        while done := self._drain_batch(deadline, replays_only):
            total = total.plus(done)
            on_batch(done)
            if self._unflushed >= _FLUSH_EVERY:
                self.flush()
        return total

    def wait_until_idle(self, deadline: Deadline) -> Drained:
        """Drain, then wait for what other threads have claimed."""
        total = self.drain(deadline)
        with self._claims:
            while self._claimed:
                deadline.check("waiting for the index")
                self._claims.wait(timeout=min(deadline.remaining_s, 1.0))
        return total

    def flush(self) -> None:
        """Make the index durable, then let the ledger forget what it kept for a crash."""
        try:
            self._flush()
        except IndexReplaced:
            self.drain(Deadline.never())
            self._flush()

    def _flush(self) -> None:
        with self._opened.lock:
            with self._database.read() as ledger:
                upto = changes.last_seq(ledger, self._id)
            self._unflushed = 0
            with self.guarded() as index:
                index.flush()
            # A change applied after the flush began may be among those up to `upto`; it was written to the index
            # under the lock, so before the flush.
            with self._database.write() as ledger:
                changes.forget_flushed(ledger, self._id, upto)

    def _drain_batch(self, deadline: Deadline, replays_only: bool) -> Drained | None:
        deadline.check("indexing")
        _ = self._opened.slot  # opening it may log changes
        try:
            with self._batch(replays_only) as batch:
                return self._apply(batch, deadline) if batch else None
        except IndexReplaced:
            return Drained()

    @contextmanager
    def _batch(self, replays_only: bool) -> Iterator[list[Change]]:
        batch = self._claim(replays_only)
        try:
            yield batch
        finally:
            with self._claims:
                self._claimed.difference_update(change.seq for change in batch)
                self._claims.notify_all()

    def _claim(self, replays_only: bool) -> list[Change]:
        find = changes.replays if replays_only else changes.pending_changes
        with self._claims:
            with self._database.read() as ledger:
                pending = find(ledger, self._id, _CHANGES_PER_BATCH + len(self._claimed))
            batch = [change for change in pending if change.seq not in self._claimed][:_CHANGES_PER_BATCH]
            self._claimed.update(change.seq for change in batch)
            return batch

    def _apply(self, batch: Sequence[Change], deadline: Deadline) -> Drained:
        with self._database.read() as ledger:
            current = chunks.current_chunks(ledger, sorted({change.chunk_key for change in batch}))
        # A chunk that is not current was deleted since: a later change says so to the index.
        wanted = [current[c.chunk_key] for c in batch if c.action == "upsert" and c.chunk_key in current]
        embedded, letters = self._embed(wanted, deadline)
        self._write(batch, current, embedded, letters)
        tokens = [int(count) for _, count in embedded.values()]
        return Drained(
            changes=len(batch),
            embedded_chunks=sum(count > 0 for count in tokens),
            cached_chunks=sum(count == 0 for count in tokens),
            tokens=sum(tokens),
        )

    def _embed(self, wanted: Sequence[StoredChunk], deadline: Deadline) -> tuple[_Vectors, list[DeadLetter]]:
        """key -> (vector, tokens embedded); and the chunks that the model refuses for good."""
        if not wanted:
            return {}, []
        try:
            result = self._embeddings(wanted, deadline)
        except InvalidInput as error:
            return self._embed_one_by_one(wanted, error, deadline)
        keys = [stored.chunk.key for stored in wanted]
        return dict(zip(keys, zip(result.vectors, result.token_counts.tolist(), strict=True), strict=True)), []

    def _embed_one_by_one(
        self, wanted: Sequence[StoredChunk], error: InvalidInput, deadline: Deadline
    ) -> tuple[_Vectors, list[DeadLetter]]:
        if len(wanted) == 1:
            return {}, [DeadLetter(chunk_key=wanted[0].chunk.key, code=error.code, message=str(error))]
        middle = len(wanted) // 2
        left, left_letters = self._embed(wanted[:middle], deadline)
        right, right_letters = self._embed(wanted[middle:], deadline)
        return left | right, left_letters + right_letters

    def _embeddings(self, wanted: Sequence[StoredChunk], deadline: Deadline) -> Embeddings:
        texts = [stored.chunk.embedded_text for stored in wanted]
        return self._opened.embedder.embed(texts, role="document", lane="bulk", deadline=deadline)

    def _write(
        self,
        batch: Sequence[Change],
        current: dict[int, StoredChunk],
        embedded: _Vectors,
        letters: Sequence[DeadLetter],
    ) -> None:
        upserts = [index_entry(current[key], vector) for key, (vector, _) in embedded.items()]
        deletes = [change.chunk_key for change in batch if change.action == "delete"]
        metadata = [
            (change.chunk_key, current[change.chunk_key].metadata)
            for change in batch
            if change.action == "metadata" and change.chunk_key in current
        ]
        counted = {change.chunk_key for change in batch if change.counted}
        with self._opened.lock:
            with self.guarded() as index:
                leaving = index.vectors([key for key in deletes if key not in counted])
                index.write(upserts=upserts, deletes=deletes, metadata=metadata, deadline=Deadline.never())
            with self._database.write() as ledger:
                coming = [vector for key, (vector, _) in embedded.items() if key not in counted]
                if coming:
                    collections.add_to_mean(ledger, self._id, np.stack(coming), 1)
                if leaving:
                    collections.add_to_mean(ledger, self._id, np.stack(list(leaving.values())), -1)
                changes.add_dead_letters(ledger, self._id, letters)
                changes.forget_dead_letters(ledger, [*deletes, *embedded])
                changes.mark_applied(ledger, [change.seq for change in batch])
            self._unflushed += len(batch)

    @contextmanager
    def guarded(self) -> Iterator[RebuildableIndex]:
        """The index. If it reports damage it is replaced by an empty one, every chunk becomes pending, and
        IndexReplaced says so."""
        with self._opened.slot.borrow() as index:
            try:
                yield index
                return
            except IndexDamaged as error:
                damaged, reason = index, str(error)
        self._opened.replace_damaged(damaged)
        raise IndexReplaced(reason)


def index_entry(stored: StoredChunk, vector: Vectors) -> IndexEntry:
    """A chunk as the index holds it."""
    return IndexEntry(
        key=stored.chunk.key,
        document_id=stored.chunk.document_id,
        vector=vector,
        text=stored.chunk.embedded_text,
        metadata=stored.metadata,
    )


class IndexReplaced(Exception):
    """The index was damaged and is empty now: drain, then do again what was under way."""
