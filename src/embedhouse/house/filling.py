"""What `house.index` and its like are made of: sources into a collection, what is gone out of it, and a report."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Place
from embedhouse.domain.reports import CollectionInfo, IndexReport, Progress
from embedhouse.domain.stores import EMBEDDED
from embedhouse.house.collections import Collections
from embedhouse.house.documents import Documents
from embedhouse.house.shelf import Shelf
from embedhouse.indexing.compaction import compact, is_due
from embedhouse.indexing.ingest import Ingest, Ingested
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import documents
from embedhouse.ledger.changes import EVERYTHING
from embedhouse.ports import Source
from embedhouse.sources import FileSource, ReadSettings, open_source

__all__ = ["Filling"]


class Filling:
    """Fills collections from sources. Thread-safe."""

    def __init__(self, shelf: Shelf, collections: Collections, documents: Documents, max_text_bytes: int) -> None:
        self._shelf = shelf
        self._collections = collections
        self._documents = documents
        self._max_text_bytes = max_text_bytes
        self._database = shelf.parts.database

    def sources(self, paths: Sequence[Path | str], read: ReadSettings | None) -> list[FileSource]:
        """The paths as sources. Errors: NotFound."""
        read = read or ReadSettings(max_text_bytes=self._max_text_bytes)
        return [open_source(Path(path), read) for path in paths]

    def ingest(
        self,
        opened: OpenCollection,
        sources: Sequence[Source],
        tell: Callable[[Progress], None],
        deadline: Deadline,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Ingested:
        """Read, cut, embed and index. Errors: the model's and the disk's."""
        pending = self._collections.get(opened.collection.name).pending_chunks
        ingest = Ingest(
            opened.writer, lambda: opened.live_indexer, tell, pending_before=pending, namespace=namespace
        )
        try:
            return ingest.run(sources, deadline)
        finally:
            if opened.has_others:
                self._shelf.background.submit(opened, EVERYTHING)

    def prune(
        self,
        opened: OpenCollection,
        paths: Sequence[Path | str],
        kept: frozenset[Place],
        namespace: str,
        deadline: Deadline,
    ) -> int:
        """Delete what came from these paths and is there no more; how many."""
        gone = self.gone(opened.collection.id, paths, kept, namespace)
        name = opened.collection.name
        return self._documents.delete(name, ids=gone, namespace=namespace, deadline=deadline) if gone else 0

    def gone(
        self, collection_id: int, paths: Sequence[Path | str], kept: frozenset[Place], namespace: str
    ) -> list[str]:
        """Ids of documents of the namespace that came from these paths and are there no more."""
        gone: list[str] = []
        with self._database.read() as ledger:
            for path in paths:
                root = str(Path(path).expanduser().resolve())
                known = documents.document_ids_from_source(ledger, collection_id, root, namespace)
                gone.extend(document_id for document_id in known if (namespace, document_id) not in kept)
        return gone

    def compact_if_due(self, opened: OpenCollection, tell: Callable[[Progress], None], deadline: Deadline) -> None:
        """Build the graph over what is new, where it is worth it and fits on the disk."""
        serving = opened.serving
        if is_due(serving.opened) and _has_room_for(serving.opened):
            tell(Progress(stage="compact", done=0, total=None, unit="indexes"))
            compact(serving.opened, serving.indexer, deadline)

    def report(
        self, collection: str, done: Ingested, deleted: int, seconds: float, sources: Sequence[FileSource]
    ) -> IndexReport:
        """What came of a run, with the collection as it is now."""
        info: CollectionInfo = self._collections.get(collection)
        skipped: Counter[str] = Counter()
        for source in sources:
            skipped.update(source.skipped)
        write = msgspec.structs.replace(
            done.report,
            deleted=deleted,
            tokens=done.drained.tokens,
            cached_chunks=done.drained.cached_chunks,
            pending_chunks=info.pending_chunks,
        )
        return IndexReport(
            collection=collection,
            write=write,
            documents=info.documents,
            chunks=info.chunks,
            seconds=seconds,
            tokens_per_s=done.drained.tokens / seconds,
            skipped=dict(skipped),
        )


def _has_room_for(opened: OpenGeneration) -> bool:
    """Whether a second index fits beside the first; without it searches are slower, not wrong."""
    if opened.generation.store != EMBEDDED:
        return True
    home = opened.parts.home
    size = sum(path.stat().st_size for path in (home / "indexes").rglob("*") if path.is_file())
    return shutil.disk_usage(home).free > 2 * size
