"""`house.upgrades`: another model, other chunks, another store, as one command that can be taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from embedhouse.domain.collections import CollectionFields, CollectionOptions, Generation
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Conflict, InvalidInput
from embedhouse.domain.hits import FusionSettings, SearchQuery, SearchResult
from embedhouse.domain.models import attributed
from embedhouse.domain.reports import Progress
from embedhouse.domain.upgrades import (
    JudgedMeasure,
    Promotion,
    ShadowReport,
    UpgradePlan,
    UpgradeStatus,
)
from embedhouse.evaluation.bootstrap import Difference, paired_difference
from embedhouse.house.evaluation import Evaluating
from embedhouse.house.search import Search
from embedhouse.house.shelf import Shelf
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.served import ServedGeneration
from embedhouse.ledger import builds, collections
from embedhouse.ledger.builds import Build
from embedhouse.ledger.usage import throughput
from embedhouse.lifecycle import flipping
from embedhouse.lifecycle.drafting import count_work, draft_generation, is_copy
from embedhouse.lifecycle.gates import check_gates, judged_measures_of, parse_gate
from embedhouse.lifecycle.reporting import shadow_report, upgrade_status
from embedhouse.lifecycle.retiring import retire, sweep
from embedhouse.lifecycle.running import RunningBuilds
from embedhouse.spend.prices import NANO, PriceTable

__all__ = ["Upgrades"]

_MEASURES = ("nDCG@10", "RR@10")
# float16 vector, int8 copy, graph: what the embedded engine takes a dimension, and a chunk beside its text.
_BYTES_PER_DIMENSION = 3.5
_BYTES_PER_CHUNK = 400

_Tell = Callable[[Progress], None]


class Upgrades:
    """Plan, build, shadow, promote, roll back, drop. Thread-safe."""

    def __init__(self, shelf: Shelf, search: Search, prices: PriceTable) -> None:
        self._shelf = shelf
        self._search = search
        self._prices = prices
        self._database = shelf.parts.database
        self._builds = RunningBuilds()

    def plan(
        self,
        collection: str,
        *,
        progress: _Tell | None = None,
        deadline: Deadline | None = None,
        **options: Unpack[CollectionFields],
    ) -> UpgradePlan:
        """What an upgrade would take: every document is cut and counted by the new model's tokenizer; no model is
        called. Errors: Conflict where nothing would change; those of the model."""
        opened = self._shelf.get(collection)
        parts = self._shelf.parts
        draft = draft_generation(parts, opened, CollectionOptions(**options))
        counted = count_work(parts, opened, draft, progress or _nobody, deadline or Deadline.never())
        same = is_copy(draft, opened.live.generation)
        tokens = 0 if same else counted.tokens
        provider, model = self._prices.account(draft.model, draft.space)
        nano_usd = self._prices.nano_usd(provider, model, tokens)
        with self._database.read() as ledger:
            rate = throughput(ledger, provider, model)
        return UpgradePlan(
            collection=collection,
            model=draft.model,
            space=draft.space.fingerprint,
            same_space=same,
            documents=counted.documents,
            chunks=counted.chunks,
            uncached_chunks=0 if same else counted.uncached_chunks,
            tokens=tokens,
            usd=(None if nano_usd is None else nano_usd / NANO) if tokens else 0.0,
            seconds=(None if rate is None else tokens / rate) if tokens else 0.0,
            disk_bytes=int(
                counted.chunks * (_BYTES_PER_CHUNK + _BYTES_PER_DIMENSION * draft.space.dimensions)
                + 2 * counted.characters
            ),
        )

    def start(
        self,
        collection: str,
        *,
        busy_share: float = 1.0,
        wait: bool = True,
        progress: _Tell | None = None,
        deadline: Deadline | None = None,
        **options: Unpack[CollectionFields],
    ) -> UpgradeStatus:
        """Build the next generation beside the live one, in the bulk lane. `busy_share`: of the time that the model
        may work for it. `wait` False: in the background, as long as the house is open.

        Errors: Conflict where an upgrade is under way or nothing would change; those of the model and the store.
        """
        _check_share("busy_share", busy_share, least=0.01)
        opened = self._shelf.get(collection)
        self._sweep(opened)
        draft = draft_generation(self._shelf.parts, opened, CollectionOptions(**options))
        self._shelf.parts.open_store(draft.store, draft.lexical_store)  # before anything is made
        with self._database.write() as ledger:
            collections.touch(ledger, opened.collection.id)
            _check_alone(collection, collections.generations(ledger, opened.collection.id))
            generation_id = collections.add_generation(ledger, draft)
            build = Build(
                generation_id=generation_id,
                copies_chunks=is_copy(draft, opened.live.generation),
                total=builds.document_count(ledger, opened.collection.id),
                busy_share=busy_share,
            )
            builds.add_build(ledger, build)
        opened.refresh()
        return self._build(opened, wait, progress, deadline)

    def resume(
        self,
        collection: str,
        *,
        busy_share: float | None = None,
        wait: bool = True,
        progress: _Tell | None = None,
        deadline: Deadline | None = None,
    ) -> UpgradeStatus:
        """Go on with a build that was paused, or stopped. Errors: Conflict where there is none."""
        opened = self._shelf.get(collection)
        values: dict[str, object] = {"stage": "building", "error": ""}
        if busy_share is not None:
            _check_share("busy_share", busy_share, least=0.01)
            values["busy_share"] = busy_share
        self._set(opened, self._of_states(opened, "building"), values)
        return self._build(opened, wait, progress, deadline)

    def pause(self, collection: str, *, deadline: Deadline | None = None) -> UpgradeStatus:
        """Stop building after the batch under way. Errors: Conflict where nothing is built."""
        opened = self._shelf.get(collection)
        self._set(opened, self._of_states(opened, "building"), {"stage": "paused"})
        return upgrade_status(opened)

    def cancel(self, collection: str, *, deadline: Deadline | None = None) -> UpgradeStatus:
        """Give up a generation that is built or shadowed, and free what it takes. Errors: Conflict."""
        opened = self._shelf.get(collection)
        self._retire(opened, self._of_states(opened, "building", "shadow"))
        return upgrade_status(opened)

    def drop(self, collection: str, *, deadline: Deadline | None = None) -> UpgradeStatus:
        """End the standby and free what it takes: no way back any more. Errors: Conflict where there is none."""
        opened = self._shelf.get(collection)
        self._retire(opened, self._of_states(opened, "standby"))
        return upgrade_status(opened)

    def status(self, collection: str, *, deadline: Deadline | None = None) -> UpgradeStatus:
        """Every generation that is written, the live one first."""
        self._search.flush()
        return upgrade_status(self._shelf.get(collection))

    def shadow(self, collection: str, share: float, *, deadline: Deadline | None = None) -> UpgradeStatus:
        """Run this share of the live queries on the shadow too. Errors: Conflict where there is none."""
        return self._share(collection, "shadow_share", share)

    def split(self, collection: str, share: float, *, deadline: Deadline | None = None) -> UpgradeStatus:
        """Let the shadow answer this share of the callers, each always or never. Errors: Conflict where there is
        none."""
        return self._share(collection, "traffic_share", share)

    def report(
        self,
        collection: str,
        *,
        queries: Path | str | None = None,
        qrels: Path | str | None = None,
        measures: Sequence[str] = _MEASURES,
        progress: _Tell | None = None,
        deadline: Deadline | None = None,
    ) -> ShadowReport:
        """What the shadow showed; with judged queries also the measures of both generations, with intervals.

        Errors: Conflict where there is no shadow, UnreadableSource.
        """
        opened = self._shelf.get(collection)
        shadow = self._of_states(opened, "shadow")
        self._search.flush()
        judged: list[JudgedMeasure] = []
        if queries is not None and qrels is not None:
            evaluating = Evaluating(self._search, Path(queries), Path(qrels), ",".join(measures))
            judged = self._judged(opened, shadow, evaluating, measures, progress, deadline or Deadline.never())
        elif queries is not None or qrels is not None:
            raise InvalidInput(reason="Judged queries are two files: --queries and --qrels.")
        return shadow_report(self._database, collection, shadow.opened.generation.id, judged)

    def promote(
        self,
        collection: str,
        *,
        require: Sequence[str] = (),
        queries: Path | str | None = None,
        qrels: Path | str | None = None,
        without_shadow: bool = False,
        progress: _Tell | None = None,
        deadline: Deadline | None = None,
    ) -> Promotion:
        """Make the shadow live, and the live generation its standby. Refused unless it is complete, verified, and
        every gate of `require` holds on its interval: 'nDCG@10 >= live - 0.005'.

        Errors: Conflict, which says why; InvalidInput for a gate.
        """
        opened = self._shelf.get(collection)
        within = deadline or Deadline.never()
        gates = [parse_gate(text) for text in require]
        coming = self._of_states(opened, "shadow", "building")
        held: list[str] = []
        if coming.opened.generation.state == "shadow":
            measures = list(dict.fromkeys(judged_measures_of(gates))) or list(_MEASURES)
            report = self.report(
                collection, queries=queries, qrels=qrels, measures=measures, progress=progress, deadline=within
            )
            held = check_gates(gates, report)
            self._check_shadowed(opened, coming, report, without_shadow)
        with attributed(collection=collection):
            return flipping.promote(opened, coming, held, within)

    def rollback(self, collection: str, *, deadline: Deadline | None = None) -> Promotion:
        """Make the standby live again. Errors: Conflict where there is none, or it lags."""
        return flipping.roll_back(self._shelf.get(collection), deadline or Deadline.never())

    def move(
        self,
        collection: str,
        to: str,
        *,
        lexical_to: str | None = None,
        progress: _Tell | None = None,
        deadline: Deadline | None = None,
    ) -> Promotion:
        """Build the collection's index in another store from ledger and cache, without a model call; verify it, and
        flip. `rollback` takes it back, `drop` ends the old one. Errors: those of `start` and `promote`."""
        self.start(collection, store=to, lexical_store=lexical_to, progress=progress, deadline=deadline)
        return self.promote(collection, progress=progress, deadline=deadline)

    def go_on(self) -> None:
        """Build in the background what was being built when the house was closed, and free what it was freeing."""
        with self._database.read() as ledger:
            retiring = [
                collection.name
                for collection in collections.collections(ledger)
                if collections.generations(ledger, collection.id, ("retired",))
            ]
            names = [
                collection.name
                for collection in collections.collections(ledger)
                for generation in collections.generations(ledger, collection.id, ("building",))
                if (build := builds.build_of(ledger, generation.id)) and build.stage == "building"
            ]
        for name in retiring:
            self._sweep(self._shelf.get(name))
        for name in names:
            self._build(self._shelf.get(name), False, None, None)

    def close(self) -> None:
        """Stop after the batches under way; what is being built goes on when the house is opened again."""
        self._builds.close()
        self._search.flush()

    def _build(
        self, opened: OpenCollection, wait: bool, progress: _Tell | None, deadline: Deadline | None
    ) -> UpgradeStatus:
        served = self._of_states(opened, "building")
        if wait:
            self._builds.run(opened, served, progress or _nobody, deadline or Deadline.never())
        else:
            self._builds.run_behind(opened, served)
        return upgrade_status(opened)

    def _judged(
        self,
        opened: OpenCollection,
        shadow: ServedGeneration,
        evaluating: Evaluating,
        measures: Sequence[str],
        progress: _Tell | None,
        deadline: Deadline,
    ) -> list[JudgedMeasure]:
        name = opened.collection.name
        found = []
        for served in (opened.serving, shadow):
            asked = evaluating.by(self._asking(served.opened.generation.id))
            run = asked.run(name, "hybrid", None, FusionSettings(), progress, deadline)
            found.append(asked.score(run, None))
        return [_measure(paired_difference(found[0], found[1], measure)) for measure in found[0].measures]

    def _asking(self, generation_id: int) -> Callable[..., SearchResult]:
        def ask(collection: str, query: SearchQuery, *, deadline: Deadline) -> SearchResult:
            return self._search.on(generation_id, collection, query, deadline=deadline)

        return ask

    def _check_shadowed(
        self, opened: OpenCollection, coming: ServedGeneration, report: ShadowReport, without_shadow: bool
    ) -> None:
        if without_shadow or report.queries or report.judged:
            return
        if coming.build is not None and coming.build.copies_chunks:  # the same vectors give the same answers
            return
        name = opened.collection.name
        raise Conflict(
            reason=f"Nothing is known of how the new generation of {name!r} answers: let some queries run on it "
            f"too (`embedhouse upgrade shadow {name} --share 0.1`), give judged queries, or say --without-shadow."
        )

    def _share(self, collection: str, field: str, share: float) -> UpgradeStatus:
        _check_share(field, share)
        opened = self._shelf.get(collection)
        self._set(opened, self._of_states(opened, "shadow"), {field: share})
        return upgrade_status(opened)

    def _set(self, opened: OpenCollection, served: ServedGeneration, values: dict[str, object]) -> None:
        with self._database.write() as ledger:
            builds.set_build(ledger, served.opened.generation.id, **values)
            collections.touch(ledger, opened.collection.id)
        opened.refresh()

    def _retire(self, opened: OpenCollection, served: ServedGeneration) -> None:
        self._builds.stop(served.opened.generation.id)
        retire(opened, served.opened)

    def _sweep(self, opened: OpenCollection) -> None:
        sweep(self._database, opened)

    def _of_states(self, opened: OpenCollection, *states: str) -> ServedGeneration:
        for served in opened.served:
            if served.opened.generation.state in states:
                return served
        wanted = " or ".join({"building": "being built", "shadow": "a shadow"}.get(each, each) for each in states)
        name = opened.collection.name
        raise Conflict(reason=f"No generation of {name!r} is {wanted}: see `embedhouse upgrade status {name}`.")


def _check_alone(collection: str, written: Sequence[Generation]) -> None:
    for generation in written:
        if generation.state in ("building", "shadow"):
            raise Conflict(
                reason=f"An upgrade of {collection!r} is under way (generation {generation.id} is "
                f"{generation.state}). Promote it, or cancel it: `embedhouse upgrade cancel {collection}`."
            )


def _measure(found: Difference) -> JudgedMeasure:
    return JudgedMeasure(
        measure=found.measure,
        queries=found.queries,
        live=found.a,
        shadow=found.b,
        difference=found.mean,
        low=found.low,
        high=found.high,
    )


def _check_share(name: str, share: float, least: float = 0.0) -> None:
    if not least <= share <= 1:
        raise InvalidInput(reason=f"{name} is {share}; it is a share from {least:g} to 1.")


def _nobody(progress: Progress) -> None:
    pass
