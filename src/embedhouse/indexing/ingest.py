"""From sources to an index: one thread reads, cuts and writes the ledger, others embed behind it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import DuplicateId, EmbedhouseError
from embedhouse.domain.reports import Failure, Progress, WriteReport
from embedhouse.domain.threads import ContextThreads
from embedhouse.indexing.indexer import Drained, Indexer
from embedhouse.indexing.writer import DocumentWriter
from embedhouse.ports import Source

__all__ = ["Ingest", "Ingested", "document_batches", "sum_reports"]

_DOCUMENTS_PER_BATCH = 256
_CHARACTERS_PER_BATCH = 2_000_000
# Two: while one writes the index and the ledger, the model works for the other.
_DRAINERS = 2
_MAX_BACKLOG_CHUNKS = 8192
_POLL_S = 0.02


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `ids`: every document that the sources hold now, in good or bad state."""

    report: WriteReport
    drained: Drained
    documents: int
    ids: frozenset[str]


class Ingest:
    """One run of sources into one collection. Stopping it anywhere loses nothing that was acknowledged: the next
    run finds unchanged documents by their hash and goes on with what is pending. `indexer`: that of the generation
    that answers, which may become another one meanwhile."""

    def __init__(
        self,
        writer: DocumentWriter,
        indexer: Callable[[], Indexer],
        progress: Callable[[Progress], None],
        *,
        pending_before: int = 0,
    ) -> None:
        self._writer = writer
        self._indexer = indexer
        self._progress = progress
        self._lock = threading.Lock()
        self._drained = Drained()
        self._logged_chunks = pending_before
        self._read_all = threading.Event()

    def run(self, sources: Iterable[Source], deadline: Deadline) -> Ingested:
        """Read everything; a bad document is a failure in the report. Errors: the model's and the disk's."""
        reports: list[WriteReport] = []
        seen: set[str] = set()
        with ContextThreads(_DRAINERS, "drain") as pool:
            drainers = [pool.submit(self._drain, deadline) for _ in range(_DRAINERS)]
            try:
                for batch, failures in document_batches(sources, seen, deadline):
                    reports.append(self._write(batch, failures))
                    self._wait_for_room(drainers, deadline)
                self._read_all.set()
                for drainer in drainers:
                    drainer.result()
            except BaseException:
                deadline.cancel()
                raise
            finally:
                self._read_all.set()
        self._indexer().flush()
        report = sum_reports(reports)
        return Ingested(report=report, drained=self._drained, documents=len(seen), ids=frozenset(seen))

    def _write(self, batch: Sequence[Document], failures: Sequence[Failure]) -> WriteReport:
        written, _ = self._writer.upsert(batch)
        self._logged_chunks += written.chunks
        return sum_reports([written, WriteReport(failures=list(failures))])

    def _drain(self, deadline: Deadline) -> None:
        while True:
            # Asked before draining: what was logged before the reader finished is then surely seen.
            last = self._read_all.is_set()
            self._indexer().drain(deadline, self._count)
            if last:
                return
            self._read_all.wait(_POLL_S)

    def _count(self, done: Drained) -> None:
        with self._lock:
            self._drained = self._drained.plus(done)
            total = self._logged_chunks if self._read_all.is_set() else None
            self._progress(Progress(stage="index", done=self._drained.changes, total=total, unit="chunks"))

    def _wait_for_room(self, drainers: Sequence[Future[None]], deadline: Deadline) -> None:
        while self._logged_chunks - self._drained.changes > _MAX_BACKLOG_CHUNKS:
            deadline.check("indexing")
            if any(drainer.done() for drainer in drainers):
                break
            time.sleep(_POLL_S)
        for drainer in drainers:
            if drainer.done():  # only an error ends it this early
                drainer.result()


def sum_reports(reports: Sequence[WriteReport]) -> WriteReport:
    """All together."""
    totals: Counter[str] = Counter()
    failures: list[Failure] = []
    for report in reports:
        counts = msgspec.structs.asdict(report)
        failures.extend(counts.pop("failures"))
        totals.update(counts)
    return WriteReport(**totals, failures=failures)


def document_batches(
    sources: Iterable[Source], seen: set[str], deadline: Deadline
) -> Iterator[tuple[list[Document], list[Failure]]]:
    """Documents in batches, with what could not be read among them. Adds every id to `seen`."""
    batch: list[Document] = []
    failures: list[Failure] = []
    characters = 0
    for source in sources:
        for item in source.read(deadline):
            if item.error is not None or item.document is None:
                failures.append(_failure(item.source, item.source, item.error))
                continue
            document = item.document
            if document.id in seen:
                failures.append(_failure(document.id, item.source, DuplicateId(id=document.id)))
                continue
            seen.add(document.id)
            batch.append(document)
            characters += len(document.text)
            if len(batch) >= _DOCUMENTS_PER_BATCH or characters >= _CHARACTERS_PER_BATCH:
                yield batch, failures
                batch, failures, characters = [], [], 0
    yield batch, failures


def _failure(document_id: str, source: str, error: EmbedhouseError | None) -> Failure:
    code, message = (error.code, str(error)) if error else ("unreadable_source", "nothing was read")
    return Failure(id=document_id, source=source, code=code, message=message)
