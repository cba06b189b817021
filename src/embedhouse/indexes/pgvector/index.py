"""One index in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import psycopg

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import CapabilityMissing
from embedhouse.domain.filters import Filter
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.indexes.pgvector.filters import condition_of
from embedhouse.indexes.pgvector.lexical import OF_ALL
from embedhouse.indexes.pgvector.link import Link
from embedhouse.indexes.pgvector.schema import Mark, Tables
from embedhouse.indexes.pgvector.searching import DenseSearch, LexicalSearch
from embedhouse.indexes.pgvector.writing import IndexWriter, batches
from embedhouse.indexes.ranking import NOTHING_FOUND, check_entries, check_vector
from embedhouse.ports import Candidates, Capabilities, IndexEntry, IndexInfo

__all__ = ["GraphSettings", "PgvectorIndex"]

_PAGE = 10_000
_ASK_AGAIN_S = 0.2
# docs/decisions/graph-width.md: half these widths find only 96 % of the true ten nearest among alike texts.
_LINKS, _BUILD_WIDTH = 16, 200
_BYTES_OF_LINKS = 1_000


class GraphSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`ef_search`: width of a walk through the graph. `graph_from`: entries from which `optimise` builds one.
    `build_memory_mb`: the most memory of the server that it uses for that."""

    ef_search: int
    graph_from: int
    build_memory_mb: int


class PgvectorIndex:
    """Implements ports.Index. Thread-safe; any number of processes. What a write returned from is in the table."""

    def __init__(
        self, link: Link, tables: Tables, mark: Mark, lexical: LexicalSettings, settings: GraphSettings
    ) -> None:
        self._link = link
        self._tables = tables
        self._mark = mark
        self._settings = settings
        self._analyzer = get_analyzer(lexical.analyzer)
        self._writer = IndexWriter(link, tables, mark, self._analyzer)
        self._dense = DenseSearch(link, tables, mark, settings.ef_search)
        self._lexical = LexicalSearch(link, tables, lexical)

    @property
    def capabilities(self) -> Capabilities:
        """Everything, but for a side that it was not made for."""
        return Capabilities(
            dense=self._mark.has_vectors,
            lexical=self._mark.has_words,
            filters=True,
            partial_metadata=True,
            remote=True,
            durable=True,
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
        """Apply deletes, then upserts, then whole-metadata replacements: each batch in one transaction."""
        deadline.check("writing to the index")
        if self._mark.has_vectors:
            check_entries(upserts, self._mark.dimensions)
        self._writer.delete(deletes, deadline)
        self._writer.upsert(namespace, upserts, deadline)
        self._writer.replace_metadata(metadata, deadline)

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
        """The k entries of highest cosine: exact while there is no graph, else what a walk of `ef_search` finds."""
        deadline.check("searching by meaning")
        self._check_vectors()
        check_vector(vector, self._mark.dimensions, "of the query")
        return self._dense.find(vector, k, condition_of(filter, namespaces), deadline, documents)

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
        """The k entries of highest BM25, exactly; statistics are those of the whole index, not of the filter."""
        deadline.check("searching by words")
        if not self._mark.has_words:
            raise self._lacks("searches by words")
        terms = list(dict.fromkeys(self._analyzer.terms(text)))
        if not terms:
            return NOTHING_FOUND
        return self._lexical.find(terms, k, condition_of(filter, namespaces), deadline, documents)

    def dense_scores(
        self, vector: Vectors, keys: Sequence[int], deadline: Deadline, *, namespaces: Namespaces = None
    ) -> dict[int, float]:
        """The exact cosine with `vector` of those keys that the index holds."""
        self._check_vectors()
        check_vector(vector, self._mark.dimensions, "of the query")
        condition = condition_of(None, namespaces)
        query = self._tables.sql(
            "SELECT key, 1 - (vector <=> %(vector)s) FROM {table} WHERE key = ANY(%(keys)s::bigint[])"
            " AND {condition}",
            condition=condition.sql,
        )
        found: dict[int, float] = {}
        for some in batches(keys):
            params = {"vector": self._mark.value_of(vector), "keys": list(some), **condition.params}
            rows = self._link.read(query, params, deadline, "scoring by meaning")
            found |= {key: min(1.0, max(-1.0, score)) for key, score in rows}
        return found

    def vectors(self, keys: Sequence[int], *, namespaces: Namespaces = None) -> dict[int, Vectors]:
        """The vectors of those keys that the index holds: L2-normalised, in the precision that they are kept in."""
        self._check_vectors()
        condition = condition_of(None, namespaces)
        query = self._tables.sql(
            "SELECT key, vector FROM {table} WHERE key = ANY(%(keys)s::bigint[]) AND {condition}",
            condition=condition.sql,
        )
        found: dict[int, Vectors] = {}
        for some in batches(keys):
            params = {"keys": list(some), **condition.params}
            rows = self._link.read(query, params, Deadline.never(), "reading vectors", binary=True)
            found |= {key: _unit(vector.to_numpy().astype(np.float32)) for key, vector in rows}
        return found

    def keys(self) -> Iterator[int]:
        """Every key, ascending."""
        query = self._tables.sql("SELECT key FROM {table} WHERE key > %(after)s ORDER BY key LIMIT %(page)s")
        after = -1
        while True:
            params = {"after": after, "page": _PAGE}
            page = self._link.read(query, params, Deadline.never(), "listing keys")
            yield from (row[0] for row in page)
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def info(self) -> IndexInfo:
        """Sizes; nothing is in the graph while there is none, and everything as soon as there is."""
        query = self._tables.sql(
            "SELECT (SELECT coalesce(sum(documents), 0)::bigint FROM {statistics} WHERE term = %(all)s),"
            " EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(%(graph)s) AND indisvalid)"
        )
        params = {"all": OF_ALL, "graph": self._tables.graph_name}
        [(count, has_graph)] = self._link.read(query, params, Deadline.never(), "reading sizes")
        return IndexInfo(count=count, unoptimised=0 if has_graph or not self._mark.has_vectors else count)

    def optimise(self) -> None:
        """Build the graph where there is none, without keeping anyone from searching or writing; collect what the
        planner and BM25 need to know. May take long."""
        self._writer.merge_statistics(1, Deadline.never())
        count = self.info().count
        # Apart from the pool: it takes long, and leaves no settings behind.
        with self._link.connected() as session:
            session.execute("SET statement_timeout = 0")
            self._wait_for_others(session)
            session.execute(self._tables.sql("VACUUM (ANALYZE) {table}"))
            session.execute(self._tables.sql("VACUUM (ANALYZE) {statistics}"))
            if self._mark.has_vectors and count >= self._settings.graph_from:
                self._build_graph(session, count)

    def _wait_for_others(self, session: psycopg.Connection[tuple[object, ...]]) -> None:
        """Two builds would wait for one another, and so would a build and a session that waits in a statement."""
        lock = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
        while session.execute(lock, (f"optimise {self._tables.name}",)).fetchone() == (False,):
            time.sleep(_ASK_AGAIN_S)

    def _build_graph(self, session: psycopg.Connection[tuple[object, ...]], count: int) -> None:
        # What does not fit is built many times slower.
        needed_mb = 64 + count * (self._mark.vector_bytes + _BYTES_OF_LINKS) // 1_000_000
        memory = f"{min(self._settings.build_memory_mb, needed_mb)}MB"
        session.execute("SELECT set_config('maintenance_work_mem', %s, false)", (memory,))
        self._drop_half_built(session)
        try:
            session.execute(self._tables.graph_of(self._mark, links=_LINKS, width=_BUILD_WIDTH))
        except psycopg.errors.DiskFull as error:
            if "shared memory" not in str(error):
                raise
            # A container's /dev/shm is often 64 MB. Only several workers need it.
            session.execute("SET max_parallel_maintenance_workers = 0")
            self._drop_half_built(session)
            session.execute(self._tables.graph_of(self._mark, links=_LINKS, width=_BUILD_WIDTH))

    def _drop_half_built(self, session: psycopg.Connection[tuple[object, ...]]) -> None:
        """An index that is not valid was left by a build that ended early, unless someone else's is under way."""
        left = session.execute(
            "SELECT NOT indisvalid AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS building"
            " WHERE building.index_relid = pg_index.indexrelid) FROM pg_index WHERE indexrelid = to_regclass(%s)",
            (self._tables.graph_name,),
        ).fetchone()
        if left is not None and left[0]:
            session.execute(self._tables.sql("DROP INDEX CONCURRENTLY IF EXISTS {graph}", graph=self._tables.graph))

    def flush(self) -> None:
        """Nothing to do: what was written is committed."""

    def close(self) -> None:
        """Nothing to release: connections are the store's."""

    def _check_vectors(self) -> None:
        if not self._mark.has_vectors:
            raise self._lacks("searches by meaning")

    def _lacks(self, what: str) -> CapabilityMissing:
        return CapabilityMissing(
            part=f"Index {self._mark.name}", capability=what, remedy="It was made for the other side alone."
        )


def _unit(vector: Vectors) -> Vectors:
    return vector / np.linalg.norm(vector)
