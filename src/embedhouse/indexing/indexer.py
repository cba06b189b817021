"""Brings one generation's index up to date: cache first, the model for the misses, then the index, then the
ledger's word that it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
import numpy as np
from sqlalchemy import Connection

from embedhouse.domain.binding import sharing_vectors_of
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.embeddings import Embeddings, Vectors
from embedhouse.domain.errors import IndexDamaged, InvalidInput, ProviderRefused
from embedhouse.domain.models import attribution
from embedhouse.indexing.entries import deletions, in_namespaces, new_metadata, write_index
from embedhouse.indexing.leasing import Leases
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.shared_write import SharedWrite
from embedhouse.indexing.work import LeasedWork, LocalWork, Work
from embedhouse.ledger import changes, chunks, collections
from embedhouse.ledger.changes import EVERYTHING, Change, DeadLetter, Logged
from embedhouse.ports import Index

__all__ = ["Drained", "IndexReplaced", "Indexer"]

_FLUSH_EVERY = 10_000

_Vectors = dict[int, tuple[Vectors, int | None]]
"""Chunk key -> (its vector, tokens that the model read; None from the cache)."""


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
    """Applies the change log of one generation. Several threads may drain at once, and where the ledger is shared
    several processes: each change is claimed by one. Keys are versioned, so the order between changes does not
    matter."""

    def __init__(self, opened: OpenGeneration) -> None:
        self._opened = opened
        self._database = opened.parts.database
        self._id = opened.generation.id
        self._leases = opened.parts.leases or Leases.of(self._database)
        self._work: Work = LocalWork(self._database, self._id)
        if self._leases is not None:
            self._work = LeasedWork(self._database, self._id, self._leases)
        self._unflushed = 0

    @property
    def is_open(self) -> bool:
        """Whether the index is open now."""
        return self._opened.slot.is_open

    @property
    def is_shared(self) -> bool:
        """Whether other processes may apply the same changes."""
        return self._leases is not None

    def pending(self) -> int:
        """How many changes the index has not seen."""
        with self._database.read() as ledger:
            return changes.pending_count(ledger, self._id)

    def tell_uses(self, used: Callable[[Indexer], None]) -> None:
        """From now on `used` hears of every use of the index, when it ends."""
        self._opened.slot.on_return = partial(used, self)

    def drain(
        self,
        deadline: Deadline,
        on_batch: Callable[[Drained], None] = lambda _: None,
        *,
        within: Logged = EVERYTHING,
        replays_only: bool = False,
    ) -> Drained:
        """Apply everything that is pending now and while it works; or only what is `within`, first; or
        only what a crash took from the index."""
        total = Drained()
        while done := self._drain_batch(deadline, within, replays_only):
            total = total.plus(done)
            on_batch(done)
            if self._unflushed >= _FLUSH_EVERY:
                self.flush()
        return total

    def finish(self, logged: Logged, deadline: Deadline) -> Drained:
        """Apply what a write logged, and wait for what others have claimed of it."""
        before = self._opened.replacements
        total = self.drain(deadline, within=logged)
        if self._opened.replacements != before:  # then what was logged was logged anew, among everything else
            return total.plus(self.drain(deadline))

        def drain() -> None:
            nonlocal total
            total = total.plus(self.drain(deadline, within=logged))

        self._work.wait(logged, deadline, drain)
        return total

    def flush(self) -> None:
        """Make the index durable, then let the ledger forget what it kept for a crash."""
        try:
            self._flush()
        except IndexReplaced:
            self.drain(Deadline.never())
            self._flush()

    def rest(self) -> None:
        """Flush and close the index unless somebody uses it. The next use opens it again. Errors: those of the
        disk; then it stays open."""
        if not self._opened.slot.is_idle:  # then its lock may be held for long
            return
        with self._opened.lock:
            if self._opened.slot.is_idle:
                with contextlib.suppress(IndexReplaced):  # the next use fills the new one
                    self._flush()
                self._opened.slot.rest()

    def _flush(self) -> None:
        with self._opened.lock:
            with self._database.read() as ledger:
                upto = changes.last_seq(ledger)
            self._unflushed = 0
            with self.guarded() as index:
                index.flush()
            # A change applied after the flush began may be among those up to `upto`; it was written to the index
            # under the lock, so before the flush.
            with self._database.write() as ledger:
                changes.forget_flushed(ledger, self._id, upto)

    def _drain_batch(self, deadline: Deadline, within: Logged, replays_only: bool) -> Drained | None:
        deadline.check("indexing")
        try:
            # Borrowed before the log is read, because opening the index may log changes; and until the batch is
            # done, so that it does not close while the model works.
            with self._opened.slot.borrow():
                if self._leases is not None:
                    self._opened.follow()
                with self._work.batch(within, replays_only=replays_only) as batch:
                    return self._apply(batch, deadline) if batch else None
        except IndexReplaced:
            return Drained()

    def _apply(self, batch: Sequence[Change], deadline: Deadline) -> Drained:
        with self._database.read() as ledger:
            current = chunks.current_chunks(ledger, sorted({change.chunk_key for change in batch}))
        # A chunk that is not current was deleted since: a later change says so to the index.
        wanted = [current[c.chunk_key] for c in batch if c.action == "upsert" and c.chunk_key in current]
        embedded, letters = self._embed(wanted, deadline)
        if self._leases is None:
            self._write(batch, embedded, letters)
        else:
            batch = self._write_shared(self._leases, batch, embedded, letters)
        counts = [count for key, (_, count) in embedded.items() if _may_count(current[key])]
        tokens = [count for count in counts if count is not None]
        return Drained(
            changes=len(batch),
            embedded_chunks=len(tokens),
            cached_chunks=len(counts) - len(tokens),
            tokens=sum(tokens),
        )

    def _embed(self, wanted: Sequence[StoredChunk], deadline: Deadline) -> tuple[_Vectors, list[DeadLetter]]:
        """See _Vectors; and the chunks that the model refuses for good."""
        given = {} if self._opened.donor is None else self._opened.donor.vectors(wanted)
        held: _Vectors = {key: (vector, None) for key, vector in given.items()}
        wanted = [stored for stored in wanted if stored.chunk.key not in held]
        if not wanted:
            return held, []
        letters: list[DeadLetter] = []
        for namespace, own in in_namespaces(wanted).items():
            with sharing_vectors_of([namespace]):
                embedded, refused = self._embed_by_model(own, deadline)
            held |= embedded
            letters += refused
        return held, letters

    def _embed_by_model(
        self, wanted: Sequence[StoredChunk], deadline: Deadline
    ) -> tuple[_Vectors, list[DeadLetter]]:
        try:
            result = self._embeddings(wanted, deadline)
        except (InvalidInput, ProviderRefused) as error:
            return self._embed_one_by_one(wanted, error, deadline)
        cached = [False] * len(wanted) if result.cached is None else result.cached.tolist()
        tokens = [None if held else count for held, count in zip(cached, result.token_counts.tolist(), strict=True)]
        keys = [stored.chunk.key for stored in wanted]
        return dict(zip(keys, zip(result.vectors, tokens, strict=True), strict=True)), []

    def _embed_one_by_one(
        self, wanted: Sequence[StoredChunk], error: InvalidInput | ProviderRefused, deadline: Deadline
    ) -> tuple[_Vectors, list[DeadLetter]]:
        if len(wanted) == 1:
            return {}, [DeadLetter(chunk_key=wanted[0].chunk.key, code=error.code, message=str(error))]
        middle = len(wanted) // 2
        left, left_letters = self._embed_by_model(wanted[:middle], deadline)
        right, right_letters = self._embed_by_model(wanted[middle:], deadline)
        return left | right, left_letters + right_letters

    def _embeddings(self, wanted: Sequence[StoredChunk], deadline: Deadline) -> Embeddings:
        texts = [stored.chunk.embedded_text for stored in wanted]
        return self._opened.embedder.embed(texts, role="document", lane="bulk", deadline=deadline)

    def _write(self, batch: Sequence[Change], embedded: _Vectors, letters: Sequence[DeadLetter]) -> None:
        deletes = [change.chunk_key for change in batch if change.action == "delete"]
        with self._opened.lock:
            # Read again under the lock: what was deleted or given new metadata while the model worked must not
            # come back as it was.
            with self._database.read() as ledger:
                current = chunks.current_chunks(ledger, sorted({change.chunk_key for change in batch}))
            vectors = {key: vector for key, (vector, _) in embedded.items() if key in current}
            with self.guarded() as index:
                leaving = index.vectors(deletes, namespaces=sorted({change.namespace for change in batch}))
                refused = write_index(
                    index,
                    [(current[key], vector) for key, vector in vectors.items()],
                    deletions(batch),
                    new_metadata(batch, current),
                    deadline=Deadline.never(),
                )
            for letter in refused:
                vectors.pop(letter.chunk_key, None)
            with self._database.write() as ledger:
                applied = changes.mark_applied(ledger, [change.seq for change in batch])
                self._count(ledger, batch, applied, vectors, leaving)
                changes.forget_dead_letters(ledger, [*deletes, *embedded])
                kept = [one for one in [*letters, *refused] if one.chunk_key in current]
                changes.add_dead_letters(ledger, self._id, kept)
            self._unflushed += len(batch)

    def _write_shared(
        self, held: Leases, batch: Sequence[Change], embedded: _Vectors, letters: Sequence[DeadLetter]
    ) -> Sequence[Change]:
        """What of the batch was still this process's, and is done."""
        vectors = {key: vector for key, (vector, _) in embedded.items()}
        with self._opened.lock, self.guarded() as index:
            step = SharedWrite(self._database, self._id, held.owner, index)
            done = self._database.persist(partial(step.apply, batch, vectors, letters))
            held.done(change.seq for change in done)
            if not index.capabilities.durable:
                self._unflushed += len(done)
        return done

    def _count(
        self,
        ledger: Connection,
        batch: Sequence[Change],
        applied: set[int],
        coming: dict[int, Vectors],
        leaving: dict[int, Vectors],
    ) -> None:
        """Move the running sum by what these changes brought and took, once each: a change that was counted before
        a crash, or that is not in the log any more, does not count."""
        keys = {change.chunk_key for change in batch if change.seq in applied and not change.counted}
        for vectors, sign in ((coming, 1), (leaving, -1)):
            rows = [vector for key, vector in vectors.items() if key in keys]
            if rows:
                collections.add_to_mean(ledger, self._id, np.stack(rows), sign)

    @contextmanager
    def guarded(self) -> Iterator[Index]:
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


def _may_count(stored: StoredChunk) -> bool:
    """Whether the caller may hear what the chunk took: with its own changes it may have applied others'."""
    bound = attribution().namespaces
    return bound is None or stored.namespace in bound


class IndexReplaced(Exception):
    """The index was damaged and is empty now: drain, then do again what was under way."""
