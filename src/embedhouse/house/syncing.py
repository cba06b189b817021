"""`house.sync`: bring a collection into step with the sources that it is bound to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    EmbedhouseError,
    InvalidInput,
    InvalidSetting,
    MissingExtra,
    NotFound,
    UnreadableSource,
)
from embedhouse.domain.models import attributed, attribution, new_request_id
from embedhouse.domain.reports import Progress
from embedhouse.domain.syncing import SourceSync, SyncReport
from embedhouse.house.collections import Collections
from embedhouse.house.documents import Documents
from embedhouse.house.event_syncing import EventSync
from embedhouse.house.row_syncing import Ingesting, RowSync, SyncParts
from embedhouse.house.shelf import Shelf
from embedhouse.house.source_scope import scope_of
from embedhouse.house.sources import binding_settings
from embedhouse.house.sync_outcome import as_failure, note
from embedhouse.house.watching import Watch
from embedhouse.indexing.indexer import Drained
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.ledger import bindings
from embedhouse.ledger.bindings import SourceBinding
from embedhouse.settings import Settings
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.sources.bound_folder import BoundFolder
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.marks import Mark
from embedhouse.sources.opening import open_kafka, open_sql
from embedhouse.sources.sql import SqlSource
from embedhouse.sources.sql_settings import SqlSourceSettings

if TYPE_CHECKING:
    from embedhouse.sources.kafka import KafkaSource

__all__ = ["Syncing"]

OnProgress = Callable[[Progress], None]

# What ends the run of one source and lets the others have theirs.
_OF_THE_SOURCE = (UnreadableSource, InvalidSetting, MissingExtra, NotFound)


class Syncing:
    """Runs over a collection's sources, one source after the other."""

    def __init__(
        self,
        shelf: Shelf,
        settings: Settings,
        environ: Mapping[str, str],
        documents: Documents,
        ingest: Ingesting,
    ) -> None:
        self._shelf = shelf
        self._settings = settings
        self._environ = environ
        self._documents = documents
        self._ingest = ingest
        self._database = shelf.parts.database

    def run(
        self,
        collection: str,
        made: Collections,
        *,
        only: Sequence[str] | None,
        allow_mass_delete: bool,
        full: bool,
        tell: OnProgress,
        deadline: Deadline,
    ) -> SyncReport:
        """See House.sync."""
        started = time.perf_counter()
        opened = self._shelf.get(collection)
        parts = self._parts(opened, tell, deadline, allow_mass_delete)
        done: list[SourceSync] = []
        drained = Drained()
        with attributed(collection=collection, request_id=attribution().request_id or new_request_id()):
            for binding in self._bindings(opened, only):
                outcome, applied = self._one(parts, binding, full)
                done.append(outcome)
                drained = drained.plus(applied)
        info = made.get(collection)
        return SyncReport(
            collection=collection,
            sources=done,
            documents=info.documents,
            chunks=info.chunks,
            tokens=drained.tokens,
            cached_chunks=drained.cached_chunks,
            pending_chunks=info.pending_chunks,
            seconds=time.perf_counter() - started,
        )

    def watch(
        self,
        collection: str,
        made: Collections,
        *,
        only: Sequence[str] | None,
        allow_mass_delete: bool,
        every_s: float,
        on_report: Callable[[SyncReport], None],
        tell: OnProgress,
        deadline: Deadline,
    ) -> None:
        """See House.watch."""
        opened = self._shelf.get(collection)

        def sync(name: str, within: Deadline) -> SyncReport:
            report = self.run(
                collection,
                made,
                only=[name],
                allow_mass_delete=allow_mass_delete,
                full=False,
                tell=tell,
                deadline=within,
            )
            on_report(report)
            return report

        def follow(binding: SourceBinding, within: Deadline) -> None:
            parts = self._parts(opened, tell, within, allow_mass_delete)
            with attributed(collection=collection), closing(self._topic(binding, collection)) as topic:
                EventSync(parts, binding, topic).follow(partial(self._shelf.background.submit, opened))

        Watch(self._bindings(opened, only), sync, follow, every_s, deadline).run()

    def _parts(
        self, opened: OpenCollection, tell: OnProgress, deadline: Deadline, allow_mass_delete: bool
    ) -> SyncParts:
        return SyncParts(
            database=self._database,
            documents=self._documents,
            opened=opened,
            ingest=self._ingest,
            tell=tell,
            deadline=deadline,
            mass_delete_share=None if allow_mass_delete else self._settings.mass_delete_share,
        )

    def _topic(self, binding: SourceBinding, collection: str) -> KafkaSource:
        settings = binding_settings(binding)
        if not isinstance(settings, KafkaSourceSettings):
            raise TypeError(binding.kind)
        return open_kafka(binding.name, settings, self._environ, self._settings.max_text_bytes, collection)

    def _bindings(self, opened: OpenCollection, only: Sequence[str] | None) -> list[SourceBinding]:
        with self._database.read() as ledger:
            found = bindings.bindings(ledger, opened.collection.id)
        for name in only or ():
            if name not in {each.name for each in found}:
                raise NotFound(what=f"A source named {name!r} of collection {opened.collection.name!r}")
        if not found:
            name = opened.collection.name
            raise InvalidInput(
                reason=f"Collection {name!r} is bound to no source. `embedhouse source add {name} ...` binds it."
            )
        return [each for each in found if only is None or each.name in only]

    def _one(self, parts: SyncParts, binding: SourceBinding, full: bool) -> tuple[SourceSync, Drained]:
        """One source. Errors: those of the model, the disk and the deadline; the source's own are in the
        outcome."""
        try:
            return self._synced(parts, binding, full)
        except (Cancelled, DeadlineExceeded):
            raise
        except EmbedhouseError as error:
            with self._database.write() as ledger:
                note(ledger, binding.id, 0, error)
            if not isinstance(error, _OF_THE_SOURCE):
                raise
            failed = SourceSync(
                source=binding.name,
                kind=binding.kind,  # type: ignore[arg-type]
                outcome="failed",
                error=as_failure(binding.name, error),
            )
            return failed, Drained()

    def _synced(self, parts: SyncParts, binding: SourceBinding, full: bool) -> tuple[SourceSync, Drained]:
        settings, limit = binding_settings(binding), self._settings.max_text_bytes
        with self._database.read() as ledger:
            scopes = [scope_of(each) for each in bindings.bindings(ledger, parts.opened.collection.id)]
        source: BoundFolder | SqlSource
        if isinstance(settings, FolderSourceSettings):
            source = BoundFolder(settings, limit)
        elif isinstance(settings, SqlSourceSettings):
            mark = None if full else Mark.from_json(binding.mark)
            source = open_sql(binding.name, settings, self._environ, limit, mark)
        else:
            with closing(self._topic(binding, parts.collection)) as topic:
                return EventSync(parts, binding, topic).drain()
        with closing(source):
            source.check()
            return RowSync(parts, binding, source, scopes).run()
