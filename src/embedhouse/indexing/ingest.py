"""From sources to an index: one thread reads, cuts and writes the ledger, others embed behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import DuplicateId, EmbedhouseError
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Place
from embedhouse.domain.reports import Failure, Progress, WriteReport
from embedhouse.indexing.feeding import Feeding
from embedhouse.indexing.indexer import Drained, Indexer
from embedhouse.indexing.writer import DocumentWriter
from embedhouse.ports import Source

__all__ = ["Ingest", "Ingested", "document_batches", "sum_reports"]

_DOCUMENTS_PER_BATCH = 256
_CHARACTERS_PER_BATCH = 2_000_000


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `places`: every document that the sources hold now, in good or bad state."""

    report: WriteReport
    drained: Drained
    documents: int
    places: frozenset[Place]


class Ingest:
    """One run of sources into one collection. Stopping it anywhere loses nothing that was acknowledged: the next
    run finds unchanged documents by their hash and goes on with what is pending. `indexer`: that of the generation
    that answers, which may become another one meanwhile. `namespace`: of documents that name none."""

    def __init__(
        self,
        writer: DocumentWriter,
        indexer: Callable[[], Indexer],
        progress: Callable[[Progress], None],
        *,
        pending_before: int = 0,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self._writer = writer
        self._namespace = namespace
        self._feeding = Feeding(indexer, progress, logged_before=pending_before)

    def run(self, sources: Iterable[Source], deadline: Deadline) -> Ingested:
        """Read everything; a bad document is a failure in the report. Errors: the model's and the disk's."""
        reports: list[WriteReport] = []
        seen: set[Place] = set()
        drained = self._feeding.run(self._written(sources, seen, reports, deadline), deadline)
        return Ingested(report=sum_reports(reports), drained=drained, documents=len(seen), places=frozenset(seen))

    def _written(
        self, sources: Iterable[Source], seen: set[Place], reports: list[WriteReport], deadline: Deadline
    ) -> Iterator[int]:
        for batch, failures in document_batches(sources, seen, deadline, self._namespace):
            written, _ = self._writer.upsert(batch)
            reports.append(sum_reports([written, WriteReport(failures=list(failures))]))
            yield written.chunks


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
    sources: Iterable[Source], seen: set[Place], deadline: Deadline, namespace: str = DEFAULT_NAMESPACE
) -> Iterator[tuple[list[Document], list[Failure]]]:
    """Documents in batches, those that name no namespace in this one, with what could not be read among them. Adds
    every place to `seen`."""
    batch: list[Document] = []
    failures: list[Failure] = []
    characters = 0
    for source in sources:
        for item in source.read(deadline):
            if item.error is not None or item.document is None:
                failures.append(_failure(item.source, item.source, item.error))
                continue
            document = _placed(item.document, namespace)
            if document.place in seen:
                failures.append(_failure(document.id, item.source, DuplicateId(id=document.id)))
                continue
            seen.add(document.place)
            batch.append(document)
            characters += len(document.text)
            if len(batch) >= _DOCUMENTS_PER_BATCH or characters >= _CHARACTERS_PER_BATCH:
                yield batch, failures
                batch, failures, characters = [], [], 0
    yield batch, failures


def _placed(document: Document, namespace: str) -> Document:
    return document if document.namespace else msgspec.structs.replace(document, namespace=namespace)


def _failure(document_id: str, source: str, error: EmbedhouseError | None) -> Failure:
    code, message = (error.code, str(error)) if error else ("unreadable_source", "nothing was read")
    return Failure(id=document_id, source=source, code=code, message=message)
