"""Searches of an index in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from psycopg.rows import TupleRow

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.indexes.pgvector.filters import Condition, stored
from embedhouse.indexes.pgvector.lexical import OF_ALL, QueryTerm, essential_count, query_terms, tsquery
from embedhouse.indexes.pgvector.link import Link
from embedhouse.indexes.pgvector.schema import Mark, Tables
from embedhouse.indexes.ranking import NOTHING_FOUND, ranked
from embedhouse.ports import Candidates

__all__ = ["DenseSearch", "LexicalSearch"]

_TIE_ROOM = 16
_WIDEST = 1_000
_SCANNED_TUPLES = 20_000
_BY_MEANING = "searching by meaning"
_BY_WORDS = "searching by words"


class DenseSearch:
    """By the graph where there is one, over every entry where there is none or where it finds too few."""

    def __init__(self, link: Link, tables: Tables, mark: Mark, ef_search: int) -> None:
        self._link = link
        self._tables = tables
        self._mark = mark
        self._ef_search = ef_search

    def find(
        self, vector: Vectors, k: int, condition: Condition, deadline: Deadline, documents: bool
    ) -> Candidates:
        """The k nearest that meet the condition."""
        limit = k + _TIE_ROOM
        while True:
            rows = self._nearest(vector, limit, condition, deadline)
            # Past the k-th as far as its distance goes on: ties are broken by key, not by luck.
            if len(rows) < limit or rows[-1][2] > rows[k - 1][2]:
                return _candidates([(*row[:2], 1.0 - row[2]) for row in rows], k, documents, len(rows) == limit)
            deadline.check(_BY_MEANING)
            limit *= 4

    def _nearest(self, vector: Vectors, limit: int, condition: Condition, deadline: Deadline) -> list[TupleRow]:
        """(key, document, distance), nearest first."""
        query = self._tables.sql(
            "WITH found AS MATERIALIZED (SELECT key, document_id, vector <=> %(vector)s AS distance"
            " FROM {table} WHERE {condition} ORDER BY vector <=> %(vector)s LIMIT %(limit)s)"
            " SELECT key, document_id, distance FROM found ORDER BY distance, key",
            condition=condition.sql,
        )
        params = {"vector": self._mark.value_of(vector), "limit": limit, **condition.params}
        walk = {
            "hnsw.ef_search": min(_WIDEST, max(self._ef_search, limit)),
            # Until enough pass the filter; the order is put right above.
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": max(_SCANNED_TUPLES, 4 * limit),
        }
        rows = self._link.read(query, params, deadline, _BY_MEANING, walk)
        if len(rows) == limit:
            return rows
        # A walk gives up after so many entries; the graph is the only index that is read in order.
        return self._link.read(query, params, deadline, _BY_MEANING, {"enable_indexscan": "off"})


class LexicalSearch:
    """BM25, exact: see pgvector_lexical."""

    def __init__(self, link: Link, tables: Tables, settings: LexicalSettings) -> None:
        self._link = link
        self._tables = tables
        self._settings = settings

    def find(
        self, terms: Sequence[str], k: int, condition: Condition, deadline: Deadline, documents: bool
    ) -> Candidates:
        """The k entries of highest score that meet the condition."""
        known, average_length = self._known(terms, deadline)
        if not known:
            return NOTHING_FOUND
        essential = essential_count(known, k, None)
        while True:
            rows = self._best(known, essential, average_length, (k + 1, condition, deadline))
            if essential == len(known):
                return _candidates(rows, k, documents, more=len(rows) > k)
            needed = essential_count(known, k, [float(row[2]) for row in rows])
            if needed <= essential:
                return _candidates(rows, k, documents, more=True)
            deadline.check(_BY_WORDS)
            essential = needed

    def _known(self, terms: Sequence[str], deadline: Deadline) -> tuple[list[QueryTerm], float]:
        query = self._tables.sql(
            "SELECT term, sum(documents)::bigint, sum(length)::bigint FROM {statistics}"
            " WHERE term = ANY(%(terms)s::text[]) GROUP BY term"
        )
        rows = self._link.read(query, {"terms": [OF_ALL, *terms]}, deadline, _BY_WORDS)
        documents = {term: count for term, count, _ in rows}
        count = documents.pop(OF_ALL, 0)
        total_length = next((length for term, _, length in rows if term == OF_ALL), 0)
        return query_terms(terms, documents, count, self._settings), total_length / max(1, count)

    def _best(
        self,
        known: Sequence[QueryTerm],
        essential: int,
        average_length: float,
        asked: tuple[int, Condition, Deadline],
    ) -> list[TupleRow]:
        """(key, document, score), best first, of those that hold one of the first `essential` terms."""
        limit, condition, deadline = asked
        # tf / (tf + penalty) is 1 - penalty / (tf + penalty), so the frequency is looked up once.
        query = self._tables.sql(
            "SELECT key, document_id, (SELECT"
            " sum(most * (1 - penalty / (coalesce((counts ->> term)::int, 1) + penalty)))"
            " FROM unnest(%(terms)s::text[], %(queries)s::tsquery[], %(most)s::float8[]) AS each(term, query, most)"
            " WHERE words @@ each.query)::real AS score"
            " FROM (SELECT key, document_id, words, counts,"
            " %(base)s::float8 + %(slope)s::float8 * length AS penalty"
            " FROM {table} WHERE words @@ %(essential)s::tsquery AND {condition} OFFSET 0) AS found"
            " ORDER BY score DESC, key LIMIT %(limit)s",
            condition=condition.sql,
        )
        k1, b = self._settings.k1, self._settings.b
        params = {
            "terms": [each.term for each in known],
            "queries": [tsquery([each.term]) for each in known],
            "most": [each.most for each in known],
            "base": k1 * (1 - b) if average_length else k1,
            "slope": k1 * b / average_length if average_length else 0.0,
            "essential": tsquery(each.term for each in known[:essential]),
            "limit": limit,
            **condition.params,
        }
        return self._link.read(query, params, deadline, _BY_WORDS)


def _candidates(rows: Sequence[TupleRow], k: int, documents: bool, more: bool) -> Candidates:
    if not rows:
        return NOTHING_FOUND
    keys = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    scores = np.fromiter((row[2] for row in rows), np.float32, len(rows))
    names = [stored(row[1]) for row in rows] if documents else []
    return ranked(keys, np.clip(scores, -1.0, None), names, k, more)
