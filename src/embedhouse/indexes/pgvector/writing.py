"""Writes to an index in PostgreSQL: one transaction for each batch, the statistics of words in the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from psycopg.sql import SQL, Composed, Identifier
from psycopg.types.json import Jsonb

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.domain.scalars import flatten
from embedhouse.indexes.analyzer import Analyzer
from embedhouse.indexes.filter_terms import metadata_terms
from embedhouse.indexes.pgvector.filters import storable
from embedhouse.indexes.pgvector.lexical import Difference, Words, WordsDumper
from embedhouse.indexes.pgvector.link import Link, Session
from embedhouse.indexes.pgvector.schema import Mark, Tables
from embedhouse.ports import IndexEntry

__all__ = ["IndexWriter", "batches"]

T = TypeVar("T")

_BATCH = 1_000
_MERGE_EVERY = 128
_MANY_DIFFERENCES = 8
_DOING = "writing to the index"


class IndexWriter:
    """Thread-safe. Each call is idempotent by key, so it may be done again after a failure."""

    def __init__(self, link: Link, tables: Tables, mark: Mark, analyzer: Analyzer) -> None:
        self._link = link
        self._tables = tables
        self._mark = mark
        self._analyzer = analyzer
        self._columns = _columns(mark)
        self._writes = 0

    def upsert(self, namespace: str, entries: Sequence[IndexEntry], deadline: Deadline) -> None:
        """Write the entries in place of those with their keys; of several with one key the last."""
        for some in batches(list({entry.key: entry for entry in entries}.values())):
            words = [Words(self._analyzer.terms(entry.text) if self._mark.has_words else ()) for entry in some]
            rows = [self._row(namespace, entry, each) for entry, each in zip(some, words, strict=True)]
            self._replace([entry.key for entry in some], rows, words, deadline)

    def delete(self, keys: Sequence[int], deadline: Deadline) -> None:
        """Delete the entries with these keys."""
        for some in batches(keys):
            self._replace(some, [], [], deadline)

    def _row(self, namespace: str, entry: IndexEntry, words: Words) -> tuple[object, ...]:
        row: list[object] = [entry.key, namespace, storable(entry.document_id), *_filterable(entry.metadata)]
        if self._mark.has_vectors:
            row.append(self._mark.value_of(entry.vector))
        if self._mark.has_words:
            row += [words, _jsonb(words.repeated), words.length]
        return tuple(row)

    def _replace(
        self,
        keys: Sequence[int],
        rows: Sequence[tuple[object, ...]],
        words: Sequence[Words],
        deadline: Deadline,
    ) -> None:
        gone = "tsvector_to_array(words), length" if self._mark.has_words else "ARRAY[]::text[], 0"
        delete = self._tables.sql(
            "DELETE FROM {table} WHERE key = ANY(%s::bigint[]) RETURNING {gone}", gone=SQL(gone)
        )

        def replace(session: Session) -> None:
            changed = Difference()
            for each in words:
                changed.add(each.all, each.length, 1)
            with session.changing():
                for terms, length in session.execute(delete, (list(keys),)):
                    changed.add(terms, length, -1)
                if rows:
                    self._copy(session, self._tables.table, self._columns, rows)
                columns = {"term": "text", "documents": "int8", "length": "int8"}
                self._copy(session, self._tables.statistics, columns, changed.rows())

        deadline.check(_DOING)
        self._link.run(replace, deadline, _DOING)
        self._writes += 1
        if self._writes % _MERGE_EVERY == 0:
            self.merge_statistics(_MANY_DIFFERENCES, deadline)

    def _copy(
        self, session: Session, table: Identifier, columns: dict[str, str], rows: Sequence[tuple[object, ...]]
    ) -> None:
        names = SQL(", ").join(Identifier(name) for name in columns)
        into = self._tables.sql("COPY {into} ({names}) FROM STDIN (FORMAT BINARY)", into=table, names=names)
        with session.cursor() as cursor:
            cursor.adapters.register_dumper(Words, WordsDumper)
            with cursor.copy(into) as copy:
                copy.set_types(list(columns.values()))
                for row in rows:
                    copy.write_row(row)

    def replace_metadata(self, changes: Sequence[tuple[int, Metadata]], deadline: Deadline) -> None:
        """Give the entries with these keys other metadata; of several for one key the last."""
        update = self._tables.sql(
            "UPDATE {table} AS old SET terms = new.terms, ranges = new.ranges"
            " FROM unnest(%s::bigint[], %s::jsonb[], %s::jsonb[]) AS new(key, terms, ranges)"
            " WHERE old.key = new.key"
        )
        for some in batches(list(dict(changes).items())):
            made = [_filterable(metadata) for _, metadata in some]
            params = [key for key, _ in some], [terms for terms, _ in made], [ranges for _, ranges in made]
            deadline.check(_DOING)
            self._link.run(_executing(update, params), deadline, _DOING)

    def merge_statistics(self, more_than: int, deadline: Deadline) -> None:
        """Put the sum in place of the differences of each term that has more than so many."""
        merge = self._tables.sql(
            "WITH many AS (SELECT term FROM {statistics} GROUP BY term HAVING count(*) > %s),"
            " gone AS (DELETE FROM {statistics} AS each USING many WHERE each.term = many.term RETURNING each.*)"
            " INSERT INTO {statistics} SELECT term, sum(documents), sum(length) FROM gone GROUP BY term"
            " HAVING sum(documents) <> 0 OR sum(length) <> 0"
        )

        def alone(session: Session) -> None:
            with session.changing():
                # Two at once would each write the sum.
                lock = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
                found = session.execute(lock, (f"statistics of {self._tables.name}",)).fetchone()
                if found is not None and found[0]:
                    session.execute(merge, (more_than,))

        self._link.run(alone, deadline, "merging the statistics of words")


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, some at a time."""
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _executing(statement: Composed, params: Sequence[object]) -> Callable[[Session], None]:
    def execute(session: Session) -> None:
        with session.changing():
            session.execute(statement, params)

    return execute


def _columns(mark: Mark) -> dict[str, str]:
    columns = {"key": "int8", "namespace": "text", "document_id": "text", "terms": "jsonb", "ranges": "jsonb"}
    if mark.has_vectors:
        columns["vector"] = mark.vectors
    if mark.has_words:
        columns |= {"words": "tsvector", "counts": "jsonb", "length": "int4"}
    return columns


def _filterable(metadata: Metadata) -> tuple[Jsonb, Jsonb]:
    found = metadata_terms(flatten(metadata))
    return _jsonb([storable(term) for term in found.terms]), _jsonb(found.ranges)


def _jsonb(value: object) -> Jsonb:
    return Jsonb(value, dumps=msgspec.json.encode)
