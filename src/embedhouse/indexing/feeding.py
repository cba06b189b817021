"""One thread logs chunks, others embed and index them behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import UnknownCollection
from embedhouse.domain.reports import Progress
from embedhouse.domain.threads import ContextThreads
from embedhouse.indexing.indexer import Drained, Indexer
from embedhouse.ledger.changes import EVERYTHING

__all__ = ["Feeding"]

# Two: while one writes the index and the ledger, the model works for the other.
_DRAINERS = 2
_MAX_BACKLOG_CHUNKS = 8192
_POLL_S = 0.02
_SHARED_POLL_S = 0.2


class Feeding:
    """`indexer`: that of the generation that is filled, which may become another one meanwhile. `logged_before`:
    chunks that wait already. `after_batch` hears of each batch and the seconds that it took, and may rest."""

    def __init__(
        self,
        indexer: Callable[[], Indexer],
        progress: Callable[[Progress], None],
        *,
        logged_before: int = 0,
        after_batch: Callable[[Drained, float], None] | None = None,
    ) -> None:
        self._indexer = indexer
        self._progress = progress
        self._after_batch = after_batch
        self._lock = threading.Lock()
        self._drained = Drained()
        self._logged_chunks = logged_before
        self._all_logged = threading.Event()

    def run(self, logged: Iterable[int], deadline: Deadline) -> Drained:
        """Go through `logged`, whose each step logs so many chunks, while what is logged is indexed; what was done.
        Errors: the model's and the disk's."""
        with ContextThreads(_DRAINERS, "drain") as pool:
            drainers = [pool.submit(self._drain, deadline) for _ in range(_DRAINERS)]
            try:
                for chunks in logged:
                    self._logged_chunks += chunks
                    self._wait_for_room(drainers, deadline)
                self._all_logged.set()
                for drainer in drainers:
                    drainer.result()
            except BaseException:
                deadline.cancel()
                raise
            finally:
                self._all_logged.set()
        if self._indexer().is_shared:  # others may still work on some of it
            self._indexer().finish(EVERYTHING, deadline)
        self._indexer().flush()
        return self._drained

    def _drain(self, deadline: Deadline) -> None:
        began = time.perf_counter()

        def count(done: Drained) -> None:
            nonlocal began
            self._count(done)
            if self._after_batch is not None:
                self._after_batch(done, time.perf_counter() - began)
            began = time.perf_counter()

        while True:
            # Asked before draining: what was logged before the reader finished is then surely seen.
            last = self._all_logged.is_set()
            began = time.perf_counter()
            indexer = self._indexer()
            try:
                indexer.drain(deadline, count)
            except UnknownCollection:
                if indexer is self._indexer():
                    raise
                continue  # another generation is live by now, and that one was dropped
            if last:
                return
            self._all_logged.wait(_POLL_S)

    def _count(self, done: Drained) -> None:
        with self._lock:
            self._drained = self._drained.plus(done)
            total = self._logged_chunks if self._all_logged.is_set() else None
            self._progress(Progress(stage="index", done=self._drained.changes, total=total, unit="chunks"))

    def _wait_for_room(self, drainers: Sequence[Future[None]], deadline: Deadline) -> None:
        while self._logged_chunks - self._drained.changes > _MAX_BACKLOG_CHUNKS:
            deadline.check("indexing")
            if any(drainer.done() for drainer in drainers):
                break
            if self._indexer().is_shared:  # others have done some of it
                if self._indexer().pending() <= _MAX_BACKLOG_CHUNKS:
                    break
                time.sleep(_SHARED_POLL_S)
            time.sleep(_POLL_S)
        for drainer in drainers:
            if drainer.done():  # only an error ends it this early
                drainer.result()
