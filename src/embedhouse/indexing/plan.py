"""What indexing would do and how much of it the model would have to read, without writing or embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import Connection

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Chunk, Document, embedded_text
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Place
from embedhouse.domain.reports import Failure, Progress
from embedhouse.indexing.compare import Comparison, Prepared, stored_diff
from embedhouse.indexing.diff import ChunkDiff
from embedhouse.indexing.ingest import document_batches
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import changes, chunks
from embedhouse.ledger.changes import Logged
from embedhouse.ledger.database import Database
from embedhouse.ports import Embedder, Source, VectorCache

__all__ = ["Planned", "Planning", "Unembedded"]

_CHANGES_PER_BATCH = 512


class Planned(msgspec.Struct, kw_only=True):
    """Counts of documents and chunks; see domain.reports.IndexPlan. `places`: every document that the sources
    hold."""

    new: int = 0
    changed: int = 0
    retagged: int = 0
    unchanged: int = 0
    new_chunks: int = 0
    kept_chunks: int = 0
    gone_chunks: int = 0
    waiting_chunks: int = 0
    uncached_chunks: int = 0
    tokens: int = 0
    failures: list[Failure] = []
    places: set[Place] = set()


class Unembedded:
    """Texts of one space that are not in the vector cache, each once."""

    def __init__(self, embedder: Embedder, cache: VectorCache) -> None:
        self._embedder = embedder
        self._cache = cache
        self._seen: set[bytes] = set()
        self.count = 0
        self.tokens = 0
        """What the model would read: prompt and special tokens included, no text beyond its window."""

    def add(self, hashed: Mapping[bytes, str]) -> None:
        """Count those that were not counted before: the hash of each chunk, and what is embedded of it."""
        space = self._embedder.space
        new = [key for key in hashed if key not in self._seen]
        self._seen.update(new)
        found = self._cache.get(space.fingerprint, "document", new, space.dimensions).found
        missing = [hashed[key] for key, is_cached in zip(new, found, strict=True) if not is_cached]
        prompt, special = space.prompt("document"), self._embedder.tokenizer.special_count
        counts = self._embedder.tokenizer.count([prompt + text for text in missing]) if missing else []
        self.count += len(missing)
        self.tokens += sum(min(count + special, space.max_tokens) for count in counts)


class Planning:
    """Plans one run of sources into one collection, which need not exist yet. Shares its comparison with the
    writer, so that a plan and a run agree."""

    def __init__(
        self,
        database: Database,
        cache: VectorCache,
        generations: Sequence[OpenGeneration],
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._generations = generations
        self._comparison = Comparison(database, generations[0].collection.id, generations)
        self._unembedded = [Unembedded(opened.embedder, cache) for opened in generations]
        self._gone: set[int] = set()

    def run(self, sources: Iterable[Source], progress: Callable[[Progress], None], deadline: Deadline) -> Planned:
        """Read everything; a bad document is a failure. Errors: those of the ledger."""
        planned = Planned()
        for batch, failures in document_batches(sources, planned.places, deadline, self._namespace):
            planned.failures.extend(failures)
            self._plan(batch, planned)
            progress(Progress(stage="plan", done=len(planned.places), total=None, unit="documents"))
        for opened, unembedded in zip(self._generations, self._unembedded, strict=True):
            for waiting in self._waiting(opened.generation.id):
                deadline.check("planning")
                planned.waiting_chunks += len(waiting)
                unembedded.add({chunk.hash: chunk.embedded_text for chunk in waiting})
        planned.uncached_chunks = sum(each.count for each in self._unembedded)
        planned.tokens = sum(each.tokens for each in self._unembedded)
        return planned

    def _plan(self, batch: Sequence[Document], planned: Planned) -> None:
        compared = self._comparison.compare(batch)
        planned.unchanged += compared.unchanged
        planned.failures.extend(compared.failures)
        with self._database.read() as ledger:
            for item in compared.prepared:
                planned.new += item.known is None
                planned.changed += item.known is not None and bool(item.chunks)
                planned.retagged += not item.chunks
                for diff in self._diffs(ledger, item):
                    planned.new_chunks += len(diff.added)
                    planned.kept_chunks += len(diff.kept)
                    planned.gone_chunks += len(diff.gone)

    def _diffs(self, ledger: Connection, item: Prepared) -> Iterator[ChunkDiff]:
        for opened, unembedded, cut in zip(self._generations, self._unembedded, item.chunks, strict=False):
            if item.known is None:
                diff = ChunkDiff(kept=[], added=list(cut), gone=[])
            else:
                diff = stored_diff(ledger, opened.generation.id, item.known.pk, cut)
            unembedded.add({chunk.hash: embedded_text(chunk.context, chunk.text) for chunk in diff.added})
            self._gone.update(diff.gone)
            yield diff

    def _waiting(self, generation_id: int) -> Iterator[list[Chunk]]:
        """Chunks that an earlier run accepted and did not index, less those that this one would drop."""
        after = 0
        while True:
            with self._database.read() as ledger:
                batch = changes.pending_changes(ledger, generation_id, _CHANGES_PER_BATCH, Logged(after))
                keys = {change.chunk_key for change in batch if change.action == "upsert"} - self._gone
                current = chunks.current_chunks(ledger, sorted(keys))
            if not batch:
                return
            yield [stored.chunk for stored in current.values()]
            after = batch[-1].seq
