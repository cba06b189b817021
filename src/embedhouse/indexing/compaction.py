"""An index is optimised beside the one that answers, by a child process, and then swapped in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.indexing.cached import cached_vectors
from embedhouse.indexing.entries import Deletion, write_index
from embedhouse.indexing.indexer import Indexer
from embedhouse.indexing.old_vectors import read_vectors, write_vectors
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.parts import BuildSpec
from embedhouse.ledger import changes, chunks, collections
from embedhouse.ledger.changes import Change
from embedhouse.ledger.database import Database
from embedhouse.ledger.leadership import leading
from embedhouse.ports import Index, VectorCache

__all__ = ["add_to_index", "build_index", "compact", "is_due"]

_MIN_UNOPTIMISED = 20_000
_UNOPTIMISED_SHARE = 0.2
_ENTRIES_PER_WRITE = 1000
_CHANGES_PER_BATCH = 1000


def is_due(opened: OpenGeneration) -> bool:
    """Whether enough vectors are outside of the graph to slow searches down by about a millisecond."""
    with opened.slot.borrow() as index:
        info = index.info()
    return info.unoptimised >= max(_MIN_UNOPTIMISED, _UNOPTIMISED_SHARE * info.count)


def compact(opened: OpenGeneration, indexer: Indexer, deadline: Deadline) -> bool:
    """Build the generation's index again in a child process while this one goes on answering and writing, bring
    it up to date with what was written meanwhile, and swap it in. Killed anywhere, the old index stays. One on a
    server is optimised where it is. False, and nothing is done, while another process does so."""
    with leading(opened.parts.database, f"compaction of generation {opened.generation.id}") as leads:
        if leads:
            _compact(opened, indexer, deadline)
        return leads


def _compact(opened: OpenGeneration, indexer: Indexer, deadline: Deadline) -> None:
    # Borrowed all the while: an index that is opened again forgets what is kept for the one beside it.
    with opened.slot.borrow() as index:
        indexer.drain(deadline)
        if index.capabilities.remote:
            index.optimise()
        else:
            _build_beside(opened)
    indexer.drain(deadline)


def _build_beside(opened: OpenGeneration) -> None:
    database, generation_id = opened.parts.database, opened.generation.id
    with database.write() as ledger:
        start = changes.last_seq(ledger)
        collections.set_keep_changes_after(ledger, generation_id, start)
    name = collections.new_index_name(generation_id)
    spec = BuildSpec(home=str(opened.parts.home), generation_id=generation_id, name=name)
    try:
        uncached = opened.parts.build_in_child(spec)
        if len(uncached) >= _MIN_UNOPTIMISED:  # the graph must have them
            uncached = _build_on_from_the_old(opened, spec, uncached)
        _hand_over(opened, name, start, uncached)
    except BaseException:
        opened.store.drop(name)
        with database.write() as ledger:
            collections.set_keep_changes_after(ledger, generation_id, None)
        raise


def _build_on_from_the_old(opened: OpenGeneration, spec: BuildSpec, keys: Sequence[int]) -> list[int]:
    """Let a second child add vectors of the old index, where the cache has lost many or never kept any. The keys
    of what neither has."""
    file = f"{spec.name}.vectors"
    path = opened.parts.home / file
    try:
        with opened.slot.borrow() as old:
            missing = write_vectors(path, old, keys, opened.generation.space.dimensions)
        opened.parts.build_in_child(msgspec.structs.replace(spec, vectors_file=file))
    finally:
        path.unlink(missing_ok=True)
    return sorted(missing)


def add_to_index(database: Database, generation_id: int, index: Index, vectors_file: Path) -> None:
    """The second child's work: those current chunks whose vectors are in the file, then the graph again."""
    with database.read() as ledger:
        dimensions = collections.generation(ledger, generation_id).space.dimensions
        for vectors in read_vectors(vectors_file, dimensions):
            current = chunks.current_chunks(ledger, list(vectors))
            upserts = [(stored, vectors[key]) for key, stored in current.items()]
            write_index(index, upserts, deadline=Deadline.never())
    index.optimise()
    index.flush()


def build_index(database: Database, cache: VectorCache, generation_id: int, index: Index) -> list[int]:
    """The child's work: every current chunk whose vector is cached, then the graph. Returns the keys of the
    others. Reads the ledger as it stood at one moment."""
    uncached: list[int] = []
    with database.read() as ledger:
        spaces = collections.generation(ledger, generation_id).space.searchable
        for block in chunks.stream_chunks(ledger, generation_id, _ENTRIES_PER_WRITE):
            held = cached_vectors(cache, spaces, block)
            upserts = [(stored, held[stored.chunk.key]) for stored in block if stored.chunk.key in held]
            write_index(index, upserts, deadline=Deadline.never())
            uncached.extend(stored.chunk.key for stored in block if stored.chunk.key not in held)
    index.optimise()
    index.flush()
    return uncached


def _hand_over(opened: OpenGeneration, name: str, start: int, uncached: Sequence[int]) -> None:
    with opened.lock:  # writers wait from here on; searches do not
        index = opened.open_index(name)
        for at in range(0, len(uncached), _ENTRIES_PER_WRITE):
            _copy(opened, index, uncached[at : at + _ENTRIES_PER_WRITE])
        while batch := _changes(opened, start):
            keys = sorted({change.chunk_key for change in batch})
            _copy(opened, index, keys, {change.chunk_key: change.namespace for change in batch})
            start = batch[-1].seq
        index.flush()
        opened.move_to(index, name)


def _copy(
    opened: OpenGeneration, index: Index, keys: Sequence[int], changed: Mapping[int, str] | None = None
) -> None:
    """Make these chunks in the new index what they are in the ledger, with vectors from the old index. One that
    the old index does not have either is still pending in the log. `changed`: the namespaces of those that may be
    gone."""
    with opened.parts.database.read() as ledger:
        current = chunks.current_chunks(ledger, keys)
    with opened.slot.borrow() as old:
        vectors = old.vectors(sorted(current))
    gone: list[Deletion] = [(namespace, key) for key, namespace in (changed or {}).items() if key not in current]
    write_index(index, [(current[key], vector) for key, vector in vectors.items()], gone, deadline=Deadline.never())


def _changes(opened: OpenGeneration, after: int) -> list[Change]:
    with opened.parts.database.read() as ledger:
        return changes.changes_after(ledger, opened.generation.id, after, _CHANGES_PER_BATCH)
