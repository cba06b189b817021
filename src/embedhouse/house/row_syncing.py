"""One run of a folder or a SQL source: what differs goes in, what is gone goes out, unless too much is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, DeadlineExceeded, EmbedhouseError, MassDeletion
from embedhouse.domain.reports import Failure, Progress, WriteReport
from embedhouse.domain.syncing import SourceSync
from embedhouse.house.documents import Documents
from embedhouse.house.source_scope import SourceScope, others_beside, owner_among
from embedhouse.house.sync_outcome import as_failure, letters_of, note, outcome_of
from embedhouse.indexing.differences import Differences, Held
from embedhouse.indexing.indexer import Drained
from embedhouse.indexing.ingest import Ingested, sum_reports
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.ledger import bindings
from embedhouse.ledger.bindings import SourceBinding
from embedhouse.ledger.database import Database
from embedhouse.ledger.source_documents import text_hashes
from embedhouse.ports import Source, SourceItem
from embedhouse.sources.bound_folder import BoundFolder
from embedhouse.sources.sql import SqlSource

__all__ = ["Ingesting", "RowSync", "SyncParts"]

_IDS_PER_DELETE = 10_000

Ingesting = Callable[[OpenCollection, Sequence[Source], Callable[[Progress], None], Deadline], Ingested]
"""(collection, sources, tell, deadline): read, cut, embed and index."""


class SyncParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is given. mass_delete_share: above this share of a source's documents deletions are refused; None:
    never."""

    database: Database
    documents: Documents
    opened: OpenCollection
    ingest: Ingesting
    tell: Callable[[Progress], None]
    deadline: Deadline
    mass_delete_share: float | None

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self.opened.collection.name


class _Again:
    """Items that were asked for, as a source."""

    def __init__(self, differing: Callable[[], Iterator[SourceItem]]) -> None:
        self._differing = differing

    def sizes(self) -> Iterable[int]:
        return ()

    def read(self, deadline: Deadline) -> Iterator[SourceItem]:
        return self._differing()


class RowSync:
    """One source, once."""

    def __init__(
        self,
        parts: SyncParts,
        binding: SourceBinding,
        source: BoundFolder | SqlSource,
        scopes: Sequence[SourceScope],
    ) -> None:
        self._parts = parts
        self._binding = binding
        self._source = source
        own = next(each for each in scopes if each.name == binding.name)
        self._namespace = own.namespace
        others = others_beside(own, scopes)
        with parts.database.read() as ledger:
            known = dict(own.documents(ledger, self._collection_id))
            letters = {one.document_id for one in bindings.source_letters(ledger, binding.id) if one.document_id}
        self._known = frozenset(known)
        held = Held(
            documents=known,
            letters=letters,
            owner_of=partial(owner_among, others),
            namespace=own.namespace,
        )
        self._differences = Differences(source, parts.database, self._collection_id, held, parts.tell)

    @property
    def _collection_id(self) -> int:
        return self._parts.opened.collection.id

    def run(self) -> tuple[SourceSync, Drained]:
        """What it did. Errors: those of the model, the disk, the stores and the deadline."""
        done = [self._ingest(self._differences)]
        found = self._differences
        if found.error is None and not self._source.whole and isinstance(self._source, SqlSource):
            done += self._compare_ids(self._source)
        deletions = [] if found.error is not None else self._deletions()
        renamed = self._renamed(deletions)
        error = found.error or self._refusal(len(deletions) - renamed)
        deleted = 0 if error is not None else self._delete(deletions)
        report = sum_reports([each.report for each in done])
        self._note(report, error)
        drained = Drained()
        for each in done:
            drained = drained.plus(each.drained)
        return self._outcome(report, deleted, 0 if error is not None else renamed, error), drained

    def _ingest(self, source: Source) -> Ingested:
        return self._parts.ingest(self._parts.opened, [source], self._parts.tell, self._parts.deadline)

    def _compare_ids(self, source: SqlSource) -> list[Ingested]:
        """After an increment: which ids are gone; and rows that came without a newer version are read now."""
        found = self._differences
        if not source.reads_all_ids:
            found.gone.clear()
            return []
        failed = {failure.id for failure in found.failures}
        missing = []
        try:
            for document_id, key in source.ids(self._parts.deadline):
                found.gone.pop(document_id, None)
                is_there = document_id in self._known or document_id in found.added
                if not is_there and document_id not in failed:
                    missing.append(key)
        except (Cancelled, DeadlineExceeded):
            raise
        except EmbedhouseError as error:
            found.error = error
            return []
        if not missing:
            return []
        return [self._ingest(_Again(lambda: found.differing(source.rows_of(missing, self._parts.deadline))))]

    def _deletions(self) -> list[str]:
        found, source = self._differences, self._source
        gone = [
            document_id
            for document_id, place in found.gone.items()
            if not (isinstance(source, BoundFolder) and source.could_not_read(place))
        ]
        return [*sorted(found.deleted & self._known), *gone]

    def _renamed(self, deletions: Sequence[str]) -> int:
        """How many of the documents that go came again with the same text under another id."""
        if not deletions or not self._differences.added:
            return 0
        with self._parts.database.read() as ledger:
            gone = Counter(text_hashes(ledger, self._collection_id, deletions, self._namespace).values())
        return (gone & Counter(self._differences.added.values())).total()

    def _refusal(self, gone: int) -> MassDeletion | None:
        share = self._parts.mass_delete_share
        if share is None or gone <= share * len(self._known):
            return None
        return MassDeletion(
            source=self._binding.name,
            gone=f"{gone:,}",
            known=f"{len(self._known):,}",
            share=f"{share:g}",
            collection=self._parts.collection,
        )

    def _delete(self, ids: Sequence[str]) -> int:
        return sum(
            self._parts.documents.delete(
                self._parts.collection,
                ids=ids[start : start + _IDS_PER_DELETE],
                namespace=self._namespace,
                deadline=self._parts.deadline,
            )
            for start in range(0, len(ids), _IDS_PER_DELETE)
        )

    def _failures(self, report: WriteReport) -> list[Failure]:
        return [*self._differences.failures, *report.failures]

    def _note(self, report: WriteReport, error: EmbedhouseError | None) -> None:
        """Outcome, mark and dead letters, in one transaction."""
        letters = letters_of(self._failures(report))
        mark = self._source.mark if isinstance(self._source, SqlSource) and error is None else None
        with self._parts.database.write() as ledger:
            if self._source.whole and error is None:
                bindings.replace_source_letters(ledger, self._binding.id, letters)
            else:
                healed = sorted(self._differences.healed)
                bindings.forget_source_letters(ledger, self._binding.id, document_ids=healed)
                bindings.add_source_letters(ledger, self._binding.id, letters)
            note(ledger, self._binding.id, len(letters), error, mark.to_json() if mark else None)

    def _outcome(
        self, report: WriteReport, deleted: int, renamed: int, error: EmbedhouseError | None
    ) -> SourceSync:
        failures = self._failures(report)
        return SourceSync(
            source=self._binding.name,
            kind=self._binding.kind,  # type: ignore[arg-type]
            outcome=outcome_of(len(failures), error),
            read=self._differences.items,
            added=report.added,
            updated=report.updated,
            unchanged=report.unchanged + self._differences.unchanged,
            deleted=deleted,
            renamed=renamed,
            failures=failures,
            error=as_failure(self._binding.name, error),
        )
