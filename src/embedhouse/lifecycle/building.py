"""Builds a generation beside the live one: resumable, throttled, behind every query and every write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from sqlalchemy import Connection

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.reports import Progress
from embedhouse.indexing.compaction import compact, is_due
from embedhouse.indexing.compare import cut_document
from embedhouse.indexing.feeding import Feeding
from embedhouse.indexing.indexer import Drained
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.served import ServedGeneration
from embedhouse.indexing.writer import store_chunks
from embedhouse.ledger import builds, changes, chunks, collections
from embedhouse.ledger.builds import Build, DocumentToCut
from embedhouse.ledger.chunks import NewChunk
from embedhouse.ledger.leadership import leading
from embedhouse.lifecycle.donating import IndexDonor

__all__ = ["Builder"]

_DOCUMENTS_PER_BATCH = 128
_LONGEST_REST_S = 5.0


class _Stopped(Exception):
    """It was paused, or the house is closing."""


class Builder:
    """Builds one generation. Stopped anywhere, the next run goes on where it was: documents that are written
    meanwhile are cut for it by their writers, the others by this."""

    def __init__(self, opened: OpenCollection, served: ServedGeneration) -> None:
        self._opened = opened
        self._served = served
        self._database = served.opened.parts.database
        self._id = served.opened.generation.id
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let the run end after the batch under way."""
        self._stopped.set()

    def run(self, progress: Callable[[Progress], None], deadline: Deadline) -> bool:
        """Build until it is complete, and then keep it as a shadow; False where it was paused or stopped before.
        Errors: those of the model, the stores and the disk."""
        with leading(self._database, f"build of generation {self._id}") as leads:
            return leads and self._run(progress, deadline)

    def _run(self, progress: Callable[[Progress], None], deadline: Deadline) -> bool:
        if self._build().copies_chunks:
            self._served.opened.donor = IndexDonor(self._opened.live)
        try:
            feeding = Feeding(
                lambda: self._served.indexer, progress, logged_before=self._pending(), after_batch=self._worked
            )
            feeding.run(self._steps(deadline), deadline)
            if not self._goes_on():
                return False
            self._optimise(progress, deadline)
        except _Stopped:
            return False
        finally:
            self._served.opened.donor = None
        self._complete(deadline)
        return True

    def _steps(self, deadline: Deadline) -> Iterator[int]:
        """Each cuts some documents; how many chunks it logged."""
        collection_id = self._opened.collection.id
        while self._goes_on():
            deadline.check("building a generation")
            build = self._build()
            with self._database.read() as ledger:
                batch = builds.documents_to_cut(ledger, collection_id, build.built_upto, _DOCUMENTS_PER_BATCH)
            if not batch:
                return
            yield self._database.persist(partial(self._take_over if build.copies_chunks else self._cut, batch))

    def _take_over(self, batch: Sequence[DocumentToCut]) -> int:
        with self._database.write() as ledger:
            still = builds.still_so(ledger, batch)
            live_id = collections.live_generation(ledger, self._opened.collection.id).id
            chunk_count = 0
            for namespace in sorted({each.namespace for each in batch}):
                pks = [each.pk for each in batch if each.namespace == namespace and each.pk in still]
                added = builds.copy_chunks(ledger, live_id, self._id, pks)
                changes.add_changes(ledger, self._id, "upsert", added, namespace)
                chunk_count += len(added)
            builds.advance(ledger, self._id, batch, chunk_count)
        return chunk_count

    def _cut(self, batch: Sequence[DocumentToCut]) -> int:
        opened = self._served.opened
        cuts = [(each, cut_document(opened, each.document)) for each in batch]
        with self._database.write() as ledger:
            still = builds.still_so(ledger, batch)
            # Others were changed since, and cut for this generation by whoever did it.
            unchanged = [(each, cut) for each, cut in cuts if each.pk in still]
            already = builds.cut_already(ledger, self._id, [each.pk for each, _ in unchanged])
            for each, cut in unchanged:
                if each.pk in already:
                    store_chunks(ledger, opened, each.pk, cut, each.namespace)
            self._add(ledger, [(each, cut) for each, cut in unchanged if each.pk not in already])
            chunk_count = sum(len(cut) for _, cut in unchanged)
            builds.advance(ledger, self._id, batch, chunk_count)
        return chunk_count

    def _add(self, ledger: Connection, cuts: Sequence[tuple[DocumentToCut, Sequence[NewChunk]]]) -> None:
        """All chunks of documents that have none yet. Together: a statement for each costs more than cutting it."""
        for namespace in sorted({each.namespace for each, _ in cuts}):
            own = [(each.pk, chunk) for each, cut in cuts if each.namespace == namespace for chunk in cut]
            added = chunks.insert_chunks_of(ledger, self._id, own)
            changes.add_changes(ledger, self._id, "upsert", added, namespace)

    def _worked(self, done: Drained, seconds: float) -> None:
        """Note what was done, and rest so that the model works for this no more than its share of the time."""
        with self._database.write() as ledger:
            builds.work_done(ledger, self._id, tokens=done.tokens, seconds=seconds)
        share = self._build().busy_share
        if share < 1:
            self._stopped.wait(min(_LONGEST_REST_S, seconds * (1 / share - 1)))
        if not self._goes_on():
            raise _Stopped

    def _optimise(self, progress: Callable[[Progress], None], deadline: Deadline) -> None:
        if is_due(self._served.opened):
            progress(Progress(stage="compact", done=0, total=None, unit="indexes"))
            compact(self._served.opened, self._served.indexer, deadline)

    def _complete(self, deadline: Deadline) -> None:
        self._served.indexer.drain(deadline)
        with self._database.write() as ledger:
            builds.set_build(ledger, self._id, stage="complete", finished_at=time.time(), error="")
            collections.set_state(ledger, self._opened.collection.id, self._id, "shadow")
        self._opened.refresh()

    def _goes_on(self) -> bool:
        return not self._stopped.is_set() and self._build().stage == "building"

    def _build(self) -> Build:
        with self._database.read() as ledger:
            found = builds.build_of(ledger, self._id)
        return found or Build(generation_id=self._id, stage="paused")

    def _pending(self) -> int:
        with self._database.read() as ledger:
            return changes.pending_count(ledger, self._id)
