"""The house: small objects over one ledger, one cache and the indexes."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from embedhouse.domain.collections import CollectionOptions
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.hits import FusionSettings, Mode
from embedhouse.domain.reports import CollectionInfo, HouseStatus, IndexReport, Progress
from embedhouse.evaluation.scoring import Evaluation
from embedhouse.house.collections import Collections
from embedhouse.house.documents import Documents
from embedhouse.house.evaluation import Evaluating
from embedhouse.house.models import Models
from embedhouse.house.search import Search
from embedhouse.house.shelf import OpenCollection, Shelf
from embedhouse.indexing.compaction import compact, is_due
from embedhouse.indexing.ingest import Ingest, Ingested
from embedhouse.indexing.parts import Parts
from embedhouse.ledger import documents
from embedhouse.models.store import ModelStore
from embedhouse.settings import Settings
from embedhouse.sources import FileSource, ReadSettings, open_source
from embedhouse.telemetry import COUNTERS, STAGES

if TYPE_CHECKING:
    from embedhouse.models.parity import Parity

__all__ = ["House"]

_SEARCH_THREADS = 8


class House:
    """One folder with its collections. Thread-safe; a context manager; one process holds a folder at a time."""

    def __init__(
        self, parts: Parts, store: ModelStore, settings: Settings, check_model: Callable[[str, str], Parity]
    ) -> None:
        self.settings = settings
        self._parts = parts
        self._shelf = Shelf(parts, settings.open_indexes)
        self._executor = ThreadPoolExecutor(_SEARCH_THREADS, "search")
        self.collections = Collections(self._shelf, settings)
        self.documents = Documents(self._shelf, settings.max_text_bytes)
        self.search = Search(self._shelf, self._executor)
        self.models = Models(self._shelf, store, settings, check_model)
        self._url: str | None = None

    def index(
        self,
        collection: str,
        paths: Sequence[Path | str],
        *,
        read: ReadSettings | None = None,
        create: CollectionOptions | None = None,
        prune: bool = False,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> IndexReport:
        """Read files and folders into a collection, made if it is not there. What did not change costs nothing;
        what cannot be read is a failure in the report. `prune` deletes documents of these paths that are gone.

        Errors: NotFound (path), InvalidInput, those of the collection, the model and the disk.
        """
        started = time.perf_counter()
        read = read or ReadSettings(max_text_bytes=self.settings.max_text_bytes)
        sources = [open_source(Path(path), read) for path in paths]
        options = create or CollectionOptions()
        self.collections.ensure(collection, **msgspec.structs.asdict(options))
        opened = self._shelf.get(collection)
        within = deadline or Deadline.never()
        tell = progress or (lambda _: None)
        done = self._ingest(opened, sources, tell, within)
        deleted = self._prune(opened, paths, done.ids, within) if prune else 0
        self._compact_if_due(opened, tell, within)
        return self._report(collection, done, deleted, time.perf_counter() - started, sources)

    def evaluate(
        self,
        collection: str,
        queries: Path | str,
        qrels: Path | str,
        *,
        measures: str = "nDCG@10,RR@10,R@100",
        mode: Mode = "hybrid",
        k: int | None = None,
        fusion: FusionSettings | None = None,
        run_out: Path | None = None,
        run_in: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> Evaluation:
        """Search for every judged query and measure the ranking of documents; or measure a run from a file.

        Errors: UnreadableSource, InvalidInput (measures), UnknownCollection.
        """
        evaluating = Evaluating(self.search, Path(queries), Path(qrels), measures)
        if run_in is None:
            within = deadline or Deadline.never()
            run = evaluating.run(collection, mode, k, fusion or FusionSettings(), progress, within)
        else:
            run = evaluating.read(run_in)
        return evaluating.score(run, run_out)

    def status(self) -> HouseStatus:
        """The whole house as it is now."""
        found = self.collections.list()
        return HouseStatus(
            home=str(self._parts.home),
            version=version("embedhouse"),
            clean=not any(each.pending_chunks or each.dead_letters for each in found),
            collections=found,
            server=self._url,
            counters=COUNTERS.snapshot(),
            stages={
                stage: {"runs": runs, "seconds": round(seconds, 6)}
                for stage, (runs, seconds) in STAGES.snapshot().items()
            },
            cached_vectors=self._parts.cache.count(),
        )

    def announce(self, url: str) -> None:
        """Say under which URL this house is served, for `status` and for other processes."""
        self._url = url

    def close(self) -> None:
        """Finish what is under way, flush and release everything."""
        self._executor.shutdown()
        self._shelf.close()
        self._parts.cache.close()
        self._parts.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ingest(
        self,
        opened: OpenCollection,
        sources: Sequence[FileSource],
        tell: Callable[[Progress], None],
        deadline: Deadline,
    ) -> Ingested:
        pending = self.collections.get(opened.collection.name).pending_chunks
        ingest = Ingest(opened.writer, opened.indexers, tell, pending_before=pending)
        return ingest.run(sources, deadline)

    def _prune(
        self, opened: OpenCollection, paths: Sequence[Path | str], kept: frozenset[str], deadline: Deadline
    ) -> int:
        gone: list[str] = []
        with self._parts.database.read() as ledger:
            for path in paths:
                root = str(Path(path).expanduser().resolve())
                known = documents.document_ids_from_source(ledger, opened.collection.id, root)
                gone.extend(document_id for document_id in known if document_id not in kept)
        return self.documents.delete(opened.collection.name, ids=gone, deadline=deadline) if gone else 0

    def _compact_if_due(self, opened: OpenCollection, tell: Callable[[Progress], None], deadline: Deadline) -> None:
        for generation, indexer in zip(opened.generations, opened.indexers, strict=True):
            if is_due(generation) and self._has_room_for(generation.parts.home):
                tell(Progress(stage="compact", done=0, total=None, unit="indexes"))
                compact(generation, indexer, deadline)

    @staticmethod
    def _has_room_for(home: Path) -> bool:
        """Whether a second index fits beside the first; without it searches are slower, not wrong."""
        size = sum(path.stat().st_size for path in (home / "indexes").rglob("*") if path.is_file())
        return shutil.disk_usage(home).free > 2 * size

    def _report(
        self, collection: str, done: Ingested, deleted: int, seconds: float, sources: Sequence[FileSource]
    ) -> IndexReport:
        info: CollectionInfo = self.collections.get(collection)
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
