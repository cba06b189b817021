"""Searches by words in PostgreSQL: how good BM25 computed in SQL is beside `ts_rank`, and what it saves to leave
out words that cannot matter.

    python benchmarks/bench_pgvector_words.py --url postgresql://USER@HOST/DATABASE [--sets scifact] [--out FILE]

Each judged set is written to an index of the store (words alone), and its first 300 queries are asked for the best
100. Beside it the same texts are kept as PostgreSQL's own `to_tsvector('english', ...)` with positions, and ranked
by `ts_rank` and `ts_rank_cd` with the length taken into account (normalisation 1); any word of the query is enough.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
from ir_measures import nDCG

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.pgvector import lexical as pgvector_lexical
from embedhouse.indexes.pgvector.store import PgvectorStore
from embedhouse.ports import Index, IndexEntry, IndexSpec
from machine import DATA, percentiles, versions, write_result

DEPTH = 100
MOST_QUERIES = 300
OWNER = "be9c40000000"
PACKAGES = ("embedhouse", "psycopg", "pystemmer", "ir-measures")
NEVER = Deadline.never()
Ranking = dict[str, float]
Search = Callable[[str], Ranking]


class JudgedSet:
    """A set in BEIR's layout."""

    def __init__(self, name: str) -> None:
        lines = [json.loads(line) for line in (DATA / name / "corpus.jsonl").read_text("utf-8").splitlines()]
        self.texts = {str(line["_id"]): f"{line.get('title', '')} {line['text']}" for line in lines}
        self.qrels: dict[str, dict[str, int]] = {}
        for row in (DATA / name / "qrels" / "test.tsv").read_text("utf-8").splitlines()[1:]:
            query, document, grade = row.split("\t")
            self.qrels.setdefault(query, {})[document] = int(grade)
        asked = [json.loads(line) for line in (DATA / name / "queries.jsonl").read_text("utf-8").splitlines()]
        wanted = [line for line in asked if str(line["_id"]) in self.qrels][:MOST_QUERIES]
        self.queries = {str(line["_id"]): str(line["text"]) for line in wanted}
        self.qrels = {query: self.qrels[query] for query in self.queries}


def filled(store: PgvectorStore, name: str, judged: JudgedSet) -> Index:
    """An index with the words of every text."""
    spec = IndexSpec(name=f"indexes/{name}", dimensions=1, lexical=LexicalSettings(), sides="lexical")
    store.drop(spec.name)
    index = store.open(spec)
    none = np.zeros(1, np.float32)
    entries = [
        IndexEntry(key=key, document_id=name, vector=none, text=text, metadata={})
        for key, (name, text) in enumerate(judged.texts.items(), start=1)
    ]
    index.write(upserts=entries, deadline=NEVER)
    index.optimise()
    return index


def by_bm25(index: Index) -> Search:
    """The store's own search."""

    def search(text: str) -> Ranking:
        found = index.search_lexical(text, DEPTH, None, NEVER)
        return dict(zip(found.document_ids, found.scores.tolist(), strict=True))

    return search


def by_ts_rank(session: psycopg.Connection[tuple[str, float]], function: str) -> Search:
    """PostgreSQL's own ranking over its own words."""

    def search(text: str) -> Ranking:
        rows = session.execute(
            f"SELECT id, {function}(words, query, 1) AS score FROM bench_words,"
            " (SELECT replace(plainto_tsquery('english', %s)::text, '&', '|')::tsquery) AS asked(query)"
            " WHERE words @@ query ORDER BY score DESC, id LIMIT %s",
            (text, DEPTH),
        ).fetchall()
        return dict(rows)

    return search


def own_words(session: psycopg.Connection[tuple[str, float]], judged: JudgedSet) -> None:
    """The texts as PostgreSQL splits them."""
    session.execute("CREATE TEMP TABLE IF NOT EXISTS bench_words (id text, words tsvector)")
    session.execute("TRUNCATE bench_words")
    insert = "INSERT INTO bench_words VALUES (%s, to_tsvector('english', %s))"
    session.cursor().executemany(insert, list(judged.texts.items()))
    session.execute("CREATE INDEX IF NOT EXISTS bench_words_gin ON bench_words USING gin (words)")
    session.execute("ANALYZE bench_words")


def measured(judged: JudgedSet, search: Search) -> dict[str, object]:
    """nDCG@10 and milliseconds, after one round that nobody times."""
    run = {name: search(text) for name, text in judged.queries.items()}
    seconds = []
    for text in judged.queries.values():
        start = time.perf_counter()
        search(text)
        seconds.append(time.perf_counter() - start)
    return {"nDCG@10": round(float((nDCG @ 10).calc_aggregate(judged.qrels, run)), 4), **percentiles(seconds)}


def compare(store: PgvectorStore, url: str, name: str) -> dict[str, object]:
    """Each way of ranking over one set."""
    judged = JudgedSet(name)
    index = filled(store, name, judged)
    rows: dict[str, object] = {"texts": len(judged.texts), "queries": len(judged.queries)}
    rows["BM25, rare terms first"] = measured(judged, by_bm25(index))
    first_matches = pgvector_lexical._FIRST_MATCHES
    pgvector_lexical._FIRST_MATCHES = 10**12
    rows["BM25, every matching row"] = measured(judged, by_bm25(index))
    pgvector_lexical._FIRST_MATCHES = first_matches
    with psycopg.connect(url, autocommit=True) as session:
        own_words(session, judged)
        for function in ("ts_rank", "ts_rank_cd"):
            rows[function] = measured(judged, by_ts_rank(session, function))
    store.drop(f"indexes/{name}")
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sets", default="scifact,cranfield")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    store = PgvectorStore.connect(StoreSettings(kind="postgresql", url=given.url), owner=OWNER)
    sets = {}
    for name in given.sets.split(","):
        sets[name] = compare(store, given.url, name)
        print(name, json.dumps(sets[name], indent=2), flush=True)
    store.close()
    write_result("pgvector-words", {"depth": DEPTH, "versions": versions(PACKAGES), "sets": sets}, given.out)


if __name__ == "__main__":
    main()
