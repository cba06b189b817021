"""The house: small objects over one ledger, one cache and the indexes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from embedhouse.domain.backups import BackupReport
from embedhouse.domain.binding import check_unbound
from embedhouse.domain.collections import CollectionOptions
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.exports import ExportReport
from embedhouse.domain.hits import FusionSettings, Mode
from embedhouse.domain.models import attributed, attribution, new_request_id
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces, check_namespace
from embedhouse.domain.reports import (
    CACHE_COUNTERS,
    CacheStatus,
    HouseStatus,
    IndexPlan,
    IndexReport,
    Progress,
)
from embedhouse.domain.syncing import SyncReport
from embedhouse.domain.threads import ContextThreads
from embedhouse.domain.verification import VerifyReport
from embedhouse.evaluation.scoring import Evaluation
from embedhouse.exports.target import ExportTarget
from embedhouse.house.backing_up import back_up
from embedhouse.house.bound import HouseWide
from embedhouse.house.collections import Collections
from embedhouse.house.documents import Documents
from embedhouse.house.evaluation import Evaluating
from embedhouse.house.exporting import Exporting, Importing
from embedhouse.house.filling import Filling
from embedhouse.house.following import FollowSources
from embedhouse.house.keys import ApiKeys
from embedhouse.house.models import Models
from embedhouse.house.planning import priced_plan
from embedhouse.house.search import Search
from embedhouse.house.shelf import Shelf
from embedhouse.house.source_comparing import compare_sources
from embedhouse.house.sources import Sources
from embedhouse.house.spaces import Spaces
from embedhouse.house.syncing import Syncing
from embedhouse.house.upgrades import Upgrades
from embedhouse.house.usage import Usage
from embedhouse.house.verifying import DeadLetters, Verifying
from embedhouse.house.working import Worked, Working
from embedhouse.indexing.parts import Parts
from embedhouse.indexing.plan import Planning
from embedhouse.ledger import changes
from embedhouse.ledger.changes import EVERYTHING
from embedhouse.models.store import ModelStore
from embedhouse.settings import Settings
from embedhouse.sources import ReadSettings
from embedhouse.spend.meter import SpendMeter
from embedhouse.spend.prices import PriceTable
from embedhouse.telemetry import COUNTERS, STAGES

if TYPE_CHECKING:
    from embedhouse.models.parity import Parity

__all__ = ["House"]

_SEARCH_THREADS = 8


class House:
    """One folder with its collections. Thread-safe; a context manager; one process holds a folder at a time."""

    keys = HouseWide[ApiKeys]()
    spaces = HouseWide[Spaces]()
    sources = HouseWide[Sources]()
    dead_letters = HouseWide[DeadLetters]()
    upgrades = HouseWide[Upgrades]()

    def __init__(
        self,
        parts: Parts,
        store: ModelStore,
        settings: Settings,
        check_model: Callable[[str, str], Parity],
        meter: SpendMeter | None = None,
    ) -> None:
        self.settings = settings
        self._parts = parts
        self._meter = meter or SpendMeter(parts.database, PriceTable(settings), settings.budgets)
        self._shelf = Shelf(parts, settings.open_indexes)
        self._executor = ContextThreads(_SEARCH_THREADS, "search")
        self.collections = Collections(self._shelf, settings)
        self.documents = Documents(self._shelf, settings.max_text_bytes)
        self._filling = Filling(self._shelf, self.collections, self.documents, settings.max_text_bytes)
        self.search = Search(self._shelf, self._executor)
        self.models = Models(self._shelf, store, settings, check_model)
        self.usage = Usage(parts.database, self._meter)
        self.keys = ApiKeys(parts.database)
        self.spaces = Spaces(parts)
        # As it is now: addresses of sources come from variables that they name.
        environ = dict(os.environ)
        self.sources = Sources(parts.database, self.collections, environ, settings.max_text_bytes)
        self._syncing = Syncing(self._shelf, settings, environ, self.documents, self._filling.ingest)
        self.dead_letters = DeadLetters(self._shelf, self.sources)
        self._verifying = Verifying(
            self._shelf,
            partial(compare_sources, parts.database, settings, environ),
            lambda collection, deadline: self.sync(collection, deadline=deadline),
        )
        self.upgrades = Upgrades(self._shelf, self.search, self._meter.prices)
        self._url: str | None = None
        self._closing = Deadline.never()
        self._watch: threading.Thread | None = None

    def index(
        self,
        collection: str,
        paths: Sequence[Path | str],
        *,
        read: ReadSettings | None = None,
        create: CollectionOptions | None = None,
        prune: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> IndexReport:
        """Read files and folders into a collection, made if it is not there. What did not change costs nothing;
        what cannot be read is a failure in the report. `prune` deletes documents of these paths that are gone.
        All is of one `namespace`.

        Errors: NotFound (path), InvalidInput, those of the collection, the model and the disk.
        """
        check_unbound("Indexing files")
        check_namespace(namespace)
        started = time.perf_counter()
        sources = self._filling.sources(paths, read)
        options = create or CollectionOptions()
        within = deadline or Deadline.never()
        tell = progress or (lambda _: None)
        with attributed(collection=collection, request_id=attribution().request_id or new_request_id()):
            self.collections.ensure(collection, **msgspec.structs.asdict(options))
            opened = self._shelf.get(collection)
            done = self._filling.ingest(opened, sources, tell, within, namespace)
            deleted = self._filling.prune(opened, paths, done.places, namespace, within) if prune else 0
            self._filling.compact_if_due(opened, tell, within)
        return self._filling.report(collection, done, deleted, time.perf_counter() - started, sources)

    def plan_index(
        self,
        collection: str,
        paths: Sequence[Path | str],
        *,
        read: ReadSettings | None = None,
        create: CollectionOptions | None = None,
        prune: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> IndexPlan:
        """What `index` would do with the same arguments, what it would cost and how long it would take. Texts are
        counted by the model's tokenizer; nothing is embedded, and nothing is written. Errors: those of `index`."""
        check_unbound("Indexing files")
        check_namespace(namespace)
        sources = self._filling.sources(paths, read)
        generations = self.collections.draft(collection, create or CollectionOptions())
        planning = Planning(self._parts.database, self._parts.cache, generations, namespace)
        planned = planning.run(sources, progress or (lambda _: None), deadline or Deadline.never())
        plan = priced_plan(planned, generations, sources, self._parts.database, self._meter.prices)
        gone = []
        if prune:
            gone = self._filling.gone(generations[0].collection.id, paths, frozenset(planned.places), namespace)
        return msgspec.structs.replace(plan, deleted=len(gone))

    def export(
        self,
        collection: str,
        to: Path | str,
        *,
        namespaces: Namespaces = None,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> ExportReport:
        """Write documents, chunks and vectors as Parquet: into a folder that `import_` reads, or, where `to` ends
        in `.parquet`, chunks into one file. What is written is the collection at one moment; writes go on.

        Errors: UnknownCollection, Conflict for what is there already, MissingExtra, those of the disk; Forbidden
        for namespaces that are not the caller's.
        """
        target = ExportTarget(to, overwrite=overwrite)
        within = deadline or Deadline.never()
        return Exporting(self._shelf, collection, target, namespaces, within).run(progress or (lambda _: None))

    def import_(
        self,
        folder: Path | str,
        collection: str | None = None,
        *,
        model: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> IndexReport:
        """Read an export into a collection of its name, or another: made if it is not there. Vectors go into the
        vector cache, and the index is built from it. `model`: where the model is on this machine, if not where it
        was. Stopped anywhere, the next run goes on.

        Errors: UnreadableSource for a folder that is damaged or no export, SpaceMismatch, Conflict for a collection
        that is cut in another way, MissingExtra, those of the model and the disk.
        """
        started = time.perf_counter()
        tell, within = progress or (lambda _: None), deadline or Deadline.never()
        importing = Importing(self._shelf, self.collections, Path(folder), self.settings.cache)
        opened = importing.open(collection, model, tell, within)
        name = opened.collection.name
        with attributed(collection=name, request_id=attribution().request_id or new_request_id()):
            with importing.donating(opened):
                done = self._filling.ingest(opened, [importing.source], tell, within)
            self._filling.compact_if_due(opened, tell, within)
        return self._filling.report(name, done, 0, time.perf_counter() - started, [])

    def sync(
        self,
        collection: str,
        *,
        sources: Sequence[str] | None = None,
        allow_mass_delete: bool = False,
        full: bool = False,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> SyncReport:
        """Bring a collection into step with its sources, or with those that are named: what differs goes in, what
        is gone goes out. What did not change costs no token. `full`: read SQL sources whole, not only what changed.

        A source that fails does not stop the others: see each one's outcome, and SyncReport.in_step. Where more
        than the setting mass_delete_share of a source's documents are gone, none of them is deleted, unless
        `allow_mass_delete`. Errors: UnknownCollection, NotFound (source), InvalidInput (it has none), those of the
        model and the disk.
        """
        check_unbound("Syncing")
        return self._syncing.run(
            collection,
            self.collections,
            only=sources,
            allow_mass_delete=allow_mass_delete,
            full=full,
            tell=progress or (lambda _: None),
            deadline=deadline or Deadline.never(),
        )

    def watch(
        self,
        collection: str,
        *,
        sources: Sequence[str] | None = None,
        allow_mass_delete: bool = False,
        every_s: float = 60.0,
        on_report: Callable[[SyncReport], None] | None = None,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        """Keep a collection in step with its sources until the deadline is cancelled: folders as their files
        change, SQL sources every `every_s`, topics as events come. What fails is logged and tried again.

        Errors: Cancelled, DeadlineExceeded; UnknownCollection, NotFound (source), InvalidInput (it has none).
        """
        check_unbound("Syncing")
        self._syncing.watch(
            collection,
            self.collections,
            only=sources,
            allow_mass_delete=allow_mass_delete,
            every_s=every_s,
            on_report=on_report or (lambda _: None),
            tell=progress or (lambda _: None),
            deadline=deadline or Deadline.never(),
        )

    def backup(
        self,
        to: Path | str,
        *,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> BackupReport:
        """Write ledger and vectors as they are now into one file with checksums. Searches and writes go on;
        settings and secrets are not in it. `embedhouse restore` makes a house of it.

        Errors: Conflict where the file is there, those of the disk.
        """
        check_unbound("A backup")
        return back_up(self._shelf, Path(to), progress or (lambda _: None), deadline or Deadline.never())

    def verify(
        self,
        collection: str,
        *,
        repair: bool = False,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> VerifyReport:
        """Compare sources, ledger, vector cache and indexes, document by document. `repair` mends exactly what was
        found, from the cache where it can; the report is then that of a second look.

        Errors: UnknownCollection, those of the stores; with `repair` those of the model and the disk.
        """
        check_unbound("Verifying")
        return self._verifying.run(
            collection,
            mend=repair,
            tell=progress or (lambda _: None),
            deadline=deadline or Deadline.never(),
        )

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
        namespaces: Namespaces = None,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> Evaluation:
        """Search for every judged query, in these namespaces, and measure the ranking of documents; or measure a
        run from a file. Documents are judged by their ids.

        Errors: UnreadableSource, InvalidInput (measures), UnknownCollection.
        """
        search = partial(self.search, namespaces=namespaces)
        evaluating = Evaluating(search, Path(queries), Path(qrels), measures)
        if run_in is None:
            within = deadline or Deadline.never()
            run = evaluating.run(collection, mode, k, fusion or FusionSettings(), progress, within)
        else:
            run = evaluating.read(run_in)
        return evaluating.score(run, run_out)

    def status(self) -> HouseStatus:
        """The whole house as it is now. Errors: Forbidden for a caller that is bound to namespaces."""
        check_unbound("The status of the whole house")
        found = self.collections.list()
        return HouseStatus(
            home=str(self._parts.home),
            version=version("embedhouse"),
            clean=not any(each.pending_chunks or each.dead_letters for each in found)
            and not self.spaces.any_frozen
            and not self.sources.any_trouble,
            collections=found,
            server=self._url,
            counters=COUNTERS.snapshot(),
            stages={
                stage: {"runs": runs, "seconds": round(seconds, 6)}
                for stage, (runs, seconds) in STAGES.snapshot().items()
            },
            cache=self._cache_status(),
            budgets=[use for use in self.usage.budgets() if use.warns],
            spaces=list(self.spaces.list()),
        )

    def index_waiting(self) -> None:
        """Index in the background what was accepted and not indexed yet, as after a restart."""
        with self._parts.database.read() as ledger:
            waiting = changes.collections_with_pending(ledger)
        for name in waiting:
            self._shelf.background.submit(self._shelf.get(name), EVERYTHING)
        self.upgrades.go_on()
        if self._parts.database.is_shared and self._watch is None:
            self._watch = threading.Thread(target=self._take_over, name="take-over", daemon=True)
            self._watch.start()

    def work(
        self,
        *,
        once: bool = False,
        poll_s: float = 1.0,
        sync_every_s: float = 60.0,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> Worked:
        """Index what any process has accepted, take over builds of those that died, and keep collections in step
        with their sources, until the deadline is over or cancelled; or `once`: until nothing waits that others do
        not work on. A failure is logged and tried again."""
        stop = deadline or Deadline.never()
        follow = FollowSources(
            self._parts.database,
            self.sources.bound_collections,
            lambda name: self.sync(name, progress=progress, deadline=stop),
            sync_every_s,
        )
        working = Working(self._shelf, progress or (lambda _: None))
        return working.run(stop, once=once, poll_s=poll_s, in_turn=follow, when_idle=self.upgrades.go_on)

    def _take_over(self) -> None:
        """What a process that died has left, where no worker runs: changes, and generations half built."""
        working = Working(self._shelf, lambda _: None)
        working.run(self._closing, once=False, poll_s=self.settings.lease_s, when_idle=self.upgrades.go_on)

    def _cache_status(self) -> CacheStatus:
        info, counters = self._parts.cache.info(), COUNTERS.snapshot()
        counts = {name: counters.get(f"cache_{name}", 0) for name in CACHE_COUNTERS}
        return CacheStatus(backend=self.settings.cache, vectors=info.vectors, bytes=info.bytes, **counts)

    def announce(self, url: str) -> None:
        """Say under which URL this house is served, for `status` and for other processes."""
        self._url = url

    def close(self) -> None:
        """Finish what is under way, flush and release everything."""
        self._closing.cancel()
        if self._watch is not None:
            self._watch.join()
        self.spaces.close()
        self.upgrades.close()
        self._executor.shutdown()
        self._shelf.close()
        if self._parts.leases is not None:
            self._parts.leases.close()
        self._meter.close()
        self._parts.cache.close()
        self._parts.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
