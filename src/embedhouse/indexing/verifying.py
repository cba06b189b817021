"""One generation beside the ledger and the vector cache, chunk by chunk; and what mends what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sqlalchemy import Connection

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import StoredChunk
from embedhouse.domain.errors import EmbedhouseError
from embedhouse.domain.verification import Finding, FindingKind
from embedhouse.indexing.cached import cached_vectors
from embedhouse.indexing.compare import cut_document
from embedhouse.indexing.drift import index_drift
from embedhouse.indexing.served import ServedGeneration
from embedhouse.indexing.writer import store_chunks
from embedhouse.ledger import builds, changes, chunks, collections, documents
from embedhouse.ledger.builds import DocumentToCut
from embedhouse.ports import Index

__all__ = ["GenerationCheck", "repair"]

_CHUNKS_PER_BLOCK = 500
_DOCUMENTS_PER_BLOCK = 128
_FINDINGS_KEPT = 1000
# Stores keep vectors as float16, so a cosine with the exact vector is above .9999; another text's is far below.
_SAME_VECTOR = 0.999


class GenerationCheck:
    """Compares one generation. After `run`: counts and findings, and what `repair` needs."""

    def __init__(self, served: ServedGeneration, progress: Callable[[int], None]) -> None:
        self._served = served
        self._opened = served.opened
        self._database = served.opened.parts.database
        self._id = served.opened.generation.id
        self._progress = progress
        self.counts: Counter[FindingKind] = Counter()
        self.findings: list[Finding] = []
        self.chunks = 0
        self.unchecked = 0
        self.to_write: set[int] = set()
        """Keys of current chunks that the index must get again."""
        self.to_delete: set[int] = set()
        """Keys in the index that are nobody's."""
        self.to_cut: list[DocumentToCut] = []

    def run(self, deadline: Deadline) -> None:
        """Check everything. Errors: those of the store, the ledger and the deadline."""
        self._check_model()
        self._check_documents(deadline)
        self._check_keys(deadline)
        with self._opened.slot.borrow() as index:
            for block in self._blocks():
                deadline.check("verifying")
                self._check_vectors(index, block)
                self.chunks += len(block)
                self._progress(self.chunks)

    def _check_model(self) -> None:
        try:
            _ = self._opened.embedder
        except EmbedhouseError as error:
            self._found("wrong_space", detail=str(error))

    def _check_documents(self, deadline: Deadline) -> None:
        """Whether each document's chunks are those of its text."""
        after = 0
        while True:
            deadline.check("verifying")
            with self._database.read() as ledger:
                batch = builds.documents_to_cut(ledger, self._opened.collection.id, after, _DOCUMENTS_PER_BLOCK)
                if not batch:
                    return
                for each in batch:
                    known = chunks.known_places(ledger, self._id, each.pk)
                    self._check_document(each, known)
            after = batch[-1].pk

    def _check_document(self, each: DocumentToCut, known: Sequence[tuple[int, bytes]]) -> None:
        places = [ordinal for ordinal, _ in known]
        cut = cut_document(self._opened, each.document)
        if len(set(places)) < len(places):
            self._found("duplicated", each.document.id, detail=f"{len(places)} chunks in {len(set(places))} places")
        elif [chunk.hash for chunk in cut] != [found for _, found in known]:
            detail = f"its text is cut into {len(cut)} chunks, the ledger has {len(known)}"
            self._found("stale", each.document.id, detail=detail)
        else:
            return
        self.to_cut.append(each)

    def _check_keys(self, deadline: Deadline) -> None:
        drift = index_drift(self._served, deadline)
        with self._database.read() as ledger:
            current = chunks.current_chunks(ledger, drift.missing)
            waiting = changes.pending_count(ledger, self._id)
        for key in drift.missing:
            document_id = current[key].chunk.document_id if key in current else ""
            self._found("missing", document_id, key, "the index lacks it")
            self.to_write.add(key)
        for key in drift.orphaned:
            self._found("orphaned", "", key, "no current chunk has this key")
            self.to_delete.add(key)
        if waiting:
            self._found("stale", detail=f"{waiting} changes wait to be indexed")

    def _blocks(self) -> Iterator[list[StoredChunk]]:
        after = 0
        while True:
            with self._database.read() as ledger:
                block = chunks.chunks_after(ledger, self._id, after, _CHUNKS_PER_BLOCK)
            if not block:
                return
            yield block
            after = block[-1].chunk.key

    def _check_vectors(self, index: Index, block: Sequence[StoredChunk]) -> None:
        held = index.vectors([stored.chunk.key for stored in block])
        cached = cached_vectors(self._opened.parts.cache, self._opened.generation.space.searchable, block)
        for stored in block:
            key, vector = stored.chunk.key, held.get(stored.chunk.key)
            expected = cached.get(key)
            if vector is None or key in self.to_write:
                continue
            if expected is None:
                self.unchecked += 1
            if vector.shape != (self._opened.generation.space.dimensions,):
                self._found("wrong_space", stored.chunk.document_id, key, f"its vector has {vector.size} numbers")
                self.to_write.add(key)
            elif expected is not None and float(vector @ expected) < _SAME_VECTOR * float(np.linalg.norm(expected)):
                self._found("damaged", stored.chunk.document_id, key, "its vector is not that of its text")
                self.to_write.add(key)

    def _found(self, kind: FindingKind, document_id: str = "", key: int = 0, detail: str = "") -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= _FINDINGS_KEPT:
            finding = Finding(kind=kind, generation=self._id, document_id=document_id, chunk_key=key, detail=detail)
            self.findings.append(finding)


def repair(check: GenerationCheck, served: ServedGeneration, deadline: Deadline) -> int:
    """Mend exactly what was found: from the cache where it can. How many chunks and documents were done again.
    Errors: those of the model, the store and the disk."""
    opened = served.opened
    generation_id = opened.generation.id
    for each in check.to_cut:
        cut = cut_document(opened, each.document)
        with opened.parts.database.write() as ledger:
            if each.pk in builds.still_so(ledger, [each]):
                _drop_doubles(ledger, generation_id, each)
                store_chunks(ledger, opened, each.pk, cut, each.namespace)
    with opened.parts.database.write() as ledger:
        current = set(chunks.current_chunks(ledger, sorted(check.to_write)))
        changes.replay(ledger, generation_id, "upsert", sorted(current))
        for namespace in documents.namespaces_of(ledger, opened.collection.id):  # nobody knows whose they were
            changes.replay(ledger, generation_id, "delete", sorted(check.to_delete), namespace)
    served.indexer.drain(deadline)
    _sum_anew(served, deadline)
    served.indexer.flush()
    return len(check.to_cut) + len(current) + len(check.to_delete)


def _drop_doubles(ledger: Connection, generation_id: int, each: DocumentToCut) -> None:
    seen: set[int] = set()
    doubles = []
    for key, ordinal in chunks.keys_and_places(ledger, generation_id, each.pk):
        if ordinal in seen:
            doubles.append(key)
        seen.add(ordinal)
    chunks.delete_chunks(ledger, doubles)
    changes.add_changes(ledger, generation_id, "delete", doubles, each.namespace)


def _sum_anew(served: ServedGeneration, deadline: Deadline) -> None:
    """The mean vector from what the index holds: what was damaged may have been counted, or not."""
    opened = served.opened
    total = np.zeros(opened.generation.space.dimensions, np.float64)
    count, after = 0, 0
    with opened.slot.borrow() as index:
        while True:
            deadline.check("summing vectors")
            with opened.parts.database.read() as ledger:
                block = chunks.chunks_after(ledger, opened.generation.id, after, _CHUNKS_PER_BLOCK)
            if not block:
                break
            held = list(index.vectors([stored.chunk.key for stored in block]).values())
            if held:
                total += np.stack(held).sum(axis=0, dtype=np.float64)
                count += len(held)
            after = block[-1].chunk.key
    with opened.parts.database.write() as ledger:
        if not changes.pending_count(ledger, opened.generation.id):
            collections.set_mean(ledger, opened.generation.id, total, count)
