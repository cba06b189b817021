"""`house.verify` and `house.dead_letters`: whether everything is where it must be, and what could not go in."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidInput, NotFound
from embedhouse.domain.models import attributed
from embedhouse.domain.reports import Progress
from embedhouse.domain.verification import DeadLetterInfo, Finding, FindingKind, SourceDifference, VerifyReport
from embedhouse.house.shelf import Shelf
from embedhouse.house.sources import Sources
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.verifying import GenerationCheck, repair
from embedhouse.ledger import builds, changes, chunks, collections

__all__ = ["DeadLetters", "Verifying"]

_ROUNDS = 3
# Named here, because inside the class `list` is a method.
_Letters = list[DeadLetterInfo]
_Numbers = list[int]


class Verifying:
    """Compares a collection's sources, ledger, vector cache and indexes."""

    def __init__(
        self,
        shelf: Shelf,
        compare_sources: Callable[[str, Deadline], Sequence[SourceDifference]],
        sync: Callable[[str, Deadline], object],
    ) -> None:
        self._shelf = shelf
        self._compare_sources = compare_sources
        self._sync = sync
        self._database = shelf.parts.database

    def run(
        self, collection: str, *, mend: bool, tell: Callable[[Progress], None], deadline: Deadline
    ) -> VerifyReport:
        """See House.verify."""
        started = time.perf_counter()
        opened = self._shelf.get(collection)
        with attributed(collection=collection):
            report = self._check(opened, tell, deadline)
            repaired = 0
            if mend and not report.clean:
                repaired = self._mend(opened, report, tell, deadline)
                report = self._check(opened, tell, deadline)
        seconds = round(time.perf_counter() - started, 3)
        return msgspec.structs.replace(report, repaired=repaired, seconds=seconds)

    def _check(self, opened: OpenCollection, tell: Callable[[Progress], None], deadline: Deadline) -> VerifyReport:
        name = opened.collection.name
        sources = list(self._compare_sources(name, deadline))
        counts: Counter[FindingKind] = Counter()
        findings: list[Finding] = []
        done, unchecked = 0, 0
        for check in self._checks(opened, tell, deadline):
            counts.update(check.counts)
            findings.extend(check.findings)
            done += check.chunks
            unchecked += check.unchecked
        with self._database.read() as ledger:
            documents = builds.document_count(ledger, opened.collection.id)
            letters = sum(
                collections.counts(ledger, opened.collection.id, served.opened.generation.id).dead_letters
                for served in opened.served
            )
        return VerifyReport(
            collection=name,
            clean=not counts and all(each.is_clean for each in sources),
            documents=documents,
            chunks=done,
            unchecked_chunks=unchecked,
            dead_letters=letters,
            counts=dict(counts),
            findings=findings,
            sources=sources,
        )

    def _checks(
        self, opened: OpenCollection, tell: Callable[[Progress], None], deadline: Deadline
    ) -> list[GenerationCheck]:
        checks = []
        for served in opened.served:
            if served.opened.generation.state == "building":  # whoever builds it is not done yet
                continue
            served.ask(lambda index: index.info(), deadline)  # a missing or damaged index is built again first
            check = GenerationCheck(served, lambda n: tell(_progress(n)))
            check.run(deadline)
            checks.append(check)
        return checks

    def _mend(
        self, opened: OpenCollection, report: VerifyReport, tell: Callable[[Progress], None], deadline: Deadline
    ) -> int:
        mended = 0
        if any(not each.is_clean for each in report.sources):
            self._sync(opened.collection.name, deadline)
            mended += sum(len(each.missing) + len(each.stale) + len(each.orphaned) for each in report.sources)
        for served in opened.served:
            if served.opened.generation.state == "building":
                continue
            served.indexer.drain(deadline)
            for _ in range(_ROUNDS):  # what is written meanwhile may be found half done
                check = GenerationCheck(served, lambda n: tell(_progress(n)))
                check.run(deadline)
                if not (check.to_cut or check.to_write or check.to_delete):
                    break
                mended += repair(check, served, deadline)
        return mended


def _progress(chunk_count: int) -> Progress:
    return Progress(stage="verify", done=chunk_count, total=None, unit="chunks")


class DeadLetters:
    """What could not go in for good: list, retry, drop. Thread-safe."""

    def __init__(self, shelf: Shelf, sources: Sources) -> None:
        self._shelf = shelf
        self._sources = sources
        self._database = shelf.parts.database

    def list(self, collection: str) -> Sequence[DeadLetterInfo]:
        """Chunks that the model refused, and what the sources hold that cannot be read. Errors:
        UnknownCollection."""
        opened = self._shelf.get(collection)
        found: Sequence[DeadLetterInfo] = [*self._of_chunks(opened), *self._of_sources(collection)]
        return found

    def retry(self, collection: str, ids: Sequence[str] | None = None, *, deadline: Deadline | None = None) -> int:
        """Index these chunks again, or all; how many. What a source holds is tried at each sync. Errors: NotFound,
        those of the model."""
        opened = self._shelf.get(collection)
        keys = self._keys(opened, ids)
        if ids is not None and any(not each.startswith("chunk:") for each in ids):
            raise InvalidInput(reason=f"What a source holds is tried again by `embedhouse sync {collection}`.")
        for served in opened.served:
            own = keys.get(served.opened.generation.id, [])
            with self._database.write() as ledger:
                changes.forget_dead_letters(ledger, own)
                changes.add_changes(ledger, served.opened.generation.id, "upsert", own)
            with attributed(collection=collection):
                served.indexer.drain(deadline or Deadline.never())
        return sum(map(len, keys.values()))

    def drop(self, collection: str, ids: Sequence[str] | None = None) -> int:
        """Speak of these no more, or of all; how many. Their texts are not searched. Errors: NotFound."""
        opened = self._shelf.get(collection)
        dropped = 0
        with self._database.write() as ledger:
            for generation_id, keys in self._keys(opened, ids).items():
                dropped += changes.drop_dead_letters(ledger, generation_id, keys)
        for name, numbers in self._numbers(collection, ids).items():
            dropped += self._sources.drop_dead_letters(collection, name, numbers)
        return dropped

    def _of_chunks(self, opened: OpenCollection) -> Sequence[DeadLetterInfo]:
        found: _Letters = []
        with self._database.read() as ledger:
            for served in opened.served:
                letters = changes.dead_letters(ledger, served.opened.generation.id)
                current = chunks.current_chunks(ledger, [letter.chunk_key for letter in letters])
                found.extend(
                    DeadLetterInfo(
                        id=f"chunk:{letter.chunk_key}",
                        document_id=current[letter.chunk_key].chunk.document_id,
                        where=f"generation {served.opened.generation.id}",
                        code=letter.code,
                        message=letter.message,
                    )
                    for letter in letters
                    if not letter.dropped and letter.chunk_key in current
                )
        return found

    def _of_sources(self, collection: str) -> Sequence[DeadLetterInfo]:
        return [
            DeadLetterInfo(
                id=f"{source.name}:{letter.id}",
                document_id=letter.document_id,
                where=letter.place,
                code=letter.code,
                message=letter.message,
            )
            for source in self._sources.list(collection)
            for letter in self._sources.dead_letters(collection, source.name)
        ]

    def _keys(self, opened: OpenCollection, ids: Sequence[str] | None) -> dict[int, Sequence[int]]:
        """Generation -> keys of its letters, all or those asked for. Errors: NotFound."""
        wanted = None if ids is None else {each for each in ids if each.startswith("chunk:")}
        found: dict[int, Sequence[int]] = {}
        met: set[str] = set()
        with self._database.read() as ledger:
            for served in opened.served:
                letters = changes.dead_letters(ledger, served.opened.generation.id)
                names = {f"chunk:{letter.chunk_key}": letter.chunk_key for letter in letters if not letter.dropped}
                met |= names.keys()
                found[served.opened.generation.id] = [
                    key for name, key in names.items() if wanted is None or name in wanted
                ]
        if wanted is not None and (unknown := sorted(wanted - met)):
            raise NotFound(what=f"The dead letter {unknown[0]!r} of collection {opened.collection.name!r}")
        return found

    def _numbers(self, collection: str, ids: Sequence[str] | None) -> dict[str, _Numbers]:
        """Source -> numbers of its letters, all or those asked for. Errors: NotFound."""
        letters = {each.id for each in self._of_sources(collection)}
        wanted = letters if ids is None else {each for each in ids if not each.startswith("chunk:")}
        if unknown := sorted(wanted - letters):
            raise NotFound(what=f"The dead letter {unknown[0]!r} of collection {collection!r}")
        found: dict[str, _Numbers] = {}
        for each in sorted(wanted):
            name, _, number = each.rpartition(":")
            found.setdefault(name, []).append(int(number))
        return found
