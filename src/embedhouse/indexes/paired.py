"""Two stores as one: the first searches by meaning, the second by words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import IndexDamaged
from embedhouse.domain.filters import Filter
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.ports import Candidates, Capabilities, Index, IndexEntry, IndexInfo, IndexSpec, Store

__all__ = ["PairedIndex", "PairedStore"]


class PairedIndex:
    """Every entry is in both indexes. Thread-safe, as they are."""

    def __init__(self, dense: Index, lexical: Index) -> None:
        self._dense = dense
        self._lexical = lexical

    @property
    def capabilities(self) -> Capabilities:
        """Each side's own; what both need, only where both have it."""
        dense, lexical = self._dense.capabilities, self._lexical.capabilities
        return Capabilities(
            dense=dense.dense,
            lexical=lexical.lexical,
            filters=dense.filters and lexical.filters,
            partial_metadata=dense.partial_metadata and lexical.partial_metadata,
            remote=dense.remote or lexical.remote,
            durable=dense.durable and lexical.durable,
        )

    def write(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        upserts: Sequence[IndexEntry] = (),
        deletes: Sequence[int] = (),
        metadata: Sequence[tuple[int, Metadata]] = (),
        deadline: Deadline,
    ) -> None:
        """Write to both. When the second fails the first has it already: the same write again mends that."""
        for index in (self._dense, self._lexical):
            index.write(namespace=namespace, upserts=upserts, deletes=deletes, metadata=metadata, deadline=deadline)

    def search_dense(
        self,
        vector: Vectors,
        k: int,
        filter: Filter | None,
        deadline: Deadline,
        *,
        namespaces: Namespaces = None,
        documents: bool = True,
    ) -> Candidates:
        """By the first index."""
        return self._dense.search_dense(vector, k, filter, deadline, namespaces=namespaces, documents=documents)

    def search_lexical(
        self,
        text: str,
        k: int,
        filter: Filter | None,
        deadline: Deadline,
        *,
        namespaces: Namespaces = None,
        documents: bool = True,
    ) -> Candidates:
        """By the second."""
        return self._lexical.search_lexical(text, k, filter, deadline, namespaces=namespaces, documents=documents)

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """By the first index."""
        return self._dense.dense_scores(vector, keys, deadline, namespaces=namespaces)

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """Those of the first index."""
        return self._dense.vectors(keys, namespaces=namespaces)

    def keys(self) -> Iterator[int]:
        """Every key that both have, ascending: what one lacks is missing."""
        lexical = self._lexical.keys()
        other = next(lexical, None)
        for key in iter(self._dense.keys()):
            while other is not None and other < key:
                other = next(lexical, None)
            if other == key:
                yield key

    def info(self) -> IndexInfo:
        """Sizes: the smaller count."""
        dense = self._dense.info()
        return msgspec.structs.replace(dense, count=min(dense.count, self._lexical.info().count))

    def optimise(self) -> None:
        """On those that are servers. One in this process would hold the interpreter; it has no graph to build,
        because nothing asks it for vectors."""
        for index in (self._dense, self._lexical):
            if index.capabilities.remote:
                index.optimise()

    def flush(self) -> None:
        """Both."""
        self._dense.flush()
        self._lexical.flush()

    def close(self) -> None:
        """Both, the second whatever the first says."""
        try:
            self._dense.close()
        finally:
            self._lexical.close()


class PairedStore:
    """Each index is one of both stores, under the same name. The stores are not its own: it closes neither."""

    def __init__(self, dense: Store, lexical: Store) -> None:
        self._dense = dense
        self._lexical = lexical

    def exists(self, name: str) -> bool:
        """Whether either store has it: one alone is half an index, and opening it says so."""
        return self._dense.exists(name) or self._lexical.exists(name)

    def open(self, spec: IndexSpec) -> PairedIndex:
        """The index of both stores, made if neither has it. Errors: IndexDamaged where only one has it, and those
        of the stores."""
        halves = (self._dense.exists(spec.name), self._lexical.exists(spec.name))
        if any(halves) and not all(halves):
            missing = "the lexical" if halves[0] else "the dense"
            raise IndexDamaged(path=spec.name, reason=f"{missing} store does not have its half")
        dense = self._dense.open(msgspec.structs.replace(spec, sides="dense"))
        try:
            lexical = self._lexical.open(msgspec.structs.replace(spec, sides="lexical"))
        except BaseException:
            dense.close()
            if not any(halves):
                self._dense.drop(spec.name)
            raise
        return PairedIndex(dense, lexical)

    def drop(self, name: str) -> None:
        """From both."""
        self._dense.drop(name)
        self._lexical.drop(name)

    def close(self) -> None:
        """Nothing of its own."""
